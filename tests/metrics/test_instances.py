from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medalist.errors import ConfigError, DataError
from medalist.metrics.instances import f_beta_over_iou, nuclei_map
from medalist.records import Instances

Pairs = tuple[dict[str, Instances], dict[str, Instances]]


def row(*labels: int) -> Instances:
    """One object of n pixels for each (n); 0 and below are that many pixels of background."""
    pixels: list[int] = []
    number = 0
    for length in labels:
        number += length > 0
        pixels += [number if length > 0 else 0] * abs(length)
    return Instances(np.array([pixels], np.int32))


def without_gaps(labels: NDArray[np.int32]) -> Instances:
    numbers = [0, *(int(label) for label in np.unique(labels) if label > 0)]
    return Instances(np.searchsorted(numbers, labels).astype(np.int32))


@st.composite
def pairs(draw: st.DrawFn) -> Pairs:
    truths, answers = {}, {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6))
        lowest = draw(st.integers(0, 1))  # images without background too
        truth = draw(arrays(np.int32, shape, elements=st.integers(lowest, draw(st.integers(lowest, 3)))))
        if draw(st.booleans()):
            answer = draw(arrays(np.int32, shape, elements=st.integers(0, 3)))
        else:  # near the truth, so that there are hits
            answer = truth.copy()
            for _ in range(draw(st.integers(0, 3))):
                answer.flat[draw(st.integers(0, answer.size - 1))] = draw(st.integers(0, 4))
        truths[name], answers[name] = without_gaps(truth), without_gaps(answer)
    return truths, answers


def slow_image(truth: Instances, answer: Instances, threshold: Fraction, empty: Fraction) -> Fraction:
    """TP / (TP + FP + FN) of one image: greedy over all pairs of objects, sets of pixels, exact fractions."""

    def objects(instances: Instances) -> list[set[int]]:
        flat = instances.labels.ravel().tolist()
        return [{at for at, label in enumerate(flat) if label == n} for n in range(1, instances.count + 1)]

    left = objects(answer)
    there, found, hits = len(objects(truth)), len(left), 0
    for pixels in objects(truth):
        for other in left:
            if Fraction(len(pixels & other), len(pixels | other)) > threshold:
                hits += 1
                left.remove(other)
                break
    total = hits + (found - hits) + (there - hits)
    return Fraction(hits, total) if total else empty


def slow_map(pair: Pairs, empty: Fraction) -> dict[str, list[Fraction]]:
    truths, answers = pair
    return {
        name: [slow_image(truths[name], answers[name], Fraction(step, 100), empty) for step in range(50, 100, 5)]
        for name in truths
    }


@settings(deadline=None)
@given(pairs(), st.sampled_from([0.0, 1.0]))
def test_against_the_slow_twin(pair: Pairs, empty: float) -> None:
    by_name = slow_map(pair, Fraction(empty))
    score = nuclei_map(*pair, empty=empty)
    assert score.by_sample == pytest.approx({name: float(sum(v) / 10) for name, v in by_name.items()})
    assert score.value == pytest.approx(float(sum(sum(v) / 10 for v in by_name.values()) / len(by_name)))
    by_step = [float(sum(column) / len(by_name)) for column in zip(*by_name.values(), strict=True)]
    assert [score.parts[f"precision@{step / 100:.2f}"] for step in range(50, 100, 5)] == pytest.approx(by_step)


@settings(deadline=None)
@given(pairs())
def test_bounds_and_symmetry(pair: Pairs) -> None:
    truths, answers = pair
    score = nuclei_map(truths, answers)
    assert 0 <= score.value <= 1
    assert nuclei_map(truths, truths).value == 1
    turned = nuclei_map(answers, truths)  # the formula does not know which side is the truth
    assert turned.value == pytest.approx(score.value)
    assert turned.parts["fp@0.50"] == score.parts["fn@0.50"]
    assert score.parts["tp@0.50"] + score.parts["fn@0.50"] == sum(truth.count for truth in truths.values())
    assert score.parts["tp@0.50"] + score.parts["fp@0.50"] == sum(answer.count for answer in answers.values())


