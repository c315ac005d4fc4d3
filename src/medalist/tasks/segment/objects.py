"""Which objects an answer has found, which it has missed and which are false, and how this depends on their size.

The objects of instances are matched at IoU > 0.5. The objects of a mask are its connected pieces (4 neighbours), class
by class. A true piece is found where the answer has more than half of its pixels; an answered piece is false where it
has no true pixel. Void pixels belong to no piece, in the truth and in the answer. H and W are the height and the width
of the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medalist.records import Answer, Instances, Mask
from medalist.report.labels import Numbers, judged, matched, object_labels, pieces
from medalist.report.pictures import Window


@dataclass(frozen=True, eq=False)
class Side:
    """The objects of a truth or of an answer.

    labels: int32[H, W], numbers 1..n; 0 is background. areas: int64[n + 1], in pixels; areas[0] is 0.
    good: bool[n + 1], whether an object of the truth is found, or one of the answer is not false; good[0] is True.
    """

    labels: Numbers
    areas: NDArray[np.int64]
    good: NDArray[np.bool_]

    @property
    def bad_areas(self) -> NDArray[np.int64]:
        """The areas of the objects that are missed or false."""
        return self.areas[~self.good]


@dataclass(frozen=True, eq=False)
class Compared:
    """The objects of one sample's truth and answer. wrong: the number of pixels in which they differ."""

    truth: Side
    answer: Side
    wrong: int

    def in_words(self) -> str:
        """Return the numbers of objects, missed objects and false objects as text."""
        there, said = len(self.truth.areas) - 1, len(self.answer.areas) - 1
        missed, false = len(self.truth.bad_areas), len(self.answer.bad_areas)
        truth = f"{_objects(there)} in the truth ({self.truth.areas.sum():,} px)" if there else "no object in the truth"
        answer = f"{_objects(said)} in the answer ({self.answer.areas.sum():,} px)" if said else "the answer is empty"
        errors = [f"{missed:,} missed"] * bool(missed) + [f"{false:,} false"] * bool(false)
        return "; ".join([truth, answer, *errors])


def _objects(count: int) -> str:
    return f"{count:,} object" if count == 1 else f"{count:,} objects"


def compared(truth: Answer, answer: Answer, background: bool = True) -> Compared:
    """Return the objects of a truth and of an answer of the same type and size.

    background: whether class 0 of masks is background; otherwise its pieces are objects too.
    """
    wrong = wrong_pixels(truth, answer)
    match truth, answer:
        case Instances(), Instances():
            found, right = matched(truth.labels, answer.labels)
            return Compared(_side(truth.labels, found), _side(answer.labels, right), wrong)
        case Mask(), Mask():
            classes, said = object_labels(truth, background), object_labels(judged(truth, answer), background)
            agree = (classes == said) & (classes > 0)
            of_truth, of_answer = pieces(classes), pieces(said)
            found = 2 * _within(of_truth, agree) > np.bincount(of_truth.ravel())
            return Compared(_side(of_truth, found), _side(of_answer, _within(of_answer, agree) > 0), wrong)
        case _:
            raise AssertionError(f"truth is {type(truth).__name__} but answer is {type(answer).__name__}")


def wrong_pixels(truth: Answer, answer: Answer) -> int:
    """Return the number of judged pixels that have another class, or an object on one side only."""
    there, said = object_labels(truth), object_labels(judged(truth, answer))
    differs = (there > 0) != (said > 0) if isinstance(truth, Instances) else there != said
    return int(np.count_nonzero(differs))


