from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from medalist.errors import ConfigError, DataError
from medalist.metrics.retrieval import (
    average_precision,
    average_precision_at_r,
    found_within,
    gap,
    map_at,
    mrr,
    nmi,
    r_precision,
    recall_at,
    reciprocal_rank,
)
from medalist.records import Ranking, Score

Metric = Callable[[Mapping[str, Ranking], Mapping[str, Ranking]], Score]
METRICS: tuple[Metric, ...] = (map_at(1), map_at(5), map_at(100), recall_at(1), recall_at(5), mrr, gap)
NAMES = ("map@1", "map@5", "map@100", "recall@1", "recall@5", "mrr", "gap")


def one(metric: Metric, truth: str, answer: str) -> float:
    """The value for one query; names are letters."""
    return metric({"q": Ranking(tuple(truth))}, {"q": Ranking(tuple(answer), 0.5)}).value


@pytest.mark.parametrize(
    ("k", "truth", "answer", "expected"),
    [
        (5, "a", "abcde", 1),
        (5, "a", "bcade", 1 / 3),
        (5, "a", "bcdefa", 0),
        (5, "a", "aaaaa", 1),  # a repeated name scores once
        (5, "a", "bbaaa", 1 / 3),  # and keeps its places
        (5, "a", "", 0),
        (100, "abc", "abc", 1),  # not 3/100: landmark retrieval
        (100, "abc", "xaybz", (1 / 2 + 2 / 4) / 3),
        (2, "abc", "ab", 1),  # min(m, k)
        (2, "abc", "xa", (1 / 2) / 2),
        (3, "ab", "aab", (1 + 2 / 3) / 2),
        (3, "aab", "abx", 1),  # a truth that is named twice is one
    ],
)
def test_map_by_hand(k: int, truth: str, answer: str, expected: float) -> None:
    assert one(map_at(k), truth, answer) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("k", "answer", "expected"), [(1, "ab", 1), (1, "ba", 0), (2, "ba", 1), (5, "bcdea", 1), (5, "bcdefa", 0)]
)
def test_recall_by_hand(k: int, answer: str, expected: float) -> None:
    assert one(recall_at(k), "a", answer) == expected


def test_mrr_looks_at_the_whole_answer() -> None:
    assert one(mrr, "ab", "xxxxxxxxxb") == pytest.approx(0.1)


def test_parts_and_samples() -> None:
    truths = {"p": Ranking(("a",)), "q": Ranking(("b",)), "none": Ranking(()), "some": Ranking(())}
    answers = {"q": Ranking(("x", "b")), "p": Ranking(("a",)), "none": Ranking(()), "some": Ranking(("a",))}
    score = map_at(5)(truths, answers)
    assert score.value == 0.75
    assert score.parts == {"map@5": 0.75, "recall@1": 0.5, "recall@5": 1.0, "mrr": 0.75, "unanswerable": 2.0}
    assert score.by_sample == {"p": 1.0, "q": 0.5, "none": 1.0, "some": 0.0}
    assert list(score.by_sample) == list(truths)
    assert set(mrr(truths, answers).parts) == {"recall@1", "recall@5", "mrr", "unanswerable"}


@pytest.mark.parametrize("metric", METRICS, ids=NAMES)
@given(truths=st.dictionaries(st.text("pqr", min_size=1), st.lists(st.sampled_from("abcdefg")), min_size=1))
def test_perfect_answers_score_exactly_1(metric: Metric, truths: dict[str, list[str]]) -> None:
    perfect = {name: Ranking(tuple(dict.fromkeys(names)), 0.3) for name, names in truths.items()}
    score = metric(perfect, dict(reversed(perfect.items())))
    assert score.value == 1
    assert score.by_sample == dict.fromkeys(truths, 1.0)


@pytest.mark.parametrize("metric", METRICS, ids=NAMES)
def test_nothing_right_to_be_found(metric: Metric) -> None:
    truths = {"p": Ranking(()), "q": Ranking(())}
    assert metric(truths, truths).value == 1
    answered = {"p": Ranking(("a",), 1.0), "q": Ranking(("b",), 1.0)}
    assert metric(truths, answered).value == 0


@pytest.mark.parametrize("metric", METRICS, ids=NAMES)
def test_ids_that_differ(metric: Metric) -> None:
    truth = {"p": Ranking(("a",))}
    with pytest.raises(DataError, match="no answer for 1 of 1 queries; the first is p"):
        metric(truth, {})
    with pytest.raises(DataError, match="1 answers to queries without truth; the first is q"):
        metric(truth, {"p": Ranking(("a",), 1.0), "q": Ranking(())})
    with pytest.raises(DataError, match="no queries to score"):
        metric({}, {})


@pytest.mark.parametrize("k", [0, -1, True, 2.0, "5"])
def test_wrong_k(k: object) -> None:
    for make in (map_at, recall_at):
        with pytest.raises(ConfigError, match="k="):
            make(k)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- GAP


def test_gap_by_hand() -> None:
    truths = {"a": Ranking(("A",)), "b": Ranking(("B",)), "c": Ranking(("C",)), "far": Ranking(()), "out": Ranking(())}
    answers = {
        "a": Ranking(("A", "B"), 0.9),
        "far": Ranking(("A",), 0.8),  # a distractor lowers the precision of what follows
        "b": Ranking(("B",), 0.7),
        "c": Ranking((), None),  # no prediction
        "out": Ranking(()),
    }
    score = gap(truths, answers)
    assert score.value == pytest.approx((1 / 1 + 2 / 3) / 3)  # M counts c, and neither distractor
    assert score.parts == {"accuracy": pytest.approx(2 / 3), "predicted": 3.0, "unanswerable": 2.0}
    assert score.by_sample == {"a": 1, "b": 1, "c": 0, "far": 0, "out": 1}


