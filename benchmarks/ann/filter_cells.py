"""Fields, filters and true neighbours of the grid: every cell is a share of the rows, a kind of filter, and how the
filter lies to the query.

Shares: 50, 20, 10, 4, 1, 0.1, 0.01 % of the rows. Ties: "independent" (one filter for all queries), "correlated" and
"anti" (every query has its own: rows near it, rows far from it). What the fields hold:

kind                one tag: a value for each share
left, right         some tags each: at each share a pair for AND (shares sqrt(s)), for OR (1 - sqrt(1 - s)), and one of
                    share 1 - s for NOT
number              a permutation of 0..n-1, for ranges
place               even over a box of land, for circles
cluster, cell       256 clusters by k-means; each halved along its first axis until no piece has more than 0.01 %
anchor0..anchor7    a row's rank by distance from one of 8 centres by k-means
chart               the two first principal components as latitude and longitude within 60 and 120 degrees

Correlated (anti): clusters in order of their centre's distance from the query, the nearest (farthest) first, until the
share is met; below 1 %, where a cluster is too large, cells. One tag: any of that list. AND: such a list of share
sqrt(s) and a random tag of share sqrt(s). OR: such a list of share s/2, or a range of an anchor. NOT: not any of all
the other clusters; below 1 % not a range. Range: the s nearest to (farthest from) the anchor that is nearest to the
query. Geo: the circle of share s around the query's own place on the chart (around the farthest row's place on it).
No cell had to be left out. How strong the tie is, is measured: the share of the query's 100 nearest rows, of all, that
fulfil its filter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from adapter import K, Rows
from numpy.typing import NDArray
from truth import distances

from medalist.search.filters import All, Among, AnyOf, Circle, F, Filter, Not, Range

SHARES = (0.5, 0.2, 0.1, 0.04, 0.01, 0.001, 0.0001)
TIES = ("independent", "correlated", "anti")
KINDS = ("tag", "and", "or", "not", "range", "geo")
CLUSTERS, ANCHORS, SMALLEST = 256, 8, 0.0001
FINE = 0.01
"""Share below which cells, and not clusters, are listed."""
SEED = 20261122
EARTH = 6371008.8
"""Radius in metres."""
SCHEMA = {
    "kind": "tag", "left": "tag", "right": "tag", "number": "int", "place": "geo", "cluster": "tag", "cell": "tag",
    **{f"anchor{number}": "int" for number in range(ANCHORS)}, "chart": "geo",
}  # fmt: skip
Mask = NDArray[np.bool_]
Cell = tuple[float, str, str]
"""(share, tie, kind)"""


def cells() -> list[Cell]:
    return [(share, tie, kind) for kind in KINDS for tie in TIES for share in SHARES]


def name_of(cell: Cell) -> str:
    return f"{cell[2]} {cell[1]} {100 * cell[0]:g} %"


def centres_of(vectors: Rows, count: int, rounds: int = 12) -> Rows:
    """Lloyd's k-means on at most 20,000 rows, started at random rows; a centre that loses all its rows stays."""
    rng = np.random.default_rng(SEED)
    some = vectors[rng.permutation(len(vectors))[:20_000]]
    centres = some[: min(count, len(some))].copy()
    for _ in range(rounds):
        owner = nearest(some, centres)
        for number in range(len(centres)):
            if (own := owner == number).any():
                centres[number] = some[own].mean(axis=0)
    return centres


def squares(vectors: Rows, centres: Rows) -> Rows:
    """Squared distances [n, c] but for the vectors' own lengths, which order nothing."""
    return np.asarray(np.square(centres).sum(axis=1) - 2 * (vectors @ centres.T))


def nearest(vectors: Rows, centres: Rows) -> NDArray[np.int64]:
    blocks = (vectors[start : start + 20_000] for start in range(0, len(vectors), 20_000))
    return np.concatenate([squares(block, centres).argmin(axis=1) for block in blocks])


