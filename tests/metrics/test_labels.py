from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from medalist.errors import ConfigError, DataError
from medalist.metrics.labels import (
    Average,
    Metric,
    accuracy,
    average_precision,
    balanced_accuracy,
    f1,
    f_beta,
    label_map_at,
    log_loss,
    mean_column_log_loss,
    pf1,
    quadratic_kappa,
    roc_auc,
)
from medalist.records import Labels

CLASSES = ("ant", "bee", "cat", "dog")
SINGLE: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "quadratic_kappa": quadratic_kappa(CLASSES),
    "log_loss": log_loss(CLASSES),
    "label_map_at": label_map_at(5),
}
SEVERAL: dict[str, Metric] = {
    "f1 micro": f1(CLASSES, "micro"),
    "f1 macro": f1(CLASSES, "macro", zero_division=None),
    "f1 samples": f1(CLASSES, "samples"),
    "f2 samples": f_beta(2.0, CLASSES, "samples", empty=None),
    "mean_column_log_loss": mean_column_log_loss(CLASSES),
    "roc_auc macro": roc_auc(CLASSES),
    "roc_auc micro": roc_auc(CLASSES, "micro"),
    "average_precision": average_precision(CLASSES),
    "pf1": pf1("bee", CLASSES),
}
METRICS = SINGLE | SEVERAL
PROBABLE = ["log_loss", *[name for name in SEVERAL if not name.startswith("f")]]


def of_codes(codes: Sequence[int], probabilities: NDArray[np.floating[Any]] | None = None) -> dict[str, Labels]:
    """One label for each sample."""
    rows: Sequence[Any] = [None] * len(codes) if probabilities is None else list(probabilities)
    return {f"s{at}": Labels((CLASSES[code],), row) for at, (code, row) in enumerate(zip(codes, rows, strict=True))}


def of_flags(
    flags: NDArray[np.bool_], probabilities: NDArray[np.floating[Any]] | None = None, classes: Sequence[str] = CLASSES
) -> dict[str, Labels]:
    """Several labels for each sample."""
    rows: Sequence[Any] = [None] * len(flags) if probabilities is None else list(probabilities)
    return {
        f"s{at}": Labels(tuple(itertools.compress(classes, flags[at].tolist())), row) for at, row in enumerate(rows)
    }


def one(truth: Sequence[str], answer: Sequence[str], metric: Metric) -> float:
    return metric({"s": Labels(tuple(truth))}, {"s": Labels(tuple(answer))}).value


# ---------------------------------------------------------------------------------------------- against scikit-learn


