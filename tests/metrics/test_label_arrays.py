from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from medalist.errors import ConfigError, DataError
from medalist.metrics import label_arrays, label_ranks
from medalist.metrics.label_arrays import (
    Counts,
    as_arrays,
    as_codes,
    as_probabilities,
    calibration_bins,
    class_counts,
    column_log_losses,
    confusion,
    f_beta,
    log_losses,
    mean_f_beta,
    quadratic_kappa,
    row_counts,
)
from medalist.metrics.label_ranks import (
    average_precision,
    average_precision_micro,
    precision_recall_curve,
    roc_auc,
    roc_auc_micro,
    roc_curve,
)
from medalist.records import Labels

Scores = NDArray[np.floating[Any]]


def slow_auc(truth: NDArray[np.bool_], scores: Scores) -> float:
    """The share of pairs that stand in the right order."""
    pairs = list(itertools.product(scores[truth].tolist(), scores[~truth].tolist()))
    return float(np.mean([(a > b) + (a == b) / 2 for a, b in pairs])) if pairs else np.nan


# ----------------------------------------------------------------------------------------------------------- ranks


@pytest.mark.parametrize("kind", ["probabilities", "logits", "ties", "whole numbers", "few distinct logits"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ranks_against_scikit_learn(kind: str, dtype: type[np.floating[Any]]) -> None:
    random = np.random.default_rng(7)
    truth = random.random((500, 4)) < [0.5, 0.1, 0.02, 0.9]
    logits = random.normal(size=truth.shape) + truth
    scores = {
        "probabilities": 1 / (1 + np.exp(-logits)),
        "logits": logits,
        "ties": (1 / (1 + np.exp(-logits))).round(1),
        "whole numbers": logits.round(),
        "few distinct logits": logits.round(1) * 1e3,
    }[kind].astype(dtype)
    for given_truth, given_scores in ((truth, scores), (np.asfortranarray(truth), np.asfortranarray(scores))):
        area, precision = roc_auc(given_truth, given_scores), average_precision(given_truth, given_scores)
        for column in range(4):
            there, of = truth[:, column], scores[:, column]
            assert area[column] == pytest.approx(sk.roc_auc_score(there, of), abs=1e-12)
            assert area[column] == pytest.approx(slow_auc(there, of), abs=1e-12)
            assert precision[column] == pytest.approx(sk.average_precision_score(there, of), abs=1e-12)
            assert roc_auc(there, of).tolist() == [area[column]]
        assert roc_auc_micro(given_truth, given_scores) == pytest.approx(
            sk.roc_auc_score(truth.ravel(), scores.ravel()), abs=1e-12
        )
        assert average_precision_micro(given_truth, given_scores) == pytest.approx(
            sk.average_precision_score(truth, scores, average="micro"), abs=1e-12
        )


EDGES = [
    0.0,
    -0.0,
    5e-324,
    1e-45,
    0.1,
    0.5,
    np.nextafter(1, 0),
    1.0,
    np.nextafter(2, 0),
    2.0,
    1e30,
    np.inf,
    -0.5,
    -1.0,
    -np.inf,
]


@given(st.data(), st.sampled_from([np.float32, np.float64]), st.sampled_from([EDGES, EDGES[:-3]]))
def test_areas_of_odd_floats(data: st.DataObject, dtype: type[np.floating[Any]], values: list[float]) -> None:
    size = data.draw(st.integers(1, 12))
    scores = np.array(data.draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))).astype(dtype)
    truth = data.draw(arrays(np.bool_, size))
    kept = scores.copy()
    assert roc_auc(truth, scores)[0] == pytest.approx(slow_auc(truth, scores), nan_ok=True)
    assert np.array_equal(scores, kept)


def test_one_side_only_has_no_area() -> None:
    truth = np.array([[True, False, True], [True, False, False]])
    scores = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.3]])
    assert roc_auc(truth, scores) == pytest.approx([np.nan, np.nan, 0.5], nan_ok=True)
    assert average_precision(truth, scores) == pytest.approx([1, np.nan, 0.5], nan_ok=True)
    assert np.isnan(roc_auc(truth[:0], scores[:0])).all()
    assert np.isnan(average_precision_micro(truth[:0], scores[:0]))
    assert np.isnan(roc_auc_micro(np.ones((3, 2), bool), np.ones((3, 2))))


