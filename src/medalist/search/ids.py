"""Ids of stored vectors: row numbers, 64-bit integers or strings; unique, and cheap to add to."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.search.vectors import as_array

LONGEST_ID = 1024
"""Letters of the longest id: answers hold strings at one width."""

ROWS, INTEGERS, STRINGS = 0, 1, 2
KINDS = ("row numbers", "integers", "strings")
HEAD = struct.Struct("<IIQ")  # kind, zero, count

Batch = NDArray[np.int64] | list[str] | None
"""Ids of one call: integers, strings, or None for row numbers."""
Column = TypeVar("Column", NDArray[np.int64], NDArray[np.uint8])


def parse_ids(ids: object, n: int) -> Batch:
    """Ids for `n` vectors as int64[n], as strings, or None; SearchError for other types, mixtures and lengths.

    Takes any integer array or tensor, lists of Python integers, and strings as a list, a NumPy array of strings or
    an object array. Refused are floats, bools, bytes, unsigned integers above 2**63-1, and strings that are empty,
    longer than 1024 letters, not encodable in UTF-8, or that hold a NUL, which NumPy would drop.
    """
    if ids is None:
        return None
    found: Batch
    if isinstance(ids, list | tuple):
        found = _from_list(ids)
    elif isinstance(ids, str | bytes) or not (hasattr(ids, "__array__") or isinstance(ids, range)):
        raise SearchError(f"ids: {type(ids).__name__}, expected a list or an array of integers or strings")
    else:
        found = _from_array(as_array(ids, "ids"))
    if len(found) != n:
        raise SearchError(f"ids: {len(found)} ids for {n} vectors")
    if isinstance(found, list):
        _check_strings(found)
    return found


def _from_array(array: NDArray[Any]) -> NDArray[np.int64] | list[str]:
    if array.ndim != 1:
        raise SearchError(f"ids: shape {list(array.shape)}, expected [n]")
    if array.dtype.kind in "OUT":
        return _from_list(array.tolist())
    if array.dtype.kind == "S":
        raise SearchError("ids: bytes; decode them: np.char.decode(ids, 'utf-8')")
    if array.dtype.kind not in "iu":
        raise SearchError(f"ids: dtype {array.dtype}, expected integers or strings; try .astype(np.int64)")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and int(array.max()) >= 2**63:
        at = int(np.flatnonzero(array >= 2**63)[0])
        raise _too_large(at, int(array[at]))
    return array.astype(np.int64)  # always a copy: the caller may change his array afterwards


def _from_list(ids: Sequence[object]) -> NDArray[np.int64] | list[str]:
    """A list all of integers or all of strings; the first element says which."""
    if ids and isinstance(ids[0], str):
        for at, value in enumerate(ids):
            if not isinstance(value, str):
                raise SearchError(f"ids, row {at}: {value!r:.60} among strings; use one kind of id: str(id)")
        return [str(value) for value in ids]
    for at, value in enumerate(ids):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            place = " among integers" if at else ""
            raise SearchError(f"ids, row {at}: {value!r:.60}{place}; expected all integers or all strings")
        if not -(2**63) <= int(value) < 2**63:
            raise _too_large(at, int(value))
    return np.array(ids, np.int64)


def _too_large(at: int, value: int) -> SearchError:
    return SearchError(f"ids, row {at}: {value:.3e} does not fit into a signed 64-bit integer; use strings: str(id)")


def _check_strings(ids: list[str]) -> None:
    for at, text in enumerate(ids):
        if not text or len(text) > LONGEST_ID or "\0" in text:
            fault = "an empty string" if not text else "a NUL in it" if "\0" in text else f"{len(text)} letters"
            raise SearchError(f"ids, row {at}: {fault}; expected 1 to {LONGEST_ID} letters, none of them NUL")
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:
        at = next(row for row, text in enumerate(ids) if any("\ud800" <= letter <= "\udfff" for letter in text))
        raise SearchError(f"ids, row {at}: {ids[at]!r:.60} cannot be written in UTF-8") from None


class Ids:
    """The ids of stored rows. A value: `extended` gives a new one, and this stays as it was.

    Both share the memory of their common rows, so of one value only one extension is kept. To find duplicates, sorted
    runs of integers (of strings: their hashes) are kept, each more than twice as long as the next, so that adding one
    id to n costs O(log n) on average (Bentley and Saxe 1980, decomposable searching problems). They are made when
    something is added to ids that are there; ids given at once need none.
    """

    def __init__(self, kind: int = ROWS, count: int = 0, values: NDArray[np.int64] | None = None):
        """`values`: the integers, or where in the text each string ends."""
        self.kind, self._count = kind, count
        self._values = np.empty(0, np.int64) if values is None else values
        self._text = np.empty(0, np.uint8)
        self._runs: tuple[NDArray[np.int64], ...] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes in memory: none for row numbers, 8 an integer, 8 and its UTF-8 a string, and the sorted runs."""
        return self._values.nbytes + self._text.nbytes + sum(run.nbytes for run in self._runs or ())

    def extended(self, ids: object, n: int) -> Ids:
        """These ids and those of `n` more vectors; SearchError for what `parse_ids` refuses, mixtures, duplicates."""
        batch = parse_ids(ids, n)
        if not n:
            return self
        kind = ROWS if batch is None else INTEGERS if isinstance(batch, np.ndarray) else STRINGS
        if self._count and STRINGS in (kind, self.kind) and kind != self.kind:
            given = "no ids (row numbers)" if kind == ROWS else KINDS[kind]
            raise SearchError(f"ids: {given} given, but the index holds {KINDS[self.kind]}; use one kind of id")
        if batch is None:
            if self.kind == ROWS or not self._count:
                return Ids(ROWS, self._count + n)
            batch = np.arange(self._count, self._count + n)
        if isinstance(batch, list):
            return self._with_strings(batch)
        return self._with_integers(batch)

    def _with_integers(self, batch: NDArray[np.int64]) -> Ids:
        values = np.arange(self._count) if self.kind == ROWS else self._values
        fresh, runs = np.sort(batch), None
        twice = fresh[1:][fresh[1:] == fresh[:-1]]
        if len(twice):
            raise _duplicates(batch.tolist(), twice.tolist())
        if self._count:
            runs = self._runs or (_sorted(values[: self._count]),)
            held = [value for run in runs for value in fresh[_found(run, fresh)].tolist()]
            if held:
                raise _stored(batch.tolist(), held)
            runs = _merged(runs, fresh)
        made = Ids(INTEGERS, self._count + len(batch), _grown(values, self._count, batch))
        made._runs = runs
        return made

    def _with_strings(self, batch: list[str]) -> Ids:
        fresh, runs = np.sort(_hashes(batch)), None
        if len(set(batch)) < len(batch):
            raise _duplicates(batch, ())
        if self._count:
            runs = self._runs or (np.sort(_hashes(self._strings())),)
            if any(_found(run, fresh).any() for run in runs):  # a duplicate, or two strings of one hash: very rare
                held = set(self._strings()).intersection(batch)
                if held:
                    raise _stored(batch, held)
            runs = _merged(runs, fresh)
        encoded = [text.encode() for text in batch]
        start = int(self._values[self._count - 1]) if self._count else 0
        ends = start + np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        made = Ids(STRINGS, self._count + len(batch), _grown(self._values, self._count, ends))
        made._text = _grown(self._text, start, np.frombuffer(b"".join(encoded), np.uint8))
        made._runs = runs
        return made

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Ids of `rows`, any shape: int64 with -1, or strings with "", where a row is -1."""
        if self.kind == ROWS:
            return rows
        if self.kind == INTEGERS:
            found = self._values[rows]
            found[rows < 0] = -1
            return found
        flat = rows.ravel()
        ends = self._values[flat].tolist()
        starts = np.where(flat > 0, self._values[np.maximum(flat - 1, 0)], 0).tolist()
        text = self._text.data
        names = [
            str(text[start:end], "utf-8") if row >= 0 else ""
            for row, start, end in zip(flat.tolist(), starts, ends, strict=True)
        ]
        return np.array(names, np.str_).reshape(rows.shape)

    def _strings(self) -> Iterable[str]:
        text, start = self._text.data, 0
        for end in self._values[: self._count].tolist():
            yield str(text[start:end], "utf-8")
            start = end

    def encode(self) -> bytes:
        """The ids as bytes for the index file: kind, count, then 8 bytes an integer, or ends and UTF-8 of strings."""
        head = HEAD.pack(self.kind, 0, self._count)
        if self.kind == ROWS:
            return head
        values = self._values[: self._count]
        text = self._text[: int(values[-1]) if self._count else 0].tobytes() if self.kind == STRINGS else b""
        return head + values.astype("<i8").tobytes() + text

    @classmethod
    def decode(cls, data: bytes, n: int) -> Ids:
        """Read back what `encode` wrote for `n` rows; SearchError for any other bytes."""
        if len(data) < HEAD.size:
            raise SearchError("ids: cut off")
        kind, zero, count = HEAD.unpack_from(data)
        if kind >= len(KINDS) or zero:
            raise SearchError(f"ids: unknown kind {kind}")
        if count != n:
            raise SearchError(f"ids: {count} ids for {n} vectors")
        size = HEAD.size + (0 if kind == ROWS else 8 * n)
        if len(data) < size or ((kind != STRINGS or not n) and len(data) > size):
            raise SearchError(f"ids: {len(data)} bytes do not hold {n} {KINDS[kind]}")
        if kind == ROWS or not n:
            return cls(ROWS, n)
        values = np.frombuffer(data, "<i8", n, HEAD.size).astype(np.int64, copy=False)
        made = cls(kind, n, values)
        if kind == STRINGS:
            made._text = np.frombuffer(data, np.uint8, len(data) - size, size)
            _check_text(values, data[size:])
            keys = _hashes(made._strings())
        else:
            keys = values
        keys = _sorted(keys)
        if (keys[1:] == keys[:-1]).any() and (kind == INTEGERS or len(set(made._strings())) < n):
            raise SearchError("ids: one id stands there twice")
        return made


def _check_text(ends: NDArray[np.int64], text: bytes) -> None:
    """Refuse ends that do not cut the text into UTF-8 strings of 1 to LONGEST_ID letters without NUL."""
    sizes = np.diff(ends, prepend=np.int64(0))
    last = int(ends[-1]) if len(ends) else 0
    if last != len(text) or (len(ends) and (int(ends.min()) <= 0 or int(ends.max()) > last or int(sizes.min()) <= 0)):
        raise SearchError("ids: strings that do not follow one another")
    bounds = np.frombuffer(text, np.uint8)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise SearchError(f"ids: not UTF-8 ({error.reason})") from error
    starts = ends - sizes
    if len(ends) and ((bounds[starts] & 0xC0) == 0x80).any():
        raise SearchError("ids: a string that begins within a letter")
    letters = np.add.reduceat((bounds & 0xC0) != 0x80, starts, dtype=np.int64) if len(ends) else sizes
    if b"\0" in text or (len(ends) and int(letters.max()) > LONGEST_ID):
        raise SearchError(f"ids: a string with a NUL or of more than {LONGEST_ID} letters")


def _grown(column: Column, count: int, more: Column) -> Column:
    """`column` with `more` from `count` on: in place where there is room, else with half as much again."""
    if not len(more):
        return column
    need = count + len(more)
    if need > len(column) or not column.flags.writeable:
        larger = np.empty(need if not count else max(need, count + count // 2), column.dtype)
        larger[:count] = column[:count]
        column = larger
    column[count:need] = more
    return column


def _hashes(texts: Iterable[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, texts), np.int64)


def _sorted(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return values if (values[1:] > values[:-1]).all() else np.sort(values)


def _found(run: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `values` stand in the sorted, not empty `run`."""
    places = np.searchsorted(run, values)
    found: NDArray[np.bool_] = run[np.minimum(places, len(run) - 1)] == values
    return found


def _merged(runs: tuple[NDArray[np.int64], ...], fresh: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    kept = list(runs)
    while kept and len(kept[-1]) <= 2 * len(fresh):
        fresh = np.concatenate([kept.pop(), fresh])
        fresh.sort(kind="stable")  # merges two sorted runs in one pass
    return (*kept, fresh)


def _duplicates(batch: Sequence[object], twice: Iterable[object]) -> SearchError:
    """Name the first id of a call that stood there before."""
    known = set(twice)
    seen: dict[object, int] = {}
    for at, value in enumerate(batch):
        if value in seen:
            return SearchError(f"ids, row {at}: {value!r:.60} stands in row {seen[value]} already; ids are unique")
        if not known or value in known:
            seen[value] = at
    raise AssertionError("no duplicate in a batch that has one")


def _stored(batch: Sequence[object], held: Iterable[object]) -> SearchError:
    known = set(held)
    at = next(row for row, value in enumerate(batch) if value in known)
    return SearchError(f"ids, row {at}: {batch[at]!r:.60} is in the index already; ids are unique")
