"""Submissions of names: `id,gallery_ids`; each query has a row, with the best name first.

| contest | most | fixed | confident | no name |
|---|---|---|---|---|
| Humpback, Happywhale, Hotel-ID | 5 | no | no | refused |
| landmark retrieval | 100 | no | no | "" |
| landmark recognition | 1 | no | yes: "8815 0.25" | "" |

There must be exactly one separator between names. Some contests split a cell at each space, others at any white space;
the first kind would read a second space as an empty name, which takes a place. Therefore a second space is refused, and
so are tabs, white space at the ends, and commas between names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from medalist.errors import SubmissionError
from medalist.formats.submission import (
    HINTED,
    Problem,
    Row,
    by_row,
    check_ids,
    ids_of_reference,
    meant,
    read_rows,
    refuse,
    shortened,
)
from medalist.records import Answer, Ranking, Sample

Candidates = Mapping[str, frozenset[str]] | frozenset[str]
"""The names that may be answered: for all queries, or for each query by its id."""

_SEARCHED = 20_000
"""The most candidates among which the most similar name is searched for; more would take seconds."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class RankingFormat:
    """A submission of ranked names.

    columns: the header: the column of the query and that of the names.
    most: the most names of a query; with `fixed`, each query must have exactly this number.
    confident: whether a cell is one name and its confidence, which is compared over all queries.
    separator: the text between two names, and between a name and its confidence.
    empty: the cell of a query without names; None where each query must have a name.
    ordered: whether ids must be in the order of the sample submission.
    candidates: the names that may be answered, for all queries or by query id; None allows any name. See `among`.
    """

    columns: tuple[str, str] = ("id", "gallery_ids")
    most: int = 5
    fixed: bool = field(default=False, kw_only=True)
    confident: bool = field(default=False, kw_only=True)
    separator: str = field(default=" ", kw_only=True)
    empty: str | None = field(default=None, kw_only=True)
    ordered: bool = field(default=True, kw_only=True)
    candidates: Candidates | None = field(default=None, kw_only=True, repr=False, hash=False)

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        assert self.columns[0] != self.columns[1], self.columns
        assert self.most >= 1, self.most
        assert self.most == 1 or not self.confident, "a confidence belongs to one name"
        assert self.separator and self.separator.isprintable(), repr(self.separator)

    def among(self, candidates: Candidates) -> RankingFormat:
        """Return the same format, which refuses names that are not candidates: for all queries, or by query id."""
        return replace(self, candidates=candidates)

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Return the row of one answer, with its first `most` names; a confidence is read back as the same float.

        Raises SubmissionError where the answer is no Ranking, and where its names break a rule of the format.
        """
        if not isinstance(answer, Ranking):
            raise SubmissionError(
                f"query {sample_id}: the contest asks for names, the answer is {type(answer).__name__}; "
                "use a config whose task.kind is embed"
            )
        words = list(answer.names[: self.most])
        if words and self.confident:
            if answer.confidence is None:
                raise SubmissionError(f"query {sample_id}: the contest asks for a confidence and the answer has none")
            words.append(repr(float(answer.confidence)))
        cell = self.separator.join(words) if words else self.empty or ""
        value, rule = ("", "") if self._fits(sample_id, cell) else self._rule(sample_id, cell, HINTED)
        if not rule and words and cell.split(self.separator) != words:
            parted = next(word for word in words if self.separator in word or not word)
            value, rule = shortened(parted), f"a name must not be empty or hold '{self.separator}'"
        if not rule and words and cell == self.empty:
            value, rule = shortened(cell), "this name is what the contest writes for 'no name'"
        if rule:
            raise SubmissionError(f"query {sample_id}, value '{value}': {rule}")
        return [(sample_id, cell)]

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the rankings back, one for each sample in their order.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        rows, problems = self._read(path, [sample.id for sample in samples], ordered=False)
        refuse(path, problems)
        cells = {row.cells[0]: row.cells[1] for row in rows}
        return {sample.id: self._ranking(cells[sample.id]) for sample in samples}

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return the first problem of each row, in row order, then the ids without a row.

        Without `reference` the ids may be in any order. Raises DataError where the reference (the sample submission) is
        malformed, or has other ids than the samples.
        """
        expected = [sample.id for sample in samples]
        if reference is not None:
            expected = ids_of_reference(reference, self.columns, expected, "query")
        return self._read(path, expected, self.ordered and reference is not None)[1]

    def _read(self, path: Path, expected: Sequence[str], ordered: bool) -> tuple[list[Row], list[Problem]]:
        rows, problems = read_rows(path, self.columns)
        if not rows:
            return rows, problems
        problems += check_ids(rows, self.columns[0], expected, ordered)
        known = set(expected)
        first: dict[str, int] = {}
        hints = HINTED
        for row in rows:
            name, cell = row.cells
            if name not in known:
                continue
            if name in first:
                rule = f"a second row for this id; the first is row {first[name]}"
                problems.append(Problem(row.number, self.columns[0], shortened(name), rule))
                continue
            first[name] = row.number
            if self._fits(name, cell):
                continue
            value, rule = self._rule(name, cell, hints)
            hints -= 1
            problems.append(Problem(row.number, self.columns[1], value, rule))
        return rows, by_row(problems)

    def _may(self, sample_id: str) -> AbstractSet[str] | None:
        """The names that may be answered for a query; None where all names may be."""
        if isinstance(self.candidates, Mapping):
            return self.candidates.get(sample_id, frozenset())
        return self.candidates

    def _fits(self, sample_id: str, cell: str) -> bool:
        """Whether a cell surely breaks no rule, checked fast. Where it is False, `_rule` decides."""
        may = self._may(sample_id)
        if self.confident or may is None or not cell.isprintable():
            return not self._rule(sample_id, cell, 0)[1]
        names = cell.split(self.separator)
        if len(names) > self.most or (self.fixed and len(names) < self.most) or cell == self.empty:
            return cell == self.empty
        different = set(names)
        return len(different) == len(names) and may >= different and (self.separator == " " or not _out_of_place(names))

    def _rule(self, sample_id: str, cell: str, hints: int) -> tuple[str, str]:
        """The value with the fault and the rule that it breaks; the rule is '' where the cell breaks none."""
        if cell == self.empty:
            return "", ""
        rule = self._cell_rule(cell)
        if rule:
            return shortened(cell), rule
        names = cell.split(self.separator)
        if self.confident:
            confidence = names.pop()
            if not _NUMBER.fullmatch(confidence) or not math.isfinite(float(confidence)):
                return shortened(confidence), "the confidence must be a finite number, such as 0.25"
        return self._names_rule(names, self._may(sample_id), cell, hints)

    def _cell_rule(self, cell: str) -> str:
        """The rule that the cell as a whole breaks, or ''."""
        if not cell.strip():
            if self.empty is None:
                return "there must be a name"
            return f"a query without a name is written as '{self.empty}'"
        if not cell.isprintable():
            return f"a tab or another unprintable character; names are separated by '{self.separator}'"
        names = cell.split(self.separator)
        if not all(names):
            there = f"an extra '{self.separator}' at place {names.index('') + 1}"
            return f"{there}; names are separated by exactly one, with none at the ends"
        if self.confident and len(names) != 2:
            return f"the cell must be one name and its confidence, separated by '{self.separator}'"
        return ""

    def _names_rule(self, names: list[str], may: AbstractSet[str] | None, cell: str, hints: int) -> tuple[str, str]:
        if len(names) > self.most:
            limit = "exactly" if self.fixed else "at most"
            return shortened(cell), f"{len(names)} names; {limit} {self.most} may be answered"
        if self.fixed and len(names) < self.most:
            return shortened(cell), f"{len(names)} names; exactly {self.most} must be answered"
        seen: dict[str, int] = {}
        for place, name in enumerate(names, start=1):
            if name in seen:
                return shortened(
                    name
                ), f"the name at place {place} is also at place {seen[name]}; each is answered once"
            seen[name] = place
            if may is not None and name not in may:
                return shortened(name), _unknown_rule(name, may, hints > 0)
            if may is None and self.separator != "," and "," in name:
                return shortened(name), f"names are separated by '{self.separator}', not by commas"
        return (shortened(cell), "white space at the end of a name") if _out_of_place(names) else ("", "")

    def _ranking(self, cell: str) -> Ranking:
        """The ranking of a cell that breaks no rule."""
        if cell == self.empty:
            return Ranking(())
        names = cell.split(self.separator)
        return Ranking((names[0],), float(names[1])) if self.confident else Ranking(tuple(names))


def _out_of_place(names: Sequence[str]) -> bool:
    """Whether a name begins or ends with a space, as in "a; b" with the separator ";"."""
    return any(name[:1] == " " or name[-1:] == " " for name in names)


def _unknown_rule(name: str, may: AbstractSet[str], search: bool) -> str:
    rule = "there is no such name among those that may be answered"
    if not may:
        return f"{rule}; this query has none"
    near = [other for other in (name.strip(" ,;"), Path(name).stem) if other in may]
    if not near and search and len(may) <= _SEARCHED:
        near = get_close_matches(name[:200], may, n=1)
    return rule + meant(name, near[0] if near else None)
