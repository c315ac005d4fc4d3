from __future__ import annotations

import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medalist.errors import ConfigError, DataError
from medalist.metrics import frequency_weighted_iou, mean_class_dice, mean_iou, pixel_accuracy
from medalist.records import Mask

CLASSES = ("background", "road", "car")
Masks = dict[str, Mask]


def row(*values: int, void: tuple[int, ...] = ()) -> Mask:
    """One row of pixels; void: places that are not judged."""
    hidden = np.zeros((1, len(values)), np.bool_)
    hidden[0, list(void)] = True
    return Mask(np.where(hidden, 0, np.array([values])).astype(np.uint8), hidden if void else None)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Masks, Masks]:
    truths, answers = {}, {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=4))
        side = arrays(np.uint8, shape, elements=st.integers(0, 2))
        truth, void = draw(side), draw(st.none() | arrays(np.bool_, shape))
        truth = truth if void is None else np.where(void, 0, truth).astype(np.uint8)
        truths[name], answers[name] = Mask(truth, void), Mask(draw(side))
    return truths, answers


def slow_share(images: list[tuple[Mask, Mask]], number: int, kind: str) -> Fraction | None:
    """IoU or Dice of one class over these images, by sets of judged pixels; None where there are none."""
    there: set[tuple[int, Any]] = set()
    said: set[tuple[int, Any]] = set()
    for image, (truth, answer) in enumerate(images):
        for at in np.ndindex(truth.classes.shape):
            if truth.void is None or not truth.void[at]:
                there |= {(image, at)} if truth.classes[at] == number else set()
                said |= {(image, at)} if answer.classes[at] == number else set()
    if not there | said:
        return None
    both = len(there & said)
    return Fraction(2 * both, len(there) + len(said)) if kind == "dice" else Fraction(both, len(there | said))


def slow_mean(values: list[Fraction | None], absent: float | None) -> Fraction | None:
    known = [Fraction(absent) if one is None and absent is not None else one for one in values]
    left = [one for one in known if one is not None]
    return sum(left, Fraction(0)) / len(left) if left else None


def slow(truths: Masks, answers: Masks, kind: str, over: str, absent: float | None, judged: list[int]) -> float:
    images = [(truths[name], answers[name]) for name in truths]
    if over == "dataset":
        mean = slow_mean([slow_share(images, number, kind) for number in judged], absent)
        return float(1 if mean is None else mean)
    table = [[slow_share([image], number, kind) for number in judged] for image in images]
    if over == "pairs":
        mean = slow_mean([one for line in table for one in line], absent)
    else:
        lines = table if over == "images" else [list(column) for column in zip(*table, strict=True)]
        mean = slow_mean([slow_mean(line, absent) for line in lines], None)
    return float(1 if mean is None else mean)


@settings(deadline=None)
@given(
    pairs(),
    st.sampled_from(["dataset", "pairs", "images", "classes"]),
    st.sampled_from([None, 0.0, 1.0]),
    st.booleans(),
)
def test_against_sets_of_pixels(sides: tuple[Masks, Masks], over: Any, absent: float | None, whole: bool) -> None:
    truths, answers = sides
    without = () if whole else ("background",)
    judged = [0, 1, 2] if whole else [1, 2]
    for kind, made in (("iou", mean_iou), ("dice", mean_class_dice)):
        score = made(CLASSES, over=over, absent=absent, without=without)(truths, answers)
        assert score.value == pytest.approx(slow(truths, answers, kind, over, absent, judged), abs=1e-12)
        assert list(score.by_sample) == list(truths)
        images = [(truths[name], answers[name]) for name in truths]
        for number, name in enumerate(CLASSES):
            share = slow_share(images, number, kind)
            assert score.parts.get(f"{kind} {name}") == (None if share is None else pytest.approx(float(share)))


