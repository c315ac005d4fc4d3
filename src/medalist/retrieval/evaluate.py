"""Find nearest neighbours, and compute recall, MAP, MAP@R and MRR of a retrieval, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medalist.errors import SearchError
from medalist.metrics import retrieval as metrics
from medalist.retrieval.blocks import Forbidden, Indices, Vectors, room_for
from medalist.retrieval.neighbours import searching
from medalist.search import Index
from medalist.search.checks import MOST_ANSWERS
from medalist.search.vectors import as_array, whole

DEEPEST = 1000
"""The most answers of a query that are looked at for MAP@R."""
PART = 1 << 14
"""How many queries are answered between two calls of `progress`."""
AT_ONCE = 1 << 20
"""How many answers are in memory at once where only figures are wanted: 13 MB, or a fifth of the gallery's memory."""
JUDGED = 1 << 16
"""How many answers are scored at once; each needs about 40 bytes."""
Codes = tuple[ArrayLike, ArrayLike]
"""The code of each query [Q] and of each gallery row [N]: integers or strings, such as a camera or a drawer."""


@dataclass(frozen=True)
class Figures:
    """The figures of a retrieval, as means over the queries that have a right row in the gallery.

    values: `recall@k` (= CMC at rank k), `map@k`, `map@r`, `r_precision`, `mrr`, and `nmi` if asked for; empty where
    no query has a right row.
    queries: the number of queries; unanswerable: the number of queries without a right row, which are left out.
    cut: the number of queries with more right rows than answers that were looked at (`depth`, and up to DEEPEST for R).
    Their `map@r` and `r_precision` count the other right rows as missed.
    how: "exact", "clusters at recall 0.999" or "graph at recall 0.999".
    """

    values: Mapping[str, float]
    queries: int
    unanswerable: int
    cut: int
    how: str


def nearest(
    queries: ArrayLike,
    gallery: ArrayLike,
    k: int,
    *,
    recall: float = 0.999,
    index: Index | None = None,
    threads: int | None = None,
    forbidden: Forbidden | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Indices, Vectors]:
    """Return the k nearest gallery rows of each query, the best first: rows int64[Q, k] and cosines float32[Q, k].

    queries [Q, D] and gallery [N, D] are unit vectors. `forbidden`: rules for rows that must not be answers. Where
    fewer than k rows are allowed, answers are padded with -1 and -inf. The search is exact for few pairs, and for
    `recall` 1. For many pairs it uses clusters (`retrieval.clusters`), or the graph of `index`, if one is given; the
    ids of `index` must be the rows of the gallery. Both reach `recall`: it is first measured on a sample of these
    queries, and where it is not reached, the search is exact. There is never a matrix of Q * N. `threads`: None for all
    processors; their number does not change answers. `progress(done, total)` counts queries. Raises SearchError for
    vectors, codes or an index that do not fit.
    """
    with searching(queries, gallery, k, recall=recall, index=index, threads=threads, forbidden=forbidden) as search:
        count = len(search.queries)
        if count * k > MOST_ANSWERS:
            raise SearchError(f"k={k} for {count} queries: more than {MOST_ANSWERS} answers; ask for fewer at once")
        rows, scores = room_for(count, k)
        for part in _parts(count, PART):
            search.answer(part, (rows[part, : search.k], scores[part, : search.k]))
            if progress is not None:
                progress(part.stop, count)
    return rows, scores


