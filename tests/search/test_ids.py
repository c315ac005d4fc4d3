from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from medalist.errors import SearchError
from medalist.search.ids import LONGEST_ID, parse_ids

NAMES = ["a", "Ж", "🂡b", "0001", " ", "x" * LONGEST_ID]


def all_of(ids: Any, n: int) -> list[Any]:
    parsed = parse_ids(ids, n)
    assert isinstance(parsed, np.ndarray) and parsed.dtype == np.int64
    return parsed.tolist()


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
    assert all_of(bounds, 4) == bounds
    assert all_of(np.array([2**63 - 1], np.uint64), 1) == [2**63 - 1]
    assert all_of(range(5, 8), 3) == [5, 6, 7]


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
    found = parse_ids(ids, len(NAMES))
    assert found == NAMES and all(type(name) is str for name in found)


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
        ([1, 10**5000], "row 1: an int of 16610 bits does not fit"),
        ([1, [10**5000]], "row 1: a list among integers"),
        (["a", [10**5000]], "row 1: a list among strings"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isprintable() else type(value).__name__,
)
def test_what_are_no_ids(ids: Any, words: str) -> None:
    with pytest.raises(SearchError, match=r"^ids[:,] [^\n]*$") as caught:
        parse_ids(ids, 2)
    assert words in str(caught.value) and len(str(caught.value)) < 200


def test_no_ids_and_none_of_them() -> None:
    assert parse_ids(None, 7) is None
    assert all_of([], 0) == [] and all_of(np.empty(0, np.int32), 0) == []


def test_the_same_id_twice_is_not_refused_here() -> None:
    assert all_of([4, 4], 2) == [4, 4] and parse_ids(["a", "a"], 2) == ["a", "a"]


def test_the_callers_array_may_change_afterwards() -> None:
    array = np.array([1, 2])
    ids = parse_ids(array, 2)
    array[:] = 9
    assert isinstance(ids, np.ndarray) and ids.tolist() == [1, 2]