def test_the_four_means_differ_where_classes_are_absent() -> None:
    truths = {"a": row(1, 1, 1, 1), "b": row(1, 2, 2, 2)}
    answers = {"a": row(1, 1, 1, 1), "b": row(1, 2, 0, 0)}
    # a: road 1; b: background 0 (only answered), road 1, car 1/3
    found = {
        over: mean_iou(CLASSES, over=over)(truths, answers).value for over in ("dataset", "pairs", "images", "classes")
    }
    assert found == {
        "dataset": pytest.approx((0 + 1 + 1 / 3) / 3),
        "pairs": pytest.approx((1 + 0 + 1 + 1 / 3) / 4),
        "images": pytest.approx((1 + (0 + 1 + 1 / 3) / 3) / 2),
        "classes": pytest.approx((0 + 1 + 1 / 3) / 3),
    }
    by_sample = mean_iou(CLASSES)(truths, answers).by_sample
    assert by_sample == {"a": 1.0, "b": pytest.approx(4 / 9)}


def test_a_class_that_nobody_has_is_left_out_or_counts() -> None:
    truths, answers = {"a": row(0, 0, 1, 1)}, {"a": row(0, 0, 1, 0)}
    background, road = 2 / 3, 1 / 2
    assert mean_iou(CLASSES)(truths, answers).value == pytest.approx((background + road) / 2)
    assert mean_iou(CLASSES, absent=1.0)(truths, answers).value == pytest.approx((background + road + 1) / 3)
    assert mean_iou(CLASSES, absent=0.0)(truths, answers).value == pytest.approx((background + road) / 3)
    assert "iou car" not in mean_iou(CLASSES)(truths, answers).parts


def test_severstal_and_uw_madison_differ_in_what_is_empty_on_both_sides() -> None:
    truths = {"a": row(0, 0, 0, 0), "b": row(1, 1, 0, 0)}
    answers = {"a": row(0, 0, 0, 0), "b": row(1, 0, 0, 0)}
    severstal = mean_class_dice(CLASSES)(truths, answers)
    assert severstal.value == pytest.approx((1 + 1 + 2 / 3 + 1) / 4)
    assert severstal.by_sample == {"a": 1.0, "b": pytest.approx((2 / 3 + 1) / 2)}
    madison = mean_class_dice(CLASSES, absent=None)(truths, answers)
    assert madison.value == pytest.approx(2 / 3)
    assert madison.by_sample == {"a": 1.0, "b": pytest.approx(2 / 3)}


def test_a_false_pixel_where_the_truth_has_none_costs_the_pair() -> None:
    truths, answers = {"a": row(0, 0, 0, 0)}, {"a": row(1, 0, 0, 0)}
    assert mean_class_dice(CLASSES)(truths, answers).value == 0.5  # road 0, car 1


def test_void_pixels_count_nowhere() -> None:
    truths, answers = {"a": row(1, 1, 0, 0, void=(0, 2))}, {"a": row(2, 1, 1, 0)}
    for metric in (
        mean_iou(CLASSES),
        mean_class_dice(CLASSES),
        frequency_weighted_iou(CLASSES),
        pixel_accuracy(CLASSES),
    ):
        assert metric(truths, answers).value == 1.0
    judged = {"a": row(1, 1, 0, 0)}
    assert all(metric(judged, answers).value < 1 for metric in (mean_iou(CLASSES), pixel_accuracy(CLASSES)))


def test_an_image_of_void_alone_asks_nothing() -> None:
    blank, seen = row(0, 0, void=(0, 1)), row(1, 0)
    for metric in (mean_iou(CLASSES), frequency_weighted_iou(CLASSES), pixel_accuracy(CLASSES)):
        alone = metric({"a": blank}, {"a": row(2, 1)})
        assert alone.value == 1.0 and alone.by_sample == {"a": 1.0}
        beside = metric({"a": blank, "b": seen}, {"a": row(2, 1), "b": row(1, 1)})
        assert beside.value == metric({"b": seen}, {"b": row(1, 1)}).value


def test_frequency_weights_are_those_of_the_truth() -> None:
    truths, answers = {"a": row(0, 0, 0, 1)}, {"a": row(0, 0, 1, 1)}
    score = frequency_weighted_iou(CLASSES)(truths, answers)
    assert score.value == pytest.approx(3 / 4 * 2 / 3 + 1 / 4 * 1 / 2)
    assert score.parts == {"iou background": pytest.approx(2 / 3), "iou road": pytest.approx(1 / 2)}
    assert score.by_sample == {"a": pytest.approx(score.value)}


