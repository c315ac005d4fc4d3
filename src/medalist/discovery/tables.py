"""Read the csv files of a contest, and find which of their columns names the images of which image set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from medalist.discovery.listing import Listing
from medalist.discovery.pictures import ImageSet, words_of
from medalist.errors import DataError
from medalist.files import read_table
from medalist.reading import open_file

MOST_TABLES = 64
"""The most csv files that are read; of more, the files nearest to the contest's folder are read."""

LOOKED = 2000
"""The most cells of a column that are looked at one by one."""

MOST_COLUMNS = 40
"""The first columns of a table among which that of the ids is searched for."""

FOUND = 0.5
"""The least share of a column's values that must be images, so that it is a column of ids."""

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
EMPTY = ("", "-", "-1", "nan", "NaN", "None", "none", "null", "[]")
"""How contests write an image without anything."""

Key = Literal["stem", "name", "path"]
"""What a cell says of an image: its name without the suffix, its name, or its path."""


@dataclass(frozen=True, eq=False)
class Table:
    """A csv. file: its path inside the contest's folder. rows: its cells by column, as text."""

    file: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]

    def cells(self, column: str) -> list[str]:
        """All cells of a column."""
        return [row[column] for row in self.rows]

    def some(self, column: str) -> list[str]:
        """At most LOOKED cells of a column, spread evenly."""
        return [row[column] for row in self.rows[:: max(1, -(-len(self.rows) // LOOKED))]]

    def others(self, *columns: str | None) -> list[str]:
        """The other columns."""
        return [column for column in self.columns if column not in columns]

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of the file's name."""
        return words_of(PurePosixPath(self.file).stem)

    @property
    def for_submission(self) -> bool:
        """Whether its name says that it is a sample submission."""
        stem = PurePosixPath(self.file).stem.lower()
        return "submission" in stem or "submit" in stem or (bool(self.words & {"sample"}) and "sub" in stem)


@dataclass(frozen=True)
class Match:
    """A column that names images.

    key: what its cells say of an image. joiner: what stands between the image and a class, where a cell joins both.
    prefix: what stands before a path, inside the contest's folder. found, of: how many of its different names are
    images of the set. lost: the first names that are none.
    """

    column: str
    key: Key
    found: int
    of: int
    joiner: str = ""
    prefix: str = ""
    lost: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share of names that are images."""
        return self.found / self.of

    def name(self, cell: str) -> str:
        """The image of a cell."""
        return cell.rpartition(self.joiner)[0] if self.joiner else cell


def read_tables(listing: Listing) -> tuple[list[Table], list[str]]:
    """Return the tables of a contest, and a line for each csv that cannot be read."""
    files = sorted(listing.files(".csv"), key=lambda file: (file.count("/"), file))
    tables, faults = [], []
    for file in files[:MOST_TABLES]:
        path = listing.root / file
        fault = _separator_fault(path, file)
        if fault:
            faults.append(fault)
            continue
        try:
            rows = read_table(path, ())
        except DataError as error:
            faults.append(str(error))
            continue
        if rows:
            tables.append(Table(file, tuple(rows[0]), tuple(rows)))
    if len(files) > MOST_TABLES:
        faults.append(f"{len(files) - MOST_TABLES} more csv files were not looked at")
    return tables, faults


def _separator_fault(path: Path, file: str) -> str:
    """A line where the cells are separated by another sign than a comma; "" where they are not."""
    try:
        with open_file(path) as opened:
            head = opened.readline(10_000)
    except OSError:
        return ""  # read_table names the fault
    for sign, called in ((b";", "semicolons"), (b"\t", "tabs")):
        if sign in head and b"," not in head:
            return f"{file}: its cells are separated by {called}; save it as csv with commas, with '.' in numbers"
    return ""


def matches(table: Table, images: ImageSet) -> Iterator[Match]:
    """Yield the columns of a table that name images of a set, the best way for each column."""
    by_key = _names(images)
    for column in table.columns[:MOST_COLUMNS]:
        cells = list(dict.fromkeys(table.cells(column)))
        some = cells[:: max(1, -(-len(cells) // LOOKED))]
        ways: list[tuple[Key, str, str]] = [(key, "", prefix) for key, prefix, _ in by_key]
        ways += [(key, "_", prefix) for key, prefix, _ in by_key if key != "path"]
        best = None
        for key, joiner, prefix in ways:
            known = next(names for one, before, names in by_key if (one, before) == (key, prefix))
            said = [cell.rpartition(joiner)[0] for cell in some] if joiner else some
            share = sum(name in known for name in said) / max(1, len(said))
            if share >= FOUND and (best is None or share > best[0] + 1e-9):
                best = (share, key, joiner, prefix, known)
        if best is not None:
            _, key, joiner, prefix, known = best
            names = list(dict.fromkeys(cell.rpartition(joiner)[0] for cell in cells)) if joiner else cells
            lost = [name for name in names if name not in known]
            yield Match(column, key, len(names) - len(lost), len(names), joiner, prefix, tuple(lost[:5]))


def _names(images: ImageSet) -> list[tuple[Key, str, frozenset[str]]]:
    """The names under which a cell may know the images: the way, a prefix of paths, and the names."""
    paths = images.files.values()
    found: list[tuple[Key, str, frozenset[str]]] = [("stem", "", frozenset(images.files))]
    if images.form != "per_image":
        found.append(("name", "", frozenset(path.rpartition("/")[2] for path in paths)))
        parts = images.folder.split("/") if images.folder != "." else []
        for depth in range(len(parts) + 1):
            prefix = "".join(f"{part}/" for part in parts[:depth])
            inside = frozenset(path.removeprefix(prefix) for path in paths)
            if any("/" in name for name in list(inside)[:10]):
                found.append(("path", prefix, inside))
    return found


def best_match(table: Table, images: ImageSet) -> Match | None:
    """The column that names most images of a set; None where no column does."""
    return max(matches(table, images), key=lambda one: (round(one.share, 3), not one.joiner, one.found), default=None)


def as_numbers(cells: Sequence[str]) -> list[float] | None:
    """The cells as numbers; None where one is none."""
    return [float(cell) for cell in cells] if all(map(NUMBER.fullmatch, cells)) else None


def by_number(text: str) -> tuple[int, float, str]:
    """The key by which names of classes are sorted: whole numbers by their value, then other names."""
    return (0, float(text), text) if text.isascii() and text.isdigit() else (1, 0.0, text)
