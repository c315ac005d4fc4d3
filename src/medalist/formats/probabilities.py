"""Submissions of probabilities: a row an image, with a column for each class.

| contest | columns | format |
|---|---|---|
| dog breed identification | id and 120 breeds | total=1 |
| State Farm 2016 | img,c0,...,c9 | total=1 |
| plant pathology 2020 | image_id,healthy,multiple_diseases,rust,scab | total=None |
| RANZCR CLiP 2021 | StudyInstanceUID and 11 findings | total=None |
| dogs vs. cats redux 2016 | id,label | classes=("cat", "dog"), positive="dog", class_columns=("label",) |

Where the classes exclude one another (`total`, `positive`) an answer that was read has the most probable class as its
name. Where each class is decided alone it has no names: which probability is enough does not stand in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SubmissionError
from medalist.formats.labels import Fault, hold_classes, labels_of, problems_of, read_answers
from medalist.formats.submission import Problem, refuse, shortened
from medalist.records import Answer, Labels, Sample

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ROUNDING = 1e-6
"""How far outside the bounds a probability may lie by float32 rounding; it is then written as the bound."""


@dataclass(frozen=True)
class ProbabilityFormat:
    """A submission of probabilities.

    id_column: the header of the ids.
    classes: the classes of the contest in its order, which is the order of probabilities in an answer.
    class_columns: the headers of the probabilities, in the order of the classes; None where they are the classes.
    total: what the probabilities of a row must sum to, where the classes exclude one another; None for any sum.
    tolerance: how far from `total` (for `positive`: an answer's two probabilities from 1) the sum may be.
    low, high: the bounds of a probability, both included.
    digits: how many digits after the point are written; None for as many as give the same float64 again.
    positive: the one of two classes that has a column; the other has the rest to 1. None where each class has one.
    ordered: whether ids must stand in the order of the sample submission.
    """

    id_column: str = "id"
    classes: tuple[str, ...] = field(kw_only=True)
    class_columns: tuple[str, ...] | None = field(default=None, kw_only=True)
    total: float | None = field(default=None, kw_only=True)
    tolerance: float = field(default=1e-3, kw_only=True)
    low: float = field(default=0.0, kw_only=True)
    high: float = field(default=1.0, kw_only=True)
    digits: int | None = field(default=None, kw_only=True)
    positive: str | None = field(default=None, kw_only=True)
    ordered: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        """Hold what the type cannot say."""
        hold_classes(self.classes)
        hold_classes(self.columns)
        assert len(self.columns) == 1 + (len(self.classes) if self.positive is None else 1), self.columns
        assert -math.inf < self.low < self.high < math.inf, (self.low, self.high)
        assert 0 <= self.tolerance < math.inf, self.tolerance
        assert self.digits is None or self.digits >= 1, self.digits
        if self.total is not None:
            assert math.isfinite(self.total) and len(self.classes) > 1, (self.total, self.classes)
        if self.positive is not None:
            assert len(self.classes) == 2 and self.positive in self.classes, (self.positive, self.classes)
            assert (self.total, self.low, self.high) == (None, 0.0, 1.0), "the other class has the rest to 1"

    @property
    def columns(self) -> tuple[str, ...]:
        """The header."""
        if self.class_columns is not None:
            return (self.id_column, *self.class_columns)
        return (self.id_column, *(self.classes if self.positive is None else (self.positive,)))

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Write one answer's probabilities; its names are not looked at.

        What lies outside the bounds by no more than rounding (1e-6) is written as the bound.
        Raises SubmissionError where the answer is no labels, has no probabilities or not one for each class, where one
        of them is not finite or outside the bounds, and where they do not sum to `total`, before or after they are cut
        to `digits`.
        """
        where = f"image {shortened(sample_id)}"
        given = labels_of(sample_id, answer).probabilities
        if given is None:
            raise SubmissionError(
                f"{where}: the contest asks for probabilities and the answer has none; "
                "choose another 'decide.kind' in the config"
            )
        values = np.asarray(given, np.float64)
        if values.shape != (len(self.classes),):
            shape = "x".join(map(str, values.shape)) or "a single number"
            raise SubmissionError(
                f"{where}: the contest has {len(self.classes)} classes, the answer's probabilities are {shape}"
            )
        near = (values >= self.low - _ROUNDING) & (values <= self.high + _ROUNDING)
        values = np.where(near, values.clip(self.low, self.high), values) + 0.0  # no "-0.0"
        cells = [repr(value) for value in values.tolist()]
        fault, why = self._fault(cells, complete=True), ""
        if self.positive is not None:
            cells = [cells[self.classes.index(self.positive)]]
        if fault is None and self.digits is not None:
            cells = [f"{float(cell):.{self.digits}f}" for cell in cells]
            fault, why = self._fault(cells), f"; the format writes too few digits, digits={self.digits}"
        if fault is not None:
            column, value, rule = fault
            raise SubmissionError(f"{where}{f', column {column}' if column else ''}, value '{value}': {rule}{why}")
        return [(sample_id, *cells)]

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the probabilities back, float64[C] in the order of the classes, for each sample in their order.

        Names are as this module's head says; of equal probabilities the first class counts.
        Raises SubmissionError on the first problem that `validate` would find.
        """
        cells, problems = read_answers(path, self.columns, [sample.id for sample in samples], False, self._fault)
        refuse(path, problems)
        return {sample.id: self._answer(cells[sample.id]) for sample in samples}

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Find the first problem of each row, in row order, ids without a row last.

        Without `reference` the ids of the samples may stand in any order. Raises DataError where the reference itself
        is malformed or asks for other ids than the samples have.
        """
        return problems_of(path, self.columns, samples, reference, self.ordered, self._fault)

    def _fault(self, cells: Sequence[str], search: bool = False, *, complete: bool = False) -> Fault | None:
        """The first fault of a row; `complete` where it has a cell for each class, also where a file has fewer.

        There is nothing to `search`.
        """
        values = [float(cell) for cell in cells] if all(map(_NUMBER.fullmatch, cells)) else []
        if not values or not self.low <= min(values) <= max(values) <= self.high:
            columns = self.classes if complete else self.columns[1:]
            return next(fault for pair in zip(columns, cells, strict=True) if (fault := self._cell_fault(*pair)))
        total = 1.0 if complete and self.positive is not None else self.total
        there = math.fsum(values)
        if total is not None and abs(there - total) > self.tolerance + 1e-12:  # a sum of 0.999 is within 0.001 of 1
            rule = f"the probabilities of a row must sum to {total:g} (within {self.tolerance:g})"
            return None, shortened(",".join(cells)), f"{rule}; here they sum to {there:.6g}"
        return None

    def _cell_fault(self, column: str, cell: str) -> Fault | None:
        bounds = f"from {self.low:g} to {self.high:g}"
        value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
        if not math.isfinite(value):
            return column, shortened(cell), f"the probability must be a number {bounds}"
        if not self.low <= value <= self.high:
            return column, shortened(cell), f"the probability must lie {bounds}"
        return None

    def _answer(self, cells: Sequence[str]) -> Labels:
        """The answer of a row that keeps all rules."""
        values: NDArray[np.float64] = np.array([float(cell) for cell in cells], np.float64)
        if self.positive is not None:
            rest = 1.0 - values
            values = np.concatenate([rest, values] if self.positive == self.classes[1] else [values, rest])
        exclusive = self.total is not None or self.positive is not None
        return Labels((self.classes[int(values.argmax())],) if exclusive else (), values)
