from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.retrieval import heads
from medalist.retrieval.heads import ClassPrototypes, MeanVectors, blend_prototypes, vote
from medalist.retrieval.pool import Pool

Array = NDArray[Any]
Ranked = list[tuple[int, float]]
NONE = -np.inf


def unit(rows: Any) -> NDArray[np.float32]:
    rows = np.asarray(rows, np.float64)
    found: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def ranked(labels: Array, scores: Array) -> list[Ranked]:
    """Lines of pairs; what is behind them is padding."""
    assert labels.dtype == np.int64 and scores.dtype == np.float32 and labels.shape == scores.shape
    lines = []
    for row, line in zip(labels, scores, strict=True):
        count = int((row >= 0).sum())
        assert (row[:count] >= 0).all() and (line[count:] == NONE).all()
        lines.append(list(zip(row[:count].tolist(), line[:count].tolist(), strict=True)))
    return lines


def check(found: Ranked, expected: dict[int, float], atol: float = 3e-6) -> None:
    """Each name once, with its score, the best first."""
    assert dict(found) == pytest.approx(expected, abs=atol) and len(found) == len(expected)
    values = [score for _, score in found]
    assert values == sorted(values, reverse=True)


# ---------------------------------------------------------------------------------------------------------------- vote


def slow_vote(labels: list[int], scores: list[float], k: int, temperature: float) -> dict[int, float]:
    """Names in the order of their first samples."""
    values = {}
    for name in dict.fromkeys(label for label in labels if label >= 0):
        mine = [score for label, score in zip(labels, scores, strict=True) if label == name]
        votes = [score for label, score in zip(labels[:k], scores[:k], strict=True) if label == name]
        values[name] = mine[0]
        if votes:
            values[name] = temperature * float(np.logaddexp.reduce(np.array(votes) / temperature))
    return values


def test_the_best_sample_votes() -> None:
    labels = np.array([[4, 2, 4, 2, 0], [1, -1, -1, -1, -1], [-1] * 5])
    scores = np.array([[0.9, 0.8, 0.7, 0.6, -0.5], [0.5, *[NONE] * 4], [NONE] * 5], np.float32)
    found = ranked(*vote(labels, scores))
    assert [[name for name, _ in line] for line in found] == [[4, 2, 0], [1], []]
    check(found[0], {4: 0.9, 2: 0.8, 0: -0.5})


def test_samples_vote_together_by_hand() -> None:
    labels, scores = np.array([[7, 3, 3, 9]]), np.array([[0.9, 0.8, 0.8, 0.7]], np.float32)
    # Two samples of 0.8 are worth 0.8 + 0.5 * log 2 = 1.147; 9 is not among the first 3.
    [line] = ranked(*vote(labels, scores, k=3, temperature=0.5))
    assert [name for name, _ in line] == [3, 7, 9]
    check(line, {3: 0.8 + 0.5 * np.log(2), 7: 0.9, 9: 0.7})
    [line] = ranked(*vote(labels, scores, k=2, temperature=0.5))
    check(line, {7: 0.9, 3: 0.8, 9: 0.7})


@given(st.integers(0, 10**6), st.integers(0, 9), st.sampled_from([0.001, 0.1, 1.0, 10.0]), st.integers(0, 8))
def test_vote_is_that_of_loops(seed: int, k: int, temperature: float, count: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (3, count))
    scores = -np.sort(-rng.integers(-8, 9, (3, count)) / 8).astype(np.float32)  # with ties
    for row in range(3):  # the end of a line may be padding
        end = rng.integers(0, count + 1)
        labels[row, end:], scores[row, end:] = -1, NONE
    found = ranked(*vote(labels, scores, k=k, temperature=temperature))
    for line, names, values in zip(found, labels.tolist(), scores.tolist(), strict=True):
        expected = slow_vote(names, values, k, temperature)
        check(line, expected)
        place = list(expected)
        for (one, score), (other, same) in pairwise(line):
            assert score != same or place.index(one) < place.index(other)


def test_many_far_votes_at_a_low_temperature_stay_finite() -> None:
    labels = np.array([[0, *[1] * 99]])
    scores = np.array([[1.0, *[-1.0] * 99]], np.float32)
    [line] = ranked(*vote(labels, scores, k=100, temperature=0.001))
    check(line, {0: 1.0, 1: -1.0})  # exp(-2000) is nothing, so the best sample stands


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
@pytest.mark.parametrize("k", [0, 5])
def test_no_votes(shape: tuple[int, int], k: int) -> None:
    labels, scores = vote(np.empty(shape, np.int64), np.empty(shape, np.float32), k=k)
    assert labels.shape == scores.shape == shape