def pieces(vectors: Rows, rows: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """`rows` halved along the first principal axis until no piece has more than `most`."""
    if len(rows) <= most:
        return [rows]
    some = vectors[rows] - vectors[rows].mean(axis=0)
    axis = np.random.default_rng(SEED).standard_normal(some.shape[1]).astype(np.float32)
    for _ in range(5):  # power iteration
        axis = some.T @ (some @ axis)
        axis /= max(float(np.linalg.norm(axis)), 1e-12)
    order = rows[np.argsort(some @ axis, kind="stable")]
    half = len(order) // 2
    return pieces(vectors, order[:half], most) + pieces(vectors, order[half:], most)


def on_ball(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(latitude, longitude) [..., 2] as points [..., 3] of the unit ball: the larger their product the nearer."""
    north, east = np.radians(places[..., 0]), np.radians(places[..., 1])
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)


@dataclass
class World:
    """The columns of all fields, and what filters are made from.

    `tags`: by field, by value the rows that have it, as a mask (left, right) or through `codes` (one value for a row).
    """

    vectors: Rows
    numbers: dict[str, NDArray[np.int64]]
    places: dict[str, NDArray[np.float64]]
    codes: dict[str, NDArray[np.int64]]
    values: dict[str, list[str]]
    tags: dict[str, dict[str, Mask]]
    centres: dict[str, Rows]
    axes: tuple[Rows, Rows, float]

    @cached_property
    def code(self) -> dict[str, dict[str, int]]:
        return {field: {value: number for number, value in enumerate(all)} for field, all in self.values.items()}

    @cached_property
    def sizes(self) -> dict[str, NDArray[np.int64]]:
        return {field: np.bincount(codes, minlength=len(self.values[field])) for field, codes in self.codes.items()}

    @cached_property
    def points(self) -> dict[str, NDArray[np.float64]]:
        return {field: on_ball(places) for field, places in self.places.items()}

    @cached_property
    def lengths(self) -> dict[str, Rows]:
        return {field: np.square(centres).sum(axis=1) for field, centres in self.centres.items()}

    def away(self, query: Rows, field: str) -> Rows:
        """Squared distances of a query from the centres of a field, but for its own length."""
        return np.asarray(self.lengths[field] - 2 * (self.centres[field] @ query))

    def columns(self) -> dict[str, Any]:
        """The fields as an index takes them."""
        lists: dict[str, list[list[str]]] = {field: [[] for _ in self.vectors] for field in self.tags}
        for field, masks in self.tags.items():
            for value, mask in masks.items():
                for row in np.flatnonzero(mask):
                    lists[field][row].append(value)
        plain = {field: [self.values[field][code] for code in codes] for field, codes in self.codes.items()}
        made = {**plain, **lists, **self.numbers, **self.places}
        return {field: made[field] for field in SCHEMA}

    def mask(self, filter: Filter) -> Mask:
        """The rows that a filter means, by NumPy on the columns: as a user of NumPy would who cares for speed.

        A value of `left` and `right` costs nothing (its rows are kept as a mask), a list of tags a look-up a row.
        """
        match filter:
            case All(each):
                return np.logical_and.reduce([self.mask(one) for one in each])
            case AnyOf(each):
                return np.logical_or.reduce([self.mask(one) for one in each])
            case Not(one):
                return ~self.mask(one)
        return self._mask_of_one(filter)

    def _mask_of_one(self, filter: Filter) -> Mask:
        match filter:
            case Among(field, (value,)) if field in self.tags:
                out = self.tags[field][str(value)]
            case Among(field, (value,)):
                out = self.codes[field] == self.code[field][str(value)]
            case Among(field, values):
                wanted, code = np.zeros(len(self.code[field]), np.bool_), self.code[field]
                wanted[[code[str(value)] for value in values]] = True
                out = wanted[self.codes[field]]
            case Range(field, _, low, high, _):
                out = (self.numbers[field] >= low) & (self.numbers[field] < high)
            case Circle(field, latitude, longitude, radius):
                out = self.points[field] @ on_ball(np.array((latitude, longitude))) >= math.cos(radius / EARTH)
            case _:
                raise TypeError(f"the grid has no {type(filter).__name__}")
        return np.asarray(out)

    def filter(self, cell: Cell, query: Rows) -> Filter:
        """The filter of a cell for a query."""
        share, tie, kind = cell
        return self._independent(share, kind) if tie == "independent" else self._tied(share, kind, query, tie == "anti")

    def _independent(self, share: float, kind: str) -> Filter:
        count = max(1, round(share * len(self.vectors)))
        if kind == "and":
            return (F.left == f"and{share:g}") & (F.right == f"and{share:g}")
        if kind == "or":
            return (F.left == f"or{share:g}") | (F.right == f"or{share:g}")
        if kind == "not":
            return ~(F.left == f"not{share:g}")
        if kind == "range":
            low = (len(self.vectors) - count) // 3
            return Range("number", gte=low, lt=low + count)
        return self._circle("place", np.array((51.0, 10.5)), count) if kind == "geo" else F.kind == f"share{share:g}"

    def _tied(self, share: float, kind: str, query: Rows, far: bool) -> Filter:
        n = len(self.vectors)
        count = max(1, round(share * n))
        if kind == "and":
            half = math.sqrt(share)
            return self._near(query, round(half * n), far, half) & (F.right == f"and{share:g}")
        if kind == "or":
            listed = self._near(query, max(1, count // 2), far, share / 2)
            rest = np.sort(self._ranks(query, far)[1][~self.mask(listed)])
            more = max(count - (n - len(rest)), 1)
            return listed | self._ranged(query, int(rest[min(more, len(rest)) - 1]) + 1, far)
        if kind == "not" and share >= FINE:
            listed = self._near(query, n - count, not far, 1 - share)
            return ~listed
        if kind == "not":
            return ~self._ranged(query, n - count, not far)
        if kind == "range":
            return self._ranged(query, count, far)
        return self._on_chart(query, count, far) if kind == "geo" else self._near(query, count, far, share)

    def _near(self, query: Rows, count: int, far: bool, share: float) -> Filter:
        """Any of the clusters (cells) nearest to or farthest from a query that together have about `count` rows."""
        field = "cell" if share < FINE else "cluster"
        away = self.away(query, field)
        order = np.argsort(-away if far else away, kind="stable")
        order = order[self.sizes[field][order] > 0]
        sums = np.cumsum(self.sizes[field][order])
        last = int(np.abs(sums - count).argmin())
        return Among(field, tuple(self.values[field][number] for number in order[: last + 1]))

    def _ranks(self, query: Rows, far: bool) -> tuple[str, NDArray[np.int64]]:
        """The anchor of a query, and the rows' ranks by it, 0 the nearest to it (the farthest from it)."""
        field = f"anchor{int(self.away(query, 'anchor').argmin())}"
        ranks = self.numbers[field]
        return field, len(ranks) - 1 - ranks if far else ranks

    def _ranged(self, query: Rows, count: int, far: bool) -> Filter:
        field, ranks = self._ranks(query, far)
        return Range(field, gte=len(ranks) - count, lt=len(ranks)) if far else Range(field, gte=0, lt=count)

    def _on_chart(self, query: Rows, count: int, far: bool) -> Filter:
        own = charted(query[None], self.axes)[0]
        if far:
            own = self.places["chart"][(self.points["chart"] @ on_ball(own)).argmin()]
        return self._circle("chart", own, count)

    def _circle(self, field: str, centre: NDArray[np.float64], count: int) -> Filter:
        """The circle of `count` rows; its border lies midway between two rows, so that rounding decides nothing."""
        away = -(self.points[field] @ on_ball(centre))
        both = count - 1, min(count, len(away) - 1)
        angle = np.arccos(np.clip(-np.partition(away, both)[list(both)], -1, 1)).mean()
        return Circle(field, float(centre[0]), float(centre[1]), float(angle * EARTH))


def charted(vectors: Rows, axes: tuple[Rows, Rows, float]) -> NDArray[np.float64]:
    mean, two, scale = axes
    flat = ((vectors - mean) @ two).astype(np.float64) * scale
    return np.clip(flat, -1, 1) * np.array((60.0, 120.0))


def chart_of(vectors: Rows) -> tuple[Rows, Rows, float]:
    """Mean, the two first principal axes as columns, and what brings all but the outermost rows within -1..1."""
    mean = vectors.mean(axis=0)
    some = vectors - mean
    _, axes = np.linalg.eigh((some.T @ some).astype(np.float64))
    two = axes[:, :-3:-1].astype(np.float32)
    return mean, two, 1 / float(np.quantile(np.abs(some @ two), 0.9999) * 1.05)


def made_world(vectors: Rows) -> World:
    """All fields, the same for the same vectors."""
    rng, n = np.random.default_rng(SEED), len(vectors)
    clusters, anchors = centres_of(vectors, CLUSTERS), centres_of(vectors, ANCHORS)
    owner = nearest(vectors, clusters)
    cell, middles = np.zeros(n, np.int64), []
    for number in range(len(clusters)):
        rows = np.flatnonzero(owner == number)
        for piece in pieces(vectors, rows, max(1, round(SMALLEST * n))) if len(rows) else []:
            cell[piece] = len(middles)
            middles.append(vectors[piece].mean(axis=0))
    kinds, start, mixed = np.full(n, len(SHARES)), 0, rng.permutation(n)
    for number, share in enumerate(SHARES):
        count = max(1, round(share * n))
        kinds[mixed[start : start + count]] = number
        start += count
    tags: dict[str, dict[str, Mask]] = {"left": {}, "right": {}}
    for share in SHARES:
        for field, masks in tags.items():
            masks[f"and{share:g}"] = rng.random(n) < math.sqrt(share)
            masks[f"or{share:g}"] = rng.random(n) < 1 - math.sqrt(1 - share)
            if field == "left":
                masks[f"not{share:g}"] = np.ones(n, np.bool_)
                masks[f"not{share:g}"][rng.permutation(n)[: max(1, round(share * n))]] = False
    numbers = {"number": rng.permutation(n).astype(np.int64)}
    for number in range(ANCHORS):
        away = squares(vectors, anchors[number : number + 1])[:, 0]
        numbers[f"anchor{number}"] = np.argsort(np.argsort(away, kind="stable"), kind="stable").astype(np.int64)
    axes = chart_of(vectors)
    places = {"place": rng.uniform((47.0, 6.0), (55.0, 15.0), (n, 2)), "chart": charted(vectors, axes)}
    values = {
        "kind": [f"share{share:g}" for share in SHARES] + ["rest"],
        "cluster": [f"c{number}" for number in range(len(clusters))],
        "cell": [f"p{number}" for number in range(len(middles))],
    }
    codes = {"kind": kinds, "cluster": owner, "cell": cell}
    centres = {"cluster": clusters, "cell": np.array(middles), "anchor": anchors}
    return World(vectors, numbers, places, codes, values, tags, centres, axes)


def truth(vectors: Rows, order: NDArray[np.integer[Any]], query: Rows, mask: Mask, metric: str) -> tuple[float, float]:
    """Distance of the last of the min(K, matches) nearest matches (inf for none), and the share of matches among the
    100 nearest of all; `order` has all rows, nearest first."""
    found = np.empty(0, np.int64)
    for start, end in ((0, 4096), (4096, 32_768), (32_768, len(order))):
        found = np.concatenate([found, (part := order[start:end])[mask[part]]])
        if len(found) >= 3 * K:
            break
    if not len(found):
        return math.inf, 0.0
    rows = vectors[found[: 3 * K]].astype(np.float64)
    far = np.sort(distances(query.astype(np.float64)[None], rows[None], metric)[0])
    return float(far[min(K, len(far)) - 1]), float(mask[order[:100]].mean())
