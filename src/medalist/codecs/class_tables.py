"""Translate the values of label pictures, which are numbers or colours, to the numbers of a contest's classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError

Colour = tuple[int, int, int]
"""Red, green and blue, each 0..255."""

NamedClass = str | int
"""A class by its name, or by its number in the contest's classes."""

_UNKNOWN, _VOID = -1, -2
_LARGEST_ID = 65535


@dataclass(frozen=True, eq=False)
class ClassTable:
    """What each value of a label picture means.

    classes: the number of the class, by value. void: the values that are void.
    """

    classes: Mapping[int, int]
    void: frozenset[int] = frozenset()

    def translate(self, values: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None, dict[int, int]]:
        """Return the classes uint8[H, W] and the void pixels bool[H, W] of values, and the values that mean nothing.

        values: uint8[H, W] or uint16[H, W] as read, or packed colours int32[H, W]. Void pixels have class 0; void is
        None where there are none. The values that mean nothing come with the number of their pixels, and with class 0.
        """
        meant = self._by_number[values] if values.dtype in (np.uint8, np.uint16) else self._by_search(values)
        unknown: dict[int, int] = {}
        least = int(meant.min(initial=0))
        if least < 0 and (lost := meant == _UNKNOWN).any():
            found, counts = np.unique(values[lost], return_counts=True)
            unknown = dict(zip(found.tolist(), counts.tolist(), strict=True))
        void = meant == _VOID if least == _VOID else None
        return np.maximum(meant, 0).astype(np.uint8), void, unknown

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
        meaning = {**self.classes, **dict.fromkeys(self.void, _VOID)}
        raw = sorted(meaning)
        return np.array(raw, np.int32), np.array([meaning[value] for value in raw], np.int16)

    @cached_property
    def _by_number(self) -> NDArray[np.int16]:
        raw, meant = self._sorted
        table = np.full(_LARGEST_ID + 1, _UNKNOWN, np.int16)
        table[raw] = meant
        return table

    def _by_search(self, values: NDArray[Any]) -> NDArray[np.int16]:
        raw, meant = self._sorted
        if not len(raw):
            return np.full(values.shape, _UNKNOWN, np.int16)
        at = np.minimum(np.searchsorted(raw, values), len(raw) - 1)
        found: NDArray[np.int16] = np.where(raw[at] == values, meant[at], np.int16(_UNKNOWN))
        return found


def number_of(name: NamedClass, classes: Sequence[str]) -> int:
    """Return the number of a class. Raises ConfigError, with the nearest name, where there is no such class."""
    if isinstance(name, str):
        if name in classes:
            return classes.index(name)
        near = get_close_matches(name, classes, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"no class '{name}'; the contest's classes are {', '.join(classes)}{hint}")
    if not 0 <= name < len(classes):
        raise ConfigError(f"no class {name}; the contest has {len(classes)} classes, 0..{len(classes) - 1}")
    return int(name)


def table_of_ids(ids: Mapping[int, NamedClass] | None, ignore: Iterable[int], classes: Sequence[str]) -> ClassTable:
    """Return the table of numbers. ids: the class of each number; None where numbers are those of the classes.

    ignore: the numbers that are void; where `ids` is None, they may be numbers of classes too, which are then void.
    Raises ConfigError for a number out of 0..65535, and for one that is a class and void in the same breath.
    """
    void = frozenset(ignore)
    if ids is None:
        wanted = {number: number for number in range(len(classes)) if number not in void}
    else:
        wanted = {value: number_of(name, classes) for value, name in ids.items()}
    for value in (*wanted, *void):
        if not 0 <= value <= _LARGEST_ID:
            raise ConfigError(f"the value {value} cannot be in a label picture; values are 0..{_LARGEST_ID}")
    _refuse_both(wanted, void, str)
    return ClassTable(wanted, void)


def table_of_colours(
    colours: Mapping[Colour, NamedClass], ignore: Iterable[Colour], classes: Sequence[str]
) -> ClassTable:
    """Return the table of packed colours. Raises ConfigError as `table_of_ids` does."""
    wanted = {_packed_one(colour): number_of(name, classes) for colour, name in colours.items()}
    void = frozenset(_packed_one(colour) for colour in ignore)
    _refuse_both(wanted, void, lambda value: str(colour_of(value)))
    return ClassTable(wanted, void)


def _refuse_both(wanted: Mapping[int, int], void: frozenset[int], shown: Any) -> None:
    both = sorted(wanted.keys() & void)
    if both:
        raise ConfigError(f"{shown(both[0])} is a class and in `ignore` too; take it out of one of them")


def packed(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return colours uint8[H, W, 3] as numbers int32[H, W]: red x 65536 + green x 256 + blue."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    whole: NDArray[np.int32] = (red << 16) | (green << 8) | blue
    return whole


def colour_of(number: int) -> Colour:
    """Return the colour of a packed number."""
    return number >> 16, (number >> 8) & 255, number & 255


def nearest_colour(number: int, table: ClassTable) -> int | None:
    """Return the packed colour of the table that is nearest in red, green and blue; None for an empty table."""
    known = sorted((*table.classes, *table.void))
    if not known:
        return None
    there = np.array([colour_of(one) for one in known])
    return known[int(((there - np.array(colour_of(number))) ** 2).sum(axis=1).argmin())]


def _packed_one(colour: Colour) -> int:
    if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
        raise ConfigError(f"{colour} is no colour; give red, green and blue, each 0..255")
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]
