"""How well each class of a contest's masks is answered, pixel by pixel. Void pixels are left out. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.metrics.class_counts import ClassCounts, count_classes
from medalist.records import Answer, Mask


@dataclass(frozen=True, eq=False)
class ClassPixels:
    """The judged pixels of masks by class. names: the ids of the samples. void: the number of pixels not judged."""

    names: tuple[str, ...]
    counts: ClassCounts
    void: int

    @property
    def matrix(self) -> NDArray[np.int64]:
        """Pixels by (true class, answered class), int64[C, C]."""
        return self.counts.confusion

    @property
    def judged(self) -> int:
        """The number of judged pixels."""
        return int(self.matrix.sum())

    def rows(self) -> tuple[ClassRow, ...]:
        """Return the figures of each class, over all samples."""
        sides = (self.counts.truth, self.counts.answer, self.counts.both)
        pixels = [side.sum(axis=0).tolist() for side in sides]
        images = [(side > 0).sum(axis=0).tolist() for side in sides[:2]]
        return tuple(ClassRow(at, *figures) for at, figures in enumerate(zip(*pixels, *images, strict=True)))

    def confusions(self, most: int = 12) -> list[Confusion]:
        """Return the confusions with the most pixels, the largest first; of equal ones the first in the matrix."""
        wrong = self.matrix.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        of_class = self.matrix.sum(axis=1)
        found = []
        for there, said in zip(*(places.tolist() for places in np.unravel_index(order, wrong.shape)), strict=True):
            if wrong[there, said]:
                pixels = int(wrong[there, said])
                found.append(Confusion(there, said, pixels, pixels / int(of_class[there])))
        return found

    def worst(self, number: int, most: int) -> list[ClassImage]:
        """Return the samples with the lowest IoU of a class, the lowest first; of equal ones those with more errors.

        Samples without the class in truth and answer, and those in which it is right everywhere, are left out.
        """
        truth, answer, both = (side[:, number] for side in (self.counts.truth, self.counts.answer, self.counts.both))
        union = truth + answer - both
        bad = np.flatnonzero(union > both)
        values = both[bad] / union[bad]
        order = bad[np.lexsort((np.array(self.names)[bad], both[bad] - union[bad], values))][:most]
        iou, missed, false = both / np.maximum(union, 1), truth - both, answer - both
        return [ClassImage(self.names[at], float(iou[at]), int(missed[at]), int(false[at])) for at in order.tolist()]


@dataclass(frozen=True)
class ClassRow:
    """One class over all samples. number: of the class. truth, answer, both: pixels. *_images: samples that have it."""

    number: int
    truth: int
    answer: int
    both: int
    truth_images: int
    answer_images: int

    @property
    def iou(self) -> float | None:
        """The intersection over the union of all samples together; None where no truth and no answer has the class."""
        union = self.truth + self.answer - self.both
        return self.both / union if union else None


@dataclass(frozen=True)
class Confusion:
    """Pixels of the class `truth` that are answered as the class `answer`, and their share of the true class."""

    truth: int
    answer: int
    pixels: int
    share: float


@dataclass(frozen=True)
class ClassImage:
    """A sample in which a class has a low IoU. missed, false: pixels of the class."""

    id: str
    iou: float
    missed: int
    false: int


def class_pixels(truths: Mapping[str, Answer], answers: Mapping[str, Answer], classes: Sequence[str]) -> ClassPixels:
    """Count the judged pixels of masks by true and answered class. Answers of other samples than `truths` are left out.

    Raises DataError where a mask has a number that is no class.
    """
    there = {name: truth for name, truth in truths.items() if isinstance(truth, Mask)}
    said = {name: answer for name, answer in answers.items() if isinstance(answer, Mask) and name in there}
    voids = [truth.void for truth in there.values() if truth.void is not None]
    counts = count_classes(there, said, classes)
    return ClassPixels(tuple(there), counts, sum(int(np.count_nonzero(void)) for void in voids))