@pytest.mark.parametrize("seed", range(3))
def test_one_label_against_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 4, 200)
    answer = np.where(random.random(200) < 0.5, truth, random.integers(0, 4, 200))
    odds = random.random((200, 4))
    truths, answers = of_codes(truth.tolist()), of_codes(answer.tolist(), odds)
    assert accuracy(truths, answers).value == pytest.approx(sk.accuracy_score(truth, answer))
    assert balanced_accuracy(truths, answers).value == pytest.approx(sk.balanced_accuracy_score(truth, answer))
    recalls = sk.recall_score(truth, answer, average=None)
    for metric in (accuracy, balanced_accuracy):
        parts = metric(truths, answers).parts
        assert parts == pytest.approx({f"recall {name}": r for name, r in zip(CLASSES, recalls, strict=True)})
    score = quadratic_kappa(CLASSES)(truths, answers)
    assert score.value == pytest.approx(sk.cohen_kappa_score(truth, answer, weights="quadratic"))
    assert score.parts["accuracy"] == pytest.approx(sk.accuracy_score(truth, answer))
    assert score.parts["recall bee"] == pytest.approx(recalls[1])
    score = log_loss(CLASSES)(truths, answers)
    own = odds / odds.sum(axis=1, keepdims=True)
    assert score.value == pytest.approx(-sk.log_loss(truth, own))
    assert np.mean(list(score.by_sample.values())) == pytest.approx(score.value)
    assert score.parts["log_loss cat"] == pytest.approx(np.log(own[truth == 2, 2]).mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_f_beta_against_scikit_learn(seed: int, beta: float) -> None:
    random = np.random.default_rng(seed)
    truth, answer = random.random((2, 100, 4)) < [0.5, 0.2, 0.1, 0]
    truths, answers = of_flags(truth), of_flags(answer)
    averages: tuple[Average, ...] = ("micro", "macro", "samples")
    for average, value in itertools.product(averages, (0.0, 1.0, None)):
        undefined = np.nan if value is None else value
        metric = f_beta(beta, CLASSES, average, empty=value, zero_division=value)
        wanted = sk.fbeta_score(truth, answer, beta=beta, average=average, zero_division=undefined)
        score = metric(truths, answers)
        assert score.value == pytest.approx(wanted)
        by_class = sk.fbeta_score(truth, answer, beta=beta, average=None, zero_division=undefined).tolist()
        parts = {f"f{beta:g} {name}": f for name, f in zip(CLASSES, by_class, strict=True) if not math.isnan(f)}
        assert score.parts == pytest.approx(parts)
        assert ("f1 dog" in score.parts) == (beta == 1 and value is not None)
    assert f1(CLASSES, "macro")(truths, answers) == f_beta(1.0, CLASSES, "macro")(truths, answers)
    default = f_beta(beta, CLASSES, "samples")(truths, answers)
    assert default.value == pytest.approx(sk.fbeta_score(truth, answer, beta=beta, average="samples", zero_division=1))
    assert default.value == pytest.approx(np.mean(list(default.by_sample.values())))


@pytest.mark.parametrize("decimals", [1, 3, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_against_scikit_learn(decimals: int, dtype: type[np.floating[Any]]) -> None:
    random = np.random.default_rng(decimals)
    truth = random.random((200, 4)) < [0.5, 0.2, 0.1, 0.7]
    odds = np.clip(random.random(truth.shape) * 0.7 + truth * 0.3, 0, 1).round(decimals).astype(dtype)
    truths, answers = of_flags(truth), of_flags(~truth, odds)  # the names of the answers are of no account
    columns = range(4)
    areas = [sk.roc_auc_score(truth[:, at], odds[:, at]) for at in columns]
    score = roc_auc(CLASSES)(truths, answers)
    assert score.value == pytest.approx(np.mean(areas))
    assert score.parts == pytest.approx({**dict(zip([f"auc {c}" for c in CLASSES], areas, strict=True)), "left out": 0})
    assert roc_auc(CLASSES, "micro")(truths, answers).value == pytest.approx(
        sk.roc_auc_score(truth, odds, average="micro")
    )
    for average in ("macro", "micro"):
        wanted = sk.average_precision_score(truth, odds, average=average)
        assert average_precision(CLASSES, average)(truths, answers).value == pytest.approx(wanted)
    losses = [sk.log_loss(truth[:, at], np.clip(odds[:, at].astype(float), 1e-15, 1 - 1e-15)) for at in columns]
    score = mean_column_log_loss(CLASSES)(truths, answers)
    assert score.value == pytest.approx(-np.mean(losses))
    assert score.value == pytest.approx(np.mean(list(score.by_sample.values())))
    assert list(score.parts.values()) == pytest.approx([-loss for loss in losses])
    weighted = mean_column_log_loss(CLASSES, weights=(2, 1, 1, 1))(truths, answers)
    assert weighted.value == pytest.approx(-np.average(losses, weights=[2, 1, 1, 1]))
    assert weighted.value == pytest.approx(np.mean(list(weighted.by_sample.values())))


# -------------------------------------------------------------------------------------------------------- one label


def test_accuracy_by_hand() -> None:
    truths = of_codes([0, 0, 0, 1])
    answers = {
        "s3": Labels(("ant", "bee")),  # the first name counts
        "s0": Labels(("ant", "bee")),
        "s1": Labels(()),
        "s2": Labels(("a class of no truth",)),
    }
    score = accuracy(truths, answers)
    assert score.value == 0.25
    assert score.parts == pytest.approx({"recall ant": 1 / 3, "recall bee": 0})
    assert list(score.by_sample.items()) == [("s0", 1), ("s1", 0), ("s2", 0), ("s3", 0)]
    assert balanced_accuracy(truths, answers).value == pytest.approx(1 / 6)


def test_kappa_by_hand() -> None:
    score = quadratic_kappa(CLASSES)(of_codes([0, 0, 3]), of_codes([0, 1, 0]))
    # Observed 1 + 9; expected of the truths (2, 0, 0, 1) and answers (2, 1, 0, 0): (2*1 + 1*(2*9 + 1*4)) / 3.
    assert score.value == pytest.approx(1 - 10 / (24 / 3))
    assert score.by_sample == pytest.approx({"s0": 1, "s1": 1 - 1 / 9, "s2": 0})
    assert score.parts == pytest.approx({"accuracy": 1 / 3, "recall ant": 1 / 2, "recall dog": 0})
    same = of_codes([2, 2])
    assert quadratic_kappa(CLASSES)(same, same).value == 1
    assert quadratic_kappa(CLASSES)(same, of_codes([2, 1])).value == 0
    with pytest.raises(DataError, match="sample s1: its answer has no label"):
        quadratic_kappa(CLASSES)(same, {**same, "s1": Labels(())})


def test_log_loss_by_hand() -> None:
    truths = of_codes([0, 1])
    answers = of_codes([3, 3], np.array([[0.5, 0, 0, 0], [0.4, 0, 0.4, 0]]))
    score = log_loss(CLASSES, clip=0.01)(truths, answers)
    assert score.by_sample == pytest.approx({"s0": math.log(0.99), "s1": math.log(0.01)})  # divided, then clipped
    assert score.parts == pytest.approx({"log_loss ant": math.log(0.99), "log_loss bee": math.log(0.01)})
    score = log_loss(CLASSES, clip=0.01, normalise=False)(truths, answers)
    assert score.by_sample == pytest.approx({"s0": math.log(0.5), "s1": math.log(0.01)})
    nothing = of_codes([3, 3], np.array([[0.5, 0, 0, 0], [0.0, 0, 0, 0]]))
    with pytest.raises(ConfigError, match="sample s1: all its probabilities are 0"):
        log_loss(CLASSES)(truths, nothing)
    assert math.isfinite(log_loss(CLASSES, normalise=False)(truths, nothing).value)


@pytest.mark.parametrize(
    ("k", "truth", "answer", "value"),
    [
        (5, "a", "abcde", 1),
        (5, "a", "bcade", 1 / 3),
        (5, "a", "bcdefa", 0),
        (5, "a", "aaaaa", 1),
        (5, "a", "bbaaa", 1 / 3),
        (5, "a", "", 0),
        (3, "ab", "axb", (1 + 2 / 3) / 2),
        (2, "abc", "xa", (1 / 2) / 2),
        (1, "ab", "b", 1),
    ],
)
def test_map_by_hand(k: int, truth: str, answer: str, value: float) -> None:
    assert one(truth, answer, label_map_at(k)) == pytest.approx(value)


def test_map_leaves_out_samples_without_a_label() -> None:
    truths = {"p": Labels(("a",)), "q": Labels(("b",)), "none": Labels(())}
    score = label_map_at(2)(truths, {"p": Labels(("a",)), "q": Labels(("a", "b")), "none": Labels(("a",))})
    assert score.value == 0.75
    assert score.by_sample == {"p": 1, "q": 0.5, "none": 0}
    assert score.parts == {"map@2": 0.75, "recall@1": 0.5, "recall@2": 1, "mrr": 0.75, "unanswerable": 1}


@pytest.mark.parametrize("name", sorted(set(SINGLE) - {"label_map_at"}))
@pytest.mark.parametrize("names", [(), ("ant", "bee")])
def test_one_label_metrics_refuse_other_truths(name: str, names: tuple[str, ...]) -> None:
    answers = of_codes([0, 1], np.full((2, 4), 0.25))
    with pytest.raises(DataError, match=f"sample s1: its truth has {len(names)} labels, and this metric is for one"):
        SINGLE[name]({**of_codes([0, 1]), "s1": Labels(names)}, answers)


# --------------------------------------------------------------------------------------------------- several labels


def test_three_averages_by_hand() -> None:
    truths = {"p": Labels(("ant", "bee")), "q": Labels(("ant",)), "none": Labels(()), "r": Labels(())}
    answers = {"p": Labels(("ant",)), "q": Labels(("ant", "cat")), "none": Labels(()), "r": Labels(("cat",))}
    micro, macro, samples = (f1(CLASSES, average)(truths, answers) for average in ("micro", "macro", "samples"))
    assert micro.value == pytest.approx(2 * 2 / (3 + 4))
    assert macro.value == pytest.approx((1 + 0 + 0 + 0) / 4)
    assert samples.value == pytest.approx((2 / 3 + 2 / 3 + 1 + 0) / 4)
    assert samples.by_sample == micro.by_sample == pytest.approx({"p": 2 / 3, "q": 2 / 3, "none": 1, "r": 0})
    assert macro.by_sample == {"p": 0.75, "q": 0.75, "none": 1, "r": 0.75}
    for score in (micro, macro, samples):
        assert score.parts == {"f1 ant": 1, "f1 bee": 0, "f1 cat": 0, "f1 dog": 0}
    strict = f1(CLASSES, "samples", empty=0)(truths, answers)
    assert strict.value == pytest.approx((2 / 3 + 2 / 3) / 4)
    assert strict.by_sample == pytest.approx({"p": 2 / 3, "q": 2 / 3, "none": 0, "r": 0})
    skipped = f1(CLASSES, "samples", empty=None)(truths, answers)
    assert skipped.value == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert skipped.by_sample == samples.by_sample
    assert f1(CLASSES, "macro", zero_division=1)(truths, answers).value == pytest.approx(2 / 4)
    left = f1(CLASSES, "macro", zero_division=None)(truths, answers)
    assert left.value == pytest.approx(1 / 3)
    assert left.parts == {"f1 ant": 1, "f1 bee": 0, "f1 cat": 0}


def test_f1_where_nobody_has_a_label() -> None:
    nobody = {"p": Labels(()), "q": Labels(())}
    for empty, value in ((1.0, 1), (0.0, 0), (None, 1)):
        assert f1(CLASSES, "micro", empty=empty)(nobody, nobody).value == value
        assert f1(CLASSES, "samples", empty=empty)(nobody, nobody).value == value
        assert f1(CLASSES, "macro", zero_division=empty)(nobody, nobody).value == value
    assert f1(CLASSES, "macro")(nobody, nobody).value == 0


# ---------------------------------------------------------------------------------------------------- probabilities


def test_pf1_by_hand() -> None:
    truths = {"p": Labels(("cancer",)), "q": Labels(("cancer",)), "r": Labels(()), "s": Labels(())}
    answers = {name: Labels((), np.array([p])) for name, p in zip("pqrs", (0.9, 0.3, 0.2, 0.0), strict=True)}
    score = pf1("cancer")(truths, answers)
    precision, recall = 1.2 / 1.4, 1.2 / 2
    assert score.value == pytest.approx(2 * precision * recall / (precision + recall))
    assert score.parts == pytest.approx({"precision": precision, "recall": recall})
    assert score.by_sample == pytest.approx({"p": 0.9, "q": 0.3, "r": 0.8, "s": 1})
    pair = {name: Labels((), np.array([0.5, row.probabilities[0]])) for name, row in answers.items()}  # type: ignore[index]
    assert pf1("cancer", ("benign", "cancer"))(truths, pair) == score


@pytest.mark.parametrize(
    ("there", "said", "value", "parts"),
    [
        (False, 0.0, 1.0, {}),
        (False, 0.5, 0.0, {"precision": 0.0}),
        (True, 0.0, 0.0, {"recall": 0.0}),
        (True, 1.0, 1.0, {"precision": 1.0, "recall": 1.0}),
        (True, 0.5, 2 / 3, {"precision": 1.0, "recall": 0.5}),
    ],
)
def test_pf1_edges(there: bool, said: float, value: float, parts: Mapping[str, float]) -> None:
    score = pf1("a")({"s": Labels(("a",) if there else ())}, {"s": Labels((), np.array([said]))})
    assert score.value == pytest.approx(value)
    assert score.parts == parts


def test_pf1_of_sure_answers_is_f1() -> None:
    random = np.random.default_rng(6)
    truth, answer = random.random((2, 100, 1)) < 0.4
    truths, answers = of_flags(truth, classes=("a",)), of_flags(answer, answer.astype(float), ("a",))
    assert pf1("a")(truths, answers).value == pytest.approx(sk.f1_score(truth.ravel(), answer.ravel()))


def test_areas_by_hand() -> None:
    truth = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0]], bool)
    odds = np.array([[0.9, 0.2, 0.5, 0.5], [0.4, 0.1, 0.5, 0.5], [0.4, 0.3, 0.5, 0.1]])
    score = roc_auc(CLASSES)(of_flags(truth), of_flags(truth, odds))
    assert score.parts == {"auc ant": 0.75, "auc dog": 0.75, "left out": 2}
    assert score.value == 0.75
    assert score.by_sample["s0"] == pytest.approx((0.9 + 0.8 + 0.5 + 0.5) / 4)
    score = average_precision(CLASSES)(of_flags(truth), of_flags(truth, odds))
    assert score.parts == pytest.approx({"ap ant": (1 + 2 / 3) / 2, "ap cat": 1, "ap dog": 1 / 2, "left out": 1})


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_an_area_that_does_not_exist_is_the_mean_of_the_samples(average: Any) -> None:
    truth = np.ones((2, 1), bool)
    answers = of_flags(truth, np.array([[0.25], [0.75]]), ("a",))
    score = roc_auc(("a",), average)(of_flags(truth, classes=("a",)), answers)
    assert score.value == 0.5
    assert score.parts == {"left out": 1}
    score = average_precision(("a",), average)(of_flags(~truth, classes=("a",)), answers)
    assert score.value == 0.5