def test_pixel_accuracy_is_over_all_pixels() -> None:
    truths = {"a": row(0, 1), "b": row(1, 1, 2, 2, 2, 2)}
    answers = {"a": row(0, 1), "b": row(1, 0, 0, 0, 0, 0)}
    score = pixel_accuracy(CLASSES)(truths, answers)
    assert score.value == 3 / 8
    assert score.by_sample == {"a": 1.0, "b": pytest.approx(1 / 6)}
    assert score.parts == {"recall background": 1.0, "recall road": pytest.approx(2 / 3), "recall car": 0.0}


@pytest.mark.parametrize("over", ["dataset", "images"])
def test_against_torchmetrics(over: str) -> None:
    segmentation = pytest.importorskip("torchmetrics.segmentation")
    import torch

    rng = np.random.default_rng(3)
    truth, answer = (rng.integers(0, 3, (5, 9, 11)).astype(np.uint8) for _ in range(2))
    truths = {str(at): Mask(one) for at, one in enumerate(truth)}
    answers = {str(at): Mask(one) for at, one in enumerate(answer)}
    sides = torch.from_numpy(answer.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))
    if over == "images":
        oracle = segmentation.MeanIoU(3, include_background=True, input_format="index")
        ours = mean_iou(CLASSES, over="images")(truths, answers).value
    else:
        oracle = segmentation.DiceScore(3, include_background=True, average="macro", input_format="index")
        ours = mean_class_dice(CLASSES, over="images", absent=None, without=())(truths, answers).value
    assert ours == pytest.approx(float(oracle(*sides)), abs=1e-6)


def test_void_and_all_images_together_against_torchmetrics() -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    import torch

    rng = np.random.default_rng(4)
    truth, answer = (rng.integers(0, 3, (5, 9, 11)).astype(np.uint8) for _ in range(2))
    void = rng.random(truth.shape) < 0.2
    truths = {str(at): Mask(np.where(void[at], 0, one).astype(np.uint8), void[at]) for at, one in enumerate(truth)}
    answers = {str(at): Mask(one) for at, one in enumerate(answer)}
    sides = torch.from_numpy(answer.astype(np.int64)), torch.from_numpy(np.where(void, 255, truth).astype(np.int64))
    for metric, oracle in (
        (mean_iou(CLASSES), classification.MulticlassJaccardIndex(3, average="macro", ignore_index=255)),
        (
            frequency_weighted_iou(CLASSES),
            classification.MulticlassJaccardIndex(3, average="weighted", ignore_index=255),
        ),
        (pixel_accuracy(CLASSES), classification.MulticlassAccuracy(3, average="micro", ignore_index=255)),
    ):
        assert metric(truths, answers).value == pytest.approx(float(oracle(*sides)), abs=1e-6)


def test_settings_that_cannot_be_are_refused() -> None:
    for options, told in (
        ({"without": ("cars",)}, "no class 'cars'"),
        ({"without": CLASSES}, "names every class"),
        ({"absent": 2.0}, "absent = 2.0"),
        ({"over": "image"}, "over = 'image'; allowed"),
    ):
        with pytest.raises(ConfigError, match=told):
            mean_iou(CLASSES, **options)  # type: ignore[arg-type]
    for names in (("a",), ("a", "a"), ()):
        with pytest.raises(ConfigError, match="classes: "):
            pixel_accuracy(names)
    assert mean_class_dice(("a", "b")), "there is no background that could be left out"


def test_metrics_can_be_pickled_and_check_their_samples() -> None:
    truths = {"a": row(0, 1)}
    for metric in (
        mean_iou(CLASSES),
        mean_class_dice(CLASSES),
        frequency_weighted_iou(CLASSES),
        pixel_accuracy(CLASSES),
    ):
        again = pickle.loads(pickle.dumps(metric))
        assert again(truths, truths).value == 1.0
        with pytest.raises(DataError, match="no answer for 1 of 1 samples"):
            metric(truths, {})
        with pytest.raises(DataError, match="sample a: the answer has 1x3 pixels, the truth 1x2"):
            metric(truths, {"a": row(0, 1, 1)})
