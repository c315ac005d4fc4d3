"""The estimate of what unlike queries get, with answers that are made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.search.answers import Hits
from medalist.search.reached import MOST, SHARE, START, Reached

STORED, K = 1000, 4


def answers(shares: list[float], farness: float = 2.0, plan: str = "walk") -> Hits:
    """Return hits of which these shares are true: the true scores are 1 to 0.7, the others lie below."""
    n = len(shares)
    good = np.arange(K) < np.array(shares)[:, None] * K
    scores = np.where(good, 1 - np.arange(K) / 10, 0.1).astype(np.float32)
    ids = np.where(good, np.arange(K), 99)
    counts, cost = np.full(n, K), np.full(n, 50)
    return Hits(ids, scores, counts, "cosine", np.full(n, plan), cost, np.full(n, farness, np.float32))


class Truth:
    """Compares queries with all vectors, and counts them."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, places: NDArray[np.intp]) -> Hits:
        self.asked += len(places)
        return answers([1.0] * len(places), 0.0, "exact")._replace(cost=np.full(len(places), STORED))


def told(reached: Reached, hits: Hits, truth: Truth, aim: float = 0.95, scans: bool = True) -> Hits:
    return reached.told(hits, "kind", aim, STORED, truth, scans)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_the_share_that_was_found_is_estimated(share: float) -> None:
    truth, hits = Truth(), answers([share] * 40)
    found = told(Reached(), hits, truth, scans=False)
    assert found.recall_estimate == share and truth.asked == START
    np.testing.assert_array_equal(found.ids, hits.ids)
    assert found.cost is not None and found.cost.sum() == 40 * 50 + START * STORED  # what the estimate costs is told


def test_a_low_estimate_is_mended_by_a_comparison_with_all() -> None:
    """As where two walks agree on what both have missed."""
    truth = Truth()
    found = told(Reached(), answers([0.75] * 40), truth)
    assert found.recall_estimate == 1.0 and truth.asked == START + 40
    assert (found.ids == np.arange(K)).all() and found.plans is not None and set(found.plans.tolist()) == {"exact"}
    near = told(Reached(), answers([0.75] * 40), Truth(), aim=0.78)  # within 0.03 of the target
    assert near.recall_estimate == 0.75 and (near.ids != np.arange(K)).any()


def test_queries_that_were_compared_with_all_count_as_found() -> None:
    plans = np.array(["walk"] * 10 + ["exact"] * 30)
    found = told(Reached(), answers([0.5] * 10 + [1.0] * 30)._replace(plans=plans), Truth(), scans=False)
    assert found.recall_estimate == pytest.approx((10 * 0.5 + 30) / 40)
    truth = Truth()
    assert told(Reached(), answers([1.0] * 5, plan="exact"), truth).recall_estimate == 1.0 and not truth.asked


def test_members_pay_nothing() -> None:
    truth, reached = Truth(), Reached()
    farness = np.where(np.arange(200) % 100 == 99, 2.0, 0.5).astype(np.float32)  # one in a hundred lies far out
    for _ in range(100):
        found = told(reached, answers([0.5] * 200)._replace(farness=farness), truth)
        assert found.recall_estimate is None
    assert truth.asked == 0
    # Afterwards others come, and are noticed soon.
    for _ in range(3):
        found = told(reached, answers([0.5] * 200), truth, scans=False)
    assert found.recall_estimate == 0.5


def test_the_estimate_costs_a_share_of_the_search() -> None:
    truth, reached = Truth(), Reached()
    for _ in range(300):
        told(reached, answers([1.0] * 50), truth)
    assert truth.asked * STORED <= START * STORED + SHARE * 300 * 50 * 50
    assert truth.asked > START
    rich = Truth()
    told(Reached(), answers([1.0] * 400)._replace(cost=np.full(400, 10**6)), rich)
    assert rich.asked == MOST


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_query_alone_is_estimated_too(share: float) -> None:
    hits: Any = answers([share])
    one = Hits(*(part[0] if isinstance(part, np.ndarray) else part for part in hits[:-1]))
    one = one._replace(**{name: np.asarray(getattr(one, name)) for name in ("counts", "plans", "cost", "farness")})
    found = told(Reached(), one, Truth(), scans=False)
    assert found.recall_estimate == share and found.ids.shape == (K,) and found.cost is not None
    assert found.cost.shape == () and found.cost == 50 + STORED
    mended = told(Reached(), one, Truth())
    assert mended.recall_estimate == 1.0 and mended.ids.tolist() == [0, 1, 2, 3] and mended.counts.shape == ()


def test_longer_names_of_exact_answers_are_kept_whole() -> None:
    hits = answers([0.0] * 4)._replace(ids=np.full((4, K), "a"))

    def exact(places: NDArray[np.intp]) -> Hits:
        return Truth()(places)._replace(ids=np.full((len(places), K), "longer"))

    found = Reached().told(hits, "kind", 0.95, STORED, exact, True)
    assert (found.ids == "longer").all()


def test_no_answer_is_no_miss() -> None:
    none = answers([1.0] * 3)._replace(scores=np.full((3, K), -np.inf, np.float32), counts=np.zeros(3, np.int64))
    found = Reached().told(none, "kind", 0.95, STORED, lambda places: none, True)
    assert found.recall_estimate == 1.0
    empty = answers([1.0] * 3)
    empty = empty._replace(ids=empty.ids[:, :0], scores=empty.scores[:, :0], counts=np.zeros(3, np.int64))
    assert Reached().told(empty, "kind", 0.95, STORED, lambda places: empty, True).recall_estimate == 1.0
