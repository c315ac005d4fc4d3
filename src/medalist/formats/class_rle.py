"""Submissions of run-length codes by class: a row for each image and class.

| contest | columns | order | absent |
|---|---|---|---|
| Severstal, first form | ImageId_ClassId,EncodedPixels | column | rows |
| Severstal, later form | ImageId,EncodedPixels,ClassId with `class_last=True` | column | left_out |
| Understanding Clouds | Image_Label,EncodedPixels (names of classes) | column | rows |
| UW-Madison | id,class,segmentation (names of classes) | column | rows |

An answer has one class a pixel, so classes do not overlap in a file that is written here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.label_pictures import counted
from medalist.codecs.rle import Order, RleError, decode_mask, encode_labels
from medalist.errors import SubmissionError
from medalist.formats.rle import EMPTY_LIKE
from medalist.formats.submission import (
    NO_ROWS,
    Problem,
    Row,
    by_row,
    check_ids,
    ids_of_reference,
    read_rows,
    refuse,
    shortened,
)
from medalist.records import Answer, Mask, Sample


@dataclass(frozen=True)
class _Line:
    """A row of the file: its image, the number of its class, and its code; class None where there is no such class."""

    row: Row
    image: str
    number: int | None
    code: str


@dataclass(frozen=True)
class ClassRleFormat:
    """A submission with a run-length code for each image and class.

    classes: the names of the contest's classes, the background first; the background is not written.
    columns: the header: the columns of the image, the class and the code, or two columns, where the first one joins
        image and class. class_last: whether the class comes after the code, as in the later form of Severstal.
    class_ids: how the classes after the background are written; by default as "1", "2", ....
    joiner: what stands between image and class where there are two columns.
    absent: "rows" where each image has a row for every class, with the cell `empty` for a class that it does not have;
        "left_out" where such rows are left out, all of them for an image without any class.
    overlap: what happens in a file where a pixel has several classes: it is refused, or read as the last of these
        classes.
    order: how pixels are counted, down the columns or along the rows; base: the number of the first pixel.
    ordered: whether images must be in the order of the sample submission, and the rows of one image together.
    """

    classes: tuple[str, ...]
    columns: tuple[str, ...] = ("ImageId", "ClassId", "EncodedPixels")
    class_ids: tuple[str, ...] = ()
    class_last: bool = False
    joiner: str = "_"
    absent: Literal["rows", "left_out"] = "rows"
    overlap: Literal["refused", "later"] = "refused"
    order: Order = "column"
    base: int = 1
    empty: str = ""
    ordered: bool = True

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        assert len(self.classes) >= 2, "the background and at least one class"
        assert len(self.columns) in (2, 3) and len(set(self.columns)) == len(self.columns), self.columns
        assert not self.class_last or len(self.columns) == 3, "class_last needs a column of the class"
        ids = self._ids
        assert len(ids) == len(self.classes) - 1 == len(set(ids)) and all(ids), "one id for each class but background"
        assert self.base >= 0, self.base
        assert self.empty.lower() in EMPTY_LIKE[:-2], f"'{self.empty}' could be taken for a code"

    @property
    def one_class(self) -> bool:
        """Whether a mask is written as one class; it is not."""
        return False

    @property
    def _ids(self) -> tuple[str, ...]:
        return self.class_ids or tuple(str(number) for number in range(1, len(self.classes)))

    @property
    def _class_column(self) -> str:
        return self.columns[-1 if self.class_last else -2]

    @property
    def _code_column(self) -> str:
        return self.columns[-2 if self.class_last else -1]

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Return the rows of one answer. Raises SubmissionError where it is no mask, or has values of no class."""
        if not isinstance(answer, Mask):
            raise SubmissionError(
                f"image {sample_id}: the contest asks for a mask of classes, the answer is {type(answer).__name__}; "
                "choose another 'decide.kind' in the config"
            )
        present = [value for value in counted(answer.classes) if value]
        if present and present[-1] >= len(self.classes):
            raise SubmissionError(
                f"image {sample_id}: the answer has the class {present[-1]}, and the contest's classes are "
                f"0..{len(self.classes) - 1}"
            )
        codes = dict(zip(present, encode_labels(answer.classes.astype(np.int32), self.order, self.base), strict=True))
        return [
            self._cells(sample_id, class_id, codes.get(number, self.empty))
            for number, class_id in enumerate(self._ids, start=1)
            if number in codes or self.absent == "rows"
        ]

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample in their order.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        answers: dict[str, Answer] = {}
        refuse(path, self._read(path, samples, [sample.id for sample in samples], ordered=False, keep=answers))
        return answers

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return every problem of the file, in row order, then the images and classes without a row.

        Without `reference` the images may be in any order. Raises DataError where the reference (the sample submission)
        is malformed, or has other ids than the samples.
        """
        expected = [sample.id for sample in samples]
        if reference is None:
            return self._read(path, samples, expected, ordered=False)
        if len(self.columns) == 3:
            expected = ids_of_reference(reference, self.columns, expected, "test image")
        else:
            joined = {f"{name}{self.joiner}{one}": name for name in expected for one in self._ids}
            found = ids_of_reference(reference, self.columns, list(joined), "test image and class")
            expected = list(dict.fromkeys(joined[name] for name in found))
        return self._read(path, samples, expected, self.ordered)

    def _cells(self, image: str, class_id: str, code: str) -> tuple[str, ...]:
        if len(self.columns) == 2:
            return f"{image}{self.joiner}{class_id}", code
        return (image, code, class_id) if self.class_last else (image, class_id, code)

    def _read(
        self,
        path: Path,
        samples: Sequence[Sample],
        expected: Sequence[str],
        ordered: bool,
        keep: dict[str, Answer] | None = None,
    ) -> list[Problem]:
        """Find every problem. Answers are stored only if `keep` is given: many of them may not fit in memory."""
        rows, problems = read_rows(path, self.columns)
        if self.absent == "left_out":
            problems = [problem for problem in problems if problem.rule != NO_ROWS]
        if not rows and (problems or self.absent == "rows"):
            return problems
        asked = set(expected)
        lines = [self._line(row, asked) for row in rows]
        images = [Row(line.row.number, (line.image,)) for line in lines]
        known = check_ids(images, self.columns[0], expected, ordered)
        if self.absent == "left_out":
            known = [problem for problem in known if problem.row is not None]
        problems += known
        lines_of: dict[str, list[_Line]] = {sample.id: [] for sample in samples}
        for line in lines:
            if line.image in lines_of:
                lines_of[line.image].append(line)
        for sample in samples:
            found, mask = self._answer(sample, lines_of[sample.id], ordered)
            problems += found
            if keep is not None and not found:
                keep[sample.id] = mask
        return by_row(problems)

    def _line(self, row: Row, asked: Collection[str]) -> _Line:
        ids = self._ids
        if len(self.columns) == 3:
            image, *rest = row.cells
            code, text = rest if self.class_last else rest[::-1]
            return _Line(row, image, ids.index(text) + 1 if text in ids else None, code)
        whole, code = row.cells
        for number, one in enumerate(ids, start=1):
            if whole.endswith(self.joiner + one):
                return _Line(row, whole[: -len(self.joiner + one)], number, code)
        # The image without its last part, if that is an image: then the class is what is wrong.
        image = whole.rpartition(self.joiner)[0]
        return _Line(row, image if image in asked else whole, None, code)

    def _answer(self, sample: Sample, lines: Sequence[_Line], ordered: bool) -> tuple[list[Problem], Mask]:
        """Return the problems of one image's rows, and its mask, which is right where there are none."""
        classes = np.zeros(sample.size, np.uint8)
        first: dict[int, int] = {}
        problems = []
        for line in lines:
            at = self._class_column
            value = line.row.cells[self.columns.index(at)]
            if line.number is None:
                rule = f"no class of the contest; classes are written {', '.join(self._ids)}"
            elif line.number in first:
                rule = f"a second row for this image and class; the first is row {first[line.number]}"
            elif ordered and first and line.number < max(first):
                rule = f"the rows of one image must be in the order of the classes: {', '.join(self._ids)}"
            else:
                at, value = self._code_column, line.code
                rule = self._painted(classes, line, first)
            if line.number is not None:
                first.setdefault(line.number, line.row.number)
            if rule:
                problems.append(Problem(line.row.number, at, shortened(value), rule))
        if lines and self.absent == "rows":
            problems += [
                Problem(None, self._class_column, shortened(f"{sample.id}{self.joiner}{one}"), "this class has no row")
                for number, one in enumerate(self._ids, start=1)
                if number not in first
            ]
        return problems, Mask(classes)

    def _painted(self, classes: NDArray[np.uint8], line: _Line, first: Mapping[int, int]) -> str:
        """Mark the pixels of one code with its class; return the rule that the code breaks, or ''."""
        assert line.number is not None
        if line.code == self.empty:
            return "" if self.absent == "rows" else "a class that the image does not have has no row"
        if line.code.strip().lower() in EMPTY_LIKE:
            if self.absent == "left_out":
                return "a class that the image does not have has no row"
            says = f"'{self.empty}'" if self.empty else "an empty cell"
            return f"a class that the image does not have is written as {says}"
        height, width = classes.shape
        try:
            mask = decode_mask(line.code, (height, width), self.order, self.base)
        except RleError as error:
            return f"{error} (the image is {width} wide and {height} high)"
        both = mask & (classes > 0)
        if self.overlap == "refused" and both.any():
            pixel = int(np.flatnonzero(both if self.order == "row" else both.T)[0])
            other = int((classes if self.order == "row" else classes.T).ravel()[pixel])
            return f"shares pixel {pixel + self.base} with row {first[other]}; classes must not overlap"
        classes[mask] = line.number
        return ""