@pytest.mark.parametrize("block", [1, 2, 7, 64])
def test_blocks_give_the_same(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(block)
    truth = random.random((300, 3)) < 0.3
    for scores in (random.random(truth.shape), random.integers(0, 9, truth.shape) / 8, np.zeros(truth.shape)):
        whole = roc_auc(truth, scores), average_precision(truth, scores)
        monkeypatch.setattr(label_ranks, "BLOCK", block)
        assert roc_auc(truth, scores).tolist() == whole[0].tolist()
        assert average_precision(truth, scores) == pytest.approx(whole[1], abs=1e-12)
        monkeypatch.undo()


def test_ranks_refuse() -> None:
    truth = np.array([[True, False], [False, True]])
    scores = np.array([[0.5, 0.5], [0.5, np.nan]])
    for figure in (roc_auc, average_precision):
        with pytest.raises(DataError, match="column 1: the score in row 1 is NaN"):
            figure(truth, scores)
        with pytest.raises(DataError, match=r"truth has shape \(2, 2\) and scores \(2, 1\)"):
            figure(truth, scores[:, :1])
    for curve in (roc_curve, precision_recall_curve):
        with pytest.raises(DataError, match="row 1 is NaN"):
            curve(truth[:, 1], scores[:, 1])
        with pytest.raises(DataError, match="expected \\[N\\]"):
            curve(truth, scores)
        with pytest.raises(DataError, match="needs positives"):
            curve(truth[:0, 0], scores[:0, 0])
    with pytest.raises(DataError, match="there are 2 positives of 2"):
        roc_curve(np.ones(2, bool), np.ones(2))
    with pytest.raises(DataError, match="none in 2 samples"):
        precision_recall_curve(np.zeros(2, bool), np.ones(2))


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_curves_are_points_of_scikit_learns(decimals: int) -> None:
    random = np.random.default_rng(decimals)
    truth = random.random(3000) < 0.2
    scores = (random.normal(size=3000) + truth).round(decimals)
    false, true, cuts = sk.roc_curve(truth, scores, drop_intermediate=False)
    whole = dict(zip(cuts.tolist(), zip(false.tolist(), true.tolist(), strict=True), strict=True))
    curve = roc_curve(truth, scores)
    assert len(curve.x) <= 200
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert curve.thresholds[0] == np.inf and curve.thresholds[-1] == scores.min()
    for x, y, cut in zip(curve.x.tolist(), curve.y.tolist(), curve.thresholds.tolist(), strict=True):
        assert whole[cut] == pytest.approx((x, y))
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(roc_auc(truth, scores)[0], abs=1e-3)

    precision, recall, cuts = sk.precision_recall_curve(truth, scores)
    rows = zip([*cuts.tolist(), np.inf], recall.tolist(), precision.tolist(), strict=True)
    whole = {cut: (x, y) for cut, x, y in rows}
    curve = precision_recall_curve(truth, scores)
    assert len(curve.x) <= 200
    assert (curve.x[0], curve.y[0], curve.x[-1]) == (0, 1, 1)
    for x, y, cut in zip(curve.x.tolist(), curve.y.tolist(), curve.thresholds.tolist(), strict=True):
        assert whole[cut] == pytest.approx((x, y))
    few = roc_curve(truth, scores, points=2)
    assert few.x.tolist() == few.y.tolist() == [0, 1]


def test_curves_by_hand() -> None:
    truth, scores = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.8, 0.1])
    curve = roc_curve(truth, scores)
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.1]
    assert curve.x.tolist() == [0, 0, 0.5, 1]
    assert curve.y.tolist() == [0, 0.5, 1, 1]
    curve = precision_recall_curve(truth, scores)
    assert curve.x.tolist() == [0, 0.5, 1, 1]
    assert curve.y == pytest.approx([1, 1, 2 / 3, 1 / 2])


