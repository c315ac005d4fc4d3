"""A box as the words of a submission: its label, its score and its four numbers. What the formats of boxes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.boxes import PIXELS, BoxCoordinates, all_numbers, shortest, with_area
from medalist.errors import SubmissionError
from medalist.formats.labels import hold_classes, unknown_rule
from medalist.formats.submission import AnyFormat, shortened
from medalist.records import Answer, Boxes, Sample

Part = Literal["label", "score", "box"]

WordFault = tuple[int, str, str]
"""The place of the word with the fault, the word, and the rule that it breaks."""


@dataclass(frozen=True, kw_only=True)
class BoxWords:
    """How a contest writes one box as words.

    classes: the classes of the contest, in its order; one is allowed. `Boxes.labels` are places in it.
    labels: how each class is written; None for its name. They hold no space where several words share a cell.
    parts: the order of the parts of a box. "label" may be left out where there is one class. "score" is left out where
        the contest asks for none; boxes then have the score 1.
    coordinates: what the four numbers of a box mean.
    decimals, score_decimals: to how many decimals is rounded. None writes what is read back as the same float32.
    sizes: (height, width) of each image by id, which `sized` fills in; needed to write normalised coordinates.
    """

    classes: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    parts: tuple[Part, ...] = ("label", "score", "box")
    coordinates: BoxCoordinates = PIXELS
    decimals: int | None = None
    score_decimals: int | None = None
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        hold_classes(self.classes)
        if self.labels is not None:
            hold_classes(self.labels)
            assert len(self.labels) == len(self.classes), f"{len(self.labels)} labels, {len(self.classes)} classes"
        assert "box" in self.parts and len(set(self.parts)) == len(self.parts), self.parts
        assert "label" in self.parts or len(self.classes) == 1, "without a label there can be only one class"
        assert self.score_decimals is None or 1 <= self.score_decimals <= 7, self.score_decimals
        # Once here, so that a wrong number of decimals is found before there is an answer.
        self.coordinates.texts(np.zeros((0, 4), np.float32), (1, 1), self.decimals)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each word of a box, such as label, score, x1, y1, x2, y2."""
        named = {"box": self.coordinates.names}
        return tuple(name for part in self.parts for name in named.get(part, (part,)))

    def sized(self, samples: Sequence[Sample]) -> Self:
        """Return the format with the sizes of these samples, where normalised coordinates are written by them."""
        return replace(self, sizes=sizes_of(samples)) if self.coordinates.normalised else self

    def words(self, sample_id: str, answer: Answer) -> list[list[str]]:
        """Return the words of each box of an answer, in its order.

        Raises SubmissionError where the answer is no Boxes, or a box has no area, no finite number, a score outside
        0..1 or a label that is no class.
        """
        boxes = boxes_of(sample_id, answer)
        bad = first_bad(boxes, len(self.classes))
        if bad is not None:
            raise SubmissionError(f"image {shortened(sample_id)}, box {bad[0]}: {bad[1]}; correct what makes the boxes")
        size = self.sizes.get(sample_id)
        if self.coordinates.normalised and size is None:
            raise SubmissionError(
                f"image {shortened(sample_id)}: the contest asks for shares of the image's size, which is not known; "
                "write it by formats.box_words.sized(form, samples)"
            )
        labels = self.labels or self.classes
        columns = {
            "label": [[labels[label]] for label in boxes.labels.tolist()],
            "score": [[self._score(score)] for score in boxes.scores],
            "box": self.coordinates.texts(boxes.xyxy, size, self.decimals),
        }
        chosen = [columns[part] for part in self.parts]
        return [[word for part in row for word in part] for row in zip(*chosen, strict=True)]

    def parsed(self, words: Sequence[str], size: tuple[int, int]) -> Boxes | WordFault:
        """Return the boxes that words say, which are those of whole boxes in their order; or the first fault."""
        width, names = len(self.names), self.names
        columns = {name: words[place::width] for place, name in enumerate(names)}
        labels = np.zeros(len(words) // width, np.int32)
        if "label" in columns:
            found = [self._place.get(word, -1) for word in columns["label"]]
            if -1 in found:
                row = found.index(-1)
                return self._first(row, "label", columns, unknown_rule(columns["label"][row], self._place, search=True))
            labels = np.array(found, np.int32)
        plain = [name for name in names if name != "label"]
        for name in plain:
            if not all_numbers(columns[name]):
                row = next(row for row, word in enumerate(columns[name]) if not all_numbers([word]))
                return self._first(row, name, columns, f"{name} must be a number")
        numbers = {name: np.array([float(word) for word in columns[name]], np.float64) for name in plain}
        scores = numbers.pop("score", np.ones(len(labels)))
        outside = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
        if len(outside):
            return self._first(int(outside[0]), "score", columns, "a score must be within 0..1")
        four = np.stack([numbers[name] for name in self.coordinates.names], axis=1)
        return self._placed(four, labels, scores, columns, size)

    def _placed(
        self,
        four: NDArray[np.float64],
        labels: NDArray[np.int32],
        scores: NDArray[np.float64],
        columns: Mapping[str, Sequence[str]],
        size: tuple[int, int],
    ) -> Boxes | WordFault:
        with np.errstate(over="ignore", invalid="ignore"):  # 1e999 is infinite, which is no area
            exact = self.coordinates.corners(four, size)
            xyxy = exact.astype(np.float32)
        names = self.coordinates.names
        low, high = xyxy[:, :2], xyxy[:, 2:]
        empty = ~(np.isfinite(xyxy).all(axis=1) & (low < high).all(axis=1))
        if empty.any():
            row = int(np.flatnonzero(empty)[0])
            axis = int(low[row, 0] < high[row, 0])
            swapped = self.coordinates.form == "xyxy" and exact[row, axis] > exact[row, axis + 2]
            why = f"{names[axis + 2]} must be above {names[axis]}" if swapped else "the box has no area"
            return self._first(row, names[axis + 2], columns, why)
        lost = np.flatnonzero(~with_area(xyxy, size))
        if len(lost):
            says = f"the box lies outside the image, which is {size[1]} wide and {size[0]} high"
            return self._first(int(lost[0]), names[0], columns, says)
        return Boxes(xyxy, labels, scores.astype(np.float32))

    @cached_property
    def _place(self) -> Mapping[str, int]:
        return {label: place for place, label in enumerate(self.labels or self.classes)}

    def _first(self, row: int, name: str, columns: Mapping[str, Sequence[str]], rule: str) -> WordFault:
        word = columns[name][row]
        return row * len(self.names) + self.names.index(name), shortened(word), rule

    def _score(self, score: np.float32) -> str:
        return shortest(score) if self.score_decimals is None else f"{score:.{self.score_decimals}f}"


def sized(form: AnyFormat, samples: Sequence[Sample]) -> AnyFormat:
    """Return the format bound to the sizes of these samples, where answers are written by them; else the format."""
    # An optional method of a format: shares of an image's sides can only be written by its size.
    bind = getattr(form, "sized", None)
    bound: AnyFormat = form if bind is None else bind(samples)
    return bound


def sizes_of(samples: Sequence[Sample]) -> dict[str, tuple[int, int]]:
    """Return (height, width) of each image by id."""
    return {sample.id: sample.size for sample in samples}


def boxes_of(sample_id: str, answer: Answer) -> Boxes:
    """Return the answer where it is Boxes; else raise SubmissionError, which says which kind of config makes them."""
    if not isinstance(answer, Boxes):
        raise SubmissionError(
            f"image {shortened(sample_id)}: the contest asks for boxes, the answer is {type(answer).__name__}; "
            "use a config whose task.kind is detect"
        )
    return answer


def first_bad(boxes: Boxes, classes: int) -> tuple[int, str] | None:
    """Return the place of the first box that is no box of the contest, and why; None where all are.

    classes: their number.
    """
    low, high = boxes.xyxy[:, :2], boxes.xyxy[:, 2:]
    rules = (
        ("its corners are not finite", np.isfinite(boxes.xyxy).all(axis=1)),
        ("it has no area, or its corners are swapped", (low < high).all(axis=1)),
        ("its score is not within 0..1", (boxes.scores >= 0) & (boxes.scores <= 1)),
        (f"its label is not within 0..{classes - 1}", (boxes.labels >= 0) & (boxes.labels < classes)),
    )
    for rule, right in rules:
        if not right.all():
            return int(np.flatnonzero(~right)[0]), rule
    return None
