"""The grammar of `--where`: which rows of a table of fields an expression means, exactly.

    species = whale and depth < 200 and tag in [a, b] and not (camera != 3)

- A comparison is `field OP value`, OP one of = != < <= > >=, or `field in [value, ...]`, `field not in [...]`.
- `not` binds closest, then `and`, then `or`; parentheses group. These words count in any case.
- A bare word is made of letters, digits and _ - . : / +; everything else stands in quotes, "..." or '...', with \\
  before a quote or a \\ in it. A field is quoted the same way where its name asks for it. `id` is a field.
- A column of numbers is compared as numbers, a column of text as text: by equality with any value as it is written,
  by order (of its letters: right for dates such as 2026-01-31) with a value that is no bare number.
- An empty cell of numbers fulfils no comparison but `!=`; `depth = ""` finds it. An empty cell of text is the text "".

A new kind of comparison is a branch in `_Parser.comparison` and a value with `rows`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from medalist.errors import SearchError

MOST_NESTED = 64
MOST_LETTERS = 100_000
_TOKEN = re.compile(
    r"""(?P<gap>\s+)|(?P<sign><=|>=|!=|=|<|>|\(|\)|\[|\]|,)"""
    r"""|(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<word>[\w.:/+-]+)""",
    re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_ORDERS = ("<", "<=", ">", ">=")
_COMPARE: dict[str, Callable[..., Any]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
INT64 = 2**63


@dataclass(frozen=True)
class _Token:
    """A piece of the expression: its kind (sign, quoted, word, end), its text without quotes, where it begins."""

    kind: str
    text: str
    at: int

    @property
    def keyword(self) -> str:
        """and, or, not, in; empty for anything else."""
        low = self.text.lower()
        return low if self.kind == "word" and low in ("and", "or", "not", "in") else ""

    @property
    def number(self) -> Decimal | None:
        """The number that a bare word says, if it does."""
        return Decimal(self.text) if self.kind == "word" and _NUMBER.fullmatch(self.text) else None


class Condition(Protocol):
    """A parsed expression."""

    def rows(self, fields: Any) -> NDArray[np.bool_]:
        """Which rows of a pyarrow.Table it means: bool[n]."""


@dataclass(frozen=True)
class Joined:
    """`one and two and ...`, or the same with `or`."""

    word: str
    each: tuple[Condition, ...]

    def rows(self, fields: Any) -> NDArray[np.bool_]:
        """Rows of all of them, or of any."""
        found = self.each[0].rows(fields)
        for one in self.each[1:]:
            found = found & one.rows(fields) if self.word == "and" else found | one.rows(fields)
        return found


@dataclass(frozen=True)
class Other:
    """`not one`."""

    one: Condition

    def rows(self, fields: Any) -> NDArray[np.bool_]:
        """All rows that `one` does not mean."""
        return ~self.one.rows(fields)


@dataclass(frozen=True)
class Comparison:
    """`field sign value`; `source` is the whole expression, for messages."""

    field: _Token
    sign: str
    value: _Token
    source: str

    def rows(self, fields: Any) -> NDArray[np.bool_]:
        """Rows whose cell compares so; SearchError for an unknown field, or a value of another kind than its cells."""
        column = self._column(fields)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            if self.sign in _ORDERS and self.value.number is not None:
                raise _fault(
                    self.source,
                    self.field.at,
                    f"'{self.field.text}' holds text, {self.sign} {self.value.text} needs a column of numbers; "
                    "to compare letters, quote the value",
                )
            return _mask(_COMPARE[self.sign](column, self.value.text))
        if self.value.kind == "quoted" and not self.value.text and self.sign in ("=", "!="):
            return _mask(column.is_null() if self.sign == "=" else column.is_valid())
        number = self.value.number
        if number is None:
            raise _fault(self.source, self.value.at, f"'{self.field.text}' holds numbers, and this is no bare number")
        if pa.types.is_integer(column.type):
            return _integers(column, self.sign, number)
        return _mask(_COMPARE[self.sign](column, float(number)), self.sign == "!=")

    def _column(self, fields: Any) -> Any:
        if self.field.text not in fields.column_names:
            known = ", ".join(fields.column_names[:20])
            raise _fault(self.source, self.field.at, f"no field '{self.field.text}'; there are: {known}")
        return fields.column(self.field.text)


def _integers(column: Any, sign: str, number: Decimal) -> NDArray[np.bool_]:
    """Compare int64 with any number exactly; through floats, 2**53 and its neighbour would be the same."""
    low, high = math.floor(number), math.ceil(number)
    if low != high and sign in ("=", "!="):
        return np.full(len(column), sign == "!=")
    bound = high if sign in ("<", ">=") else low
    if not -INT64 <= bound < INT64:
        above = bound > 0
        means = {"=": False, "!=": True, "<": above, "<=": above, ">": not above, ">=": not above}[sign]
        return _mask(column.is_valid()) if means and sign != "!=" else np.full(len(column), means)
    return _mask(_COMPARE[sign](column, pa.scalar(bound, pa.int64())), sign == "!=")


def _mask(found: Any, empty: bool = False) -> NDArray[np.bool_]:
    values = pc.fill_null(found, empty)
    mask: NDArray[np.bool_] = np.asarray(values.to_numpy(zero_copy_only=False) if len(values) else [], np.bool_)
    return mask


def matching(expression: str, fields: Any) -> NDArray[np.bool_]:
    """Which rows of `fields` (a pyarrow.Table of text, int64 and float64 columns) the expression means: bool[n].

    Raises SearchError that says which character of the expression is wrong, and what it should be.
    """
    return parse_where(expression).rows(fields)


def parse_where(expression: str) -> Condition:
    """Read an expression of the grammar above; SearchError points at the character that does not fit."""
    if len(expression) > MOST_LETTERS:
        raise SearchError(f"--where: {len(expression)} letters, more than {MOST_LETTERS}")
    parser = _Parser(expression, _tokens(expression))
    found = parser.either(0)
    parser.take_end()
    return found


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            what = "a quote that is not closed" if source[at] in "\"'" else f"{source[at]!r} stands outside of quotes"
            raise _fault(source, at, what)
        if match.lastgroup == "quoted":
            tokens.append(_Token("quoted", re.sub(r"\\(.)", r"\1", match[0][1:-1], flags=re.DOTALL), at))
        elif match.lastgroup != "gap":
            tokens.append(_Token(str(match.lastgroup), match[0], at))
        at = match.end()
    return [*tokens, _Token("end", "", len(source))]


class _Parser:
    """Recursive descent over the tokens, one method for each level of binding."""

    def __init__(self, source: str, tokens: list[_Token]):
        self.source, self.tokens, self.place = source, tokens, 0

    def peek(self) -> _Token:
        return self.tokens[self.place]

    def take(self) -> _Token:
        token = self.peek()
        self.place += 1
        return token

    def take_sign(self, *signs: str) -> str:
        if self.peek().kind != "sign" or self.peek().text not in signs:
            raise self.unfit(" or ".join(signs))
        return self.take().text

    def take_end(self) -> None:
        if self.peek().kind != "end":
            raise self.unfit("and, or, or the end")

    def unfit(self, expected: str) -> SearchError:
        token = self.peek()
        found = "the end" if token.kind == "end" else repr(token.text)[:60]
        return _fault(self.source, token.at, f"expected {expected}, found {found}")

    def either(self, depth: int) -> Condition:
        found = [self.both(depth)]
        while self.peek().keyword == "or":
            self.take()
            found.append(self.both(depth))
        return found[0] if len(found) == 1 else Joined("or", tuple(found))

    def both(self, depth: int) -> Condition:
        found = [self.single(depth)]
        while self.peek().keyword == "and":
            self.take()
            found.append(self.single(depth))
        return found[0] if len(found) == 1 else Joined("and", tuple(found))

    def single(self, depth: int) -> Condition:
        if depth > MOST_NESTED:
            raise _fault(self.source, self.peek().at, f"nested more than {MOST_NESTED} deep")
        if self.peek().keyword == "not":
            self.take()
            return Other(self.single(depth + 1))
        if self.peek().kind == "sign" and self.peek().text == "(":
            self.take()
            found = self.either(depth + 1)
            self.take_sign(")")
            return found
        return self.comparison()

    def comparison(self) -> Condition:
        if self.peek().kind not in ("word", "quoted") or self.peek().keyword:
            raise self.unfit("the name of a field, not or (")
        field = self.take()
        if self.peek().keyword in ("not", "in"):
            turned = self.peek().keyword == "not"
            if turned:
                self.take()
                if self.peek().keyword != "in":
                    raise self.unfit("in")
            self.take()
            found = self.among(field)
            return Other(found) if turned else found
        if self.peek().kind != "sign" or self.peek().text not in _COMPARE:
            raise self.unfit("= != < <= > >= or in")
        sign = self.take().text
        return Comparison(field, sign, self.value(), self.source)

    def among(self, field: _Token) -> Condition:
        """`[value, ...]`: equal to one of them."""
        self.take_sign("[")
        values = [self.value()]
        while self.take_sign(",", "]") == ",":
            values.append(self.value())
        return Joined("or", tuple(Comparison(field, "=", value, self.source) for value in values))

    def value(self) -> _Token:
        if self.peek().kind not in ("word", "quoted") or self.peek().keyword:
            raise self.unfit("a value")
        return self.take()


def _fault(source: str, at: int, what: str) -> SearchError:
    """An error that shows the place: its number, counted from 1, and a mark before it in the text around."""
    before, after = (
        " ".join(f"|{part}|".split())[1:-1] for part in (source[max(0, at - 30) : at], source[at : at + 20])
    )
    return SearchError(f"--where, character {at + 1}: {what}: {before}»{after}")