def evaluate(
    queries: ArrayLike,
    query_labels: ArrayLike,
    gallery: ArrayLike,
    gallery_labels: ArrayLike,
    *,
    ks: Sequence[int] = (1, 5, 10),
    depth: int = 100,
    own: ArrayLike | None = None,
    junk: Codes | None = None,
    exclusion: Codes | None = None,
    recall: float = 0.999,
    index: Index | None = None,
    nmi: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Figures:
    """Return the figures of queries [Q, D] with labels [Q] in a gallery [N, D] with labels [N].

    A gallery row is right where it has the query's label. ks: the k of recall@k and map@k. depth: how many answers of a
    query are looked at, at least; for MAP@R as many as the query has right rows, but at most DEEPEST (see
    `Figures.cut`).
    own: int64[Q], the query's own row in the gallery, which is never an answer; -1 where it is not in the gallery.
    junk: rows with the query's label and code are left out, neither right nor wrong (Market-1501: the same person by
    the same camera). exclusion: rows with the query's code are left out, whatever their label. nmi: also cluster the
    queries by k-means, with as many clusters as labels. The other arguments, the errors and the memory are those of
    `nearest`.
    """
    mine, theirs = _coded(query_labels, gallery_labels, "labels")
    places = [whole(place, "ks", 1, 2**20) for place in ks]
    rules: list[tuple[Indices, Indices]] = []
    counted: list[tuple[Indices, Indices]] = []  # the rules for rows with the query's label, to count right rows
    for name, codes in (("junk", junk), ("exclusion", exclusion)):
        if codes is not None:
            of_query, of_row = _coded(*codes, name)
            within = _joined(((mine, theirs), (of_query, of_row)))
            counted.append(within)
            rules.append(within if name == "junk" else (of_query, of_row))
    forbidden = Forbidden(None if own is None else np.asarray(own), tuple(rules))
    k = max(whole(depth, "depth", 1, 2**20), *places)
    for name, given, labels in (("queries", queries, mine), ("gallery", gallery, theirs)):
        shape = as_array(given, name).shape
        if shape[:1] != labels.shape:
            raise SearchError(f"{name}: shape {list(shape)} for {len(labels)} labels; expected one label for each row")
    positives = _positives(mine, theirs, forbidden, counted)
    k = max(k, min(int(positives.max(initial=0)), DEEPEST))
    sums: dict[str, float] = {}
    with searching(queries, gallery, k, recall=recall, index=index, threads=threads, forbidden=forbidden) as search:
        at_once = max(AT_ONCE, search.gallery.size // 16)
        parts = _parts(len(mine), max(1, at_once // search.k))
        rows, scores = room_for(parts[0].stop if parts else 0, search.k)
        for part in parts:
            count = part.stop - part.start
            search.answer(part, (rows[:count], scores[:count]))
            for some in _parts(count, max(1, JUDGED // k)):
                found, labels, right = rows[some], mine[part][some], positives[part][some]
                relevant = (found >= 0) & (theirs[found] == labels[:, np.newaxis]) if len(theirs) else found >= 0
                for name, value in _figures(relevant[right > 0], right[right > 0], places).items():
                    sums[name] = sums.get(name, 0.0) + float(value.sum())
            if progress is not None:
                progress(part.stop, len(mine))
        how, vectors = search.how, search.queries
    answerable = int((positives > 0).sum())
    values = {name: total / answerable for name, total in sums.items()} if answerable else {}
    if nmi:
        values["nmi"] = metrics.nmi(vectors, mine)
    return Figures(values, len(mine), len(mine) - answerable, int((positives > k).sum()), how)


def _figures(relevant: metrics.Relevant, positives: Indices, ks: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """The figures of each query, by name: float64[Q] each."""
    found = {f"recall@{k}": metrics.found_within(relevant, k) for k in ks}
    found |= {f"map@{k}": metrics.average_precision(relevant, positives, k) for k in ks}
    found["map@r"] = metrics.average_precision_at_r(relevant, positives)
    found["r_precision"] = metrics.r_precision(relevant, positives)
    found["mrr"] = metrics.reciprocal_rank(relevant)
    return found


def _parts(queries: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, queries)) for first in range(0, queries, step)]


def _positives(
    mine: Indices, theirs: Indices, forbidden: Forbidden, counted: Sequence[tuple[Indices, Indices]]
) -> Indices:
    """The number of rows that are right and allowed for each query, int64[Q]."""
    positives = _matches((mine, theirs))
    for rule in counted:
        positives -= _matches(rule)
    if len(counted) == 2:  # rows that both rules forbid were subtracted twice
        positives += _matches(_joined(counted))
    if forbidden.own is not None and len(theirs):
        own = forbidden.own
        fits = own.shape == mine.shape and own.dtype.kind in "iu"
        if not fits or (len(own) and not -1 <= own.min() <= own.max() < len(theirs)):
            raise SearchError(
                f"own: expected a row 0..{len(theirs) - 1} of the gallery, or -1, for {len(mine)} queries"
            )
        mates = (own >= 0) & (theirs[own] == mine)
        for of_query, of_row in forbidden.codes:
            mates &= of_query != of_row[own]
        positives -= mates
    return positives


def _matches(codes: tuple[Indices, Indices]) -> Indices:
    """The number of rows that have the code of each query, int64[Q]."""
    of_query, of_row = codes
    most = int(max(of_query.max(initial=-1), of_row.max(initial=-1))) + 1
    return np.bincount(of_row, minlength=most)[of_query].astype(np.int64)


def _coded(of_query: ArrayLike, of_row: ArrayLike, what: str) -> tuple[Indices, Indices]:
    """Integers or strings of both sides as codes 0, 1, ...; equal values get equal codes."""
    sides: list[NDArray[Any]] = [np.asarray(of_query), np.asarray(of_row)]
    kinds = {"i" if side.dtype.kind in "iu" else side.dtype.kind for side in sides if side.size}
    if any(side.ndim != 1 for side in sides) or len(kinds) > 1 or not kinds <= {"i", "U"}:
        told = " and ".join(f"{side.dtype}{list(side.shape)}" for side in sides)
        raise SearchError(f"{what}: {told}; expected integers [n] or strings [n] for queries and gallery alike")
    if not sides[0].size or not sides[1].size:
        sides = [side if side.size else side.astype(sides[1 - at].dtype) for at, side in enumerate(sides)]
    codes = np.unique(np.concatenate(sides), return_inverse=True)[1].astype(np.int64)
    return codes[: len(sides[0])], codes[len(sides[0]) :]


def _joined(columns: Sequence[tuple[Indices, Indices]]) -> tuple[Indices, Indices]:
    """One code for each combination of several codes."""
    both = np.stack([np.concatenate(column) for column in columns])
    joined = both[0]
    for column in both[1:]:
        joined = np.unique(joined * (column.max(initial=0) + 1) + column, return_inverse=True)[1].astype(np.int64)
    return joined[: len(columns[0][0])], joined[len(columns[0][0]) :]
