"""The keys that a sweep varies, with their lists of values or ranges of numbers. This module needs no torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medalist.errors import ConfigError

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(f"({NUMBER})\\.\\.({NUMBER})")

LOG_FROM = 10.0
"""A range of positive numbers is searched on a log scale where its upper end is at least this many times its lower."""


@dataclass(frozen=True)
class Choice:
    """The values of one key, as they were typed."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """The numbers of one key from `low` to `high`, both included. `whole`: only integers, as both ends are integers."""

    key: str
    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        """Whether the range is searched on a log scale."""
        return self.low > 0 and self.high / self.low >= LOG_FROM


Axis = Choice | Range


def parse_words(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[Axis, ...]]:
    """Divide `key=value` words into fixed overrides and swept keys, which look like `key=a,b` or `key=1e-4..1e-2`.

    Commas inside brackets, braces and quotes do not divide values. Raises ConfigError for a word without `=`, a key
    that is swept twice, an empty value, and a range that does not go up.
    """
    fixed: list[str] = []
    swept: dict[str, Axis] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"'{word}' is not key=value; type for instance train.lr=1e-4,3e-4")
        values = tuple(dict.fromkeys(split_values(text)))
        found = RANGE.fullmatch(text.strip())
        if len(values) < 2 and not found:
            fixed.append(word)
            continue
        if key in swept:
            raise ConfigError(f"{key} is swept twice; type its values in one word: {key}=a,b")
        if "" in values:
            raise ConfigError(f"'{word}' has an empty value; remove the extra comma")
        swept[key] = _range(key, found[1], found[2]) if found else Choice(key, values)
    return tuple(fixed), tuple(swept.values())


def split_values(text: str) -> list[str]:
    """Divide a text at commas outside of brackets, braces and quotes, and strip the parts."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        if letter == "," and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _range(key: str, low: str, high: str) -> Range:
    found = Range(
        key, float(low), float(high), bool(re.fullmatch(r"[-+]?\d+", low) and re.fullmatch(r"[-+]?\d+", high))
    )
    if not found.low < found.high < float("inf"):
        raise ConfigError(f"{key}={low}..{high} must go up; type the smaller number first")
    return found


def grid(swept: Sequence[Axis]) -> list[tuple[str, ...]]:
    """Return the overrides of every combination, in an order in which the last key changes fastest.

    Raises ConfigError for a range, because a range has no list of values and needs trials.
    """
    for axis in swept:
        if isinstance(axis, Range):
            raise ConfigError(
                f"{axis.key} has a range; type how many points to try with --trials N, or list its values"
            )
    lists = [[f"{axis.key}={value}" for value in axis.values] for axis in swept if isinstance(axis, Choice)]
    return list(itertools.product(*lists))


def typed(value: Any) -> str:
    """Return a sampled value as the text of an override; numbers have four digits, so that run names stay short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