# ------------------------------------------------------------------------------------------------------- one label


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_confusion_and_kappa_against_scikit_learn(
    dtype: type[np.integer[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_arrays, "ROWS", 16)
    random = np.random.default_rng(3)
    truth = random.integers(0, 5, 400).astype(dtype)
    answer = np.clip(truth.astype(np.int64) + random.integers(-1, 2, 400), 0, 4).astype(dtype)
    assert confusion(truth, answer, 6).tolist() == sk.confusion_matrix(truth, answer, labels=range(6)).tolist()
    kappa = sk.cohen_kappa_score(truth, answer, weights="quadratic")
    assert quadratic_kappa(truth, answer, 5) == pytest.approx(kappa)
    assert quadratic_kappa(truth, answer, 9) == pytest.approx(kappa)  # grades that nobody has change nothing


@pytest.mark.parametrize(
    ("truth", "answer", "kappa"),
    [
        ([2, 2, 2], [2, 2, 2], 1.0),  # 0/0
        ([2, 2, 2], [2, 1, 0], 0.0),
        ([2, 1, 0], [2, 2, 2], 0.0),
        ([0, 0], [2, 2], 0.0),
        ([0, 2], [2, 0], -1.0),
        ([0, 1, 2], [0, 1, 2], 1.0),
        ([0, 0, 2], [0, 1, 2], 1 - (1 / 4) / (1 / 4 * (2 * 1 / 3 + 2 * 4 / 3 + 1 * 4 / 3 + 1 * 1 / 3))),
    ],
)
def test_kappa_by_hand(truth: list[int], answer: list[int], kappa: float) -> None:
    assert quadratic_kappa(np.array(truth), np.array(answer), 3) == pytest.approx(kappa)


def test_confusion_refuses() -> None:
    good = np.array([0, 1, 2])
    with pytest.raises(DataError, match="truth 3 in row 1 is outside"):
        confusion(np.array([0, 3, 5]), good, 3)
    with pytest.raises(DataError, match="answer -1 in row 2 is outside"):
        confusion(good, np.array([0, 1, -1]), 3)
    with pytest.raises(DataError, match="3 truths and 2 answers"):
        quadratic_kappa(good, good[:2], 3)
    with pytest.raises(DataError, match="no samples"):
        quadratic_kappa(good[:0], good[:0], 3)


# -------------------------------------------------------------------------------------------------- several labels


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("classes", [1, 7, 300])
def test_f_beta_against_scikit_learn(beta: float, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_arrays, "ROWS", 64)
    random = np.random.default_rng(classes)
    truth, answer = random.random((2, 200, classes)) < 1.5 / classes
    if classes > 1:
        truth[:, 0] = answer[:, 0] = False
        truth[0] = answer[0] = False
    for there, found in ((truth, answer), (np.asfortranarray(truth), np.asfortranarray(answer))):
        by_class, by_row = class_counts(there, found), row_counts(there, found)
        for empty in (0.0, 1.0, None):
            division = np.nan if empty is None else empty
            flat = classes == 1  # one column is two classes to scikit-learn
            if not flat:
                macro = sk.fbeta_score(truth, answer, beta=beta, average="macro", zero_division=division)
                samples = sk.fbeta_score(truth, answer, beta=beta, average="samples", zero_division=division)
                assert mean_f_beta(by_class, beta, empty) == pytest.approx(macro)
                assert mean_f_beta(by_row, beta, empty) == pytest.approx(samples)
            micro = sk.fbeta_score(truth.ravel(), answer.ravel(), beta=beta)
            assert mean_f_beta(by_class.total(), beta, empty) == pytest.approx(micro)
            assert mean_f_beta(by_row.total(), beta, empty) == pytest.approx(micro)


def test_counts_of_many_equal_rows_do_not_overflow() -> None:
    ones = np.ones((70_000, 2), bool)
    assert class_counts(ones, ones).both.tolist() == [70_000, 70_000]
    wide = np.ones((2, 300), bool)
    assert row_counts(wide, wide).both.tolist() == [300, 300]
    assert row_counts(wide[:, :256], wide[:, :256]).both.tolist() == [256, 256]
    assert row_counts(wide[:, ::2], wide[:, ::2]).both.tolist() == [150, 150]


def test_f_beta_where_nobody_has_a_label() -> None:
    none = np.zeros(2, np.int64)
    counts = Counts(none, none, none)
    assert f_beta(counts, 1.0, 0.0).tolist() == [0, 0]
    assert np.isnan(f_beta(counts, 1.0, None)).all()
    assert mean_f_beta(counts, 1.0, None) == 1
    with pytest.raises(DataError, match="expected one shape"):
        class_counts(np.ones((2, 2), bool), np.ones((2, 3), bool))
    with pytest.raises(DataError, match="expected bool"):
        row_counts(np.ones((2, 2), np.int64), np.ones((2, 2), bool))  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------- probabilities


def test_log_losses_against_scikit_learn() -> None:
    random = np.random.default_rng(4)
    truth, odds = random.integers(0, 4, 300), random.random((300, 4))
    odds /= odds.sum(axis=1, keepdims=True)
    losses = log_losses(truth, odds, 1e-15, normalise=False)
    assert losses.mean() == pytest.approx(sk.log_loss(truth, odds))
    assert log_losses(truth, odds * 0.25, 1e-15, normalise=True) == pytest.approx(losses)
    assert log_losses(truth, odds * 0.25, 1e-15, normalise=False) == pytest.approx(losses + np.log(4))
    flags = random.random((300, 4)) < 0.3
    by_column = column_log_losses(flags, odds, 1e-15).mean(axis=0)
    assert by_column == pytest.approx([sk.log_loss(flags[:, at], odds[:, at]) for at in range(4)])


def test_log_losses_are_clipped() -> None:
    assert log_losses(np.array([0, 1]), np.array([[0.0, 1], [0.0, 1]]), 0.01, normalise=True) == pytest.approx(
        [-np.log(0.01), -np.log(0.99)]
    )
    sure = np.array([[0.0, 1.0, 0.0, 1.0]], np.float32)
    losses = column_log_losses(np.array([[True, True, False, False]]), sure, 1e-15)
    assert losses[0] == pytest.approx([34.5388, 0, 0, 34.5388], abs=1e-3)


def test_calibration_against_scikit_learn() -> None:
    random = np.random.default_rng(5)
    confidence = np.append(random.random(500) ** 2, [0, 1, 0.2, 0.4])
    right = random.random(504) < confidence
    bins = calibration_bins(right, confidence, 5)
    accurate, confident = calibration_curve(right, confidence, n_bins=5)
    assert bins.accuracy == pytest.approx(accurate)
    assert bins.confidence == pytest.approx(confident)
    assert bins.counts.sum() == 504
    assert bins.edges == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_calibration_by_hand() -> None:
    bins = calibration_bins(np.array([True, False, True, True]), np.array([0.9, 0.7, 0.1, 0.0]), 2)
    assert bins.counts.tolist() == [2, 2]
    assert bins.expected_error() == pytest.approx((abs(1 / 2 - 0.8) * 2 + abs(1 - 0.05) * 2) / 4)
    bins = calibration_bins(np.array([True]), np.array([0.5]), 2)
    assert bins.counts.tolist() == [1, 0]  # an upper edge is in its bin
    assert np.isnan(bins.accuracy[1]) and np.isnan(bins.confidence[1])
    assert bins.expected_error() == 0.5


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.5])
def test_calibration_refuses(wrong: float) -> None:
    with pytest.raises(DataError, match=f"confidence {wrong} in row 1"):
        calibration_bins(np.array([True, True]), np.array([0.5, wrong]))
    with pytest.raises(DataError, match="1 samples and 2 confidences"):
        calibration_bins(np.array([True]), np.array([0.5, 0.5]))
    with pytest.raises(DataError, match="at least 1"):
        calibration_bins(np.zeros(0, bool), np.zeros(0))


