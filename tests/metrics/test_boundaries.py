from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.metrics import boundary_f1
from medalist.metrics.boundaries import outline
from medalist.records import Mask

CLASSES = ("background", "road", "car")


def square(top: int, left: int, side: int, of: int = 12) -> Mask:
    classes = np.zeros((of, of), np.uint8)
    classes[top : top + side, left : left + side] = 1
    return Mask(classes)


def slow_outline(mask: NDArray[np.bool_], void: NDArray[np.bool_]) -> list[tuple[int, int]]:
    height, width = mask.shape
    found = []
    for y, x in np.ndindex(height, width):
        near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = [(i, j) for i, j in near if 0 <= i < height and 0 <= j < width]
        if mask[y, x] and not void[y, x] and any(not mask[place] and not void[place] for place in inside):
            found.append((y, x))
    return found


def slow_f1(truth: Mask, answer: Mask, number: int, tolerance: float) -> float | None:
    void = np.zeros(truth.classes.shape, np.bool_) if truth.void is None else truth.void
    there, said = (slow_outline(side.classes == number, void) for side in (truth, answer))
    if not there and not said:
        return None
    if not there or not said:
        return 0.0

    def share(ones: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        near = [any((a - c) ** 2 + (b - d) ** 2 <= tolerance**2 for c, d in others) for a, b in ones]
        return sum(near) / len(ones)

    precision, recall = share(said, there), share(there, said)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(deadline=None)
@given(st.data())
def test_against_pairs_of_pixels(data: st.DataObject) -> None:
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6))
    side = arrays(np.uint8, shape, elements=st.integers(0, 2))
    truth, answer = data.draw(side), Mask(data.draw(side))
    void = data.draw(st.none() | arrays(np.bool_, shape))
    whole = Mask(truth if void is None else np.where(void, 0, truth).astype(np.uint8), void)
    tolerance = data.draw(st.sampled_from([0, 1, 1.5, 2.3]))
    hidden = np.zeros(shape, np.bool_) if void is None else void
    for number in range(3):
        edge = outline(whole.classes == number, void)
        assert list(zip(*map(list, np.nonzero(edge)), strict=True)) == slow_outline(whole.classes == number, hidden)
    ones = [one for number in range(3) if (one := slow_f1(whole, answer, number, tolerance)) is not None]
    score = boundary_f1(CLASSES, tolerance)({"a": whole}, {"a": answer})
    assert score.value == pytest.approx(sum(ones) / len(ones) if ones else 1.0)


def test_a_shift_within_the_tolerance_costs_nothing() -> None:
    truths, answers = {"a": square(3, 3, 5)}, {"a": square(3, 4, 5)}
    assert boundary_f1(CLASSES, 1)(truths, answers).value == 1.0
    exact = boundary_f1(CLASSES, 0)(truths, answers)
    assert 0.3 < exact.value < 0.8
    assert set(exact.parts) == {"boundary_f1 background", "boundary_f1 road"}


def test_diagonal_steps_need_their_length() -> None:
    """Outlines of single pixels, one step aside and down: the distance is the root of 2."""
    truths, answers = {"a": square(5, 5, 1)}, {"a": square(6, 6, 1)}
    road = {"without": ("background",)}
    assert boundary_f1(CLASSES, 1, **road)(truths, answers).value == 0.0
    assert boundary_f1(CLASSES, 1.41, **road)(truths, answers).value == 0.0
    assert boundary_f1(CLASSES, 1.42, **road)(truths, answers).value == 1.0


def test_the_edges_of_images_and_of_void_are_no_outline() -> None:
    full = Mask(np.ones((4, 4), np.uint8))
    score = boundary_f1(CLASSES, 2)({"a": full}, {"a": full})
    assert score.value == 1.0 and not score.parts
    half = np.zeros((4, 4), np.bool_)
    half[:, 2:] = True
    masked = Mask(np.where(half, 0, 1).astype(np.uint8), half)
    assert boundary_f1(CLASSES, 0)({"a": masked}, {"a": full}).value == 1.0


def test_what_only_one_side_has_is_0_and_what_none_has_is_absent() -> None:
    empty = Mask(np.zeros((12, 12), np.uint8))
    truths, answers = {"a": square(3, 3, 5), "b": empty}, {"a": empty, "b": empty}
    score = boundary_f1(CLASSES, 2)(truths, answers)
    assert score.value == 0.0 and score.by_sample == {"a": 0.0, "b": 1.0}
    counted = boundary_f1(CLASSES, 2, absent=1.0, over="pairs")(truths, answers)
    assert counted.value == pytest.approx(4 / 6)


def test_settings() -> None:
    for tolerance in (-1, float("nan"), 1e9):
        with pytest.raises(ConfigError, match="tolerance"):
            boundary_f1(CLASSES, tolerance)
    with pytest.raises(ConfigError, match="over = 'dataset'"):
        boundary_f1(CLASSES, 1, over="dataset")  # type: ignore[arg-type]
    metric = pickle.loads(pickle.dumps(boundary_f1(CLASSES, 1)))
    assert metric({"a": square(1, 1, 3)}, {"a": square(1, 1, 3)}).value == 1.0
