"""Read expressions of `--where`: split them into tokens, read numbers, places and times, and make the errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from medalist.errors import SearchError

MOST_CORNERS = 10_000
METRES = {"m": Decimal(1), "km": Decimal(1000), "mi": Decimal("1609.344"), "nmi": Decimal(1852)}
"""Units of length in metres; mi and nmi are the international mile and nautical mile."""

_TOKEN = re.compile(
    r"""(?P<gap>\s+)|(?P<sign><=|>=|!=|=|<|>|\(|\)|\[|\]|,)"""
    r"""|(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<word>[\w.:/+-]+)""",
    re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?",
    re.ASCII,
)
_LENGTH = re.compile(rf"({_NUMBER.pattern})(km|mi|nmi|m)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Token:
    """A token of the expression: its kind (sign, quoted, word, end), its text without quotes, its first character."""

    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """The sign, or the bare word in lower case; empty for other tokens."""
        return self.text.lower() if self.kind in ("word", "sign") else ""

    @property
    def reserved(self) -> bool:
        """Whether the token is a reserved word, which must be quoted where it is a name or a value."""
        return self.word in ("and", "or", "not", "in")

    @property
    def number(self) -> Decimal | None:
        """The number that the bare word is; None where it is no number."""
        return Decimal(self.text) if self.kind == "word" and _NUMBER.fullmatch(self.text) else None


def _tokens(source: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            what = "a quote that is not closed" if source[at] in "\"'" else f"{source[at]!r} must be quoted"
            raise _fault(source, at, what)
        if match.lastgroup == "quoted":
            tokens.append(Token("quoted", re.sub(r"\\(.)", r"\1", match[0][1:-1], flags=re.DOTALL), at))
        elif match.lastgroup != "gap":
            tokens.append(Token(str(match.lastgroup), match[0], at))
        at = match.end()
    return [*tokens, Token("end", "", len(source))]


class Reader:
    """Reads the tokens of an expression one by one, and values that are made of several tokens."""

    def __init__(self, source: str):
        self.source, self.tokens, self.place = source, _tokens(source), 0

    def peek(self) -> Token:
        """Return the next token without taking it."""
        return self.tokens[self.place]

    def take(self, *words: str) -> Token:
        """Take the next token and return it. It must be one of `words`, where some are given; else SearchError."""
        if words and self.peek().word not in words:
            raise self.unfit(listed(words))
        self.place += 1
        return self.tokens[self.place - 1]

    def takes(self, word: str) -> bool:
        """Take the next token if it is this word; return whether it was."""
        if self.peek().word != word:
            return False
        self.place += 1
        return True

    def take_end(self) -> None:
        """Raise SearchError where tokens follow the complete expression."""
        if self.peek().kind != "end":
            raise self.unfit("and, or, or the end")

    def fault(self, token: Token, what: str) -> SearchError:
        """Return an error that points at a token."""
        return _fault(self.source, token.at, what)

    def unfit(self, expected: str) -> SearchError:
        """Return an error that says what was expected in place of the next token."""
        token = self.peek()
        found = "the end" if token.kind == "end" else repr(token.text)[:60]
        return self.fault(token, f"expected {expected}, found {found}")

    def value(self) -> Token:
        """Take a bare word or a quoted text."""
        if self.peek().kind not in ("word", "quoted") or self.peek().reserved:
            raise self.unfit("a value")
        return self.take()

    def values(self) -> list[Token]:
        """Take a list of values: `[value, ...]`."""
        self.take("[")
        found = [self.value()]
        while self.take(",", "]").text == ",":
            found.append(self.value())
        return found

    def length(self) -> float:
        """Take a length such as `50 km` and return it in metres."""
        token = self.peek()
        joined = _LENGTH.fullmatch(token.text) if token.kind == "word" else None
        if joined:
            self.take()
            length, unit = Decimal(joined[1]), joined[2].lower()
        else:
            length, unit = self.number("a length such as 50 km"), self.take(*METRES).word
        if length < 0:
            raise self.fault(token, "a length is 0 or more")
        return float(length * METRES[unit])

    def box(self) -> tuple[float, float, float, float]:
        """Take a box such as `54,9 to 55,11` and return (south, west, north, east) in degrees."""
        south, west = self.corner()
        self.take("to")
        token = self.peek()
        north, east = self.corner()
        if north < south:
            raise self.fault(token, f"north {north:g} lies south of {south:g}; a box is south,west to north,east")
        return south, west, north, east

    def ring(self) -> tuple[tuple[float, float], ...]:
        """Take a ring such as `(54,9 55,9 55,11)`. The last corner may repeat the first."""
        start = self.take("(")
        corners = [self.corner()]
        while not self.takes(")"):
            if self.peek().number is None:
                raise self.unfit("a corner such as 54.3,10.1, or )")
            corners.append(self.corner())
        if len(corners) - (corners[0] == corners[-1]) < 3:
            raise self.fault(start, "a ring has 3 corners or more: (54,9 55,9 55,11)")
        if _turns(corners):
            raise self.fault(start, "a ring that goes around a pole; cut it in two, or ask for a circle")
        return tuple(corners)

    def corner(self) -> tuple[float, float]:
        """Take `latitude,longitude`, both in degrees."""
        latitude = self.degrees("latitude", 90)
        self.take(",")
        return latitude, self.degrees("longitude", 180)

    def degrees(self, name: str, most: int) -> float:
        """Take a number from -most to most. `name`: "latitude" or "longitude", for the error."""
        token = self.peek()
        number = self.number(f"a {name} in degrees")
        if abs(number) > most:
            raise self.fault(token, f"{name} {token.text[:40]} is not within -{most} and {most}")
        return float(number)

    def number(self, what: str) -> Decimal:
        """Take a number. `what` says for the error which number is expected."""
        number = self.peek().number
        if number is None:
            raise self.unfit(what)
        self.take()
        return number


def moment(text: str) -> datetime | None:
    """Return the date and time that a text says, in UTC; None where the text is no date or time."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # such as the 30th of February, or before the year 1
        return None


def _turns(corners: Sequence[tuple[float, float]]) -> bool:
    """Whether a ring goes around a pole: the steps in longitude of its edges, each at most 180, do not sum to 0."""
    turned = 0.0
    for (_, one), (_, other) in zip(corners, [*corners[1:], corners[0]], strict=True):
        east = other - one
        turned += east - 360 if east > 180 else east + 360 if east < -180 else east
    return abs(turned) > 180


def listed(words: Sequence[str]) -> str:
    """Return words as text: "a, b or c"."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _fault(source: str, at: int, what: str) -> SearchError:
    """An error that shows a place: its character number, counted from 1, and the text around it with a mark there."""
    before, after = (
        " ".join(f"|{part}|".split())[1:-1] for part in (source[max(0, at - 30) : at], source[at : at + 20])
    )
    message = f"--where, character {at + 1}: {what}: {before}»{after}"
    return SearchError("".join(letter if letter.isprintable() else "\ufffd" for letter in message))
