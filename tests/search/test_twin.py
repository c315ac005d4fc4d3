from __future__ import annotations

import numpy as np
import pytest

from medalist.search.twin import TwinIndex


def test_answers_worked_out_by_hand() -> None:
    twin = TwinIndex(2, "l2")
    twin.add(["a", "b", "c", "d"], [[0, 0], [3, 4], [0, 0], [1, 0]])
    hits = twin.search([0, 0], 5)
    assert hits.ids.tolist() == ["a", "c", "d", "b", ""] and int(hits.counts) == 4
    assert hits.scores.tolist() == [0, 0, -1, -5, -np.inf]
    assert hits.distances.tolist() == [0, 0, 1, 5, np.inf]


def test_cosine_looks_at_directions_alone() -> None:
    twin = TwinIndex(2)
    twin.add(None, [[1e-9, 0], [1e9, 1e9], [0, -7]])
    hits = twin.search([[5, 0]], 3)
    assert hits.ids.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(hits.scores, [[1, np.sqrt(0.5), 0]], atol=1e-7)


def test_inner_product_looks_at_lengths_too() -> None:
    twin = TwinIndex(2, "ip")
    twin.add(None, [[1, 0], [100, 100], [-9, 0]])
    assert twin.search([1, 0], 3).ids.tolist() == [1, 0, 2]
    assert twin.search([1, 0], 3).scores.tolist() == [100, 1, -9]


def test_equal_vectors_have_equal_scores_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=513).astype(np.float32)
    for metric in ("cosine", "ip", "l2"):
        twin = TwinIndex(513, metric)  # type: ignore[arg-type]
        twin.add(None, np.tile(one, (101, 1)))
        hits = twin.search(rng.normal(size=513), 101)
        assert hits.ids.tolist() == list(range(101)) and len(set(hits.scores.tolist())) == 1


def test_float16_rounds_what_is_kept() -> None:
    twin = TwinIndex(1, "l2", refine="float16")
    twin.add(None, [[2049.0]])
    assert twin.exact([2049.0], 1).scores.tolist() == [-1.0]


def test_progress_may_end_an_add() -> None:
    twin = TwinIndex(1, "l2")
    with pytest.raises(ZeroDivisionError):
        twin.add(None, [[1.0]], progress=lambda done, total: 1 // 0)
    assert len(twin) == 0