def _within(labels: Numbers, where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of pixels of each object that lie in `where`, int64[n + 1]."""
    return np.bincount(labels.ravel(), where.ravel(), minlength=int(labels.max(initial=0)) + 1).astype(np.int64)


def _side(labels: Numbers, good: NDArray[np.bool_]) -> Side:
    areas = np.bincount(labels.ravel()).astype(np.int64)
    areas[0] = 0
    return Side(labels, areas, good | (areas == 0))


# ----------------------------------------------------------------------------------------------------- worst places


@dataclass(frozen=True)
class Flaw:
    """An object that the answer has missed, or a false one. box: its rows and columns. number: in `Side.labels`."""

    kind: Literal["missed", "false"]
    number: int
    pixels: int
    box: Window


def flaws(found: Compared, most: int) -> list[Flaw]:
    """Return the missed and the false objects of one sample, the largest first, at most `most` of each kind."""
    listed: list[Flaw] = []
    sides: tuple[tuple[Literal["missed", "false"], Side], ...] = (("missed", found.truth), ("false", found.answer))
    for kind, side in sides:
        bad = np.flatnonzero(~side.good)
        largest = bad[np.argsort(-side.areas[bad], kind="stable")][:most]
        boxes = ndimage.find_objects(side.labels) if len(largest) else []
        listed += [Flaw(kind, int(at), int(side.areas[at]), boxes[at - 1]) for at in largest]
    return sorted(listed, key=lambda flaw: -flaw.pixels)


# ------------------------------------------------------------------------------------------------------------ sizes


@dataclass(frozen=True)
class SizeRow:
    """Objects of one range of sizes, in pixels: from `least` to `most`.

    objects, found: true objects, and those that are found. answered, false: answered objects, and those that are false.
    """

    least: int
    most: int
    objects: int
    found: int
    answered: int
    false: int

    @property
    def share(self) -> float | None:
        """The share of true objects that are found; None where there are none."""
        return self.found / self.objects if self.objects else None


@dataclass(frozen=True)
class ObjectTotals:
    """Objects and images of a run.

    empty: images without a true object; `alarmed` of them have an answered one. filled: images with a true object;
    `silent` of them have an empty answer. median_missed, median_found: of areas in pixels; None where there are none.
    """

    sizes: tuple[SizeRow, ...]
    empty: int
    alarmed: int
    filled: int
    silent: int
    median_found: float | None
    median_missed: float | None

    @property
    def objects(self) -> int:
        """The number of true objects."""
        return sum(row.objects for row in self.sizes)

    @property
    def found(self) -> int:
        """The number of true objects that are found."""
        return sum(row.found for row in self.sizes)

    @property
    def answered(self) -> int:
        """The number of answered objects."""
        return sum(row.answered for row in self.sizes)

    @property
    def false(self) -> int:
        """The number of answered objects that are false."""
        return sum(row.false for row in self.sizes)


def totals(samples: Iterable[Compared]) -> ObjectTotals:
    """Count the objects of all samples by their size. Ranges of sizes begin at powers of 4 (twice the diameter)."""
    true, answered = [], []
    empty = alarmed = filled = silent = 0
    for one in samples:
        there, said = len(one.truth.areas) > 1, len(one.answer.areas) > 1
        empty, alarmed = empty + (not there), alarmed + (said and not there)
        filled, silent = filled + there, silent + (there and not said)
        true.append((one.truth.areas[1:], one.truth.good[1:]))
        answered.append((one.answer.areas[1:], one.answer.good[1:]))
    areas, found = _joined(true)
    said_areas, right = _joined(answered)
    return ObjectTotals(
        _rows(areas, found, said_areas, right), empty, alarmed, filled, silent, _median(areas[found]),
        _median(areas[~found]),
    )  # fmt: skip


def _joined(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.bool_]]],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    areas = np.concatenate([np.zeros(0, np.int64), *(one for one, _ in parts)])
    return areas, np.concatenate([np.zeros(0, np.bool_), *(one for _, one in parts)])


def _rows(
    areas: NDArray[np.int64], found: NDArray[np.bool_], answered: NDArray[np.int64], right: NDArray[np.bool_]
) -> tuple[SizeRow, ...]:
    every = np.concatenate([areas, answered])
    if not len(every):
        return ()
    first, last = ((int(size).bit_length() - 1) // 2 for size in (every.min(), every.max()))
    rows = []
    for power in range(first, last + 1):
        least, most = 4**power, 4 ** (power + 1) - 1
        mine, said = (areas >= least) & (areas <= most), (answered >= least) & (answered <= most)
        counts = (mine, mine & found, said, said & ~right)
        rows.append(SizeRow(least, most, *(int(np.count_nonzero(part)) for part in counts)))
    return tuple(rows)


def _median(areas: NDArray[np.int64]) -> float | None:
    return float(np.median(areas)) if len(areas) else None