def test_column_log_loss_is_clipped() -> None:
    truths, sure = {"s": Labels(("ant", "bee"))}, {"s": Labels((), np.array([1, 0, 1, 0.0]))}
    score = mean_column_log_loss(CLASSES, clip=0.01)(truths, sure)
    assert score.parts == pytest.approx(
        {f"log_loss {c}": math.log(p) for c, p in zip(CLASSES, (0.99, 0.01, 0.01, 0.99), strict=True)}
    )
    assert mean_column_log_loss(CLASSES)(truths, sure).value == pytest.approx(-34.5388 / 2, abs=1e-3)


@pytest.mark.parametrize("name", PROBABLE)
@pytest.mark.parametrize(
    ("row", "words"),
    [
        (None, "sample s1: its answer has no probabilities, and .* needs 4"),
        (np.array([0.5, 0.5]), r"sample s1: its answer has probabilities of shape \(2,\), and .* needs 4"),
        (np.full((4, 1), 0.25), r"shape \(4, 1\)"),
        (np.array([0.5, np.nan, 0, 0]), "sample s1: its answer gives class 'bee' the probability nan"),
        (np.array([0.5, 0, 0, 1.5]), "class 'dog' the probability 1.5, and .* needs 0 to 1"),
        (np.array([-0.5, 0, 0, 1]), "class 'ant' the probability -0.5"),
        (np.array([0, 0, np.inf, 1]), "class 'cat' the probability inf"),
    ],
)
def test_wrong_probabilities(name: str, row: NDArray[np.float64] | None, words: str) -> None:
    answers = of_codes([0, 1], np.full((2, 4), 0.25)) | {"s1": Labels(("ant",), row)}
    with pytest.raises(ConfigError, match=words) as told:
        METRICS[name](of_codes([0, 1]), answers)
    assert "\n" not in str(told.value)


