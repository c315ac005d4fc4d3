"""Submissions of run-length codes: `ImageId,EncodedPixels`, with a row for each object or for each image.

| contest | order | row_per | nothing found |
|---|---|---|---|
| DSB2018, Airbus | column | object | "" |
| TGS salt, HuBMAP | column | image | "" |
| contrails | column | image | "-" |
| SIIM pneumothorax | column | image | "-1" (the contest's own code has relative starts, which this format does not) |
| Carvana, Vesuvius | row | image | "" |

Any number of spaces between numbers is accepted, as the contests do; one space is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.rle import Order, RleError, decode_labels, decode_mask, decode_runs, encode_labels, encode_mask
from medalist.errors import SubmissionError
from medalist.formats.submission import Problem, Row, by_row, check_ids, ids_of_reference, read_rows, refuse, shortened
from medalist.records import Answer, Instances, Mask, Sample

EMPTY_LIKE = ("", "-", "-1", "nan", "na", "n/a", "none", "null", "[]", "0", "0 0")
"""How other contests and tools write an image without objects, in lower case."""


@dataclass(frozen=True)
class RleFormat:
    """A submission of run-length codes.

    columns: the header: the column of the id and that of the code.
    order: how pixels are counted, down the columns or along the rows; base: the number of the first pixel.
    empty: the cell of an image without objects; every image has at least one row.
    row_per: "object" writes Instances: a row for each object, in the order of their numbers; objects must not share a
        pixel. "image" writes a Mask, with its classes above 0 as the marked pixels; it is read back as classes 0 and 1.
    ordered: whether ids must be in the order of the sample submission, and the rows of one id together.
    """

    columns: tuple[str, str] = ("ImageId", "EncodedPixels")
    order: Order = "column"
    base: int = 1
    empty: str = ""
    row_per: Literal["object", "image"] = "object"
    ordered: bool = True

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        assert self.columns[0] != self.columns[1], self.columns
        assert self.base >= 0, self.base
        assert self.empty.lower() in EMPTY_LIKE[:-2], f"'{self.empty}' could be taken for a code"

    @property
    def one_class(self) -> bool:
        """Whether a mask is written as one class, so that its values above 0 cannot be told apart."""
        return self.row_per == "image"

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Return the rows of one answer. Raises SubmissionError where it is not of the type the contest asks for."""
        if self.row_per == "object" and isinstance(answer, Instances):
            codes = encode_labels(answer.labels, self.order, self.base) or [self.empty]
        elif self.row_per == "image" and isinstance(answer, Mask):
            codes = [encode_mask(answer.classes, self.order, self.base) or self.empty]
        else:
            wanted = "objects" if self.row_per == "object" else "a mask"
            raise SubmissionError(
                f"image {sample_id}: the contest asks for {wanted}, the answer is {type(answer).__name__}; "
                "choose another 'decide.kind' in the config"
            )
        return [(sample_id, code) for code in codes]

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample in their order; objects are numbered in row order.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        answers: dict[str, Answer] = {}
        refuse(path, self._read(path, samples, [sample.id for sample in samples], ordered=False, keep=answers))
        return answers

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return every problem of the file, in row order, then the ids without a row.

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
        """Find every problem. Answers are stored only if `keep` is given: many of them may not fit in memory."""
        rows, problems = read_rows(path, self.columns)
        if not rows:
            return problems
        problems += check_ids(rows, self.columns[0], expected, ordered)
        rows_of: dict[str, list[Row]] = {sample.id: [] for sample in samples}
        for row in rows:
            if row.cells[0] in rows_of:
                rows_of[row.cells[0]].append(row)
        for sample in samples:
            answer = self._answer(rows_of[sample.id], sample.size)
            if answer is None:
                problems += self._explain(rows_of[sample.id], sample.size)
            elif keep is not None:
                keep[sample.id] = answer
        return by_row(problems)

    def _answer(self, rows: Sequence[Row], size: tuple[int, int]) -> Answer | None:
        """Decode all rows of one image; None where any of them breaks a rule."""
        codes = [row.cells[1] for row in rows if row.cells[1] != self.empty]
        if len(rows) > 1 and (self.row_per == "image" or len(codes) < len(rows)):
            return None
        if not all(code.strip() for code in codes):
            return None
        try:
            if self.row_per == "object":
                return Instances(decode_labels(codes, size, self.order, self.base))
            code = codes[0] if codes else ""
            return Mask(decode_mask(code, size, self.order, self.base).view(np.uint8))
        except RleError:
            return None

    def _explain(self, rows: Sequence[Row], size: tuple[int, int]) -> list[Problem]:
        """Every problem of one image's rows. Each row is checked, and its pixels are marked with its row number."""
        canvas = np.zeros(size[0] * size[1], np.int64)
        seen: dict[str, int] = {}
        problems = []
        objects = [row.number for row in rows if row.cells[1] != self.empty]
        for row in rows:
            name, code = row.cells
            column, value, rule = self.columns[1], shortened(code), ""
            if seen and self.row_per == "image":
                column, value = self.columns[0], shortened(name)
                rule = f"a second row for this id; the first is row {rows[0].number}"
            elif code in seen:
                rule = f"the same as row {seen[code]}; a row is written once"
            elif code == self.empty:
                if objects:
                    rule = f"says that the image has nothing, but row {objects[0]} has an object of it"
            elif code.strip().lower() in EMPTY_LIKE:
                says = f"'{self.empty}'" if self.empty else "an empty cell"
                rule = f"an image without objects is written as {says}"
            else:
                rule = self._painted(canvas, row.number, code, size)
            seen.setdefault(code, row.number)
            if rule:
                problems.append(Problem(row.number, column, value, rule))
        return problems

    def _painted(self, canvas: NDArray[np.int64], number: int, code: str, size: tuple[int, int]) -> str:
        """Mark the pixels of one code with its row's number; return the rule that the code breaks, or ''."""
        try:
            runs = decode_runs(code, size, self.order, self.base)
        except RleError as error:
            return f"{error} (the image is {size[1]} wide and {size[0]} high)"
        rule = ""
        for start, length in runs.tolist():
            pixels = canvas[start : start + length]
            if not rule and pixels.any():
                at = int(np.flatnonzero(pixels)[0])
                pixel = start + at + self.base
                rule = f"shares pixel {pixel} with row {pixels[at]}; objects must not overlap"
            pixels[pixels == 0] = number
        return rule
