from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from medalist.errors import SearchError
from medalist.search.vectors import as_queries, as_vectors, check_float16, share, whole

RNG = np.random.default_rng(0)
CLEAN = RNG.normal(size=(6, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "given",
    [
        CLEAN,
        CLEAN.astype(np.float64),
        CLEAN.astype(np.longdouble),
        CLEAN.astype(">f4"),
        np.asfortranarray(CLEAN),
        np.repeat(CLEAN, 2, axis=0)[::2],
        np.repeat(CLEAN, 3, axis=1)[:, ::3],
        CLEAN[::-1].copy()[::-1],
        np.frombuffer(b"\0" + CLEAN.tobytes(), np.float32, offset=1).reshape(6, 4),
        CLEAN.tolist(),
        tuple(map(tuple, CLEAN.tolist())),
        np.ma.masked_array(CLEAN),
        torch.from_numpy(CLEAN),
        torch.from_numpy(CLEAN).double(),
        torch.nn.Parameter(torch.from_numpy(CLEAN)),
        torch.from_numpy(CLEAN.T.copy()).T,
        torch._neg_view(torch.from_numpy(-CLEAN)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_way_to_give_floats(given: Any) -> None:
    rows = as_vectors(given, 4, "cosine")
    np.testing.assert_array_equal(rows, CLEAN)
    assert rows.dtype == np.float32 and rows.dtype.isnative and rows.flags.c_contiguous and rows.flags.aligned


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e5m2", "int8", "int64", "uint8"])
def test_tensors_of_other_types(dtype: str) -> None:
    tensor = torch.arange(1, 9).reshape(2, 4).to(getattr(torch, dtype))
    np.testing.assert_array_equal(as_vectors(tensor, 4, "l2"), tensor.float().numpy())


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, np.float16])
def test_arrays_of_other_types(dtype: type) -> None:
    given = np.arange(1, 9).reshape(2, 4).astype(dtype)
    np.testing.assert_array_equal(as_vectors(given, 4, "l2"), given.astype(np.float32))


def test_clean_memory_is_not_copied() -> None:
    assert as_vectors(CLEAN, 4, "l2") is CLEAN
    assert np.shares_memory(as_vectors(torch.from_numpy(CLEAN), 4, "l2"), CLEAN)
    assert np.shares_memory(as_queries(CLEAN[0], 4, "l2")[0], CLEAN)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([["a"] * 4], "dtype <U1, expected floats"),
        (np.zeros((1, 4), object), "dtype object"),
        (np.zeros((1, 4), complex), "dtype complex128"),
        (torch.zeros((1, 4), dtype=torch.complex64), "dtype complex64"),
        (np.zeros((1, 4), bool), "dtype bool"),
        (np.zeros((1, 4), "M8[s]"), "dtype datetime64"),
        (np.zeros(1, [("a", "f4"), ("b", "f4")]), "dtype [("),
        ([[1, 2, 3, 4], [1, 2]], "list cannot be read as an array"),
        (None, "dtype object"),
        ({"a": 1}, "dtype object"),
        ("abcd", "dtype <U4"),
        (b"abcd", "dtype |S4"),
        (1.0, "shape [], expected [n, 4]"),
        (np.ones((2, 5)), "shape [2, 5], expected [n, 4]"),
        (np.ones((0, 5)), "shape [0, 5]"),
        (np.ones((2, 2, 4)), "shape [2, 2, 4]"),
        (np.ones(4), "for one vector give vector[None]"),
        ([], "shape [0]"),
        (torch.eye(4).to_sparse(), ".to_dense()"),
        (torch.ones((1, 4), device="meta"), "cannot be read"),
        (np.ma.masked_array(np.ones((2, 4)), mask=[[0, 0, 0, 1], [0, 0, 0, 0]]), "masked"),
        ([[10**400] * 4], "object"),
    ],
    ids=str,
)
def test_what_are_no_vectors(given: Any, words: str) -> None:
    with pytest.raises(SearchError, match=r"^vectors: [^\n]*$") as caught:
        as_vectors(given, 4, "l2")
    assert words in str(caught.value)


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (np.nan, np.float32, "nan in column 2; leave these rows out"),
        (np.inf, np.float32, "inf in column 2"),
        (-np.inf, np.float64, "-inf in column 2"),
        (1e300, np.float64, "1e+300 in column 2 is too large for float32"),
        (1e30, np.float32, "too long for float32 distances"),
        (-2e19, np.float32, "too long for float32 distances"),
        (np.inf, np.float16, "inf in column 2"),
    ],
)
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_bad_numbers_name_their_row(n: int, value: float, dtype: type, words: str, metric: str) -> None:
    given = np.ones((n, 4), dtype)
    given[n - 1, 2] = value
    for what, check in (("vectors", as_vectors), ("queries", as_queries)):
        with pytest.raises(SearchError, match=f"^{what}, row {n - 1}: ") as caught:
            check(given, 4, metric)
        assert words in str(caught.value)