def test_gap_counts_only_the_first_name() -> None:
    assert one(gap, "a", "ba") == 0
    assert one(gap, "ab", "b") == 1


@pytest.mark.parametrize("order", ["pqr", "rqp", "qrp"])
def test_gap_ties_are_taken_at_their_worst(order: str) -> None:
    truths = {name: Ranking((name,)) for name in order}
    answers = {name: Ranking(("p" if name == "r" else name,), 0.5) for name in order}
    assert gap(truths, answers).value == pytest.approx((1 / 2 + 2 / 3) / 3)


@pytest.mark.parametrize("confidence", [None, float("nan")])
def test_gap_needs_confidences(confidence: float | None) -> None:
    truths = {"p": Ranking(("a",)), "q": Ranking(("b",))}
    with pytest.raises(ConfigError, match="query q: its answer has confidence"):
        gap(truths, {"p": Ranking(("a",), 1.0), "q": Ranking(("a",), confidence)})


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.booleans()), min_size=1, max_size=12))
def test_gap_is_the_contests_loop(rows: list[tuple[bool, int, bool]]) -> None:
    truths = {f"{i}": Ranking(("a",) if known else ()) for i, (known, _, _) in enumerate(rows)}
    answers = {f"{i}": Ranking(("a",) if right else ("b",), float(c)) for i, (_, c, right) in enumerate(rows)}
    total, hits = 0.0, 0
    ranked = sorted(rows, key=lambda row: (-row[1], row[0] and row[2]))
    for place, (known, _, right) in enumerate(ranked, 1):
        hits += known and right
        total += (hits / place) * (known and right)
    known = sum(row[0] for row in rows)
    expected = total / known if known else 0.0
    assert gap(truths, answers).value == pytest.approx(expected)


# ---------------------------------------------------------------------------------------------------------- arrays


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5), st.integers(0, 4))
def test_arrays_are_loops(lines: list[list[bool]], more: int) -> None:
    relevant = np.array(lines)
    positives = relevant.sum(axis=1) + more
    for row, line in enumerate(lines):
        m = int(positives[row])
        first = next((1 / (place + 1) for place, hit in enumerate(line) if hit), 0.0)
        assert reciprocal_rank(relevant)[row] == pytest.approx(first)
        for k in (1, 3, 6, 9):
            assert found_within(relevant, k)[row] == any(line[:k])
            precisions = [sum(line[: i + 1]) / (i + 1) for i in range(min(k, 6)) if line[i]]
            expected = sum(precisions) / min(m, k) if m else 0
            assert average_precision(relevant, positives, k)[row] == pytest.approx(expected)
        at_r = [sum(line[: i + 1]) / (i + 1) for i in range(min(m, 6)) if line[i]]
        assert average_precision_at_r(relevant, positives)[row] == pytest.approx(sum(at_r) / m if m else 0)
        assert r_precision(relevant, positives)[row] == pytest.approx(sum(line[:m]) / m if m else 0)


def test_whole_rankings_are_scikit_learns_average_precision() -> None:
    rng = np.random.default_rng(3)
    relevant = rng.random((20, 30)) < 0.3
    relevant[:, 5] = True
    scores = -np.arange(30.0)
    expected = [average_precision_score(line, scores) for line in relevant]
    np.testing.assert_allclose(average_precision(relevant, relevant.sum(axis=1), 30), expected)


def test_arrays_and_rankings_agree() -> None:
    rng = np.random.default_rng(4)
    relevant = rng.random((30, 8)) < 0.25
    positives = relevant.sum(axis=1) + rng.integers(0, 3, 30)
    truths, answers = {}, {}
    for row, line in enumerate(relevant):
        names = [f"right{i}" if hit else f"wrong{i}" for i, hit in enumerate(line)]
        right = [name for name in names if name.startswith("right")]
        answers[str(row)] = Ranking(tuple(names))
        truths[str(row)] = Ranking((*right, *(f"far{i}" for i in range(positives[row] - len(right)))))
    some = positives > 0
    score = map_at(5)(truths, answers)
    assert score.value == pytest.approx(average_precision(relevant[some], positives[some], 5).mean())
    assert score.parts["recall@5"] == pytest.approx(found_within(relevant[some], 5).mean())
    assert mrr(truths, answers).value == pytest.approx(reciprocal_rank(relevant[some]).mean())


def test_map_at_r_by_hand() -> None:
    # Musgrave et al. 2020, Figure 3: ten answers, R = 10.
    lines = {(0,): 0.1, (0, 9): 0.12, (0, 1): 0.2, tuple(range(10)): 1.0}
    relevant = np.array([[place in hits for place in range(10)] for hits in lines])
    np.testing.assert_allclose(average_precision_at_r(relevant, np.full(4, 10)), list(lines.values()))


def test_nothing_was_answered() -> None:
    empty = np.zeros((2, 0), bool)
    two = np.array([1, 2])
    for value in (reciprocal_rank(empty), average_precision(empty, two, 5), average_precision_at_r(empty, two)):
        assert value.tolist() == [0, 0]


def test_nmi() -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(4), 10)
    apart = np.eye(4, 8, dtype=np.float32)[labels] + rng.normal(size=(40, 8)).astype(np.float32) * 0.01
    assert nmi(apart, labels) == pytest.approx(1)
    assert nmi(rng.normal(size=(40, 8)).astype(np.float32), labels) < 0.6