@pytest.mark.parametrize(
    ("pixels", "passed"),
    [(10, 0), (11, 1), (12, 2), (13, 3), (14, 4), (15, 5), (16, 6), (17, 7), (18, 8), (19, 9), (20, 10)],
)
def test_an_iou_equal_to_a_threshold_does_not_pass_it(pixels: int, passed: int) -> None:
    """An object of 20 pixels of which the answer has 10..20: IoU 0.50, 0.55 ... 1.00, each exactly."""
    score = nuclei_map({"a": row(20, -5)}, {"a": row(pixels, pixels - 25)})
    assert score.value == pytest.approx(passed / 10)
    assert nuclei_map({"a": row(pixels, pixels - 25)}, {"a": row(20, -5)}).value == pytest.approx(passed / 10)


def test_by_hand() -> None:
    # Three objects; one found in full, one at IoU 8/10, one missed; one answer where there is nothing.
    truth = row(10, -5, 10, -5, 10, -20)
    answer = row(10, -5, 8, -2, -5, -10, -5, 5, -10)
    score = nuclei_map({"a": truth}, {"a": answer})
    # 0.50 ... 0.75: TP 2, FP 1, FN 1; 0.80 ... 0.95: TP 1, FP 2, FN 2.
    assert score.value == pytest.approx((6 * 2 / 4 + 4 * 1 / 5) / 10)
    assert score.parts["precision@0.75"] == pytest.approx(2 / 4)
    assert score.parts["precision@0.80"] == pytest.approx(1 / 5)
    assert score.parts["tp@0.50"] == 2
    assert score.parts["fp@0.50"] == score.parts["fn@0.50"] == 1


def test_means_are_over_images_not_over_objects() -> None:
    truths = {"a": row(5, 5, 5, 5, 5), "b": row(5, -20)}
    answers = {"a": row(5, 5, 5, 5, 5), "b": row(-5, 5, -15)}
    assert nuclei_map(truths, answers).value == 0.5


def test_an_object_that_covers_all_pixels_is_not_taken_for_background() -> None:
    """Histogram code that drops row and column 0 loses it where no pixel is background."""
    assert nuclei_map({"a": row(25)}, {"a": row(25)}).value == 1
    assert nuclei_map({"a": row(25)}, {"a": row(-25)}).value == 0
    assert nuclei_map({"a": row(10, 15)}, {"a": row(10, 15)}).value == 1
    assert nuclei_map({"a": row(10, 15)}, {"a": row(10, -15)}).value == 0.5
    assert nuclei_map({"a": row(10, -15)}, {"a": row(10, 15)}).value == 0.5


def test_images_without_objects() -> None:
    nothing, something = row(-25), row(5, -20)
    assert nuclei_map({"a": nothing}, {"a": nothing}).value == 1.0
    assert nuclei_map({"a": nothing}, {"a": nothing}, empty=0.0).value == 0.0
    for empty in (0.0, 1.0):
        assert nuclei_map({"a": nothing}, {"a": something}, empty=empty).value == 0.0
        assert nuclei_map({"a": something}, {"a": nothing}, empty=empty).value == 0.0
    score = nuclei_map({"a": nothing, "b": something}, {"a": nothing, "b": something})
    assert score.by_sample == {"a": 1.0, "b": 1.0}


def test_one_answer_does_not_hit_two_objects() -> None:
    assert nuclei_map({"a": row(10, 10)}, {"a": row(20)}).value == 0  # IoU 0.5 with each
    assert nuclei_map({"a": row(11, 9)}, {"a": row(20)}).parts["tp@0.50"] == 1
    assert nuclei_map({"a": row(20)}, {"a": row(11, 9)}).parts["tp@0.50"] == 1


