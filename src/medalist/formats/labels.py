"""Submissions of labels: each image has a row, with one label, or with several labels in one cell.

| contest | format | columns | labels |
|---|---|---|---|
| plant seedlings | LabelFormat | file,species | one name, which may contain spaces |
| APTOS 2019 | LabelFormat | id_code,diagnosis | one grade, "0" to "4" |
| cassava 2020 | LabelFormat | image_id,label | one number |
| protein atlas 2018 | LabelsFormat | Id,Predicted | numbers: "0 25" |
| planet 2017 | LabelsFormat | image_name,tags | names: "haze primary" |
| plant pathology 2021 | LabelsFormat | image,labels | names: "scab frog_eye_leaf_spot" |

The classes of the contest are known, so every other word is refused, and the error names the most similar class. There
must be exactly one separator between labels, because some contests would read a second one as an empty label.
Probabilities are written by `medalist.formats.probabilities`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from medalist.errors import SubmissionError
from medalist.formats.submission import (
    HINTED,
    Problem,
    by_row,
    check_ids,
    ids_of_reference,
    meant,
    read_rows,
    refuse,
    shortened,
)
from medalist.records import Answer, Labels, Sample

Fault = tuple[str | None, str, str]
"""The column with the fault, or None for the whole row; its value, shortened; the rule that it breaks."""
FirstFault = Callable[[Sequence[str], bool], Fault | None]
"""(The cells of a row after its id, whether to search for the most similar class) -> the first fault of the row."""

_SEARCHED = 20_000
"""The most classes among which the most similar one is searched for; more would take seconds."""
_SEPARATORS = " ,;|"
"""The signs that people write between labels."""


@dataclass(frozen=True)
class LabelFormat:
    """A submission of one label for each image; a grade of an ordinal contest is a label too.

    columns: the header: the column of the id and that of the label.
    classes: the labels of the contest, in its order.
    ordered: whether ids must be in the order of the sample submission.
    """

    columns: tuple[str, str] = ("id", "label")
    classes: tuple[str, ...] = field(kw_only=True)
    ordered: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        assert self.columns[0] != self.columns[1], self.columns
        hold_classes(self.classes)

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Return the row of one answer. Its probabilities are ignored.

        Raises SubmissionError where the answer does not have exactly one label, or the contest has no such label.
        """
        names = labels_of(sample_id, answer).names
        if len(names) != 1:
            there = f"{len(names)} ({', '.join(names)})" if names else "none"
            raise SubmissionError(
                f"image {shortened(sample_id)}: the contest asks for exactly one label, the answer has "
                f"{shortened(there)}; choose another 'decide.kind' in the config"
            )
        _refuse_answer(sample_id, self._fault(names, search=True))
        return [(sample_id, names[0])]

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample in their order, without probabilities.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        cells, problems = read_answers(path, self.columns, [sample.id for sample in samples], False, self._fault)
        refuse(path, problems)
        return {sample.id: Labels(cells[sample.id]) for sample in samples}

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return the first problem of each row, in row order, then the ids without a row.

        Without `reference` the ids may be in any order. Raises DataError where the reference (the sample submission) is
        malformed, or has other ids than the samples.
        """
        return problems_of(path, self.columns, samples, reference, self.ordered, self._fault)

    @cached_property
    def _place(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.classes)}

    def _fault(self, cells: Sequence[str], search: bool) -> Fault | None:
        cell = cells[0]
        if cell in self._place:
            return None
        known = [parts for char in _SEPARATORS if (parts := _known_parts(cell, char, self._place))]
        if not cell.strip():
            rule = "there must be a label"
        elif not cell.isprintable():
            rule = "a tab or another unprintable character; there must be one label"
        elif known and len(known[0]) > 1:
            rule = f"{len(known[0])} labels; the contest asks for exactly one"
        else:
            rule = unknown_rule(cell, self._place, search)
        return self.columns[1], shortened(cell), rule


@dataclass(frozen=True)
class LabelsFormat:
    """A submission of several labels for each image, in one cell, each label once.

    columns: the header: the column of the id and that of the labels.
    classes: the labels of the contest, in its order.
    separator: the text between two labels; no class may contain it.
    most: the most labels of an image; None for any number.
    empty: the cell of an image without labels; None where each image must have a label.
    ranked: whether the order of labels matters, the best first, as for MAP@k. Else a file may have them in any order,
        and they are written and returned in the order of the classes.
    ordered: whether ids must be in the order of the sample submission.
    """

    columns: tuple[str, str] = ("image", "labels")
    classes: tuple[str, ...] = field(kw_only=True)
    separator: str = field(default=" ", kw_only=True)
    most: int | None = field(default=None, kw_only=True)
    empty: str | None = field(default="", kw_only=True)
    ranked: bool = field(default=False, kw_only=True)
    ordered: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        assert self.columns[0] != self.columns[1], self.columns
        assert self.separator and self.separator.isprintable(), repr(self.separator)
        assert self.most is None or self.most >= 1, self.most
        hold_classes(self.classes)
        parted = [name for name in self.classes if f"{name}{self.separator}".find(self.separator) < len(name)]
        assert not parted, f"classes that hold the separator '{self.separator}': {parted}"
        if self.empty is not None:
            assert self.empty == self.empty.strip() and self.empty.isprintable(), repr(self.empty)
            assert not set(self.empty.split(self.separator)) <= set(self.classes), f"'{self.empty}' could be labels"

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Return the row of one answer, with its labels in the order of the classes. Its probabilities are ignored.

        With `ranked` the labels keep their order, and only the first `most` are written. Raises SubmissionError where
        the answer is no Labels, has more than `most` unranked labels, has none where the contest needs one, has a label
        twice, or has a label that is not in the classes.
        """
        names = labels_of(sample_id, answer).names
        if self.ranked:
            names = names[: self.most]
        if not names:
            if self.empty is None:
                raise SubmissionError(
                    f"image {shortened(sample_id)}: the contest asks for at least one label and the answer has none; "
                    "choose another 'decide.kind' in the config"
                )
            return [(sample_id, self.empty)]
        _refuse_answer(sample_id, self._names_fault(names, search=True))
        return [(sample_id, self.separator.join(self._in_order(names)))]

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample in their order, without probabilities.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        cells, problems = read_answers(path, self.columns, [sample.id for sample in samples], False, self._fault)
        refuse(path, problems)
        return {sample.id: Labels(self._names(cells[sample.id][0])) for sample in samples}

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return the first problem of each row, in row order, then the ids without a row.

        Without `reference` the ids may be in any order. Raises DataError where the reference (the sample submission) is
        malformed, or has other ids than the samples.
        """
        return problems_of(path, self.columns, samples, reference, self.ordered, self._fault)

    @cached_property
    def _place(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.classes)}

    def _in_order(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(names) if self.ranked else tuple(sorted(names, key=self._place.__getitem__))

    def _names(self, cell: str) -> tuple[str, ...]:
        """The labels of a cell that breaks no rule."""
        return () if cell == self.empty else self._in_order(cell.split(self.separator))

    def _fault(self, cells: Sequence[str], search: bool) -> Fault | None:
        cell = cells[0]
        if cell == self.empty:
            return None
        names = cell.split(self.separator)
        if not cell.strip() and self.empty is None:
            rule = "there must be a label"
        elif not cell.strip():
            rule = f"an image without labels is written as '{self.empty}'"
        elif not cell.isprintable():
            rule = f"a tab or another unprintable character; labels are separated by '{self.separator}'"
        elif not all(names):
            there = f"an extra '{self.separator}' at place {names.index('') + 1}"
            rule = f"{there}; labels are separated by exactly one, with none at the ends"
        else:
            return self._names_fault(names, search)
        return self.columns[1], shortened(cell), rule

    def _names_fault(self, names: Sequence[str], search: bool) -> Fault | None:
        if self.most is not None and len(names) > self.most:
            value, rule = self.separator.join(names), f"{len(names)} labels; at most {self.most} may be answered"
            return self.columns[1], shortened(value), rule
        seen: dict[str, int] = {}
        for place, name in enumerate(names, start=1):
            if name in seen:
                rule = f"the label at place {place} is also at place {seen[name]}; each is written once"
                return self.columns[1], shortened(name), rule
            seen[name] = place
            if name not in self._place:
                return self.columns[1], shortened(name), self._unknown_rule(name, search)
        return None

    def _unknown_rule(self, name: str, search: bool) -> str:
        for char in _SEPARATORS.replace(self.separator, "").strip():
            if char in name and _known_parts(name, char, self._place):
                return f"labels are separated by '{self.separator}', not by '{char}'"
        return unknown_rule(name, self._place, search)


def hold_classes(classes: Sequence[str]) -> None:
    """Assert that there are classes, that each is there once, and that each can be written and read back."""
    assert not isinstance(classes, str) and len({*classes}) == len(classes) > 0, f"no tuple, each once: {classes!r}"
    odd = [one for one in classes if not (isinstance(one, str) and one and one == one.strip() and one.isprintable())]
    assert not odd, f"classes that are no texts, empty, unprintable, or have white space at their ends: {odd}"


def labels_of(sample_id: str, answer: Answer) -> Labels:
    """Return the answer where it is Labels; else raise SubmissionError, which says which kind of config makes them."""
    if not isinstance(answer, Labels):
        raise SubmissionError(
            f"image {shortened(sample_id)}: the contest asks for labels, the answer is {type(answer).__name__}; "
            "use a config whose task.kind is classify"
        )
    return answer


def read_answers(
    path: Path, columns: Sequence[str], expected: Sequence[str], ordered: bool, first_fault: FirstFault
) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """Read a file with one row for each id. Raises SubmissionError where there is no such file.

    Returns the cells of each id, and the first problem of each row, in row order, then the ids without a row.
    """
    rows, problems = read_rows(path, columns)
    cells: dict[str, tuple[str, ...]] = {}
    if not rows:
        return cells, problems
    problems += check_ids(rows, columns[0], expected, ordered)
    known = set(expected)
    first: dict[str, int] = {}
    hints = HINTED
    for row in rows:
        name = row.cells[0]
        if name not in known:
            continue
        if name in first:
            rule = f"a second row for this id; the first is row {first[name]}"
            problems.append(Problem(row.number, columns[0], shortened(name), rule))
            continue
        first[name] = row.number
        cells[name] = row.cells[1:]
        found = first_fault(cells[name], hints > 0)
        if found is not None:
            hints -= 1
            problems.append(Problem(row.number, *found))
    return cells, by_row(problems)


def problems_of(
    path: Path,
    columns: Sequence[str],
    samples: Sequence[Sample],
    reference: Path | None,
    ordered: bool,
    first: FirstFault,
) -> list[Problem]:
    """Return the problems that `read_answers` finds, for the ids of `reference`, a sample submission, or of samples."""
    expected = [sample.id for sample in samples]
    if reference is not None:
        expected = ids_of_reference(reference, columns, expected, "test image")
    return read_answers(path, columns, expected, ordered and reference is not None, first)[1]


def nearest(label: str, classes: Mapping[str, object], search: bool = True) -> str | None:
    """Return the class perhaps meant: the label without signs around it, or ".0"; with `search`, also a similar one."""
    bare = label.strip().strip(" ,;|'\"[]")
    near = next((other for other in (bare, bare.removesuffix(".0")) if other in classes), None)
    if near is None and search and len(classes) <= _SEARCHED:
        folded = {name.casefold(): name for name in classes}
        found = get_close_matches(bare.casefold()[:200], folded, n=1)
        near = folded[found[0]] if found else None
    return near


def unknown_rule(label: str, classes: Mapping[str, object], search: bool) -> str:
    """Return the rule that an unknown label breaks, with the class that was perhaps meant."""
    near = nearest(label, classes, search)
    return "the contest has no such label" + meant(label, near)


def _known_parts(text: str, separator: str, classes: Mapping[str, object]) -> list[str]:
    """The parts of a text between separators, without blank ones, if all of them are classes; else no parts."""
    parts = [part.strip() for part in text.split(separator) if part.strip()]
    return parts if all(part in classes for part in parts) else []


def _refuse_answer(sample_id: str, fault: Fault | None) -> None:
    if fault is not None:
        raise SubmissionError(f"image {shortened(sample_id)}, value '{fault[1]}': {fault[2]}")
