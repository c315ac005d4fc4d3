"""Find the values and ids in a filter that no row of an index has, and name the nearest ones that rows do have.

A filter with such a value is no error in the library: a program may ask for a value before the first row has it. Who
types a filter wants to know it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from medalist.errors import SearchError
from medalist.search.asking import ORDERED, Where, as_filter
from medalist.search.filters import All, Among, AnyOf, AtLeast, Filter, HasId, Not
from medalist.search.ids import INTEGERS, STRINGS
from medalist.search.values import shown

if TYPE_CHECKING:
    from medalist.search.reader import Reader

MOST_LISTED = 8
"""A field with up to so many values shows all of them where none is near."""
MOST_COMPARED = 20_000
"""The most values that are compared letter by letter; among more, only upper and lower case is looked past."""


def unknown_values(index: Reader, where: Where | None) -> list[str]:
    """Return a line for each value or id in the filter that no row has; none for an index without rows.

    Values of geo fields and of ranges are not looked at. Raises SearchError where the filter does not fit the index.
    """
    if where is None or not len(index):
        return []
    ids = index.scroll(limit=1).ids
    kind = STRINGS if ids.dtype.kind == "U" else INTEGERS
    found: dict[str, None] = {}
    for one in _leaves(as_filter(where, index.fields, kind)):
        found.update(dict.fromkeys(_of_ids(index, one) if isinstance(one, HasId) else _of_field(index, one)))
    lines = list(found)
    more = len(lines) - MOST_LISTED
    return [*lines[:MOST_LISTED], f"and {more} more values that no vector has"] if more > 0 else lines


def unmatched(index: Reader, where: Where | None) -> list[str]:
    """Return the lines of `unknown_values`, and one where the filter matches no row although rows have its values.

    Raises SearchError with the lines where it matches no row at all, and has values that no row has.
    """
    lines = unknown_values(index, where)
    if where is None or not len(index) or index.count(where):
        return lines
    if lines:
        raise SearchError(f"--where: {'; '.join(lines)}")
    return ["--where matches no vector"]


def nearest_value(value: str, known: Sequence[str]) -> str | None:
    """Return the known text that is written nearest to a value, in any case of its letters; None where none is near."""
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.strip().casefold(), one)
    wanted = value.strip().casefold()
    if wanted in folded:
        return folded[wanted]
    near = get_close_matches(wanted, folded, n=1) if len(folded) <= MOST_COMPARED else []
    return folded[near[0]] if near else None


def _leaves(one: Filter) -> Iterator[Among | HasId]:
    if isinstance(one, Not):
        yield from _leaves(one.one)
    elif isinstance(one, All | AnyOf | AtLeast):
        for each in one.each:
            yield from _leaves(each)
    elif isinstance(one, Among | HasId):
        yield one


def _of_field(index: Reader, one: Among) -> Iterator[str]:
    known: list[Any] | None = None
    for value in one.values:
        if index.count(Among(one.field, (value,))):
            continue
        known = list(index.facet(one.field)) if known is None else known
        yield f"no vector has {one.field} = {_typed(value)}{_instead(value, known, index.fields[one.field])}"


def _instead(value: object, known: Sequence[Any], kind: str) -> str:
    """Return what rows do have in place of a value: the nearest text, the range of numbers, or all of a few values."""
    if not known:
        return "; none has a value there"
    if kind in ORDERED and kind != "bool":
        return f"; values are {_told(min(known))} to {_told(max(known))}"
    texts = [_told(one) for one in known]
    near = nearest_value(str(value), texts)
    if near is not None:
        return f"; did you mean {near!r}?"
    more = f" and {len(texts) - MOST_LISTED} more" if len(texts) > MOST_LISTED else ""
    return f"; there are {', '.join(shown(one) for one in texts[:MOST_LISTED])}{more}"


def _typed(value: Any) -> str:
    return _told(value) if hasattr(value, "isoformat") else shown(value)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _of_ids(index: Reader, one: HasId) -> Iterator[str]:
    known: list[str] | None = None
    for value in one.ids:
        if value in index:
            continue
        known = index.ids().tolist() if known is None else known
        near = nearest_value(value, known) if isinstance(value, str) and known and isinstance(known[0], str) else None
        yield f"no vector has the id {shown(value)}" + (f"; did you mean {near!r}?" if near is not None else "")