# -------------------------------------------------------------------------------------------------------- all of them


@st.composite
def perfect(draw: st.DrawFn, least: int, most: int) -> dict[str, Labels]:
    rows = draw(st.lists(st.lists(st.sampled_from(CLASSES), min_size=least, max_size=most, unique=True), min_size=1))
    return {
        f"s{at}": Labels(tuple(row), np.array([float(name in row) for name in CLASSES])) for at, row in enumerate(rows)
    }


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_perfect_answers_score_best(name: str, data: st.DataObject) -> None:
    truths = data.draw(perfect(1, 1) if name in SINGLE else perfect(0, 4))
    score = METRICS[name](truths, dict(reversed(truths.items())))
    best = 0 if "loss" in name else 1
    assert score.value == pytest.approx(best, abs=1e-12)
    assert list(score.by_sample) == list(truths)
    assert score.by_sample == pytest.approx(dict.fromkeys(truths, best), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_any_metric(name: str) -> None:
    random = np.random.default_rng(8)
    odds = random.random((50, 4))
    truths, answers = of_codes(random.integers(0, 4, 50).tolist()), of_codes(odds.argmax(axis=1).tolist(), odds)
    score = METRICS[name](truths, dict(reversed(answers.items())))
    assert score == METRICS[name](truths, answers)
    assert type(score.value) is float
    assert all(type(value) is float and math.isfinite(value) for value in score.parts.values())
    assert all(type(value) is float and math.isfinite(value) for value in score.by_sample.values())
    assert score.value < METRICS[name](truths, of_flags(np.eye(4, dtype=bool)[codes(truths)], one_hot(truths))).value
    again = pickle.loads(pickle.dumps(METRICS[name]))
    assert again(truths, answers) == score


def codes(labels: Mapping[str, Labels]) -> list[int]:
    return [CLASSES.index(row.names[0]) for row in labels.values()]


def one_hot(labels: Mapping[str, Labels]) -> NDArray[np.float64]:
    return np.eye(4)[codes(labels)]


@pytest.mark.parametrize("name", METRICS)
def test_ids_that_differ(name: str) -> None:
    both = of_codes([0, 1], np.full((2, 4), 0.25))
    with pytest.raises(DataError, match="no answer for 1 of 2 samples; the first is s1"):
        METRICS[name](both, of_codes([0], np.full((1, 4), 0.25)))
    with pytest.raises(DataError, match="1 answers to samples without truth; the first is s1"):
        METRICS[name](of_codes([0]), both)
    with pytest.raises(DataError, match="no samples to score"):
        METRICS[name]({}, {})


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"accuracy", "balanced_accuracy", "label_map_at"}))
@pytest.mark.parametrize(("label", "near"), [("bees", "bee"), ("Dog", "dog"), ("", "ant"), ("x\n,'", "ant")])
def test_a_label_that_is_no_class(name: str, label: str, near: str) -> None:
    answers = of_codes([0, 1], np.full((2, 4), 0.25))
    with pytest.raises(DataError, match="sample s1: its truth has label") as told:
        METRICS[name]({"s0": Labels(("ant",)), "s1": Labels((label,))}, answers)
    assert repr(label) in str(told.value) and "\n" not in str(told.value)
    assert any(f"the nearest is '{name}'" in str(told.value) for name in CLASSES)
    if near != "ant":
        assert f"the nearest is '{near}'" in str(told.value)


