"""What expressions of `--where` are read by: their tokens, the numbers, places and moments in them, and the errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from medalist.errors import SearchError

MOST_CORNERS = 10_000
METRES = {"m": Decimal(1), "km": Decimal(1000), "mi": Decimal("1609.344"), "nmi": Decimal(1852)}
"""Units of length; the international mile and nautical mile."""

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
    """A piece of the expression: its kind (sign, quoted, word, end), its text without quotes, where it begins."""

    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """A sign, or a bare word in small letters; empty for anything else."""
        return self.text.lower() if self.kind in ("word", "sign") else ""

    @property
    def reserved(self) -> bool:
        """Whether it is a word that nothing is called without quotes."""
        return self.word in ("and", "or", "not", "in")

    @property
    def number(self) -> Decimal | None:
        """The number that a bare word says, if it does."""
        return Decimal(self.text) if self.kind == "word" and _NUMBER.fullmatch(self.text) else None


def _tokens(source: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            what = "a quote that is not closed" if source[at] in "\"'" else f"{source[at]!r} stands outside of quotes"
            raise _fault(source, at, what)
        if match.lastgroup == "quoted":
            tokens.append(Token("quoted", re.sub(r"\\(.)", r"\1", match[0][1:-1], flags=re.DOTALL), at))
        elif match.lastgroup != "gap":
            tokens.append(Token(str(match.lastgroup), match[0], at))
        at = match.end()
    return [*tokens, Token("end", "", len(source))]


class Reader:
    """Takes tokens one by one, and what is made of several of them."""

    def __init__(self, source: str):
        self.source, self.tokens, self.place = source, _tokens(source), 0

    def peek(self) -> Token:
        """The next token, which stays."""
        return self.tokens[self.place]

    def take(self, *words: str) -> Token:
        """The next token, which is one of these words or signs; any where none is told."""
        if words and self.peek().word not in words:
            raise self.unfit(listed(words))
        self.place += 1
        return self.tokens[self.place - 1]

    def takes(self, word: str) -> bool:
        """Take the next token if it is this word."""
        if self.peek().word != word:
            return False
        self.place += 1
        return True

    def take_end(self) -> None:
        """Refuse what stands behind a whole expression."""
        if self.peek().kind != "end":
            raise self.unfit("and, or, or the end")

    def fault(self, token: Token, what: str) -> SearchError:
        """An error that points at a token."""
        return _fault(self.source, token.at, what)

    def unfit(self, expected: str) -> SearchError:
        """An error that says what should stand in place of the next token."""
        token = self.peek()
        found = "the end" if token.kind == "end" else repr(token.text)[:60]
        return self.fault(token, f"expected {expected}, found {found}")

    def value(self) -> Token:
        """A bare word or a quoted text."""
        if self.peek().kind not in ("word", "quoted") or self.peek().reserved:
            raise self.unfit("a value")
        return self.take()

    def values(self) -> list[Token]:
        """`[value, ...]`."""
        self.take("[")
        found = [self.value()]
        while self.take(",", "]").text == ",":
            found.append(self.value())
        return found

    def length(self) -> float:
        """`50 km` in metres."""
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
        """`54,9 to 55,11`: south, west, north, east."""
        south, west = self.corner()
        self.take("to")
        token = self.peek()
        north, east = self.corner()
        if north < south:
            raise self.fault(token, f"north {north:g} lies south of {south:g}; a box is south,west to north,east")
        return south, west, north, east

    def ring(self) -> tuple[tuple[float, float], ...]:
        """`(54,9 55,9 55,11)`; the last corner may repeat the first."""
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
        """`latitude,longitude` in degrees."""
        latitude = self.degrees("latitude", 90)
        self.take(",")
        return latitude, self.degrees("longitude", 180)

    def degrees(self, name: str, most: int) -> float:
        """A number from -most to most."""
        token = self.peek()
        number = self.number(f"a {name} in degrees")
        if abs(number) > most:
            raise self.fault(token, f"{name} {token.text[:40]} is not within -{most} and {most}")
        return float(number)

    def number(self, what: str) -> Decimal:
        """A number; `what` says which, for an error."""
        number = self.peek().number
        if number is None:
            raise self.unfit(what)
        self.take()
        return number


def moment(text: str) -> datetime | None:
    """The moment that a text says, in UTC; None where it says none."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # the 30th of February; before the year 1
        return None


def _turns(corners: Sequence[tuple[float, float]]) -> bool:
    """Whether a ring goes around a pole: the longitudes of its edges, each the short way round, do not sum to 0."""
    turned = 0.0
    for (_, one), (_, other) in zip(corners, [*corners[1:], corners[0]], strict=True):
        east = other - one
        turned += east - 360 if east > 180 else east + 360 if east < -180 else east
    return abs(turned) > 180


def listed(words: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _fault(source: str, at: int, what: str) -> SearchError:
    """An error that shows the place: its number, counted from 1, and a mark before it in the text around."""
    before, after = (
        " ".join(f"|{part}|".split())[1:-1] for part in (source[max(0, at - 30) : at], source[at : at + 20])
    )
    message = f"--where, character {at + 1}: {what}: {before}»{after}"
    return SearchError("".join(letter if letter.isprintable() else "\ufffd" for letter in message))
