"""Truths and answers as arrays of numbers, one for each pixel: objects, classes, connected pieces, judged pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as same_value_pieces

from medalist.records import Answer, Boxes, Instances, Labels, Mask, Ranking

Numbers = NDArray[np.int32]
Bools = NDArray[np.bool_]


def object_labels(answer: Answer, background: bool = True) -> Numbers:
    """Return int32[H, W]: the numbers of the objects, or the classes of a mask; 0 is background, and void pixels.

    background: whether class 0 of a mask is background. Where it is a class like the others, all numbers are one
    higher, so that 0 is still nothing.
    """
    match answer:
        case Instances(labels):
            return labels
        case Mask(classes, void):
            numbers = classes.astype(np.int32) + (0 if background else 1)
            if void is not None:
                numbers[void] = 0
            return numbers
        case Ranking() | Labels() | Boxes():
            raise AssertionError("what is said of a whole image or by boxes cannot be outlined")
        case _:
            assert_never(answer)


def judged(truth: Answer, answer: Answer) -> Answer:
    """Return the answer with the void pixels of the truth, at which it says nothing that counts."""
    if not isinstance(truth, Mask) or not isinstance(answer, Mask) or truth.void is None:
        return answer
    return replace(answer, classes=np.where(truth.void, 0, answer.classes).astype(np.uint8), void=truth.void)


def foreground(answer: Answer) -> Answer:
    """Return a mask of one class with 1 for every number above 0, as metrics read it; other answers as they are."""
    if not isinstance(answer, Mask) or answer.classes.max(initial=0) < 2:
        return answer
    return replace(answer, classes=(answer.classes > 0).astype(np.uint8))


def void_of(answer: Answer) -> Bools | None:
    """Return bool[H, W], the void pixels of a mask; None where there are none."""
    return answer.void if isinstance(answer, Mask) and answer.void is not None and answer.void.any() else None


def shows_nothing(truth: Answer, answer: Answer, background: bool = True) -> bool:
    """Return whether neither has a judged pixel of an object, or a box: a picture of them would show nothing."""
    if isinstance(truth, Boxes) and isinstance(answer, Boxes):
        return not truth.count and not answer.count
    sides = (truth, judged(truth, answer))
    return not any(object_labels(one, background).any() for one in sides)


def pieces(numbers: NDArray[Any]) -> Numbers:
    """Return the connected pieces (4 neighbours) of equal numbers as int32[H, W], 1..n in reading order; 0 stays 0.

    numbers: [H, W], whole numbers or bool.
    """
    found: Numbers = same_value_pieces(numbers, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    return found.astype(np.int32)


def matched(truth: Numbers, answer: Numbers) -> tuple[Bools, Bools]:
    """Return which objects are matched by an object of the other side at IoU > 0.5.

    Returns:
        bool[max(truth) + 1] and bool[max(answer) + 1], indexed by label; background is False. Because objects do not
        overlap, at most one object can match another at IoU > 0.5.
    """
    rows, columns = int(truth.max(initial=0)) + 1, int(answer.max(initial=0)) + 1
    pair, common = np.unique(truth.astype(np.int64) * columns + answer, return_counts=True)
    of_truth, of_answer = np.divmod(pair, columns)
    union = (
        np.bincount(truth.ravel(), minlength=rows)[of_truth]
        + np.bincount(answer.ravel(), minlength=columns)[of_answer]
        - common
    )
    good = (2 * common > union) & (of_truth > 0) & (of_answer > 0)
    found, right = np.zeros(rows, dtype=np.bool_), np.zeros(columns, dtype=np.bool_)
    found[of_truth[good]] = True
    right[of_answer[good]] = True
    return found, right