@pytest.mark.parametrize("name", ["quadratic_kappa", "f1 micro", "f1 macro", "f1 samples"])
def test_an_answer_that_is_no_class(name: str) -> None:
    with pytest.raises(DataError, match="sample s1: its answer has label 'cow', which is none of the 4 classes"):
        METRICS[name](of_codes([0, 1]), of_codes([0, 1]) | {"s1": Labels(("cow",))})


@pytest.mark.parametrize(
    "make", [quadratic_kappa, log_loss, lambda c: f1(c, "micro"), roc_auc, average_precision, mean_column_log_loss]
)
@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("abc", "classes='abc'"),
        ((), "expected a tuple"),
        (("a", 1), "expected a tuple"),
        ({"a", "b"}, "expected a tuple"),
        (("a", "b", "a"), "'a' is there 2 times"),
    ],
)
def test_wrong_classes(make: Callable[[Any], Metric], classes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(classes)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: quadratic_kappa(("a",)), "at least 2 names"),
        (lambda: log_loss(CLASSES, clip=0), "clip=0"),
        (lambda: mean_column_log_loss(CLASSES, clip=0.5), "clip=0.5"),
        (lambda: mean_column_log_loss(CLASSES, clip=math.nan), "clip=nan"),
        (lambda: mean_column_log_loss(CLASSES, weights=(1, 2)), "expected 4 numbers above 0"),
        (lambda: mean_column_log_loss(CLASSES, weights=(1, 2, 0, 1)), "expected 4 numbers above 0"),
        (lambda: roc_auc(CLASSES, "weighted"), "average='weighted'"),  # type: ignore[arg-type]
        (lambda: f1(CLASSES, "mean"), "average='mean'"),  # type: ignore[arg-type]
        (lambda: f_beta(0, CLASSES, "micro"), "beta=0"),
        (lambda: f_beta(math.nan, CLASSES, "micro"), "beta=nan"),
        (lambda: f1(CLASSES, "macro", zero_division=math.nan), "zero_division=nan"),
        (lambda: f1(CLASSES, "macro", empty=2), "empty=2"),
        (lambda: pf1("cow", CLASSES), "positive='cow' is none of the 4 classes"),
        (lambda: label_map_at(0), "k=0"),
        (lambda: label_map_at(True), "k=True"),
    ],
)
def test_wrong_settings(make: Callable[[], Metric], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()
