"""Split the lines of a csv at their commas, strictly, and say what is wrong with a header."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CELL = re.compile(r'(?:"((?:[^"]++|"")*+)"|([^",]*+))(,|$)')  # possessive, so that time and memory stay linear


def cells_of(line: str) -> tuple[str, ...] | None:
    """Split a line at its commas; return None where a quote is in a wrong place.

    The csv reader of Python is not used, because it accepts quotes in wrong places, and because its limit of 131,072
    characters for a cell, which is too small for the codes of large masks, is a setting of the whole process.
    """
    if '"' not in line:
        return tuple(line.split(","))
    cells = []
    at = 0
    while True:
        found = _CELL.match(line, at)
        if found is None:
            return None
        quoted, plain, end = found.groups()
        cells.append(plain if quoted is None else quoted.replace('""', '"'))
        if not end:
            return tuple(cells)
        at = found.end()


def header_rule(header: tuple[str, ...] | None, columns: Sequence[str]) -> str:
    """Return the rule that a header breaks; columns are the right ones."""
    wanted = ",".join(columns)
    if header is not None and sorted(header) == sorted(columns):
        return f"the columns are in another order; the header must be '{wanted}'"
    if header is not None and len(header) == len(columns) + 1 and header[1:] == tuple(columns):
        return f"there is one more column in front (a pandas index?); the header must be '{wanted}'"
    return f"the header must be '{wanted}'"