def test_the_numbers_of_objects_do_not_matter() -> None:
    truth = np.array([[1, 1, 0, 2, 2, 3]], np.int32)
    swapped = np.array([[3, 3, 0, 1, 1, 2]], np.int32)
    assert nuclei_map({"a": Instances(truth)}, {"a": Instances(swapped)}).value == 1


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({}, "no answer for 1 of 1 samples; the first is a"),
        ({"a": row(5), "b": row(5)}, "1 answers to samples without truth; the first is b"),
        ({"a": row(6)}, "sample a: the answer has 1x6 pixels, the truth 1x5"),
        ({"a": Instances(row(5).labels.T)}, "sample a: the answer has 5x1 pixels, the truth 1x5"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(answers: dict[str, Instances], words: str) -> None:
    with pytest.raises(DataError) as raised:
        nuclei_map({"a": row(5)}, answers)
    assert str(raised.value) == words
    with pytest.raises(DataError, match="no samples to score"):
        nuclei_map({}, {})


# ------------------------------------------------------------------------------------------------------------- F-beta


def slow_f(truth: Instances, answer: Instances, beta: int, step: int, empty: Fraction) -> Fraction:
    """F of one image at one threshold by its definition, with every pair of objects compared as sets of pixels."""

    def objects(instances: Instances) -> list[set[int]]:
        flat = instances.labels.ravel().tolist()
        return [{at for at, label in enumerate(flat) if label == n} for n in range(1, instances.count + 1)]

    true, said = objects(truth), objects(answer)
    hits = sum(100 * len(one & other) > step * len(one | other) for one in true for other in said)
    weight = beta**2
    below = (1 + weight) * hits + weight * (len(true) - hits) + (len(said) - hits)
    return Fraction((1 + weight) * hits, below) if below else empty


@settings(deadline=None)
@given(pairs(), st.sampled_from([1, 2]), st.sampled_from([0, 1]))
def test_f_beta_against_its_definition(pair: Pairs, beta: int, empty: int) -> None:
    truths, answers = pair
    score = f_beta_over_iou(beta, float(empty))(truths, answers)
    slow = {
        name: [slow_f(truth, answers[name], beta, step, Fraction(empty)) for step in range(50, 100, 5)]
        for name, truth in truths.items()
    }
    for name, values in slow.items():
        assert score.by_sample[name] == pytest.approx(float(sum(values) / 10))
    assert score.value == pytest.approx(sum(score.by_sample.values()) / len(truths))
    assert score.parts["f@0.50"] == pytest.approx(float(sum(values[0] for values in slow.values()) / len(slow)))


def test_the_edges_of_airbus() -> None:
    f2 = f_beta_over_iou(2.0)
    nothing, ship, two = row(-10), row(4, -6), row(4, -2, 4)
    assert f2({"a": nothing}, {"a": nothing}).value == 1.0, "nothing there, nothing said"
    assert f2({"a": nothing}, {"a": ship}).value == 0.0, "any object in an empty image"
    assert f2({"a": ship}, {"a": nothing}).value == 0.0
    assert f2({"a": ship}, {"a": ship}).value == 1.0
    assert f2({"a": two}, {"a": ship}).value == pytest.approx(5 / (5 + 4)), "a missed object weighs 4"
    assert f2({"a": ship}, {"a": two}).value == pytest.approx(5 / (5 + 1)), "a false object weighs 1"
    assert f_beta_over_iou(2.0, empty=0.0)({"a": nothing}, {"a": nothing}).value == 0.0


def test_an_iou_of_exactly_a_threshold_is_no_hit() -> None:
    """6 of 10 pixels: IoU 0.6, which passes 0.50 and 0.55 and not 0.60."""
    score = f_beta_over_iou(2.0)({"a": row(10)}, {"a": row(6, -4)})
    assert score.value == pytest.approx(0.2)
    assert score.parts["f@0.55"] == 1.0 and score.parts["f@0.60"] == 0.0
    assert (score.parts["tp@0.50"], score.parts["fp@0.50"], score.parts["fn@0.50"]) == (1, 0, 0)


def test_f_beta_refuses_what_cannot_be() -> None:
    for beta, empty in ((0.0, 1.0), (2.0, 1.5)):
        with pytest.raises(ConfigError, match="f_beta_over_iou"):
            f_beta_over_iou(beta, empty)
    with pytest.raises(DataError, match="no answer"):
        f_beta_over_iou(2.0)({"a": row(1)}, {})