# --------------------------------------------------------------------------------------------------------- arrays


def test_as_arrays() -> None:
    truths = {"p": Labels(("b",)), "q": Labels(()), "r": Labels(("c", "a"))}
    answers = {
        "r": Labels(("a",), np.array([0.9, 0.1, 0.2])),
        "q": Labels(("c", "b"), np.array([0, 0.5, 1])),
        "p": Labels((), np.array([0.3, 0.3, 0.3])),
    }
    made = as_arrays(truths, answers, ("a", "b", "c"))
    assert made.ids == ("p", "q", "r")
    assert made.truth.tolist() == [[False, True, False], [False, False, False], [True, False, True]]
    assert made.answer.tolist() == [[False, False, False], [False, True, True], [True, False, False]]
    assert made.probabilities is not None
    assert made.probabilities.tolist() == [[0.3, 0.3, 0.3], [0, 0.5, 1], [0.9, 0.1, 0.2]]
    assert as_arrays(truths, truths, ("a", "b", "c")).probabilities is None
    with pytest.raises(ConfigError, match="sample p: its answer has no probabilities"):
        as_arrays(truths, {**answers, "p": Labels(("a",))}, ("a", "b", "c"))
    with pytest.raises(DataError, match="sample r: its answer has label 'zebra'"):
        as_arrays(truths, {**answers, "r": Labels(("a", "zebra"))}, ("a", "b", "c"))


def test_as_codes_and_probabilities() -> None:
    answers = {"p": Labels(("b", "nothing"), np.array([0, 1], np.float32)), "q": Labels(("a", "b"), np.array([1, 0]))}
    assert as_codes(answers, ("q", "p"), ("a", "b"), "answer").tolist() == [0, 1]
    assert as_probabilities(answers, ("q", "p"), ("a", "b"), "it").tolist() == [[1, 0], [0, 1]]
    assert as_probabilities(answers, ("p",), ("a", "b"), "it").dtype == np.float64


def test_neither_torch_nor_scikit_learn_is_imported() -> None:
    code = "import sys, medalist.metrics.labels; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
