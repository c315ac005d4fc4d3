"""What share of the nearest vectors a search finds for queries that are unlike the stored vectors, by a sample.

Recall is measured at build with stored vectors as queries, so it says little of queries that lie elsewhere. Some of
these are therefore compared with every vector, and what the search had found of their answers is counted.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from medalist.search.answers import Hits

START = 16
"""The number of queries that an opened index compares with every vector before any budget is earned."""

SHARE = 0.05
"""The rows that may be compared for the estimate, over the rows that all searches have compared."""

MOST = 32
"""The most queries of one call that are compared."""

FREQUENT = 0.05
"""The share of unlike queries above which recall is estimated. About one in a hundred stored vectors is unlike."""

SLACK = 0.03
"""How far below its target the estimate may be before the unlike queries are compared with every vector."""

_REMEMBERED, _KINDS, _WINDOW = 64, 16, 1000
_PLAN = np.dtype("U11")

Exact = Callable[[NDArray[np.intp]], Hits]
"""The exact answers to the queries at these places of a call."""


class Reached:
    """The recall of the latest unlike queries that were compared with every vector, by the kind of their search.

    It costs START comparisons with every vector, and then at most SHARE of the rows that searches compare anyway. It
    costs nothing while at most FREQUENT of the queries are unlike. Threads may share it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._shares: OrderedDict[Hashable, deque[float]] = OrderedDict()
        self._looked = self._spent = self._asked = self._unlike = 0

    def told(self, hits: Hits, kind: Hashable, aim: float, stored: int, exact: Exact, scans: bool) -> Hits:
        """Return the hits with `recall_estimate`.

        kind: searches of the same kind share their estimate. aim: the recall target. scans: whether unlike queries are
        compared with every vector where the estimate is more than SLACK below the target.
        """
        assert hits.unlike is not None and hits.plans is not None and hits.cost is not None
        unlike = np.flatnonzero(hits.unlike)
        with self._lock:
            self._count(hits.counts.size, len(unlike), int(hits.cost.sum()))
            frequent = self._unlike > FREQUENT * self._asked
        if not len(unlike) or not frequent:
            return hits
        walked = unlike[np.ravel(hits.plans)[unlike] != "exact"]
        if len(walked):
            sample = self._sample(walked, stored)
            if len(sample):
                truth = exact(sample)
                self._remember(kind, _shares(np.atleast_2d(hits.scores)[sample], truth))
                assert truth.cost is not None
                hits = _costing(hits, sample, truth.cost)
            mean = self._mean(kind)
            if mean is None:
                return hits
            if scans and mean < aim - SLACK:
                return _replaced(hits, walked, exact(walked))._replace(recall_estimate=1.0)
            exactly = len(unlike) - len(walked)
            return hits._replace(recall_estimate=(mean * len(walked) + exactly) / len(unlike))
        return hits._replace(recall_estimate=1.0)

    def _count(self, asked: int, unlike: int, looked: int) -> None:
        if self._asked > _WINDOW:  # what was asked long ago says little of what is asked now
            self._asked, self._unlike = self._asked // 2, self._unlike // 2
        self._asked, self._unlike, self._looked = self._asked + asked, self._unlike + unlike, self._looked + looked

    def _sample(self, walked: NDArray[np.intp], stored: int) -> NDArray[np.intp]:
        """Return the places of the queries to compare, spread evenly, and pay for them."""
        with self._lock:
            budget = START * stored + int(SHARE * self._looked) - self._spent
            count = max(min(len(walked), MOST, budget // max(stored, 1)), 0)
            self._spent += count * stored
        return walked[np.linspace(0, len(walked) - 1, count).astype(np.intp)]

    def _remember(self, kind: Hashable, shares: NDArray[np.float64]) -> None:
        with self._lock:
            self._shares.setdefault(kind, deque(maxlen=_REMEMBERED)).extend(shares.tolist())
            self._shares.move_to_end(kind)
            if len(self._shares) > _KINDS:
                self._shares.popitem(last=False)

    def _mean(self, kind: Hashable) -> float | None:
        with self._lock:
            shares = self._shares.get(kind)
            return sum(shares) / len(shares) if shares else None


def _shares(found: NDArray[np.float32], truth: Hits) -> NDArray[np.float64]:
    """Return for each query the share of its true answers that were found; an equally near answer is as good."""
    places = np.maximum(truth.counts - 1, 0)[:, None]
    if not truth.scores.shape[1]:
        return np.ones(len(found))
    worst = np.take_along_axis(truth.scores, places, axis=1)
    good = np.minimum((found >= worst).sum(axis=1), truth.counts)
    return np.where(truth.counts > 0, good / np.maximum(truth.counts, 1), 1.0)


def _costing(hits: Hits, places: NDArray[np.intp], more: NDArray[np.int64]) -> Hits:
    assert hits.cost is not None
    cost = hits.cost.copy().reshape(-1)
    cost[places] += more
    return hits._replace(cost=cost.reshape(hits.cost.shape))


def _replaced(hits: Hits, places: NDArray[np.intp], exact: Hits) -> Hits:
    """Return the hits with the exact answers of the queries at some places."""
    assert hits.plans is not None and exact.cost is not None
    kept = np.promote_types(hits.ids.dtype, exact.ids.dtype)  # texts may be longer than those found before
    ids, scores = np.atleast_2d(hits.ids).astype(kept), np.atleast_2d(hits.scores).copy()
    counts, plans = hits.counts.copy().reshape(-1), hits.plans.astype(_PLAN).reshape(-1)
    ids[places], scores[places], counts[places], plans[places] = exact.ids, exact.scores, exact.counts, "exact"
    shape, one = hits.ids.shape, hits.counts.shape
    hits = _costing(hits, places, exact.cost)
    return hits._replace(
        ids=ids.reshape(shape), scores=scores.reshape(shape), counts=counts.reshape(one), plans=plans.reshape(one)
    )
