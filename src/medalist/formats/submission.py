"""Submission files: the protocol of every format, writing a file, and the problems that a check finds.

A format (`formats.rle.RleFormat` is one) is a value with `rows`, `parse` and `validate`. This module has the code that
all formats share: it reads the csv strictly, and compares its ids with those that the contest asks for.

A csv is accepted where it is UTF-8 without byte order mark and without NUL, has the exact header, has as many cells in
each row as in the header, and has no blank lines. Lines end in LF; CRLF is accepted too, because spreadsheets write it
and the contests accept it. A cell may be quoted as a whole; a quote anywhere else, or a line break in quotes, is
refused. The size of a cell is not limited. The contest's own sample submission may begin with a byte order mark.
"""

from __future__ import annotations

import codecs
import csv
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol, runtime_checkable

from medalist.errors import DataError, SubmissionError
from medalist.files import written
from medalist.formats.csv_lines import cells_of, header_rule
from medalist.reading import TABLE_BYTES, read_bytes
from medalist.records import Answer, Sample

SHOWN = 72
"""The most characters of a value that a message shows."""
NO_ROWS = "there are no rows after the header"
"""The rule that a file with a header alone breaks."""
HINTED = 5
"""For how many unknown ids the most similar known id is searched for; each search over all ids takes time."""


@dataclass(frozen=True)
class Problem:
    """One fault of a submission file.

    row: the line in the csv file, where the header is line 1; None where the fault is in no line (a missing id).
    column: the name of the column, or None where the fault is the whole line.
    value: the text at this place, shortened, on one line.
    rule: the rule that is broken, as text.
    """

    row: int | None
    column: str | None
    value: str
    rule: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        where = [f"row {self.row}"] if self.row is not None else []
        where += [f"column {self.column}"] if self.column is not None else []
        where.append(f"value '{self.value}'")
        return f"{', '.join(where)}: {self.rule}"


@dataclass(frozen=True)
class Row:
    """One line of a csv: its number in the file (the header is 1) and its cells."""

    number: int
    cells: tuple[str, ...]


class _Readable(Protocol):
    """What csv files and archives have in common. The samples have the ids that are asked for and the image sizes."""

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample. Raises SubmissionError on the first problem."""
        ...

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return the problems in row order. `reference`: the sample submission, whose order of ids is required."""
        ...


class SubmissionFormat(_Readable, Protocol):
    """How the answers of one contest are written as the rows of a csv."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The header."""
        ...

    def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
        """Return the rows of one answer; none only where the contest leaves out what has nothing.

        Raises SubmissionError where the contest does not ask for such an answer.
        """
        ...


@runtime_checkable
class ArchiveFormat(_Readable, Protocol):
    """How the answers of one contest are written that asks for an archive of files in place of a csv."""

    @property
    def suffix(self) -> str:
        """How the name of the archive ends, such as ".zip"."""
        ...

    def write(self, path: Path, answers: Iterable[tuple[str, Answer]]) -> int:
        """Write the answers to a new file; return the number of files in it. Raises SubmissionError."""
        ...


AnyFormat = SubmissionFormat | ArchiveFormat
"""A csv, or an archive of files."""


def suffix_of(form: AnyFormat) -> str:
    """Return how the name of a submission ends: ".csv", or that of an archive."""
    return form.suffix if isinstance(form, ArchiveFormat) else ".csv"


