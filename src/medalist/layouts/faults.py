"""Report all faults of the files of one step in one DataError."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from medalist.errors import DataError
from medalist.formats.submission import shortened, twins, unicode_form

SHOWN = 10
"""The most faults that an error names; it only counts the others."""


def refuse(where: str, faults: Sequence[str], remedy: str = "") -> None:
    """Raise DataError, which names the faults and the remedy, where there are faults.

    remedy: "" where each fault names its own.
    """
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(f"{where}: {'; '.join(faults[:SHOWN])}{more}{f' ({remedy})' if remedy else ''}")


def _same_forms(one: str, left: AbstractSet[str], other: str, right: AbstractSet[str]) -> None:
    """Raise DataError where ids of both sides look alike and have other code points: downloading again is no remedy."""
    faults = [
        f"'{shortened(name)}' is written with Unicode {unicode_form(name)} as a {one} and with {unicode_form(twin)} "
        f"as a {other}"
        for name, twin in sorted(twins(left, right).items())
    ]
    refuse("the same letters are written in two ways", faults, "rename the files, or write the csv as they are named")


def same_ids(
    one: str, left: Iterable[str], other: str, right: Iterable[str], remedy: str = "download the contest again"
) -> None:
    """Raise DataError, which names the ids and the remedy, where `left` and `right` do not have the same ids.

    one, other: what an id of `left` and of `right` stands for, for the error.
    """
    left, right = set(left), set(right)
    _same_forms(one, left - right, other, right - left)
    faults = [f"'{name}' has a {other} but no {one}" for name in sorted(right - left)]
    faults += [f"'{name}' is a {one} without a {other}" for name in sorted(left - right)]
    refuse(f"images and {'masks' if 'mask' in other else 'csv'} do not fit", faults, remedy)
