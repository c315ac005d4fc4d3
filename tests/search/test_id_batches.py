from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import SearchError
from medalist.search.ids import INTEGERS, LONGEST_ID, ROWS, STRINGS, Batch, decode_ids, encode_ids, parse_ids

WHOLE = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=5)


def as_list(batch: Batch) -> list[int] | list[str] | None:
    return batch.tolist() if isinstance(batch, np.ndarray) else batch


def test_bytes_by_hand() -> None:
    assert encode_ids(None, 3) == bytes.fromhex("00000000 00000000 0300000000000000")
    assert encode_ids(np.array([1, -2]), 2) == bytes.fromhex(
        "01000000 00000000 0200000000000000 0100000000000000 feffffffffffffff"
    )
    assert encode_ids(["a", "Ж"], 2) == bytes.fromhex(
        "02000000 00000000 0200000000000000 0100000000000000 0300000000000000 61 d096"
    )


@pytest.mark.parametrize(
    "array",
    [np.array([5, -6, 7], ">i8"), np.array([5, -6, 7], np.int16), np.array([5, 0, -6, 0, 7])[::2]],
    ids=["big-endian", "narrow", "strided"],
)
def test_any_array_of_integers(array: np.ndarray) -> None:
    assert encode_ids(parse_ids(array, 3), 3) == encode_ids(np.array([5, -6, 7]), 3)
    assert encode_ids(array, 3) == encode_ids(np.array([5, -6, 7]), 3)


@given(st.lists(WHOLE, max_size=9) | st.lists(TEXT, max_size=9))
def test_round_trip(ids: list[int] | list[str]) -> None:
    data = encode_ids(parse_ids(ids, len(ids)), len(ids))
    found = decode_ids(data)
    assert as_list(found) == ids
    assert encode_ids(found, len(ids)) == data


def test_the_same_id_twice_is_not_for_the_bytes_to_refuse() -> None:
    assert as_list(decode_ids(encode_ids(np.array([4, 4]), 2))) == [4, 4]
    assert decode_ids(encode_ids(["a", "a"], 2)) == ["a", "a"]


def test_row_numbers_and_nothing() -> None:
    assert decode_ids(encode_ids(None, 2**40)) is None
    found = decode_ids(encode_ids(np.empty(0, np.int64), 0))
    assert isinstance(found, np.ndarray) and found.shape == (0,) and found.dtype == np.int64
    assert decode_ids(encode_ids([], 0)) == []


def test_what_was_decoded_may_be_changed() -> None:
    data = encode_ids(np.array([1, 2]), 2)
    found = decode_ids(data)
    assert isinstance(found, np.ndarray)
    found[:] = 9
    assert as_list(decode_ids(data)) == [1, 2]


def test_another_number_of_ids_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="1 ids for 2 rows"):
        encode_ids(["a"], 2)


# --------------------------------------------------------------------------------------------------- hostile bytes


def test_damaged_bytes_are_refused_or_mean_proper_ids() -> None:
    rng = np.random.default_rng(0)
    batches: list[Batch] = [None, np.array([4, -9, 7]), ["a", "Жb", "🂡"]]
    for batch in batches:
        data = encode_ids(batch, 3)
        for length in range(len(data)):
            with pytest.raises(SearchError):
                decode_ids(data[:length])
        for more in (b"\0", b"a", b"\0" * 8):
            with pytest.raises(SearchError):
                decode_ids(data + more)
        for _ in range(2000):
            spoilt = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                spoilt[at] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.integers(0, 256)])
            try:
                found = decode_ids(bytes(spoilt))
            except SearchError as error:
                assert str(error).startswith("ids: ")
                continue
            if found is not None:
                n = len(found)
                assert n == 3 or n == struct.unpack_from("<Q", spoilt, 8)[0]
                assert encode_ids(parse_ids(found, n) if n else found, n) == bytes(spoilt)


@pytest.mark.parametrize(
    ("kind", "zero", "count", "values", "text", "words"),
    [
        (9, 0, 2, (1, 2), b"", "unknown kind 9"),
        (INTEGERS, 1, 2, (1, 2), b"", "unknown kind"),
        (ROWS, 0, 2, (1,), b"", "do not hold 2 row numbers"),
        (INTEGERS, 0, 3, (1, 2), b"", "do not hold 3 integers"),
        (INTEGERS, 0, 2**61, (1, 2), b"", "do not hold"),
        (INTEGERS, 0, 2**64 - 1, (1, 2), b"", "do not hold"),
        (INTEGERS, 0, 2, (1, 2), b"x", "do not hold 2"),
        (STRINGS, 0, 0, (), b"x", "follow"),
        (STRINGS, 0, 2, (1, 3), b"ab", "follow"),
        (STRINGS, 0, 2, (1, 1), b"a", "follow"),
        (STRINGS, 0, 2, (0, 1), b"a", "follow"),
        (STRINGS, 0, 2, (2, 1), b"ab", "follow"),
        (STRINGS, 0, 2, (-1, 2), b"ab", "follow"),
        (STRINGS, 0, 2, (-(2**63), 2), b"ab", "follow"),
        (STRINGS, 0, 2, (2**63 - 1, 2), b"ab", "follow"),
        (STRINGS, 0, 2, (1, 2), b"a\xff", "not UTF-8"),
        (STRINGS, 0, 2, (1, 3), "éa".encode(), "within a letter"),
        (STRINGS, 0, 2, (1, 3), b"a\0b", "NUL"),
        (STRINGS, 0, 2, (1, 2 + LONGEST_ID), b"a" + b"x" * (LONGEST_ID + 1), "more than 1024 letters"),
    ],
)
def test_hostile_bytes(kind: int, zero: int, count: int, values: tuple[int, ...], text: bytes, words: str) -> None:
    data = struct.pack(f"<IIQ{len(values)}q", kind, zero, count, *values) + text
    with pytest.raises(SearchError, match=words):
        decode_ids(data)


def test_the_longest_id() -> None:
    longest = "🂡" * LONGEST_ID
    assert decode_ids(encode_ids(["a", longest], 2)) == ["a", longest]
