"""Submissions of probabilities: each image has a row, and each class a column.

| contest | columns | format |
|---|---|---|
| dog breed identification | id and 120 breeds | total=1 |
| State Farm 2016 | img,c0,...,c9 | total=1 |
| plant pathology 2020 | image_id,healthy,multiple_diseases,rust,scab | total=None |
| RANZCR CLiP 2021 | StudyInstanceUID and 11 findings | total=None |
| dogs vs. cats redux 2016 | id,label | classes=("cat", "dog"), positive="dog", class_columns=("label",) |

Where the classes exclude one another (`total`, `positive`), an answer that was read has the most probable class as its
name. Where an image can have several classes, an answer that was read has no names, because the file does not contain
the thresholds.
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
"""How far outside the bounds a probability may be, because of float32 rounding; it is then written as the bound."""


@dataclass(frozen=True)
class ProbabilityFormat:
    """A submission of probabilities.

    id_column: the header of the ids.
    classes: the classes of the contest in its order, which is the order of probabilities in an answer.
    class_columns: the headers of the probabilities, in the order of the classes; None where the class names are the
        headers.
    total: the sum that the probabilities of a row must have, where the classes exclude one another; None for any sum.
    tolerance: how much the sum may differ from `total`, or, with `positive`, the sum of an answer's two probabilities
        from 1.
    low, high: the bounds of a probability, both included.
    digits: how many digits are written after the point; None for as many as give the same float64 when read.
    positive: where only one of two classes has a column, this class; the probability of the other is 1 minus it. None
        where each class has a column.
    ordered: whether ids must be in the order of the sample submission.
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
        """Assert the rules that the types do not express."""
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
        """Return the row of one answer's probabilities. Its names are ignored.

        A probability that is at most 1e-6 (rounding) outside the bounds is written as the bound. Raises SubmissionError
        where the answer is no Labels, has no probabilities, or does not have one for each class; where a probability is
        not finite or is outside the bounds; and where they do not sum to `total`, before or after rounding to `digits`.
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

        The docstring of this module says which names they have; of equal probabilities, the first class is the name.
        Raises SubmissionError on the first problem that `validate` would find.
        """
        cells, problems = read_answers(path, self.columns, [sample.id for sample in samples], False, self._fault)
        refuse(path, problems)
        return {sample.id: self._answer(cells[sample.id]) for sample in samples}

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return the first problem of each row, in row order, then the ids without a row.

        Without `reference` the ids may be in any order. Raises DataError where the reference (the sample submission) is
        malformed, or has other ids than the samples.
        """
        return problems_of(path, self.columns, samples, reference, self.ordered, self._fault)

    def _fault(self, cells: Sequence[str], search: bool = False, *, complete: bool = False) -> Fault | None:
        """The first fault of a row, or None.

        complete: whether `cells` has a cell for each class, also where the file has fewer columns. `search` is not
        used; it is there because other formats need it.
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
        """The answer of a row that breaks no rule."""
        values: NDArray[np.float64] = np.array([float(cell) for cell in cells], np.float64)
        if self.positive is not None:
            rest = 1.0 - values
            values = np.concatenate([rest, values] if self.positive == self.classes[1] else [values, rest])
        exclusive = self.total is not None or self.positive is not None
        return Labels((self.classes[int(values.argmax())],) if exclusive else (), values)
