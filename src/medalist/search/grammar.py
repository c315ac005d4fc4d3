r"""The grammar of `--where`: turn an expression into a filter.

    species in [whale, "blue whale"] and depth < 200 and not (camera = 3) and place within 50 km of 54.3,10.1

Conditions, and the kinds of fields that they are for:

    species = whale     species != whale                    any kind but geo; != matches rows without a value too
    species in [a, b]   species not in [a, b]               the same kinds; = to one of the values
    depth < 200         <= > >=                             int, float, datetime
    depth between 10 and 200        depth not between ...   the same kinds; both ends are included
    tags has all [a, b]     has any [...]   has none [...]  tag
    place within 50 km of 54.3,10.1     not within ...      geo: latitude,longitude; units m, km, mi, nmi
    place in box 54,9 to 55,11          not in ...          geo: south,west to north,east; across 180 where west > east
    place in polygon (54,9 55,9 55,11)                      geo: corners latitude,longitude; an edge counts as inside
    place in polygon (...) without (...) without (...)      geo: a polygon and its holes
    depth is missing    depth is not missing                any kind; except for geo, = "" and != "" mean the same
    id = a   id != a   id in [a, b]   id not in [a, b]      the row's own id

- `not` binds tightest, then `and`, then `or`; parentheses group. The words of the grammar may be written in upper or
  lower case. Only `and`, `or`, `not` and `in` must be quoted where they are the name of a field or a value.
- A bare word is made of letters, digits and _ - . : / +. Every other text must be quoted, "..." or '...', with a \
  before each quote or \ in it. The name of a field is quoted in the same way where it needs quotes.
- The kind of the field decides how a value is read. tag, id: a text as it is written; 7 and "7" are the same, 7 and
  007 are not. bool: true or false. int, float: a bare number; an int is compared with 2.5 or 2e30 exactly. datetime,
  bare or quoted: 2026-01-31 (the first moment of the day), 2026-01-31T10:00:00Z, "2026-01-31 10:00"; UTC where no
  offset is written.
- Ids are whole numbers or texts, as in the index. Where the kind of the ids is not known, bare whole numbers are
  numbers.

To add a new condition, add its word to `_TAKES` and a branch to `_Parser.condition`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from medalist.errors import SearchError
from medalist.search.filters import (
    All,
    Among,
    AnyOf,
    Box,
    Circle,
    Filter,
    HasId,
    Missing,
    Not,
    Polygon,
    Range,
)
from medalist.search.grammar_words import MOST_CORNERS, Reader, Token, listed, moment
from medalist.search.ids import LONGEST_ID, ROWS, STRINGS
from medalist.search.schema import FieldKind

MOST_NESTED = 64
MOST_LETTERS = 100_000
INT64 = 2**63
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_ORDERED = "= != < <= > >= in between is"
_TAKES = {
    "tag": "= != in has is",
    "id": "= != in is",
    "bool": "= != in is",
    "int": _ORDERED,
    "float": _ORDERED,
    "datetime": _ORDERED,
    "geo": "within in is",
    "own": "= != in",
}
"""The words and signs that may follow a field of each kind; `own` is the row's own id."""


@dataclass(frozen=True)
class _Field:
    """The field that a condition is about: its name, and its kind, or `own` for the row's id."""

    name: str
    kind: str

    def __str__(self) -> str:
        return "'id' (the row's own)" if self.kind == "own" else f"{self.name!r} ({self.kind})"


def parse_where(expression: str, schema: Mapping[str, FieldKind], id_kind: int | None = None) -> Filter:
    """Return the filter that an expression of the grammar above means for the fields of `schema`.

    `id_kind`: the kind of the index's ids (ROWS, INTEGERS or STRINGS of ids.py), None where it is not known.
    Raises SearchError, which points at the character that does not fit, and says what would fit.
    """
    if len(expression) > MOST_LETTERS:
        raise SearchError(f"--where: {len(expression)} letters, more than {MOST_LETTERS}")
    parser = _Parser(expression, schema, id_kind)
    found, _ = parser.either(0)
    parser.take_end()
    return found


_Built = tuple[Filter, int]
"""A filter and how deep it is nested; a single condition has depth 0."""


