"""Submissions of boxes as a csv: all boxes of an image in one cell, or a row for each box.

| contest | format | a box | nothing found |
|---|---|---|---|
| global wheat 2020 | BoxesFormat | "score x y w h", one class | "" |
| VinBigData 2020 | BoxesFormat | "label score x1 y1 x2 y2", labels 0..13 | "14 1 0 0 1 1" |
| open images 2019 | BoxesFormat | "label score x1 y1 x2 y2", shares of the sides | "" |
| protein and traffic contests | BoxRowsFormat | image_id,label,score,x1,y1,x2,y2 | no row |

Any number of spaces between words is accepted, as the contests do; one space is written. A box may reach over the edge
of its image, but not lie outside. Boxes as JSON are written by `medalist.formats.coco_boxes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medalist.formats.box_words import BoxWords, sizes_of
from medalist.formats.labels import Fault
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
from medalist.records import Answer, Boxes, Sample

_EMPTY_LIKE = ("", "-", "-1", "nan", "na", "n/a", "none", "null", "[]", "0")
"""How other contests and tools write an image without boxes, in lower case."""


def no_boxes() -> Boxes:
    """Return the answer of an image without boxes."""
    return Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class BoxesFormat(BoxWords):
    """A submission with one row for each image, and all its boxes in one cell, often called PredictionString.

    columns: the header: the column of the id and that of the boxes.
    empty: the cell of an image without boxes: "", or the words of a box that says so, such as "14 1 0 0 1 1".
    ordered: whether ids must be in the order of the sample submission.
    The other fields are those of `BoxWords`.
    """

    columns: tuple[str, str] = ("image_id", "PredictionString")
    empty: str = field(default="", kw_only=True)
    ordered: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        super().__post_init__()
        assert self.columns[0] != self.columns[1], self.columns
        parted = [label for label in self.labels or self.classes if " " in label]
        assert "label" not in self.parts or not parted, f"labels in a cell hold no spaces, give labels=: {parted}"
        assert self.empty == " ".join(self.empty.split()), f"'{self.empty}' has spaces that are not needed"

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Return the row of one answer. Raises SubmissionError as `BoxWords.words` does."""
        words = self.words(sample_id, answer)
        return [(sample_id, " ".join(word for box in words for word in box) if words else self.empty)]

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample in their order, with boxes in the order of the file.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        answers: dict[str, Answer] = {}
        refuse(path, self._read(path, samples, [sample.id for sample in samples], ordered=False, keep=answers))
        return answers

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return the first problem of each row, in row order, then the ids without a row.

        Without `reference` the ids may be in any order. Raises DataError where the reference (the sample submission) is
        malformed, or has other ids than the samples.
        """
        expected = [sample.id for sample in samples]
        if reference is not None:
            expected = ids_of_reference(reference, self.columns, expected, "test image")
        return self._read(path, samples, expected, self.ordered and reference is not None)

    def _read(
        self,
        path: Path,
        samples: Sequence[Sample],
        expected: Sequence[str],
        ordered: bool,
        keep: dict[str, Answer] | None = None,
    ) -> list[Problem]:
        rows, problems = read_rows(path, self.columns)
        if not rows:
            return problems
        problems += check_ids(rows, self.columns[0], expected, ordered)
        sizes, first = sizes_of(samples), dict[str, int]()
        found: dict[str, Answer] = {}
        for row in rows:
            name, cell = row.cells
            if name in first:
                rule = f"a second row for this id; the first is row {first[name]}"
                problems.append(Problem(row.number, self.columns[0], shortened(name), rule))
            elif name in sizes:
                first[name] = row.number
                boxes = self._parsed(cell, sizes[name])
                if not isinstance(boxes, Boxes):
                    problems.append(Problem(row.number, *boxes))
                elif keep is not None:
                    found[name] = boxes
        if keep is not None and not problems:
            keep.update((name, found[name]) for name in sizes)
        return by_row(problems)

    def _parsed(self, cell: str, size: tuple[int, int]) -> Boxes | Fault:
        if cell == self.empty:
            return no_boxes()
        words = [word for word in cell.split(" ") if word]
        rule = ""
        if cell.strip().lower() in _EMPTY_LIKE:
            says = f"'{self.empty}'" if self.empty else "an empty cell"
            rule = f"an image without boxes is written as {says}"
        elif not cell.isprintable():
            rule = "a tab or another unprintable character; words are separated by spaces"
        elif len(words) % len(self.names):
            rule = f"{len(words)} words; a box has {len(self.names)}: {' '.join(self.names)}"
        if rule:
            return self.columns[1], shortened(cell), rule
        found = self.parsed(words, size)
        if isinstance(found, Boxes):
            return found
        place, word, rule = found
        return self.columns[1], word, f"box {place // len(self.names) + 1}: {rule}"


@dataclass(frozen=True)
class BoxRowsFormat(BoxWords):
    """A submission with a row for each box.

    columns: the header: the column of the id, then one for each word of a box in the order of `parts`.
    empty: the cells after the id of an image without boxes; None where it has no row at all.
    The other fields are those of `BoxWords`. The rows of an image may stand anywhere; its boxes are in row order.
    """

    columns: tuple[str, ...] = ("image_id", "label", "score", "x1", "y1", "x2", "y2")
    empty: tuple[str, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        super().__post_init__()
        assert len(set(self.columns)) == len(self.columns) == 1 + len(self.names), (self.columns, self.names)
        assert self.empty is None or len(self.empty) == len(self.names), self.empty

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Return the rows of one answer. Raises SubmissionError as `BoxWords.words` does."""
        words = self.words(sample_id, answer)
        if not words and self.empty is not None:
            return [(sample_id, *self.empty)]
        return [(sample_id, *box) for box in words]

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample in their order, with boxes in row order.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        answers: dict[str, Answer] = {}
        refuse(path, self._read(path, samples, keep=answers))
        return answers

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return the first problem of each row, in row order, then the ids without a row where each needs one.

        `reference`, the sample submission, says nothing more than the samples, because rows may be in any order.
        """
        return self._read(path, samples)

    def _read(self, path: Path, samples: Sequence[Sample], keep: dict[str, Answer] | None = None) -> list[Problem]:
        rows, problems = read_rows(path, self.columns)
        if self.empty is None:
            problems = [problem for problem in problems if problem.rule != NO_ROWS]
        if not rows and (problems or self.empty is not None):
            return problems
        known = check_ids(rows, self.columns[0], [sample.id for sample in samples], ordered=False)
        problems += [problem for problem in known if self.empty is not None or problem.row is not None]
        rows_of: dict[str, list[Row]] = {sample.id: [] for sample in samples}
        for row in rows:
            if row.cells[0] in rows_of:
                rows_of[row.cells[0]].append(row)
        for sample in samples:
            found = self._boxes(rows_of[sample.id], sample.size)
            if isinstance(found, Boxes):
                if keep is not None:
                    keep[sample.id] = found
            else:
                problems += found
        return by_row(problems)

    def _boxes(self, rows: Sequence[Row], size: tuple[int, int]) -> Boxes | list[Problem]:
        """The boxes of an image's rows, or the first problem of each."""
        if not rows or (len(rows) == 1 and rows[0].cells[1:] == self.empty):
            return no_boxes()
        found = self.parsed([word for row in rows for word in row.cells[1:]], size)
        if isinstance(found, Boxes):
            return found
        problems = []
        for row in rows:
            if row.cells[1:] == self.empty:
                rule = "says that the image has no boxes, but it has other rows"
                problems.append(Problem(row.number, self.columns[0], shortened(row.cells[0]), rule))
                continue
            one = self.parsed(row.cells[1:], size)
            if not isinstance(one, Boxes):
                place, word, rule = one
                problems.append(Problem(row.number, self.columns[place + 1], word, rule))
        return problems
