from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import SearchError
from medalist.search.ids import INTEGERS, LONGEST_ID, STRINGS, Ids, parse_ids

NAMES = ["a", "Ж", "🂡b", "0001", " ", "x" * LONGEST_ID]
WHOLE = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=5)


def all_of(ids: Ids) -> list[Any]:
    return ids.take(np.arange(len(ids))).tolist()


@pytest.mark.parametrize(
    "ids",
    [
        [3, 1, -2],
        (3, 1, -2),
        np.array([3, 1, -2]),
        np.array([3, 1, -2], np.int8),
        np.array([3, 9, 1, 9, -2], ">i4")[::2],
        [np.int64(3), 1, np.int8(-2)],
        np.array([3, 1, -2], object),
        torch.tensor([3, 1, -2]),
        pd.Series([3, 1, -2], index=[7, 8, 9]),
        pd.Index([3, 1, -2]),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_every_way_to_give_integers(ids: Any) -> None:
    parsed = parse_ids(ids, 3)
    assert isinstance(parsed, np.ndarray) and parsed.dtype == np.int64 and parsed.tolist() == [3, 1, -2]


def test_integers_at_their_bounds() -> None:
    bounds = [-(2**63), 2**63 - 1, 0, -1]
    assert all_of(Ids().extended(bounds, 4)) == bounds
    assert all_of(Ids().extended(np.array([2**63 - 1], np.uint64), 1)) == [2**63 - 1]
    assert all_of(Ids().extended(range(5, 8), 3)) == [5, 6, 7]


@pytest.mark.parametrize(
    "ids",
    [
        NAMES,
        tuple(NAMES),
        np.array(NAMES),
        np.array(NAMES, object),
        np.array(NAMES, np.dtypes.StringDType()),
        pd.Series(NAMES),
        pd.Series(NAMES, dtype=object),
        [np.str_(name) for name in NAMES],
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_every_way_to_give_strings(ids: Any) -> None:
    found = Ids().extended(ids, len(NAMES))
    assert all_of(found) == NAMES and found.kind == STRINGS
    assert all_of(Ids.decode(found.encode(), len(NAMES))) == NAMES


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([1, "a"], "row 1: 'a' among integers"),
        (["a", 1], "row 1: 1 among strings"),
        (np.array(["a", None], object), "row 1: None among strings"),
        ([1, 2.0], "row 1: 2.0"),
        ([1.0, 2.0], "row 0: 1.0; expected all integers or all strings"),
        ([True, False], "row 0: True"),
        ([1, np.True_], "row 1"),
        (np.array([True, False]), "dtype bool"),
        (np.array([1.0, 2.0]), ".astype(np.int64)"),
        ([b"a", b"b"], "row 0: b'a'"),
        (np.array([b"a", b"b"]), "np.char.decode"),
        (np.array([1, 2**63], np.uint64), "row 1: 9.223e+18 does not fit"),
        ([1, 2**63], "row 1: 9.223e+18 does not fit"),
        ([1, -(2**63) - 1], "row 1: -9.223e+18 does not fit"),
        (["a", ""], "row 1: an empty string"),
        (["a", "b\0"], "row 1: a NUL"),
        (["a", "x" * (LONGEST_ID + 1)], "row 1: 1025 letters"),
        (["a", "\ud800"], r"row 1: '\ud800' cannot be written in UTF-8"),
        ("ab", "ids: str, expected a list"),
        (b"ab", "ids: bytes"),
        ({1, 2}, "ids: set"),
        ({1: 2, 3: 4}, "ids: dict"),
        (iter([1, 2]), "expected a list"),
        (7, "ids: int"),
        (np.array(7), "shape []"),
        (np.array([[1, 2]]), "shape [1, 2]"),
        ([1, 2, 3], "3 ids for 2 vectors"),
        ([], "0 ids for 2 vectors"),
        ([None, None], "row 0: None"),
        ([[1], [2]], "row 0: [1]"),
        (np.array(["2020", "2021"], "M8[Y]"), "dtype datetime64"),
        (torch.tensor([1.0, 2.0]), "dtype float32"),
        ([1, 1], "row 1: 1 stands in row 0 already"),
        (["a", "a"], "row 1: 'a' stands in row 0 already"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isprintable() else type(value).__name__,
)
def test_what_are_no_ids(ids: Any, words: str) -> None:
    with pytest.raises(SearchError, match=r"^ids[:,] [^\n]*$") as caught:
        Ids().extended(ids, 2)
    assert words in str(caught.value) and len(str(caught.value)) < 200


def test_row_numbers_go_on_and_take_no_memory() -> None:
    ids = Ids().extended(None, 3).extended(None, 2)
    assert len(ids) == 5 and ids.nbytes == 0 and all_of(ids) == [0, 1, 2, 3, 4]
    assert all_of(ids.extended([9, 8], 2).extended(None, 1)) == [0, 1, 2, 3, 4, 9, 8, 7]


def test_row_numbers_after_integers_may_collide() -> None:
    ids = Ids().extended([1, 5], 2)
    assert all_of(ids.extended(None, 2)) == [1, 5, 2, 3]
    with pytest.raises(SearchError, match="row 0: 3 is in the index already"):
        Ids().extended([0, 1, 3], 3).extended(None, 1)
    with pytest.raises(SearchError, match="row 1: 2 is in the index already"):
        Ids().extended(None, 3).extended([7, 2], 2)


def test_kinds_are_not_mixed() -> None:
    for first, second, words in (
        (["a"], [1], "integers given, but the index holds strings"),
        ([1], ["a"], "strings given, but the index holds integers"),
        (None, ["a"], "strings given, but the index holds row numbers"),
        (["a"], None, r"no ids \(row numbers\) given, but the index holds strings"),
    ):
        with pytest.raises(SearchError, match=words):
            Ids().extended(first, 1).extended(second, 1)
    # nothing added says nothing
    assert all_of(Ids().extended([], 0).extended(["a"], 1).extended([], 0)) == ["a"]


def test_the_callers_array_may_change_afterwards() -> None:
    array = np.array([1, 2])
    ids = Ids().extended(array, 2)
    array[:] = 9
    assert all_of(ids) == [1, 2]


def test_padding() -> None:
    rows = np.array([[1, -1], [0, -1]])
    assert Ids().extended(None, 2).take(rows).tolist() == [[1, -1], [0, -1]]
    assert Ids().extended([5, 6], 2).take(rows).tolist() == [[6, -1], [5, -1]]
    assert Ids().extended(["b", "cc"], 2).take(rows).tolist() == [["cc", ""], ["b", ""]]
    for one in ([5], ["b"]):
        ids = Ids().extended(one, 1)
        assert ids.take(np.array([-1, 0])).tolist() == [ids.take(np.array([-1]))[0], one[0]]
        assert ids.take(np.empty((3, 0), np.int64)).shape == (3, 0)


@given(st.lists(st.one_of(st.lists(WHOLE, max_size=9), st.none()), max_size=12))
def test_integers_as_a_dictionary_would(batches: list[list[int] | None]) -> None:
    _as_a_dictionary_would(batches)


@given(st.lists(st.lists(st.integers(0, 40), max_size=4), max_size=30))
def test_few_integers_as_a_dictionary_would(batches: list[list[int] | None]) -> None:
    _as_a_dictionary_would(batches)


@given(st.lists(st.lists(TEXT, max_size=6), max_size=12))
def test_strings_as_a_dictionary_would(batches: list[list[str] | None]) -> None:
    _as_a_dictionary_would(batches)


def _as_a_dictionary_would(batches: Any) -> None:
    ids, known = Ids(), {}
    for batch in batches:
        n = 3 if batch is None else len(batch)
        expected = list(range(len(known), len(known) + n)) if batch is None else batch
        try:
            grown = ids.extended(batch, n)
        except SearchError:
            assert len({*known, *expected}) < len(known) + n
            assert all_of(ids) == list(known)
            continue
        known.update(dict.fromkeys(expected))
        assert len(known) == len(grown)
        ids = grown
        assert all_of(ids) == list(known)
        again = Ids.decode(ids.encode(), len(ids))
        assert all_of(again) == list(known) and again.encode() == ids.encode()


def test_the_old_value_stays_after_an_extension_that_is_dropped() -> None:
    for first, wrong, right in (([1, 2, 3], [4, 5], [6, 7]), (["a", "b", "c"], ["d", "e"], ["f", "gg"])):
        ids = Ids().extended(first, 3).extended(wrong[:1], 1).extended(right[:1], 1)
        ids.extended(wrong[1:], 1)
        assert all_of(ids.extended(right[1:], 1)) == [*first, wrong[0], *right]


def test_a_thousand_adds_of_one_keep_few_runs() -> None:
    ids = Ids()
    for value in np.random.default_rng(1).permutation(1000).tolist():
        ids = ids.extended([value], 1)
    assert ids._runs is not None and len(ids._runs) <= 10
    assert all(2 * len(late) <= len(early) for early, late in zip(ids._runs, ids._runs[1:], strict=False))
    assert ids.nbytes <= 1000 * 8 * 2.5
    for value in range(1000):
        with pytest.raises(SearchError, match="already"):
            ids.extended([value], 1)


def test_strings_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.search.ids.hash", len, raising=False)
    ids = Ids().extended(["aa", "bb"], 2).extended(["cc"], 1).extended(["d", "ee"], 2)
    assert all_of(ids) == ["aa", "bb", "cc", "d", "ee"]
    assert all_of(Ids.decode(ids.encode(), 5)) == all_of(ids)
    with pytest.raises(SearchError, match="'bb' is in the index"):
        ids.extended(["ff", "bb"], 2)


# --------------------------------------------------------------------------------------------------- hostile bytes


def test_damaged_bytes_are_refused_or_mean_proper_ids() -> None:
    rng = np.random.default_rng(0)
    for ids in (Ids().extended(None, 4), Ids().extended([4, -9, 7], 3), Ids().extended(["a", "Жb", "🂡"], 3)):
        data, n = ids.encode(), len(ids)
        for length in range(len(data)):
            with pytest.raises(SearchError):
                Ids.decode(data[:length], n)
        for more in (b"\0", b"a", b"\0" * 8):
            with pytest.raises(SearchError):
                Ids.decode(data + more, n)
        for _ in range(2000):
            spoilt = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                spoilt[at] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.integers(0, 256)])
            try:
                found = Ids.decode(bytes(spoilt), n)
            except SearchError as error:
                assert str(error).startswith("ids: ")
                continue
            values = all_of(found)
            assert len(set(values)) == n and "" not in values
            assert Ids().extended(None if found.kind == 0 else values, n).encode() == found.encode()


@pytest.mark.parametrize(
    ("kind", "count", "values", "text", "words"),
    [
        (9, 2, (1, 2), b"", "unknown kind 9"),
        (INTEGERS, 3, (1, 2), b"", "3 ids for 2 vectors"),
        (INTEGERS, 2, (1,), b"", "do not hold 2"),
        (INTEGERS, 2, (1, 2), b"x", "do not hold 2"),
        (INTEGERS, 2, (5, 5), b"", "twice"),
        (STRINGS, 2, (1, 2), b"aa", "twice"),
        (STRINGS, 2, (1, 3), b"ab", "follow"),
        (STRINGS, 2, (1, 1), b"a", "follow"),
        (STRINGS, 2, (0, 1), b"a", "follow"),
        (STRINGS, 2, (2, 1), b"ab", "follow"),
        (STRINGS, 2, (-1, 2), b"ab", "follow"),
        (STRINGS, 2, (-(2**63), 2), b"ab", "follow"),
        (STRINGS, 2, (2**63 - 1, 2), b"ab", "follow"),
        (STRINGS, 2, (1, 2), b"a\xff", "not UTF-8"),
        (STRINGS, 2, (1, 3), "éa".encode(), "within a letter"),
        (STRINGS, 2, (1, 3), b"a\0b", "NUL"),
        (STRINGS, 2, (1, 1026), b"a" + b"x" * 1025, "more than 1024 letters"),
    ],
)
def test_hostile_bytes(kind: int, count: int, values: tuple[int, ...], text: bytes, words: str) -> None:
    data = struct.pack(f"<IIQ{len(values)}q", kind, 0, count, *values) + text
    with pytest.raises(SearchError, match=words):
        Ids.decode(data, 2)
