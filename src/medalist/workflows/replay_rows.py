"""The first row in which two submission files differ."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from medalist.files import reason
from medalist.reading import TABLE_BYTES, open_file, read_bytes

SHOWN = 60


@dataclass(frozen=True)
class RowDifference:
    """Where two files differ. what: `rows`, or only `bytes` (line ends, spaces of JSON, dates in an archive)."""

    what: Literal["rows", "bytes"]
    told: str


def row_difference(was: Path, now: Path) -> RowDifference:
    """Return the first difference of two files whose bytes differ. Rows are counted from 1, which is the header."""
    try:
        match was.suffix.lower():
            case ".zip":
                found = _of_pairs("file", _members(was), _members(now))
            case ".json":
                found = _of_pairs("object", _objects(was), _objects(now))
            case _:
                found = _of_pairs("row", _lines(was), _lines(now))
    except (OSError, ValueError, zipfile.BadZipFile, RecursionError) as error:
        return RowDifference("rows", f"one of the files cannot be read ({reason(error)[:100]})")
    return found or RowDifference("bytes", "the rows are the same; line ends or layout differ")


def _of_pairs(what: str, was: Iterator[str], now: Iterator[str]) -> RowDifference | None:
    first, count = "", 0
    for number, (before, after) in enumerate(zip_longest(was, now), start=1):
        if before != after:
            count += 1
            first = first or f"first differing {what} {number}: {_pair(before, after)}"
    if not count:
        return None
    return RowDifference("rows", f"{first}; {count} {what}{'s differ' if count > 1 else ' differs'}")


def _pair(before: str | None, after: str | None) -> str:
    """Return two texts around the place where they begin to differ."""
    if before is None or after is None:
        return f"{_quoted(before, 0)} in the file, {_quoted(after, 0)} in the replay"
    at = next(
        (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = 0 if at < SHOWN // 2 else at - SHOWN // 3
    return f"{_quoted(before, start)} in the file, {_quoted(after, start)} in the replay"


def _quoted(text: str | None, start: int) -> str:
    if text is None:
        return "nothing"
    part = text[start : start + SHOWN]
    return f"'{'…' if start else ''}{part}{'…' if len(text) > start + SHOWN else ''}'"


def _lines(path: Path) -> Iterator[str]:
    with open_file(path, TABLE_BYTES) as file:
        for line in file:
            yield line.rstrip(b"\r\n").decode("utf-8", "replace")


def _members(path: Path) -> Iterator[str]:
    with open_file(path) as file, zipfile.ZipFile(file) as archive:
        yield from (f"{one.filename} (CRC {one.CRC:08x})" for one in archive.infolist())


def _objects(path: Path) -> Iterator[str]:
    value = json.loads(read_bytes(path, TABLE_BYTES))
    yield from (json.dumps(one, sort_keys=True) for one in (value if isinstance(value, list) else [value]))