# -------------------------------------------------------------------------------------------------------- mean vectors


def pool_of(vectors: Any, codes: Any, threads: int = 1) -> Pool:
    return Pool(unit(vectors), np.array(codes, np.int64), 1.0, threads)


def test_means_by_hand() -> None:
    samples = pool_of([[1, 0], [0, 1], [-1, 0], [0, 1], [0, -1]], [0, 0, 1, 2, 3])
    means = MeanVectors.made(samples, np.array([0, 0, 2, 3, 3]), 5)
    assert means.of.tolist() == [0, 2]  # 1 and 4 have no sample, those of 3 cancel out
    np.testing.assert_allclose(means.pool.vectors, unit([[1, 1], [-1, 0]]), atol=1e-7)
    asking = unit([[1, 0], [1, 0], [-0.6, 0.8]])
    found = ranked(*means.near(asking, np.array([-1, 2, 3]), 3))
    check(found[0], {0: np.sqrt(0.5), 2: -1})
    check(found[1], {0: np.sqrt(0.5), 3: 0, 2: -1})  # row 3 is hidden, so the other sample of 3 stands for it
    check(found[2], {3: 0.8, 2: 0.6, 0: np.sqrt(0.5) * 0.2})
    # Both samples of 0 are hidden: nothing is left of it.
    check(ranked(*means.near(asking[:1], np.array([0]), 3))[0], {2: -1})


def test_means_that_all_cancel_out() -> None:
    with pytest.raises(SearchError, match=r"cancel out, so none has a mean; set decide\.head=nearest") as caught:
        MeanVectors.made(pool_of([[1, 0], [-1, 0]], [0, 1]), np.array([0, 0]), 1)
    assert "\n" not in str(caught.value)


def slow_near(samples: Pool, labels: Array, query: Array, code: int, k: int) -> Ranked:
    seen = (samples.codes != code) | (code < 0)
    values = {}
    for label in np.unique(labels[seen]).tolist():
        total = samples.vectors[seen & (labels == label)].astype(np.float64).sum(axis=0)
        if np.linalg.norm(total) > 1e-6:
            values[label] = float(total @ query / np.linalg.norm(total))
    return sorted(values.items(), key=lambda item: -item[1])[:k]


@given(st.integers(0, 10**6), st.integers(1, 9), st.booleans())
def test_near_is_that_of_loops(seed: int, k: int, cancelling: bool) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(30, 4))
    if cancelling:
        vectors = rng.choice([-1.0, 1.0], (30, 4)) * np.array([1, 0, 0, 0])
    labels = rng.integers(0, 8, 30)
    labels[0], vectors[0] = 8, np.ones(4)  # one that is there in any case
    samples = pool_of(vectors, rng.integers(0, 6, 30))
    means = MeanVectors.made(samples, labels, 10)
    queries, codes = unit(rng.normal(size=(12, 4))), rng.integers(-1, 7, 12)
    found = ranked(*means.near(queries, codes, k))
    for line, query, code in zip(found, queries, codes.tolist(), strict=True):
        everything = dict(slow_near(samples, labels, query, code, 99))
        best = sorted(everything.values(), reverse=True)[:k]
        assert [score for _, score in line] == pytest.approx(best, abs=3e-6)
        check(line, {name: everything[name] for name, _ in line})


def test_near_by_blocks_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    vectors, codes, labels = rng.normal(size=(60, 5)), rng.integers(0, 9, 60), rng.integers(0, 20, 60)
    queries, asking = unit(rng.normal(size=(40, 5))), rng.integers(-1, 9, 40)
    whole = MeanVectors.made(pool_of(vectors, codes), labels, 20).near(queries, asking, 6)
    monkeypatch.setattr(heads, "_BLOCK", 50)
    for threads in (1, 3):
        found = MeanVectors.made(pool_of(vectors, codes, threads), labels, 20).near(queries, asking, 6)
        np.testing.assert_array_equal(found[0], whole[0])
        np.testing.assert_allclose(found[1], whole[1], atol=1e-6)
    nobody = MeanVectors.made(pool_of(vectors, codes), labels, 20).near(queries[:0], asking[:0], 6)
    assert nobody[0].shape == nobody[1].shape == (0, 6)


# ---------------------------------------------------------------------------------------------------- class prototypes


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (np.array([[1, 0], [0, 2]], np.float32), "prototypes, row 1: length 2"),
        (np.array([[1, 0], [np.nan, 0]], np.float32), "prototypes, row 1: not finite"),
        (np.array([[1, 0], [0, 1]]), r"prototypes: int64, expected float32\[n, dim\]"),
        (np.ones(2, np.float32), r"prototypes: shape \[2\]"),
    ],
)
def test_centres_that_are_none(vectors: Any, words: str) -> None:
    with pytest.raises(SearchError, match=words) as caught:
        ClassPrototypes(("a", "b"), vectors)
    assert "\n" not in str(caught.value)


