from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medalist.errors import DataError
from medalist.metrics.masks import IOU_STEPS, global_dice, mean_dice, mean_precision_over_iou, require_pairs
from medalist.records import Mask


def mask(foreground: int, pixels: int = 100) -> Mask:
    """10 columns; the first `foreground` pixels are class 1."""
    return Mask((np.arange(pixels) < foreground).astype(np.uint8).reshape(-1, 10))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[str, Mask], dict[str, Mask]]:
    truths, answers = {}, {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6))
        side = arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 2, 255]))
        truths[name], answers[name] = Mask(draw(side)), Mask(draw(side))
    return truths, answers


def counts(truth: Mask, answer: Mask) -> tuple[int, int, int]:
    """Foreground pixels of truth, answer and both, one by one."""
    there = found = both = 0
    for a, b in zip(truth.classes.ravel().tolist(), answer.classes.ravel().tolist(), strict=True):
        there += a > 0
        found += b > 0
        both += a > 0 and b > 0
    return there, found, both


def slow_dice(there: int, found: int, both: int) -> Fraction:
    return Fraction(2 * both, there + found) if there + found else Fraction(1)


def slow_precision(there: int, found: int, both: int) -> Fraction:
    """As in the contest's text, case by case."""
    if there == 0:
        return Fraction(int(found == 0))
    iou = Fraction(both, there + found - both)
    return Fraction(sum(iou > Fraction(step, 100) for step in range(50, 100, 5)), 10)


@settings(deadline=None)
@given(pairs())
def test_against_the_slow_twins(pair: tuple[dict[str, Mask], dict[str, Mask]]) -> None:
    truths, answers = pair
    by_name = {name: counts(truths[name], answers[name]) for name in truths}
    dices = {name: slow_dice(*by_name[name]) for name in truths}
    score = mean_dice(truths, answers)
    assert score.by_sample == pytest.approx({name: float(dice) for name, dice in dices.items()})
    assert score.value == pytest.approx(float(sum(dices.values()) / len(dices)))
    whole = global_dice(truths, answers)
    assert whole.value == pytest.approx(float(slow_dice(*(sum(part) for part in zip(*by_name.values(), strict=True)))))
    assert whole.by_sample == score.by_sample
    precisions = {name: slow_precision(*by_name[name]) for name in truths}
    score = mean_precision_over_iou(truths, answers)
    assert score.by_sample == pytest.approx({name: float(value) for name, value in precisions.items()})
    assert score.value == pytest.approx(float(sum(precisions.values()) / len(precisions)))
    assert np.mean(list(score.parts.values())) == pytest.approx(score.value)


def test_dice_by_hand() -> None:
    score = mean_dice({"a": mask(40), "b": mask(0), "c": mask(0)}, {"a": mask(20), "b": mask(0), "c": mask(1)})
    assert score.by_sample == pytest.approx({"a": 2 * 20 / 60, "b": 1.0, "c": 0.0})
    assert score.value == pytest.approx((2 / 3 + 1) / 3)


def test_one_false_pixel_on_one_of_two_images() -> None:
    """0.5 by image and 0.990 over all."""
    truths, answers = {"a": mask(50), "b": mask(0)}, {"a": mask(50), "b": mask(1)}
    assert mean_dice(truths, answers).value == 0.5
    assert global_dice(truths, answers).value == pytest.approx(100 / 101)
    assert global_dice({"a": mask(0)}, {"a": mask(0)}).value == 1.0


@pytest.mark.parametrize(
    ("truth", "answer", "value"),
    [
        (0, 0, 1.0),
        (0, 1, 0.0),
        (0, 100, 0.0),
        (1, 0, 0.0),
        (79, 0, 0.0),  # histograms of two bins say 0.792
        (100, 0, 0.0),  # and 1.0 here
        (100, 100, 1.0),
        (100, 50, 0.0),  # an IoU of exactly 0.5 is not above 0.5
        (100, 51, 0.1),
        (100, 55, 0.1),
        (100, 60, 0.2),  # lists of floats say 0.2 or 0.3
        (100, 70, 0.4),
        (100, 95, 0.9),
        (100, 96, 1.0),
        (50, 100, 0.0),
        (60, 100, 0.2),
    ],
)
def test_precision_by_hand(truth: int, answer: int, value: float) -> None:
    score = mean_precision_over_iou({"a": mask(truth)}, {"a": mask(answer)})
    assert score.value == pytest.approx(value)
    assert len(score.parts) == 10
    assert score.parts["precision@0.50"] == float(value > 0)
    assert score.parts["precision@0.95"] == float(value == 1)


def test_classes_above_0_are_foreground() -> None:
    two = Mask(np.full((2, 2), 2, np.uint8))
    one = Mask(np.ones((2, 2), np.uint8))
    assert mean_dice({"a": two}, {"a": one}).value == 1.0


def test_the_steps_are_whole_numbers() -> None:
    assert [step / 20 for step in IOU_STEPS] == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


@pytest.mark.parametrize("metric", [mean_dice, global_dice, mean_precision_over_iou])
@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"a": mask(1)}, "no answer for 1 of 2 samples; the first is b"),
        ({"a": mask(1), "b": mask(1), "c": mask(1)}, "1 answers to samples without truth; the first is c"),
        ({"a": mask(1), "b": mask(1, 50)}, "sample b: the answer has 5x10 pixels, the truth 10x10"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(metric: object, answers: dict[str, Mask], words: str) -> None:
    assert callable(metric)
    with pytest.raises(DataError) as raised:
        metric({"a": mask(1), "b": mask(1)}, answers)
    assert str(raised.value) == words
    with pytest.raises(DataError, match="no samples to score"):
        metric({}, {})


def test_the_order_of_samples_does_not_matter() -> None:
    truths: dict[str, Mask] = {"a": mask(40), "b": mask(90)}
    answers = {"b": mask(90), "a": mask(10)}
    require_pairs({"a": (1, 2), "b": (3, 4)}, {"b": (3, 4), "a": (1, 2)})
    assert list(mean_dice(truths, answers).by_sample) == ["a", "b"]
    assert mean_dice(truths, answers).by_sample["b"] == 1.0


def test_many_pixels_do_not_overflow() -> None:
    classes: NDArray[np.uint8] = np.ones((5000, 5000), np.uint8)
    assert mean_precision_over_iou({"a": Mask(classes)}, {"a": Mask(classes)}).value == 1.0


def test_void_pixels_are_on_neither_side() -> None:
    """A truth of 10 of 100 pixels; the answer has 5 of them, and 20 false ones, which are void in one of the images."""
    classes = np.zeros((10, 10), np.uint8)
    classes[0] = 1
    said = np.zeros((10, 10), np.uint8)
    said[0, :5], said[5:7] = 1, 1
    void = np.zeros((10, 10), np.bool_)
    void[5:7] = True
    truths, answers = (
        {"judged": Mask(classes), "void": Mask(classes, void)},
        dict.fromkeys(("judged", "void"), Mask(said)),
    )
    assert mean_dice(truths, answers).by_sample == {"judged": 10 / 35, "void": 10 / 15}
    assert mean_precision_over_iou(truths, answers).by_sample == {"judged": 0.0, "void": 0.0}  # 5/10 is not above 0.5
    assert global_dice(truths, answers).value == pytest.approx(20 / (20 + 25 + 5))
    blank = {"a": Mask(np.zeros((10, 10), np.uint8), np.ones((10, 10), np.bool_))}
    assert mean_dice(blank, {"a": Mask(said)}).value == 1.0, "nothing is asked there"
