"""Thresholds and cuts found on out-of-fold predictions: nested, honest, and never worse than what was configured."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter

from medalist.errors import RunError
from medalist.metrics.labels import accuracy, f1, quadratic_kappa
from medalist.records import Labels
from medalist.tasks.classify.decide import default_thresholds
from medalist.tasks.classify.decide_settings import DecideConfig
from medalist.tasks.classify.tuning import OofPredictions, best_thresholds, tune

CLASSES = ("ant", "bee", "cat")
F1 = f1(CLASSES, "macro", empty=1.0, zero_division=None)
TUNED: DecideConfig = TypeAdapter(DecideConfig).validate_python({"kind": "thresholds"})
SHARED: DecideConfig = TypeAdapter(DecideConfig).validate_python({"kind": "threshold", "threshold": "tuned"})
CUTS: DecideConfig = TypeAdapter(DecideConfig).validate_python({"kind": "regression"})


def shifted(n: int = 60, seed: int = 0, shift: tuple[float, ...] = (-0.3, 0.0, 0.25)) -> OofPredictions:
    """Samples whose probabilities are cut best at 0.5 + the class's shift, in three folds."""
    rng = np.random.default_rng(seed)
    there = rng.random((n, 3)) < 0.4
    values = np.clip(np.where(there, 0.62, 0.38) + rng.uniform(-0.1, 0.1, (n, 3)) + shift, 0, 1)
    ids = tuple(f"s{number}" for number in range(n))
    truths = {
        name: Labels(tuple(label for label, has in zip(CLASSES, row, strict=True) if has))
        for name, row in zip(ids, there, strict=True)
    }
    return OofPredictions(ids, truths, values, np.arange(n) % 3)


def graded(n: int = 80, seed: int = 0) -> OofPredictions:
    """Samples whose grades lie at 0, 1.7 and 2.2, so that rounding puts the second grade into the third."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    values = (np.array([0.0, 1.7, 2.2])[truth] + rng.normal(0, 0.1, n))[:, np.newaxis]
    ids = tuple(f"s{number}" for number in range(n))
    return OofPredictions(ids, {name: Labels((CLASSES[at],)) for name, at in zip(ids, truth, strict=True)}, values,
                    np.arange(n) % 2)  # fmt: skip


def test_thresholds_find_the_shift_of_each_class() -> None:
    found = tune(shifted(), TUNED, CLASSES, F1)
    assert found.honest > found.untuned + 0.1
    assert found.final.tolist() == pytest.approx([0.2, 0.5, 0.75], abs=0.13)


def test_one_threshold_is_shared_by_all_classes() -> None:
    found = tune(shifted(shift=(0.25, 0.25, 0.25)), SHARED, CLASSES, F1)
    assert len(set(found.final.tolist())) == 1 and found.final[0] == pytest.approx(0.75, abs=0.13)
    assert found.honest > found.untuned


def test_cuts_find_what_rounding_misses_and_keep_rising() -> None:
    found = tune(graded(), CUTS, CLASSES, quadratic_kappa(CLASSES))
    assert found.honest > found.untuned + 0.05
    assert (np.diff(found.final) > 0).all() and 1.7 < found.final[1] < 2.2


def test_a_fold_is_answered_with_numbers_that_have_not_seen_it() -> None:
    """Truths of one fold alone are changed: its own numbers stay, those of the other folds may move."""
    answered = shifted()
    lied = {
        name: Labels(CLASSES) if number % 3 == 0 else answered.truths[name] for number, name in enumerate(answered.ids)
    }
    before = tune(answered, TUNED, CLASSES, F1)
    after = tune(OofPredictions(answered.ids, lied, answered.values, answered.folds), TUNED, CLASSES, F1)
    assert after.by_fold[0].tolist() == before.by_fold[0].tolist()
    assert after.by_fold[1].tolist() != before.by_fold[1].tolist()


def test_on_noise_the_honest_score_is_below_the_naive_one() -> None:
    rng = np.random.default_rng(3)
    n = 40
    ids = tuple(f"s{number}" for number in range(n))
    truths = {name: Labels(tuple(np.array(CLASSES)[rng.random(3) < 0.5])) for name in ids}
    found = tune(OofPredictions(ids, truths, rng.random((n, 3)), np.arange(n) % 4), TUNED, CLASSES, F1)
    assert found.honest < found.naive and found.naive >= found.untuned


def test_what_cannot_be_bettered_stays_as_it_was() -> None:
    answered = shifted(shift=(0.0, 0.0, 0.0))
    assert best_thresholds(answered, TUNED, CLASSES, F1).tolist() == default_thresholds(TUNED, CLASSES).tolist()


def test_equal_values_have_nothing_between_them() -> None:
    ids = ("a", "b")
    answered = OofPredictions(ids, {"a": Labels(("ant",)), "b": Labels(("cat",))}, np.ones((2, 1)), np.array([0, 1]))
    assert len(best_thresholds(answered, CUTS, CLASSES, accuracy)) == 2


def test_one_fold_cannot_be_tuned() -> None:
    one = shifted()
    with pytest.raises(RunError, match="train at least two, or give the numbers"):
        tune(one.rows(one.folds == 0), TUNED, CLASSES, F1)


def test_each_fold_and_the_whole_are_counted() -> None:
    calls: list[int] = []
    tune(shifted(n=12), TUNED, CLASSES, F1, lambda: calls.append(1))
    assert len(calls) == 4