def test_the_first_of_several_bad_rows_is_named() -> None:
    given = np.ones((9, 4), np.float32)
    given[[7, 3, 5], 0] = np.nan
    with pytest.raises(SearchError, match="row 3:"):
        as_vectors(given, 4, "l2")


@pytest.mark.parametrize(("value", "words"), [(0.0, "a zero vector"), (-0.0, "a zero"), (1e-30, "length 2e-30 is too")])
def test_vectors_without_a_direction(value: float, words: str) -> None:
    given = np.ones((3, 4), np.float32)
    given[1] = value
    for metric in ("ip", "l2"):
        assert as_vectors(given, 4, metric) is given
    for check in (as_vectors, as_queries):
        with pytest.raises(SearchError, match=f"row 1: {words}"):
            check(given, 4, "cosine")
    with pytest.raises(SearchError, match=f"queries, row 0: {words}"):
        as_queries(given[1], 4, "cosine")


def test_lengths_up_to_the_bounds_are_taken() -> None:
    for metric, length in (("l2", 2.0**62), ("cosine", 2.0**62), ("cosine", 2.0**-63), ("l2", 1e-45)):
        given = np.array([[length, 0, 0, 0]], np.float32)
        assert as_vectors(given, 4, metric) is given
        assert as_vectors(np.repeat(given, 3, axis=0), 4, metric).shape == (3, 4)


def test_no_vectors_are_fine() -> None:
    assert as_vectors(np.empty((0, 4)), 4, "cosine").shape == (0, 4)
    rows, single = as_queries(np.empty((0, 4)), 4, "cosine")
    assert rows.shape == (0, 4) and not single


def test_one_query_has_one_dimension() -> None:
    rows, single = as_queries([1, 2, 3, 4], 4, "l2")
    assert rows.shape == (1, 4) and single
    with pytest.raises(SearchError, match=re.escape("queries: shape [3], expected [4] or [n, 4]")):
        as_queries(np.ones(3), 4, "l2")


def test_too_large_for_float16() -> None:
    check_float16(np.full((2, 4), -65504, np.float32))
    check_float16(np.empty((0, 4), np.float32))
    with pytest.raises(SearchError, match="row 1: a component above 65504; use refine='float32'"):
        check_float16(np.array([[0, 1], [0, -65520]], np.float32))


@pytest.mark.parametrize("value", [True, np.True_, 1.0, "1", None, -1, 6, np.int64(-1), [1]])
def test_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(SearchError, match=r"^k="):
        whole(value, "k", 0, 5)


def test_whole_numbers() -> None:
    assert [whole(value, "k", 0, 5) for value in (0, 5, np.int8(3), np.uint64(4))] == [0, 5, 3, 4]
    assert type(whole(np.int8(3), "k", 0, 5)) is int


@pytest.mark.parametrize("value", [True, 0, -0.1, 1.01, np.nan, "0.9", None])
def test_what_is_no_share(value: Any) -> None:
    with pytest.raises(SearchError, match=r"^recall="):
        share(value, "recall")
    assert share(1, "recall") == share(np.float32(1), "recall") == 1.0