def blended(
    queries: Any, lines: list[dict[int, float]], names: str, prototypes: ClassPrototypes, share: float, **more: Any
) -> list[Ranked]:
    width = max(len(line) for line in lines)
    labels = np.array([[*line, *[-1] * (width - len(line))] for line in lines], np.int64)
    scores = np.array([[*line.values(), *[NONE] * (width - len(line))] for line in lines], np.float32)
    never = more.get("never", [np.empty(0, np.int64)] * len(lines))
    joining = more.get("joining", 0)
    found = blend_prototypes(unit(queries), labels, scores, list(names), prototypes, share, joining, never)
    assert found[0].shape[1] <= width + joining
    return ranked(*found)


CENTRES = ClassPrototypes(("b", "x", "c", "b"), unit([[1, 0], [1, 1], [0, 1], [0.8, 0.6]]))
"""Two sub-centres of b, one of c, and x, who has no sample; a has no centre."""


def test_blend_by_hand() -> None:
    # The cosines of the query (0.8, 0.6) are 1 with b's nearer sub-centre and 0.6 with c.
    [line] = blended([[0.8, 0.6]], [{0: 0.9, 1: 0.8}], "abc", CENTRES, 0.5)
    check(line, {0: 0.9, 1: 0.9})
    assert [name for name, _ in blended([[0.8, 0.6]], [{0: 0.9, 1: 0.8}], "abc", CENTRES, 0.75)[0]] == [1, 0]
    # c joins with the score of the last name that was found: (0.8 + 0.6) / 2.
    [line] = blended([[0.8, 0.6]], [{0: 0.9, 1: 0.8}], "abc", CENTRES, 0.5, joining=2)
    check(line, {0: 0.9, 1: 0.9, 2: 0.7})
    for joining, never in ((1, []), (2, [2])):  # b is the best one and was found; c is forbidden
        more = {"joining": joining, "never": [np.array(never, np.int64)]}
        assert len(blended([[0.8, 0.6]], [{0: 0.9, 1: 0.8}], "abc", CENTRES, 0.5, **more)[0]) == 2


def test_names_without_centres_keep_their_scores() -> None:
    for prototypes in (CENTRES, ClassPrototypes((), np.empty((0, 2), np.float32))):
        [line] = blended([[1, 0]], [{1: 0.5, 0: 0.25}], "uv", prototypes, 1.0, joining=5)
        assert line == [(1, 0.5), (0, 0.25)]


def test_who_found_nobody_is_joined_by_nobody() -> None:
    found = blended([[1, 0], [1, 0]], [{}, {2: 0.5}], "abc", CENTRES, 0.5, joining=3)
    assert found[0] == []
    check(found[1], {1: 0.75, 2: 0.25})
    assert blended(np.ones((2, 2)), [{}, {}], "abc", CENTRES, 0.5, joining=3) == [[], []]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("joining", [0, 2, 50])
@pytest.mark.parametrize("block", [heads._BLOCK, 30])
def test_blend_is_that_of_loops(share: float, joining: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_BLOCK", block)
    rng = np.random.default_rng(joining)
    names, known = "abcdefgh", "hbbzdfdh"
    prototypes = ClassPrototypes(tuple(known), unit(rng.normal(size=(8, 4))))
    queries = unit(rng.normal(size=(10, 4)))
    lines = []
    for _ in range(10):
        some = rng.choice(8, rng.integers(1, 7), replace=False)
        lines.append(dict(zip(some.tolist(), (-np.sort(-rng.random(len(some)))).tolist(), strict=True)))
    never = [rng.choice(8, 2) for _ in range(10)]
    found = blended(queries, lines, names, prototypes, share, joining=joining, never=never)
    for query, line, without, got in zip(queries, lines, never, found, strict=True):
        towards: dict[int, float] = {}
        for letter, centre in zip(known, prototypes.vectors.astype(np.float64), strict=True):
            at = names.find(letter)
            if at >= 0:
                towards[at] = max(towards.get(at, -1.0), float(centre @ query))
        start = dict(line)
        for name in sorted(towards, key=lambda name: -towards[name])[:joining]:
            if name not in line and name not in without:
                start[name] = min(line.values())
        check(got, {at: (1 - share) * score + share * towards.get(at, score) for at, score in start.items()})
