"""Nearest neighbours and the figures of a retrieval over them: recall, MAP, MAP@R, MRR, in bounded memory."""

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
"""Answers of a query that are looked at for MAP@R, at most."""
PART = 1 << 14
"""Queries that are answered before `progress` is told."""
AT_ONCE = 1 << 20
"""Answers in memory at once where only figures are wanted: 13 megabytes, or a fifth of the gallery's memory."""
JUDGED = 1 << 16
"""Answers whose figures are made at once: some 40 bytes each."""
Codes = tuple[ArrayLike, ArrayLike]
"""A code (a camera, a drawer: integers or strings) of each query [Q], and of each gallery row [N]."""


@dataclass(frozen=True)
class Figures:
    """What a retrieval reached, as means over the queries that the gallery has a right row for.

    values: `recall@k` (= CMC at rank k), `map@k`, `map@r`, `r_precision`, `mrr`, and `nmi` if asked for; empty where
    no query has a right row.
    queries: how many were asked; unanswerable: how many of them have no right row and are left out.
    cut: queries with more right rows than were looked at (`depth`, and up to DEEPEST for R); their `map@r` and
    `r_precision` count the rest as missed.
    how: "exact", or "clusters at recall 0.999" or "graph at recall 0.999".
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
    """The k nearest gallery rows of each query, the best first: rows int64[Q, k] and cosines float32[Q, k].

    queries [Q, D] and gallery [N, D] are unit vectors. `forbidden`: rows that are no answers; each query has k allowed
    rows where so many exist, then -1 and -inf. Few pairs, and `recall` 1, are compared exactly; many by clusters
    (`retrieval.clusters`), or by the graph of `index` where one is given, whose ids are the rows of the gallery. Both
    reach `recall`: it is measured on a sample of these queries first, and where nothing reaches it all is compared.
    There is never a matrix of Q * N. `threads`: None for all processors; their number changes no answer.
    `progress(done, total)` counts queries. Raises SearchError for vectors, codes or an index that do not fit.
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
    """Figures of queries [Q, D] with labels [Q] asked of a gallery [N, D] with labels [N]. Rows of one label are right.

    ks: of recall@k and map@k. depth: places that are looked at for mrr, and for the others at least; for MAP@R as many
    as a query has right rows, but at most DEEPEST (see `Figures.cut`).
    own: int64[Q], the query's own row in the gallery, -1 where it is not there: never an answer. junk: rows of the same
    label and the same code (Market-1501: the same person by the same camera) are neither right nor wrong. exclusion:
    nor are rows of the same code, whatever their label. nmi: also cluster the queries by k-means, as many clusters as
    labels. The rest as `nearest`, which says how memory stays bounded.
    """
    mine, theirs = _coded(query_labels, gallery_labels, "labels")
    places = [whole(place, "ks", 1, 2**20) for place in ks]
    rules: list[tuple[Indices, Indices]] = []
    counted: list[tuple[Indices, Indices]] = []  # rules as they fall within one's label
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
    """Each figure of each query, float64[Q]."""
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
    """How many rows are right and allowed for each query, int64[Q]."""
    positives = _matches((mine, theirs))
    for rule in counted:
        positives -= _matches(rule)
    if len(counted) == 2:  # what both forbid was taken off twice
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
    """How many rows have the code of each query."""
    of_query, of_row = codes
    most = int(max(of_query.max(initial=-1), of_row.max(initial=-1))) + 1
    return np.bincount(of_row, minlength=most)[of_query].astype(np.int64)


def _coded(of_query: ArrayLike, of_row: ArrayLike, what: str) -> tuple[Indices, Indices]:
    """Integers or strings of both sides as codes 0.. that are equal where they are."""
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
    """One code for each combination of codes."""
    both = np.stack([np.concatenate(column) for column in columns])
    joined = both[0]
    for column in both[1:]:
        joined = np.unique(joined * (column.max(initial=0) + 1) + column, return_inverse=True)[1].astype(np.int64)
    return joined[: len(columns[0][0])], joined[len(columns[0][0]) :]
