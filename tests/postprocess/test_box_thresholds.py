"""Thresholds come from the other folds, and cutting afterwards is the same as deciding with them."""

from collections.abc import Mapping

import numpy as np
import pytest
from box_cases import crowd, predictions, rows_of
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import RunError
from medalist.postprocess.box_settings import BoxDecideConfig, NmsConfig, SoftNmsConfig, WbfConfig
from medalist.postprocess.box_thresholds import OofBoxes, best_cuts, cut_boxes, tune_cuts
from medalist.postprocess.boxes import decide
from medalist.records import Boxes, BoxPrediction, Score

START = np.full(2, 0.05)


def of(rows: list[tuple[int, float]]) -> Boxes:
    """Boxes by (label, score) at places that do not matter."""
    corners = np.tile(np.array([0, 0, 1, 1], np.float32), (len(rows), 1))
    labels, scores = zip(*rows, strict=True) if rows else ((), ())
    return Boxes(corners, np.array(labels, np.int32), np.array(scores, np.float32))


def count_metric(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes]) -> Score:
    """Minus the mean distance between the numbers of true and answered boxes of each class."""
    apart = [
        np.abs(np.bincount(truths[name].labels, minlength=2) - np.bincount(answers[name].labels, minlength=2)).sum()
        for name in truths
    ]
    return Score(-float(np.mean(apart)), {}, {})


def oof(limits: dict[int, tuple[float, float]]) -> OofBoxes:
    """Samples whose truth has the boxes above the limits of their fold."""
    random = np.random.default_rng(0)
    truths, answers, folds = {}, {}, []
    for fold, both in limits.items():
        for number in range(4):
            rows = sorted(((int(at % 2), float(s)) for at, s in enumerate(random.random(30))), key=lambda row: -row[1])
            answers[f"{fold}-{number}"] = of(rows)
            truths[f"{fold}-{number}"] = of([row for row in rows if row[1] > both[row[0]]])
            folds.append(fold)
    return OofBoxes(tuple(truths), truths, answers, np.array(folds))


def test_each_fold_has_the_thresholds_of_the_other_folds() -> None:
    calls: list[int] = []
    found = tune_cuts(oof({0: (0.2, 0.7), 1: (0.5, 0.3)}), START, count_metric, advance=lambda: calls.append(1))
    np.testing.assert_allclose(found.by_fold[0], (0.5, 0.3), atol=0.06)
    np.testing.assert_allclose(found.by_fold[1], (0.2, 0.7), atol=0.06)
    assert found.honest <= found.untuned < found.naive  # folds that have nothing in common
    assert len(calls) == 3


def test_thresholds_of_folds_that_are_alike_are_better_than_none() -> None:
    found = tune_cuts(oof({0: (0.2, 0.7), 1: (0.2, 0.7), 2: (0.2, 0.7)}), START, count_metric)
    assert found.naive >= found.honest > found.untuned
    one = tune_cuts(oof({0: (0.4, 0.4), 1: (0.4, 0.4)}), START, count_metric, each_class=False)
    assert one.final[0] == one.final[1] == pytest.approx(0.4, abs=0.06)


def test_a_class_without_boxes_keeps_its_threshold() -> None:
    only = OofBoxes(("a",), {"a": of([(0, 0.9)])}, {"a": of([(0, 0.9), (0, 0.3)])}, np.zeros(1, np.int64))
    assert best_cuts(only, np.array([0.95, 0.05]), count_metric).tolist()[0] < 0.9
    nothing = OofBoxes((), {}, {}, np.empty(0, np.int64))
    assert best_cuts(nothing, START, lambda truths, answers: Score(0.0, {}, {})) is START


def test_one_fold_is_refused() -> None:
    with pytest.raises(RunError, match="train at least two"):
        tune_cuts(oof({0: (0.2, 0.7)}), START, count_metric)


@given(
    config=st.sampled_from([NmsConfig(), SoftNmsConfig(), SoftNmsConfig(decay="linear"), WbfConfig()]),
    seen=predictions(),
    cut=st.sampled_from([0.15, 0.33, 0.6]),
    most=st.sampled_from([2, None]),
)
def test_cutting_afterwards_is_deciding_with_thresholds(
    config: BoxDecideConfig, seen: BoxPrediction, cut: float, most: int | None
) -> None:
    whole = decide(seen, config.model_copy(update={"score": 0.0, "max_boxes": None}))
    now = decide(seen, config.model_copy(update={"score": cut, "max_boxes": most}))
    assert rows_of(cut_boxes(whole, np.full(2, cut), most)) == rows_of(now)


def test_cutting_a_crowd_afterwards_is_deciding_with_thresholds() -> None:
    seen, names = crowd(80, 3), ("a", "b", "c")
    whole = decide(seen, NmsConfig(score=0.0, max_boxes=None))
    now = decide(seen, NmsConfig(score={"b": 0.7, "c": 0.2}, max_boxes=30), names)
    assert rows_of(cut_boxes(whole, np.array([0.05, 0.7, 0.2]), 30)) == rows_of(now)