class _Parser(Reader):
    """A recursive-descent parser, with one method for each level of binding."""

    def __init__(self, source: str, schema: Mapping[str, FieldKind], id_kind: int | None):
        super().__init__(source)
        self.schema, self.id_kind = schema, id_kind

    def either(self, depth: int) -> _Built:
        """Read parts that are joined by `or`."""
        start, built = self.peek(), [self.both(depth)]
        while self.takes("or"):
            built.append(self.both(depth))
        return self.joined(AnyOf, built, start)

    def both(self, depth: int) -> _Built:
        """Read parts that are joined by `and`."""
        start, built = self.peek(), [self.single(depth)]
        while self.takes("and"):
            built.append(self.single(depth))
        return self.joined(All, built, start)

    def joined(self, make: Callable[[tuple[Filter, ...]], Filter], built: list[_Built], start: Token) -> _Built:
        if len(built) == 1:
            return built[0]
        return make(tuple(one for one, _ in built)), self.deeper(start, max(depth for _, depth in built))

    def deeper(self, start: Token, depth: int) -> int:
        """Return `depth` + 1; SearchError where the filter has more than MOST_NESTED levels, with its conditions."""
        if depth + 2 > MOST_NESTED:
            raise self.fault(start, f"nested more than {MOST_NESTED} deep")
        return depth + 1

    def single(self, depth: int) -> _Built:
        start = self.peek()
        if depth > MOST_NESTED:
            raise self.fault(start, f"nested more than {MOST_NESTED} deep")
        if self.takes("not"):
            found, height = self.single(depth + 1)
            return (found.one, height - 1) if isinstance(found, Not) else (Not(found), self.deeper(start, height))
        if self.takes("("):
            built = self.either(depth + 1)
            self.take(")")
            return built
        condition = self.condition()
        return condition, _height(condition)

    def condition(self) -> Filter:
        field = self.field()
        if field.kind != "own" and self.takes("is"):
            turned = self.takes("not")
            self.take("missing")
            return Not(Missing(field.name)) if turned else Missing(field.name)
        takes = _TAKES[field.kind].split()
        turned = self.takes("not")
        if turned:
            takes = [word for word in takes if word in ("in", "between", "within")]
        if self.peek().word not in takes:
            raise self.unfit(f"{listed(takes)} after {field}" if not turned else listed(takes))
        sign = self.take().word
        if sign == "in":
            found = self.region(field) if field.kind == "geo" else self.among(field, self.values())
        elif sign == "within":
            metres = self.length()
            self.take("of")
            found = Circle(field.name, *self.corner(), metres)
        elif sign == "between":
            low = self.value()
            self.take("and")
            found = self.stretch(field, (low, ">="), (self.value(), "<="))
        elif sign == "has":
            return self.having(field)
        elif sign in ("=", "!="):
            found, turned = self.among(field, [self.value()]), sign == "!="
        else:
            found = self.stretch(field, (self.value(), sign))
        return Not(found) if turned else found

    def field(self) -> _Field:
        token = self.peek()
        if token.kind not in ("word", "quoted") or token.reserved:
            raise self.unfit("the name of a field, not or (")
        if token.text != "id" and token.text not in self.schema:
            known = ", ".join(["id", *self.schema][:20])
            folded = {name.casefold(): name for name in ("id", *self.schema)}
            near = get_close_matches(token.text.casefold(), folded, n=1, cutoff=0.7)
            hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
            raise self.fault(token, f"no field {repr(token.text)[:60]}{hint}; there are: {known}")
        self.take()
        return _Field(token.text, "own" if token.text == "id" else self.schema[token.text])

    def having(self, field: _Field) -> Filter:
        word = self.take("all", "any", "none").word
        tokens = self.values()
        if word == "all":
            each = tuple(self.among(field, [token]) for token in tokens)
            return each[0] if len(each) == 1 else All(each)
        found = self.among(field, tokens)
        return found if word == "any" else Not(found)

    def among(self, field: _Field, tokens: Sequence[Token]) -> Filter:
        """Return the filter of rows with one of these values; the value "" means rows without a value."""
        if field.kind == "own":
            ids = self.ids(tokens)
            return HasId(tuple(ids)) if ids else AnyOf(())
        told = [token for token in tokens if token.text]
        read = [self.read(field, token) for token in told]
        each: list[Filter] = []
        if field.kind == "float":
            each = [Range(field.name, gte=value, lte=value) for value in read]
        else:
            if field.kind == "int":
                read = [int(value) for value in read if value == int(value) and -INT64 <= value < INT64]
            each = [Among(field.name, tuple(read))] if read else []
        each += [Missing(field.name)] if len(told) < len(tokens) else []
        return each[0] if len(each) == 1 else AnyOf(tuple(each))

    def ids(self, tokens: Sequence[Token]) -> list[int] | list[str]:
        """Return these values as ids; a value that no id of the index can have is left out."""
        if self.id_kind in (None, ROWS):  # ROWS too, because it is also the kind of an index without any vectors
            numbers = all(token.kind == "word" and _WHOLE.fullmatch(token.text) for token in tokens)
        else:
            numbers = self.id_kind != STRINGS
        if not numbers:
            texts = [str(self.read(_Field("id", "id"), token)) for token in tokens]
            return [text for text in texts if 0 < len(text) <= LONGEST_ID and "\0" not in text]
        for token in tokens:
            if token.number is None or token.number != int(token.number):
                raise self.fault(token, "ids of this index are whole numbers; this value is no whole number")
        whole = [int(token.number) for token in tokens if token.number is not None]
        return [number for number in whole if -INT64 <= number < INT64]

    def region(self, field: _Field) -> Filter:
        """Read `box 54,9 to 55,11` or `polygon (...) without (...)`, which follow `in`."""
        if self.take("box", "polygon").word == "box":
            return Box(field.name, *self.box())
        start, rings = self.peek(), [self.ring()]
        while self.takes("without"):
            rings.append(self.ring())
        corners = sum(map(len, rings))
        if corners > MOST_CORNERS:
            raise self.fault(start, f"a polygon of {corners} corners, more than {MOST_CORNERS}")
        return Polygon(field.name, tuple(rings))

    def stretch(self, field: _Field, *bounds: tuple[Token, str]) -> Filter:
        """Return the filter of rows whose value is within bounds; each bound is a value and one of < <= > >=."""
        limits: dict[str, Any] = {}
        nothing = False
        for token, sign in bounds:
            limit = (_BOUNDS[sign], self.read(field, token))
            if field.kind == "int":
                limit = _whole_bound(*limit)
                if not -INT64 <= limit[1] < INT64:
                    nothing |= (limit[1] > 0) == (limit[0] in ("gt", "gte"))
                    continue
            limits[limit[0]] = limit[1]
        if nothing:
            return AnyOf(())
        return Range(field.name, **limits) if limits else Not(Missing(field.name))

    def read(self, field: _Field, token: Token) -> Any:
        """Return a value in the form of the field's kind: text, bool, float, datetime in UTC; a Decimal for an int."""
        name = repr(field.name)
        if field.kind in ("tag", "id"):
            if any("\ud800" <= letter <= "\udfff" for letter in token.text):
                raise self.fault(token, f"{token.text!r:.60} cannot be written in UTF-8")
            return token.text
        if field.kind == "bool":
            if token.word not in ("true", "false"):
                raise self.fault(token, f"{name} holds true and false; this value is neither")
            return token.word == "true"
        if field.kind == "datetime":
            found = moment(token.text)
            if found is None:
                hint = "type 2026-01-31, 2026-01-31T10:00:00Z or 2026-01-31T10:00:00+02:00"
                raise self.fault(token, f"{name} holds datetimes; this value is no datetime; {hint}")
            return found
        if token.number is None:
            raise self.fault(token, f"{name} holds numbers; this value is no plain number")
        return token.number if field.kind == "int" else float(token.number)


def _height(one: Filter) -> int:
    """The depth of a condition's tree: the number of filters above the deepest leaf; 0 for a leaf."""
    if isinstance(one, Not):
        return 1 + _height(one.one)
    return 1 + max(map(_height, one.each), default=-1) if isinstance(one, All | AnyOf) else 0


def _whole_bound(bound: str, number: Decimal) -> tuple[str, int]:
    """The exact bound for whole numbers. As floats, 2**53 and 2**53 + 1 would be the same."""
    low, high = math.floor(number), math.ceil(number)
    if low == high:
        return bound, low
    return ("lte", low) if bound in ("lt", "lte") else ("gte", high)
