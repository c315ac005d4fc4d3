"""Everything that is wrong with the files of one step, told in one DataError."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medalist.errors import DataError

SHOWN = 10
"""How many faults an error names before it only counts the rest."""


def refuse(where: str, faults: Sequence[str], remedy: str) -> None:
    """DataError that names the faults, where there are any, and what to do."""
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(f"{where}: {'; '.join(faults[:SHOWN])}{more} ({remedy})")


def same_ids(one: str, left: Iterable[str], other: str, right: Iterable[str]) -> None:
    """DataError that names every id which only one of two places has; `one` and `other` say what they are."""
    left, right = set(left), set(right)
    faults = [f"'{name}' has a {other} but no {one}" for name in sorted(right - left)]
    faults += [f"'{name}' is a {one} without a {other}" for name in sorted(left - right)]
    refuse("images and csv do not fit", faults, "download the contest again")