def write_submission(path: Path, form: AnyFormat, answers: Iterable[tuple[str, Answer]]) -> int:
    """Write (id, answer) pairs in their order, whole or not at all; return the number of rows, or of files."""
    if isinstance(form, ArchiveFormat):
        with written(path) as unfinished:
            return form.write(unfinished, answers)
    count = 0
    with written(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(form.columns)
        for sample_id, answer in answers:
            rows = form.rows(sample_id, answer)
            lines.writerows(rows)
            count += len(rows)
    return count


def check_submission(path: Path, form: AnyFormat, samples: Sequence[Sample], reference: Path | None) -> None:
    """Raise SubmissionError where the file has problems; it names the file, the first problem and how many more."""
    refuse(path, problems_of_file(path, form, samples, reference))


def problems_of_file(path: Path, form: AnyFormat, samples: Sequence[Sample], reference: Path | None) -> list[Problem]:
    """Return the problems of a file in row order, as `validate` of its format does.

    A byte order mark is no problem of the contest's own sample submission, which is `reference`.
    """
    same = reference is not None and path.is_file() and reference.is_file() and path.samefile(reference)
    if not same or isinstance(form, ArchiveFormat):
        return form.validate(path, samples, reference)
    raw = read_bytes(path, TABLE_BYTES)
    if not raw.startswith(codecs.BOM_UTF8):
        return form.validate(path, samples, reference)
    with tempfile.TemporaryDirectory() as folder:
        unmarked = Path(folder, path.name)
        unmarked.write_bytes(raw.removeprefix(codecs.BOM_UTF8))
        return form.validate(unmarked, samples, reference)


def refuse(path: Path, problems: Sequence[Problem]) -> None:
    """Raise SubmissionError for the first of these problems, on one line; do nothing where there are none."""
    if problems:
        more = f" (and {len(problems) - 1} more; 'medalist validate' lists them)" if len(problems) > 1 else ""
        raise SubmissionError(f"{path}: {problems[0]}{more}")


def twins(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return, by name, the one of `others` that looks like the name and has other code points.

    Unicode writes a letter with an accent as one sign (NFC) or as two (NFD). macOS and some archives write the names of
    files in the second form, and spreadsheets write the first.
    """
    by_form = {unicodedata.normalize("NFC", other): other for other in others if not other.isascii()}
    found = {name: by_form.get(unicodedata.normalize("NFC", name), name) for name in names if not name.isascii()}
    return {name: other for name, other in found.items() if other != name}


def unicode_form(name: str) -> str:
    """Return the Unicode form in which a name is written, for messages: NFC, NFD or mixed."""
    forms = [form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, name)]
    return forms[0] if forms else "mixed"


def meant(name: str, near: str | None) -> str:
    """Return the end of a rule that says which known name was perhaps meant; empty where `near` is None."""
    if near is None:
        return ""
    if near in twins([name], [near]).values():
        forms = f"as Unicode {unicode_form(name)} and not {unicode_form(near)}"
        return f": it looks like '{shortened(near)}', but its accents are written {forms}"
    return f"; did you mean '{shortened(near)}'?"


def shortened(value: str) -> str:
    """Return a value for a message, shortened to SHOWN characters; unprintable ones are escaped (`\\n`, `\\ufeff`)."""
    if len(value) > SHOWN:
        value = f"{value[: SHOWN - 23]} … {value[-20:]}"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in value)


def read_rows(path: Path, columns: Sequence[str], *, marked: bool = False) -> tuple[list[Row], list[Problem]]:
    """Read a csv as the docstring of this module says; return the valid rows, and a problem for each other line.

    marked: whether a byte order mark at the beginning is skipped. A contest's own file may have one; in a submission
    it is a problem, because most contests would read it as a part of the first column's name.

    Where the file cannot be read as text, is empty, or has another header, this is the only problem, and there are no
    rows. Raises SubmissionError where there is no such file.
    """
    try:
        raw = read_bytes(path, TABLE_BYTES)
    except OSError as error:
        raise SubmissionError(f"{path}: cannot be read ({error.strerror}); name the csv to be sent") from error
    text, problem = _decoded(raw.removeprefix(codecs.BOM_UTF8) if marked else raw)
    if problem is not None:
        return [], [problem]
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    header = cells_of(lines[0])
    if header != tuple(columns):
        return [], [Problem(1, None, shortened(lines[0]), header_rule(header, columns))]
    rows, problems = [], []
    for number, line in enumerate(lines[1:], start=2):
        cells = cells_of(line)
        if cells is None:
            rule = "a quote is only allowed around a whole cell, closed on the same line"
            problems.append(Problem(number, None, shortened(line), rule))
        elif len(cells) != len(columns):
            width = "is blank" if not line else f"has {len(cells)} cell{'s' * (len(cells) != 1)}"
            rule = f"the row {width}; each row has {len(columns)}: {','.join(columns)}"
            problems.append(Problem(number, None, shortened(line), rule))
        else:
            rows.append(Row(number, cells))
    if len(lines) == 1:
        problems.append(Problem(1, None, shortened(lines[0]), NO_ROWS))
    return rows, problems


def check_ids(rows: Sequence[Row], column: str, expected: Sequence[str], ordered: bool) -> list[Problem]:
    """Compare the ids, which are the first cells of the rows, with the expected ids.

    Returns a problem for each unknown id (with the most similar known id) and for each id without a row. With
    `ordered`, also for rows of one id that are not together, and for the first id that is in another place.
    """
    known = dict.fromkeys(expected)
    first_rows: dict[str, int] = {}
    problems: list[Problem] = []
    hints = HINTED
    last = None
    for row in rows:
        name = row.cells[0]
        if name not in known:
            if name not in first_rows:
                problems.append(Problem(row.number, column, shortened(name), _unknown_rule(name, expected, hints > 0)))
                hints -= 1
        elif ordered and name in first_rows and name != last:
            rule = f"the rows of one id must stand together; this id was first in row {first_rows[name]}"
            problems.append(Problem(row.number, column, shortened(name), rule))
        first_rows.setdefault(name, row.number)
        last = name
    if ordered:
        in_file = [name for name in first_rows if name in known]
        in_order = [name for name in known if name in first_rows]
        for name, due in zip(in_file, in_order, strict=True):
            if name != due:
                rule = f"ids must be in the order of the sample submission; here it has '{shortened(due)}'"
                problems.append(Problem(first_rows[name], column, shortened(name), rule))
                break  # the ids after it are usually only shifted
    missing = [name for name in known if name not in first_rows]
    return problems + [
        Problem(None, column, shortened(name), "this id is asked for and has no row") for name in missing
    ]


def ids_of_reference(reference: Path, columns: Sequence[str], known: Sequence[str], what: str) -> list[str]:
    """Return the ids of the contest's sample submission, in its order.

    what: the thing that an id names, such as "query", for errors. Raises DataError where the file is malformed, or its
    ids are not exactly the known ones.
    """
    try:
        rows, problems = read_rows(reference, columns, marked=True)
    except SubmissionError as error:
        raise DataError(f"sample submission {error}") from error
    if problems:
        raise DataError(f"sample submission {reference}: {problems[0]}")
    ids = list(dict.fromkeys(row.cells[0] for row in rows))
    for name in sorted(set(ids) ^ set(known)):
        if twin := twins([name], known if name in ids else ids):
            forms = sorted((name, twin[name]), key=lambda one: one not in ids)
            raise DataError(
                f"sample submission {reference}: '{shortened(forms[0])}' is written with Unicode "
                f"{unicode_form(forms[0])} there and with {unicode_form(forms[1])} in the contest's data; rename the "
                "files, or the ids in the csv"
            )
        there = f"there is no such {what}" if name in ids else f"this {what} is not asked for"
        raise DataError(f"sample submission {reference}: '{name}': {there}; download the contest again")
    return ids


def by_row(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems sorted by row; problems without a row come last."""
    return sorted(problems, key=lambda problem: (problem.row is None, problem.row or 0))


def _decoded(raw: bytes) -> tuple[str, Problem | None]:
    if not raw.strip():
        return "", Problem(None, None, "", "the file is empty")
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        rule = "the file starts with a byte order mark; save it as UTF-8 without one"
        return "", Problem(1, None, repr(raw[:3])[2:-1], rule)
    bad = raw.find(b"\0")
    rule = "a NUL byte; the file is not text, or was cut off while it was written"
    if bad < 0:
        try:
            return raw.decode("utf-8"), None
        except UnicodeDecodeError as error:
            bad = error.start
            rule = "the file is not UTF-8; save it as UTF-8 without a byte order mark"
    value = repr(raw[max(0, bad - 20) : bad + 4])[2:-1]
    return "", Problem(raw.count(b"\n", 0, bad) + 1, None, shortened(value), rule)


def _unknown_rule(name: str, expected: Sequence[str], search: bool) -> str:
    rule = "this id is not asked for"
    if search and (twin := twins([name], expected)):
        return rule + meant(name, twin[name])
    alike = [name.strip(), Path(name.strip()).stem]
    near = [other for other in alike if other in expected] if search else []
    if search and not near:
        near = get_close_matches(name[:200], expected, n=1)
    return rule + meant(name, near[0] if near else None)
