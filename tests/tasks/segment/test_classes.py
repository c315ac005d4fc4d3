"""Pixels by class, worked by hand and counted in loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medalist.errors import DataError
from medalist.records import Answer, Mask
from medalist.tasks.segment.classes import ClassImage, ClassRow, Confusion, class_pixels

NAMES = ("road", "car", "pole")


def mask(rows: list[list[int]], void: int | None = None) -> Mask:
    """Return a mask of the numbers; those that are `void` are void."""
    numbers = np.array(rows, np.uint8)
    if void is None:
        return Mask(numbers)
    return Mask(np.where(numbers == void, 0, numbers).astype(np.uint8), numbers == void)


TRUTHS: dict[str, Answer] = {
    "a": mask([[0, 0, 0, 1], [0, 0, 9, 1]], void=9),
    "b": mask([[0, 0, 0, 0], [0, 0, 0, 0]]),
    "c": mask([[9, 9, 9, 9], [9, 9, 9, 9]], void=9),
}
ANSWERS: dict[str, Answer] = {
    "a": mask([[0, 0, 1, 1], [0, 0, 1, 0]]),
    "b": mask([[0, 0, 0, 0], [1, 0, 0, 0]]),
    "c": mask([[2, 2, 2, 2], [1, 1, 1, 1]]),
    "another": mask([[2]]),
}


def test_pixels_by_hand() -> None:
    found = class_pixels(TRUTHS, ANSWERS, NAMES)
    assert found.matrix.tolist() == [[11, 2, 0], [1, 1, 0], [0, 0, 0]]
    assert found.names == ("a", "b", "c") and found.void == 9 and found.judged == 15
    road, car, pole = found.rows()
    assert road == ClassRow(0, truth=13, answer=12, both=11, truth_images=2, answer_images=2)
    assert car == ClassRow(1, truth=2, answer=3, both=1, truth_images=1, answer_images=2)
    assert pole == ClassRow(2, 0, 0, 0, 0, 0)  # answers at void pixels do not count
    assert road.iou == 11 / 14 and car.iou == 0.25 and pole.iou is None


def test_confusions_have_their_share_of_the_true_class() -> None:
    found = class_pixels(TRUTHS, ANSWERS, NAMES)
    assert found.confusions() == [Confusion(0, 1, 2, 2 / 13), Confusion(1, 0, 1, 0.5)]
    assert found.confusions(1) == [Confusion(0, 1, 2, 2 / 13)]
    assert class_pixels(TRUTHS, TRUTHS, NAMES).confusions() == []


def test_the_worst_images_of_a_class() -> None:
    found = class_pixels(TRUTHS, ANSWERS, NAMES)
    assert found.worst(1, 5) == [ClassImage("b", 0.0, 0, 1), ClassImage("a", 1 / 3, 1, 1)]
    assert found.worst(0, 1) == [ClassImage("a", 4 / 6, 1, 1)] and found.worst(2, 5) == []


def test_of_equal_images_those_with_more_errors_come_first() -> None:
    few, many = mask([[1, 0, 0]]), mask([[1, 1, 1]])
    nothing, right = mask([[0, 0, 0]]), mask([[1, 0, 0]])
    truths: dict[str, Answer] = {"z": many, "f": few, "e": few, "right": right}
    answers: dict[str, Answer] = {"z": nothing, "f": nothing, "e": nothing, "right": right}
    assert [image.id for image in class_pixels(truths, answers, NAMES).worst(1, 9)] == ["z", "e", "f"]


@given(st.data())
def test_rows_equal_the_loop(data: st.DataObject) -> None:
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=2, max_side=6))
    masks = npst.arrays(np.uint8, shape, elements=st.integers(0, 2))
    voids = npst.arrays(np.bool_, shape)
    truths: dict[str, Answer] = {}
    answers: dict[str, Answer] = {}
    for name in "ab":
        truth, void = data.draw(masks), data.draw(voids)
        truths[name] = Mask(np.where(void, 0, truth).astype(np.uint8), void)
        answers[name] = Mask(data.draw(masks))
    for row in class_pixels(truths, answers, NAMES).rows():
        kept = [(truths[name].classes[~truths[name].void], answers[name].classes[~truths[name].void]) for name in "ab"]  # type: ignore[union-attr,operator]
        pairs = [(t, a) for truth, answer in kept for t, a in zip(truth.tolist(), answer.tolist(), strict=True)]
        assert row.truth == sum(t == row.number for t, _ in pairs)
        assert row.answer == sum(a == row.number for _, a in pairs)
        assert row.both == sum(t == a == row.number for t, a in pairs)
        assert row.truth_images == sum((truth == row.number).any() for truth, _ in kept)
        assert row.answer_images == sum((answer == row.number).any() for _, answer in kept)


def test_a_number_without_a_class_is_refused() -> None:
    with pytest.raises(DataError, match="sample a"):
        class_pixels({"a": mask([[3]])}, {"a": mask([[0]])}, NAMES)
