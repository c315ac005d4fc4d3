from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum, IntEnum, StrEnum
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import SearchError
from medalist.search.columns import _one_by_one, as_column, as_numbers
from medalist.search.schema import (
    KINDS,
    FieldKind,
    as_micros,
    as_value,
    check_schema,
    decode_fields,
    encode_fields,
    kind_of,
)

NAN, NAT = float("nan"), np.datetime64("NaT")
WHEN = datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=UTC)
EVERY: dict[str, FieldKind] = {f"the {kind}": kind for kind in KINDS}


def there_and_back(kind: FieldKind, column: Any) -> list[Any]:
    """What a column of one field comes back as, None where missing."""
    schema: dict[str, FieldKind] = {"x": kind}
    return [row.get("x") for row in decode_fields(schema, encode_fields(schema, {"x": column}, len(column)))]


# ------------------------------------------------------------------------------------------------- bytes by hand


def test_bytes_of_numbers_by_hand() -> None:
    schema = check_schema({"no": "tag", "b": "bool", "i": "int", "f": "float", "d": "datetime", "g": "geo"})
    values = {
        "g": [None, (1.0, -2.0)],
        "b": [True, None],
        "i": [-2, 258],
        "f": [None, 1.5],
        "d": ["1970-01-01T00:00:01Z", None],
    }
    assert encode_fields(schema, values, 2) == bytes.fromhex(
        "02000000 05000000"
        "01000000 01 00 0100000000000000 0000000000000000"
        "02000000 01 01 feffffffffffffff 0201000000000000"
        "03000000 00 01 0000000000000000 000000000000f83f"
        "04000000 01 00 40420f0000000000 0000000000000000"
        "05000000 00 01 0000000000000000 0000000000000000 000000000000f03f 00000000000000c0"
    )


def test_bytes_of_texts_by_hand() -> None:
    values = {"t": [["b", "a", "b"], None, "Ж"], "n": [7, None, "a"]}
    assert encode_fields({"t": "tag", "n": "id"}, values, 3) == bytes.fromhex(
        "03000000 02000000"
        "00000000 03000000 0100000000000000 0200000000000000 0400000000000000 61 62 d096"
        "02000000 00000000 01000000 00000000 01000000 02000000"
        "01000000 02000000 0100000000000000 0200000000000000 37 61"
        "01000000 00000000 01000000 00000000 01000000"
    )


def test_no_values() -> None:
    for values in (None, {}, [{}, {}, {}]):
        assert encode_fields(EVERY, values, 3) == bytes.fromhex("03000000 00000000")
    assert decode_fields(EVERY, bytes.fromhex("03000000 00000000")) == [{}, {}, {}]
    for column in ([], np.empty(0), pd.Series([], dtype=object)):
        data = encode_fields(EVERY, dict.fromkeys(EVERY, column), 0)
        assert decode_fields(EVERY, data) == []
        assert struct.unpack_from("<II", data) == (0, 7)


def test_every_field_missing_in_every_row() -> None:
    for gap in (None, NAN, np.float32("nan"), pd.NA, pd.NaT, NAT):
        data = encode_fields(EVERY, dict.fromkeys(EVERY, [gap] * 3), 3)
        assert data == encode_fields(EVERY, dict.fromkeys(EVERY, [None] * 3), 3)
        assert decode_fields(EVERY, data) == [{}, {}, {}]


# --------------------------------------------------------------------------------------- every way to give a column


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([True, False], [True, False]),
        ((np.True_, None), [True, None]),
        (np.array([True, False]), [True, False]),
        (np.array([True, None, NAN], object), [True, None, None]),
        (pd.Series([True, False], index=[5, 6]), [True, False]),
        (pd.Series([True, None], dtype="boolean"), [True, None]),
        (pa.array([True, False]), [True, False]),
        (pa.chunked_array([[True], [None]]), [True, None]),
        (torch.tensor([True, False]), [True, False]),
        (np.ma.array([True, False], mask=[False, True]), [True, None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bools(column: Any, found: list[Any]) -> None:
    assert there_and_back("bool", column) == found


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([3, BIG, -(2**63), 2**63 - 1], [3, BIG, -(2**63), 2**63 - 1]),
        ([3, None, np.int8(-2)], [3, None, -2]),
        ([3, None, BIG], [3, None, BIG]),
        ([3, 4.0, NAN, BIG], [3, 4, None, BIG]),
        ([IntEnum("E", "a b").b], [2]),
        (range(3), [0, 1, 2]),
        (np.array([3, 9, -2, 9], ">i2")[::2], [3, -2]),
        (np.array([2**63 - 1], np.uint64), [2**63 - 1]),
        (np.array([1.0, NAN, -(2.0**53) + 1], np.float64), [1, None, -(2**53) + 1]),
        (np.array([NAN, -0.0, 7], np.float16), [None, 0, 7]),
        (np.array([3, None], object), [3, None]),
        (pd.Series([3, -2]), [3, -2]),
        (pd.Series([3, None]), [3, None]),
        (pd.Series([3, None, BIG], dtype="Int64"), [3, None, BIG]),
        (pd.Series([3, BIG], dtype="category"), [3, BIG]),
        (pd.Series([3, None, BIG], dtype="int64[pyarrow]"), [3, None, BIG]),
        (pd.Index([3, -2]), [3, -2]),
        (pa.array([3, None, BIG]), [3, None, BIG]),
        (pa.array([3, 200], pa.uint8()), [3, 200]),
        (pa.chunked_array([[3], [BIG]]), [3, BIG]),
        (pa.array([3, BIG]).dictionary_encode(), [3, BIG]),
        (pa.nulls(2), [None, None]),
        (torch.tensor([3, -2]), [3, -2]),
        (np.ma.array([3, BIG, 5], mask=[True, False, False]), [None, BIG, 5]),
        (np.ma.array([3, 4]), [3, 4]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_ints(column: Any, found: list[Any]) -> None:
    assert there_and_back("int", column) == found


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([1.5, 2, math.inf, -math.inf], [1.5, 2.0, math.inf, -math.inf]),
        ([1.5, None, NAN, np.float32(0.5), np.int8(3), pd.NA], [1.5, None, None, 0.5, 3.0, None]),
        ([2**80, 2**53 + 1], [2.0**80, 2.0**53]),
        (np.array([1.5, NAN, -math.inf], ">f4"), [1.5, None, -math.inf]),
        (np.array([1, 2], np.uint8), [1.0, 2.0]),
        (np.array([0.5, math.inf], np.longdouble), [0.5, math.inf]),
        (pd.Series([1.5, None]), [1.5, None]),
        (pd.Series([1.5, None], dtype="Float64"), [1.5, None]),
        (pa.array([1.5, None]), [1.5, None]),
        (pa.array([1, None]), [1.0, None]),
        (pa.array([np.float16(1.5), None], pa.float16()), [1.5, None]),
        (torch.tensor([1.5, NAN], dtype=torch.bfloat16, requires_grad=True), [1.5, None]),
        (np.ma.array([1.5, 2.5], mask=[False, True]), [1.5, None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_floats(column: Any, found: list[Any]) -> None:
    assert there_and_back("float", column) == found


def test_minus_zero_becomes_zero() -> None:
    for column in ([-0.0], [-0.0, None][:1], [np.float32(-0.0)], np.array([-0.0])):
        assert math.copysign(1, there_and_back("float", column)[0]) == 1
    for pairs in ([(-0.0, -0.0)], np.array([[-0.0, -0.0]]), [{"lat": -0.0, "lon": -0.0}]):
        assert [math.copysign(1, number) for number in there_and_back("geo", pairs)[0]] == [1, 1]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([WHEN, WHEN.replace(tzinfo=None), None, pd.NaT], [WHEN, WHEN, None, None]),
        ([WHEN.astimezone(timezone(timedelta(hours=-5, minutes=-30)))], [WHEN]),
        ([date(2026, 1, 31), date.min, date.max], [utc(2026, 1, 31), utc(1, 1, 1), utc(9999, 12, 31)]),
        (["2026-01-31", "2026-01-31T12:00:00.000005Z"], [utc(2026, 1, 31), WHEN]),
        (["2026-01-31t12:00z", "2026-01-31 12:00:30"], [utc(2026, 1, 31, 12), utc(2026, 1, 31, 12, 0, 30)]),
        (["2026-01-31T12:00+02:00", "2026-01-31T12:00-0330"], [utc(2026, 1, 31, 10), utc(2026, 1, 31, 15, 30)]),
        (["1969-12-31T23:59:59.999999", "1970-01-01T00:00:00,5000000"], [utc(1969, 12, 31, 23, 59, 59, 999999), 5]),
        (np.array(["2026-01-31", "NaT"], "M8[D]"), [utc(2026, 1, 31), None]),
        (np.array(["2026", "0001", "9999"], "M8[Y]"), [utc(2026, 1, 1), utc(1, 1, 1), utc(9999, 1, 1)]),
        (np.array([56, -1]).view("M8[M]"), [utc(1974, 9, 1), utc(1969, 12, 1)]),
        (np.array([3]).view("M8[25s]"), [utc(1970, 1, 1, 0, 1, 15)]),
        (np.array(["2026-01-31T12:00:00.000005"], ">M8[ns]"), [WHEN]),
        (np.array([1, 0, 2]).view("M8[us]")[::2], [1, 2]),
        ([np.datetime64("2026-01-31"), NAT, np.datetime64("2026-01-31T12:00:00.000005", "ns")], [31, None, WHEN]),
        (np.array([WHEN, None], object), [WHEN, None]),
        (np.array(["2026-01-31"]), [31]),
        (pd.Series([pd.Timestamp("2026-01-31T13:00:00.000005+01:00"), pd.NaT]), [WHEN, None]),
        (pd.Series([WHEN.replace(tzinfo=None), None]), [WHEN, None]),
        ([pd.Timestamp(WHEN).tz_convert("Asia/Kathmandu"), pd.Timestamp("2026-01-31").as_unit("s")], [WHEN, 31]),
        ([pd.Timestamp(WHEN), pd.Timestamp("2026-01-31")], [WHEN, 31]),
        (pd.date_range("2026-01-31", periods=1, tz="Europe/Berlin"), [utc(2026, 1, 30, 23)]),
        (pd.Series([WHEN, None], dtype="timestamp[us, UTC][pyarrow]"), [WHEN, None]),
        (pa.array([WHEN, None]), [WHEN, None]),
        (pa.array([WHEN, None], pa.timestamp("ns", "Europe/Berlin")), [WHEN, None]),
        (pa.chunked_array([pa.array([date(2026, 1, 31), None])]), [31, None]),
        (pa.array(["2026-01-31", None]), [31, None]),
        (np.ma.array(np.array(["2026-01-31", "2026-01-31"], "M8[ns]"), mask=[0, 1]), [31, None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_datetimes(column: Any, found: list[Any]) -> None:
    # In `found`, 5 is five tenths of a second of 1970, 1 and 2 so many microseconds, and 31 the day 2026-01-31.
    short = {5: utc(1970, 1, 1, 0, 0, 0, 500_000), 31: utc(2026, 1, 31)}
    short |= {at: utc(1970, 1, 1, 0, 0, 0, at) for at in (1, 2)}
    expected = [short.get(one, one) if isinstance(one, int) else one for one in found]
    back = there_and_back("datetime", column)
    assert back == expected and all(one is None or one.tzinfo is UTC for one in back)


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([(54.3, 10), None, [-90, 180], (90.0, -180.0)], [(54.3, 10), None, (-90, 180), (90, -180)]),
        ([(1, 2), (3, 4)], [(1, 2), (3, 4)]),
        ([{"lat": 1, "lon": 2.5}, {"lon": np.float32(4), "lat": np.int8(3)}], [(1, 2.5), (3, 4)]),
        ([(NAN, None), {"lat": None, "lon": None}, (NAN, NAN), np.array([NAN, NAN])], [None] * 4),
        (np.array([[1.5, 2], [NAN, NAN]], np.float32), [(1.5, 2), None]),
        (np.array([[1, 9, 2], [3, 9, 4]])[:, ::2], [(1, 2), (3, 4)]),
        (np.array([[1, 2], [None, None]], object), [(1, 2), None]),
        (torch.tensor([[1.5, 2.0]]), [(1.5, 2)]),
        (pd.Series([(1, 2), None]), [(1, 2), None]),
        (pd.DataFrame({"lat": [1.5], "lon": [2]}), [(1.5, 2)]),
        (pa.array([{"lat": 1, "lon": 2}, None]), [(1, 2), None]),
        (pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2)), [(1, 2), None]),
        (np.ma.array([[1.0, 2.0], [3.0, 4.0]], mask=[[0, 0], [1, 1]]), [(1, 2), None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_places(column: Any, found: list[Any]) -> None:
    back = there_and_back("geo", column)
    assert back == found and all(one is None or {type(number) for number in one} == {float} for one in back)


class Name(StrEnum):
    whale = "whale"


class Old(str, Enum):  # noqa: UP042
    fox = "fox"


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (["b", None, "a", "b"], [["b"], None, ["a"], ["b"]]),
        ([["b", "a", "b"], [], ("c",), None, "a"], [["a", "b"], None, ["c"], None, ["a"]]),
        ([{"a", "b"}, frozenset("c"), np.array(["b"]), NAN], [["a", "b"], ["c"], ["b"], None]),
        ([["a\0", "a"], ["a\0"]], [["a", "a\0"], ["a\0"]]),
        ([[Name.whale, "whale"], [Old.fox]], [["whale"], ["fox"]]),
        ([Name.whale, np.str_("a"), pd.NA], [["whale"], ["a"], None]),
        (np.array(["b", "a", "b"]), [["b"], ["a"], ["b"]]),
        (np.array([["b", "a"], ["c", "c"]]), [["a", "b"], ["c"]]),
        (np.array(["b", None], object), [["b"], None]),
        (np.array(["b", "a"], np.dtypes.StringDType()), [["b"], ["a"]]),
        (pd.Series(["b", None]), [["b"], None]),
        (pd.Series(["b", None], dtype=object), [["b"], None]),
        (pd.Series(["b", None], dtype="category"), [["b"], None]),
        (pd.Series([["b"], None, []]), [["b"], None, None]),
        (pa.array(["b", None]), [["b"], None]),
        (pa.array(["b", "a"]), [["b"], ["a"]]),
        (pa.array(["b", "a"]).dictionary_encode(), [["b"], ["a"]]),
        (pa.array([["b", "a"], None, []]), [["a", "b"], None, None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tags(column: Any, found: list[Any]) -> None:
    back = there_and_back("tag", column)
    assert back == found and all(type(tag) is str for tags in back if tags for tag in tags)


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (["b", 7, None, -7, np.int8(5), 2**70], ["b", "7", None, "-7", "5", str(2**70)]),
        ([3, 1, 3], ["3", "1", "3"]),
        (["b", None, "a"], ["b", None, "a"]),
        ([Name.whale, "whale", NAN], ["whale", "whale", None]),
        (np.array([7, 8], np.uint64), ["7", "8"]),
        (np.array(["b", "a"]), ["b", "a"]),
        (pd.Series([7, None], dtype="Int64"), ["7", None]),
        (pd.Series(["b", None]), ["b", None]),
        (pa.array(["b", None]), ["b", None]),
        (pa.array([7, None]), ["7", None]),
        (torch.tensor([7]), ["7"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_ids(column: Any, found: list[Any]) -> None:
    assert there_and_back("id", column) == found


def test_rows_are_columns() -> None:
    rows: list[dict[str, Any]] = [{"the int": 1, "the tag": "a"}, {}, {"the geo": (1, 2), "the int": None}]
    columns = {"the int": [1, None, None], "the tag": ["a", None, None], "the geo": [None, None, (1, 2)]}
    data = encode_fields(EVERY, rows, 3)
    assert data == encode_fields(EVERY, columns, 3) == encode_fields(EVERY, tuple(rows), 3)
    assert decode_fields(EVERY, data) == [{"the int": 1, "the tag": ["a"]}, {}, {"the geo": (1, 2)}]


def test_a_dataframe_is_its_columns_and_its_records() -> None:
    frame = pd.DataFrame(
        {
            "the int": [1, None],
            "the tag": ["a", None],
            "the datetime": pd.to_datetime(["2026-01-31", None]),
            "the float": [None, 2.5],
        }
    )
    data = encode_fields(EVERY, frame, 2)
    assert decode_fields(EVERY, data) == [
        {"the int": 1, "the tag": ["a"], "the datetime": utc(2026, 1, 31)},
        {"the float": 2.5},
    ]
    records: Any = frame.to_dict("records")
    assert encode_fields(EVERY, records, 2) == data == encode_fields(EVERY, dict(frame.items()), 2)


# -------------------------------------------------------------------------------------------------- what is refused

REFUSED: list[tuple[FieldKind, Any, str]] = [
    ("bool", [True, 1], "row 1: 1 is no bool; use bool(x) or .astype(bool); bool takes True or False"),
    ("bool", np.array([0, 1]), "row 0: 0 is no bool"),
    ("bool", [None, 10**9999], "row 1: an int of 33216 bits is no bool"),
    ("bool", [None, [10**9999]], "row 1: a list is no bool"),
    ("bool", [None, "yes"], "row 1: 'yes' is no bool"),
    ("bool", [True, 1.0], "row 1: 1.0 is no bool"),
    ("bool", pa.array([1, None]), "row 0: 1 is no bool"),
    ("int", [1, True], "row 1: True is a bool; use int(x)"),
    ("int", np.array([True, False]), "row 0: True is a bool"),
    ("int", [1, 2.0], "row 1: 2.0 is no int; use int(x), or mark gaps by NaN"),
    ("int", [None, 2.0], "row 1: 2.0 is no int"),
    ("int", np.array([1.0, 2.0]), "row 0: 1.0 is no int"),
    ("int", np.array([NAN, 2.5]), "row 1: 2.5 is not a whole number below 2**53"),
    ("int", [NAN, 2.5], "row 1: 2.5 is not a whole number below 2**53"),
    ("int", np.array([NAN, 2.0**53]), "row 1: 9007199254740992.0 is not a whole"),
    ("int", [NAN, -(2.0**53)], "row 1: -9007199254740992.0 is not a whole"),
    ("int", np.array([NAN, np.inf]), "row 1: inf is not a whole"),
    ("int", [NAN, math.inf], "row 1: inf is not a whole"),
    ("int", [1, 2**63], "row 1: 9223372036854775808 does not fit into a signed 64-bit integer"),
    ("int", [1, -(2**63) - 1], "row 1: -9223372036854775809 does not fit"),
    ("int", [1, 10**9999], "row 1: an int of 33216 bits does not fit"),
    ("int", np.array([1, 2**63], np.uint64), "row 1: 9223372036854775808 does not fit"),
    ("int", np.array([1, 2**63], ">u8"), "row 1: 9223372036854775808 does not fit"),
    ("int", [1, "2"], "row 1: '2' is no int; int takes integers of 64 bits"),
    ("int", np.array(["2026", "2027"], "M8[ns]"), "row 0: np.datetime64("),
    ("int", np.array([1, 2], "m8[ns]"), "row 0: np.timedelta64("),
    ("int", [1, [2]], "row 1: [2] is no int"),
    ("float", [1.5, True], "row 1: True is a bool; float takes ints and floats"),
    ("float", np.array([True, False]), "row 0: True is a bool"),
    ("float", [1.5, "2"], "row 1: '2' is no number"),
    ("float", [1.5, 10**400], "row 1: an int of 1329 bits is too large for a float"),
    ("float", np.array([1, np.longdouble("1e400")]), "is too large for a float"),
    ("float", np.array([1j, 2]), "row 0: 1j is no number"),
    ("datetime", [WHEN, 5], "row 1: 5 is no moment: a number has no unit; use np.datetime64(x, 's')"),
    ("datetime", np.array([5.0, NAN]), "row 0: 5.0 is no moment: a number has no unit"),
    ("datetime", ["2026-01-31", "31.1.2026"], "row 1: '31.1.2026' is no date or time of ISO 8601"),
    ("datetime", ["2026-01-31", "20260131"], "row 1: '20260131' is no date"),
    ("datetime", ["2026-01-31", ""], "row 1: '' is no date"),
    ("datetime", ["2026-01-31", "2026-02-30"], "row 1: '2026-02-30' is no moment (day is out of range"),
    ("datetime", ["2026-01-31", "2026-01-31T24:00"], "row 1: '2026-01-31T24:00' is no moment (hour"),
    ("datetime", ["2026-01-31", "2026-01-31T00:00:00.0000001"], "row 1: '2026-01-31T00:00:00.0000001' is finer than"),
    ("datetime", ["2026-01-31", "0001-01-01T00:00+01:00"], "row 1: datetime.datetime(1, 1, 1"),
    ("datetime", [WHEN, True], "row 1: True is no moment; datetime takes datetime, date, np.datetime64 or text"),
    ("datetime", [WHEN, WHEN.time()], "row 1: datetime.time("),
    ("datetime", [WHEN, pd.Timestamp(5, unit="ns")], "row 1: np.datetime64('1970-01-01T00:00:00.000000005') is finer"),
    (
        "datetime",
        [WHEN, pd.Timestamp(np.datetime64("10000-01-01", "s"))],
        "row 1: np.datetime64('10000-01-01T00:00:00')",
    ),
    ("datetime", [WHEN, pd.Timedelta("1s")], "row 1: "),
    ("datetime", np.array([1000, 1001]).view("M8[ns]"), "row 1: np.datetime64('1970-01-01T00:00:00.000001001')"),
    ("datetime", np.array([0, -1]).view("M8[as]"), "row 1: "),
    ("datetime", np.array(["9999", "10000"], "M8[Y]"), "row 1: np.datetime64('10000') is outside of the years 1"),
    ("datetime", np.array(["0001", "0000"], "M8[D]"), "row 1: np.datetime64('0000-01-01') is outside"),
    ("datetime", np.array([0, 2**62]).view("M8[s]"), "row 1: np.datetime64("),
    ("datetime", np.array([0, 10**18]).view("M8[D]"), "row 1: np.datetime64("),
    ("datetime", np.array([5, 6]).view("M8"), "row 0: a np.datetime64 without a unit"),
    ("datetime", np.array([1, 2], "m8[ns]"), "row 0: np.timedelta64("),
    ("geo", [(1, 2), (139.7, 35.7)], "row 1: latitude 139.7 is outside of -90 to 90; geo takes (latitude, longitude)"),
    ("geo", np.array([[1, 2], [90.5, 0]]), "row 1: latitude 90.5 is outside"),
    ("geo", np.array([[1, 2], [0, -180.5]]), "row 1: longitude -180.5 is outside of -180 to 180"),
    ("geo", [None, (0, 10**400)], "row 1: an int of 1329 bits is too large"),
    ("geo", [(1, 2), (math.inf, 0)], "row 1: latitude inf"),
    ("geo", [(1, 2), (1, NAN)], "row 1: (1, nan) is no place: its latitude or longitude is missing"),
    ("geo", np.array([[1, 2], [NAN, 1]]), "row 1: [nan, 1.0] is no place: its latitude or longitude is missing"),
    ("geo", [(1, 2), (1, 2, 3)], "row 1: (1, 2, 3) is no place"),
    ("geo", [(1, 2), ("1", "2")], "row 1: '1' is no number"),
    ("geo", [(1, 2), (True, 2)], "row 1: True is a bool"),
    ("geo", np.array([[True, False]] * 2), "row 0: True is a bool"),
    ("geo", [(1, 2), {"lat": 1, "lng": 2}], "row 1: {'lat': 1, 'lng': 2} does not have the keys lat and lon alone"),
    ("geo", [(1, 2), "54.3,10.1"], "row 1: '54.3,10.1' is no place"),
    ("geo", np.array([1.0, 2.0]), "row 0: 1.0 is no place"),
    ("geo", np.zeros((2, 3)), "row 0: [0.0, 0.0, 0.0] is no place"),
    ("tag", ["a", ""], "row 1: an empty string; use None where there is no value; tag takes a str or a list of str"),
    ("tag", [["a"], ["b", ""]], "row 1: an empty string"),
    ("tag", np.array(["a", ""]), "row 1: an empty string"),
    ("tag", ["a", 5], "row 1: 5 is no str; use str(x), or an int field"),
    ("tag", [["a"], [5]], "row 1: 5 is no str; use str(x), or an int field"),
    ("tag", np.array([5, 6]), "row 0: 5 is no str; use str(x), or an int field"),
    ("tag", ["a", True], "row 1: True is no str"),
    ("tag", [["a"], ["b", None]], "row 1: None is no str"),
    ("tag", [["a"], ["b", ["c"]]], "row 1: ['c'] is no str"),
    ("tag", [["a"], {"b": 1}], "row 1: {'b': 1} is no str"),
    ("tag", ["a", b"b"], "row 1: b'b' is no str; decode it"),
    ("tag", np.array([b"a", b"b"]), "row 0: b'a' is no str; decode it"),
    ("tag", ["a", "\ud800"], r"row 1: '\ud800' cannot be written in UTF-8"),
    ("tag", [["a", "b"], ["\ud83d", "\ude00"]], r"row 1: '\ud83d' cannot be written"),
    ("tag", [[], ["a", 7, "b"]], "row 1: 7 is no str"),
    ("id", ["a", ""], "row 1: an empty string"),
    ("id", ["a", 7.0], "row 1: 7.0 is no str and no int; use str(x); id takes a str or an int"),
    ("id", np.array([7.0, NAN]), "row 0: 7.0 is no str"),
    ("id", ["a", True], "row 1: True is no str"),
    ("id", ["a", ["b"]], "row 1: ['b'] is no str"),
    ("id", ["a", 10**9999], "row 1: an int of 33216 bits has too many digits"),
    ("id", ["a", "\ud800"], "row 1: "),
    ("id", np.array(["2026", "2027"], "M8[ns]"), "row 0: np.datetime64("),
    ("id", pd.to_datetime(["2026", "2027"]), "row 0: np.datetime64("),
]


@pytest.mark.parametrize(
    ("kind", "column", "words"), REFUSED, ids=[f"{kind}-{at}" for at, (kind, _, _) in enumerate(REFUSED)]
)
def test_what_is_refused(kind: FieldKind, column: Any, words: str) -> None:
    with pytest.raises(SearchError, match=r"^field 'x', row [^\n]*$") as caught:
        encode_fields({"x": kind}, {"x": column}, 2)
    message = str(caught.value)
    assert words in message and f"; {kind} takes " in message and len(message) < 260


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([1, 2, 3], "field 'x': 3 values for 2 rows"),
        (np.zeros(1), "field 'x': 1 values for 2 rows"),
        (7, "field 'x': int, expected a list or an array of 2 values; for one row give [value]"),
        ("ab", "field 'x': str, expected a list"),
        (b"ab", "field 'x': bytes"),
        ({1, 2}, "field 'x': set"),
        ({1: 2}, "field 'x': dict"),
        (iter([1, 2]), "field 'x': list_iterator"),
        (None, "field 'x': NoneType"),
        (np.array(7), "field 'x': shape []"),
        (np.ma.array(7), "field 'x': shape []"),
        (np.zeros((2, 1)), "field 'x': shape [2, 1], expected [2]"),
        (pd.DataFrame({"x": [1, 2]}), "field 'x': shape [2, 1], expected [2]"),
        (torch.eye(2).to_sparse(), "field 'x': Tensor cannot be read as an array"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_column(column: Any, words: str) -> None:
    with pytest.raises(SearchError, match=r"^[^\n]*$") as caught:
        encode_fields({"x": "int"}, {"x": column}, 2)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"speces": ["a"]}, "field 'speces': unknown; did you mean 'species'? known are: species, depth"),
        ([{"species": "a", "deep": 1}], "field 'deep': unknown; did you mean 'depth'?"),
        ({"q": [1]}, "field 'q': unknown; known are: species, depth"),
        ({7: [1]}, "field 7: unknown; known are"),
        ([{"species": "a"}, {}], "fields: 2 dicts for 1 rows"),
        ([7], "fields, row 0: 7, expected a dict such as {'depth': 1}"),
        (7, "fields: int, expected columns {'depth': [1, 2]} or rows [{'depth': 1}]"),
        ("ab", "fields: str, expected columns"),
    ],
)
def test_what_are_no_fields(values: Any, words: str) -> None:
    with pytest.raises(SearchError, match=r"^[^\n]*$") as caught:
        encode_fields({"species": "tag", "depth": "int"}, values, 1)
    assert words in str(caught.value)


def test_an_index_without_fields_says_so() -> None:
    with pytest.raises(SearchError, match="field 'a': unknown; the index has no fields"):
        encode_fields({}, {"a": [1]}, 1)


def test_long_and_odd_values_stay_on_one_short_line() -> None:
    for value in ("x" * 10_000, np.zeros((9, 9)), "a\nb", torch.zeros(40, 40)):
        with pytest.raises(SearchError) as caught:
            encode_fields({"a\nb": "int"}, {"a\nb": [value]}, 1)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


# ------------------------------------------------------------------------------------------------------ the schema


def test_a_schema() -> None:
    given_: Any = {"b": "int", "a": np.str_("tag"), "ä ö": "geo", "x" * 200: "id"}
    found = check_schema(given_)
    assert list(found.items()) == [("b", "int"), ("a", "tag"), ("ä ö", "geo"), ("x" * 200, "id")]
    given_["c"] = "bool"
    assert "c" not in found and check_schema(None) == check_schema({}) == {}
    assert len(check_schema({str(at): "int" for at in range(256)})) == 256
    assert kind_of(found, "a") == "tag"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"a": "intt"}, "field 'a': unknown kind 'intt'; did you mean 'int'? known are: tag, bool, int, float"),
        ({"a": "str"}, "field 'a': unknown kind 'str'"),
        ({"a": int}, "field 'a': unknown kind <class 'int'>; known are: tag"),
        ({"a": ["int"]}, "unknown kind ['int']"),
        ({"": "int"}, "fields: the name '' has 0 letters; expected 1 to 200 letters"),
        ({"x" * 201: "int"}, "has 201 letters"),
        ({"id": "int"}, "the name 'id' is taken by the ids"),
        ({"a\0": "int"}, "holds a NUL"),
        ({"\ud800": "int"}, "cannot be written in UTF-8"),
        ({7: "int"}, "fields: the name 7 is no str"),
        ({str(at): "int" for at in range(257)}, "fields: 257, expected at most 256"),
        (["a"], "fields: list, expected names and kinds"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isprintable() else type(value).__name__,
)
def test_what_is_no_schema(fields: Any, words: str) -> None:
    with pytest.raises(SearchError, match=r"^[^\n]*$") as caught:
        check_schema(fields)
    assert words in str(caught.value)


# -------------------------------------------------------------------------------------------- values in a condition


def test_a_value_in_a_condition() -> None:
    schema: dict[str, FieldKind] = {kind: kind for kind in KINDS}
    for field, value, found in (
        ("tag", "a", "a"),
        ("bool", np.True_, True),
        ("int", np.int8(3), 3),
        ("int", 3.0, 3),
        ("float", 3, 3.0),
        ("float", -math.inf, -math.inf),
        ("datetime", "1970-01-01T00:00:01Z", 1_000_000),
        ("geo", {"lat": 1, "lon": 2}, (1.0, 2.0)),
        ("id", 7, "7"),
    ):
        got = as_value(schema, field, value)
        assert got == found and type(got) is type(found)
    for field, value, words in (
        ("tag", ["a"], "field 'tag': ['a'] is no str; tag takes"),
        ("int", 2.5, "field 'int': 2.5 is not a whole number"),
        ("int", True, "field 'int': True is a bool"),
        ("int", None, "field 'int': None equals nothing; use F['int'].missing(); int takes"),
        ("float", NAN, "field 'float': nan equals nothing"),
        ("datetime", 5, "field 'datetime': 5 is no moment"),
        ("nt", 5, "field 'nt': unknown; did you mean 'int'?"),
    ):
        with pytest.raises(SearchError) as caught:
            as_value(schema, field, value)
        assert words in str(caught.value)


def test_moments() -> None:
    assert as_micros(WHEN, "at") == 1_769_860_800_000_005 == as_micros(np.datetime64(WHEN.replace(tzinfo=None)), "at")
    assert as_micros(datetime.max, "at") == 253_402_300_799_999_999
    assert as_micros(datetime.min, "at") == -62_135_596_800_000_000
    for gap in (None, NAN, pd.NaT, NAT, pd.NA):
        with pytest.raises(SearchError, match=r"^field 'at': .* is no moment; datetime takes datetime, date"):
            as_micros(gap, "at")


# --------------------------------------------------------------------------------------------- round trips, twins

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=4)
DEGREES = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
VALUES: dict[FieldKind, st.SearchStrategy[Any]] = {
    "tag": st.lists(TEXT, min_size=1, max_size=4, unique=True).map(sorted),
    "bool": st.booleans(),
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False),
    "datetime": st.datetimes(timezones=st.just(UTC)),
    "geo": DEGREES,
    "id": TEXT,
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, FieldKind], list[dict[str, Any]]]:
    schema = draw(st.dictionaries(TEXT.filter(lambda name: name != "id"), st.sampled_from(KINDS), max_size=5))
    row = st.fixed_dictionaries({}, optional={name: VALUES[kind] for name, kind in schema.items()})
    return schema, draw(st.lists(row, max_size=6))


@given(tables())
def test_round_trip(table: tuple[dict[str, FieldKind], list[dict[str, Any]]]) -> None:
    schema, rows = table
    data = encode_fields(schema, rows, len(rows))
    assert decode_fields(schema, data) == rows
    columns = {name: [row.get(name) for row in rows] for name in schema if any(name in row for row in rows)}
    assert encode_fields(schema, columns, len(rows)) == data
    for name, column in columns.items():
        objects = np.empty(len(column), object)
        objects[:] = column
        columns[name] = objects
    assert encode_fields(schema, columns, len(rows)) == data


REALS = st.lists(st.sampled_from([NAN, 0.0, -0.0, 1.0, -3.0, 2.5, 2.0**53, -(2.0**53) + 1, math.inf, 1e-300, 90.5]))
ARRAYS: dict[str, tuple[FieldKind, st.SearchStrategy[Any]]] = {
    "ints": ("int", st.lists(st.integers(-(2**63), 2**63 - 1)).map(lambda x: np.array(x, np.int64))),
    "unsigned": ("int", st.lists(st.integers(0, 2**64 - 1)).map(lambda x: np.array(x, np.uint64))),
    "ints with gaps": ("int", REALS.map(lambda x: np.array(x, np.float64))),
    "floats": ("float", REALS.map(lambda x: np.array(x, np.float64))),
    "float32": ("float", REALS.map(lambda x: np.array(x, np.float32))),
    "ints as floats": ("float", st.lists(st.integers(-(2**63), 2**63 - 1)).map(lambda x: np.array(x, np.int64))),
    "bools": ("bool", st.lists(st.booleans()).map(lambda x: np.array(x, np.bool_))),
    "bools as ints": ("int", st.lists(st.booleans()).map(lambda x: np.array(x, np.bool_))),
    "places": ("geo", st.lists(DEGREES | st.just((NAN, NAN))).map(lambda x: np.array(x, np.float64).reshape(-1, 2))),
    "wrong places": (
        "geo",
        st.lists(st.tuples(*[st.sampled_from([NAN, 90.0, 91.0, -180.0, 181.0, math.inf])] * 2)).map(
            lambda x: np.array(x, np.float64).reshape(-1, 2)
        ),
    ),
    "plain ints": ("int", st.lists(st.none() | st.integers(-(2**64), 2**64))),
    "plain floats": ("float", st.lists(st.none() | st.integers(-(2**64), 2**64) | st.floats())),
    "plain bools": ("bool", st.lists(st.none() | st.booleans())),
    "plain places": ("geo", st.lists(st.none() | DEGREES | st.tuples(st.integers(-91, 91), st.integers(-181, 181)))),
} | {
    f"datetime64[{unit}]": (
        "datetime",
        st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-9999, 9999) | st.just(3_000_000)).map(
            lambda x, unit=unit: np.array(x, np.int64).view(f"M8[{unit}]")
        ),
    )
    for unit in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "7s")
}


@pytest.mark.parametrize("name", ARRAYS)
def test_the_fast_way_does_as_the_slow_way(name: str) -> None:
    kind, strategy = ARRAYS[name]

    @given(strategy)
    def compare(column: Any) -> None:
        column = as_column(column, "x", kind, len(column))
        found, expected = (outcome(way, column) for way in (as_numbers, _one_by_one))
        if isinstance(expected, str):  # the slow way names Python's numbers, the fast one may name NumPy's
            assert isinstance(found, str) and found.split(":")[0] == expected.split(":")[0]
            return
        assert not isinstance(found, str)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype and one.tobytes() == other.tobytes() and one.shape == other.shape

    def outcome(way: Any, column: Any) -> Any:
        try:
            return way(column, "x", kind)
        except SearchError as error:
            return str(error)

    compare()


@given(st.lists(st.lists(st.sampled_from("abcdé"), max_size=6), max_size=8))
def test_tags_as_sets_would(rows: list[list[str]]) -> None:
    data = encode_fields({"t": "tag"}, {"t": rows}, len(rows))
    assert data == encode_fields({"t": "tag"}, {"t": [set(row) for row in rows]}, len(rows))
    assert data == encode_fields({"t": "tag"}, [{"t": row or None} for row in rows], len(rows)) or not rows
    assert [row.get("t", []) for row in decode_fields({"t": "tag"}, data)] == [sorted(set(row)) for row in rows]
    at = 12
    (different,) = struct.unpack_from("<I", data, at)
    ends = struct.unpack_from(f"<{different}Q", data, at + 4)
    at += 4 + 8 * different
    texts = [data[at + a : at + b].decode() for a, b in zip([0, *ends[:-1]], ends, strict=False)]
    at += ends[-1] if ends else 0
    counts = struct.unpack_from(f"<{len(rows)}I", data, at)
    places = struct.unpack_from(f"<{sum(counts)}I", data, at + 4 * len(rows))
    assert len(data) == at + 4 * len(rows) + 4 * sum(counts) and len(set(texts)) == len(texts)
    for row, count in zip(rows, counts, strict=True):
        mine, places = places[:count], places[count:]
        assert list(mine) == sorted(set(mine)) and {texts[place] for place in mine} == set(row)


def test_arrays_of_others_are_left_as_they_are() -> None:
    numbers, places = np.array([NAN, -0.0, 1.0]), np.array([[-0.0, 1.0], [NAN, NAN], [3, 4]])
    tags = [["b", "a"], ["a", "a"], []]
    before = numbers.tobytes(), places.tobytes(), repr(tags)
    encode_fields({"f": "float", "g": "geo", "t": "tag"}, {"f": numbers, "g": places, "t": tags}, 3)
    assert (numbers.tobytes(), places.tobytes(), repr(tags)) == before


# --------------------------------------------------------------------------------------------------- hostile bytes


def test_damaged_bytes_are_refused_or_mean_values() -> None:
    rows = [
        {"the tag": ["a", "Жb"], "the bool": True, "the int": -1, "the float": 2.5, "the datetime": WHEN},
        {"the geo": (1.0, 2.0), "the id": "🂡"},
        {"the id": "c", "the tag": ["a"]},
    ]
    data = encode_fields(EVERY, rows, 3)
    assert decode_fields(EVERY, data) == rows
    for length in range(len(data)):
        with pytest.raises(SearchError, match=r"^fields: "):
            decode_fields(EVERY, data[:length])
    with pytest.raises(SearchError, match=r"^fields: bytes behind the end"):
        decode_fields(EVERY, data + b"\0")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(3000):
        spoilt = bytearray(data)
        for at in rng.integers(4, len(data), rng.integers(1, 4)):
            spoilt[at] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.integers(0, 256)])
        try:
            found = decode_fields(EVERY, bytes(spoilt))
        except SearchError as error:
            refused += 1
            assert str(error).startswith("fields: ")
            continue
        assert len(found) == 3
    assert refused > 600


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack("<III", 1, 1, 2), "no field 2 there"),
        (struct.pack("<II", 2**32 - 1, 1) + bytes(30), "cut off"),
        (struct.pack("<IIIBq", 1, 1, 0, 1, 2**62), "a moment of 'd' outside of the years"),
        (struct.pack("<IIIIQ", 1, 1, 1, 1, 0) + bytes(4), "do not follow"),
        (struct.pack("<IIIIQQ", 1, 1, 1, 2, 2, 1) + b"ab" + bytes(4), "do not follow"),
        (struct.pack("<IIIIQ", 1, 1, 1, 1, 2**63) + bytes(9), "cut off"),
        (struct.pack("<IIII", 1, 1, 1, 2**32 - 1) + bytes(9), "cut off"),
        (struct.pack("<IIIIQ", 1, 1, 1, 1, 1) + b"\xff" + bytes(4), "not UTF-8"),
        (struct.pack("<IIIIQ", 1, 1, 1, 1, 1) + b"a" + struct.pack("<II", 1, 1), "not there"),
        (struct.pack("<IIIIQ", 1, 1, 1, 1, 1) + b"a" + struct.pack("<III", 2, 0, 0), "not there"),
        (struct.pack("<IIIIQ", 1, 1, 1, 1, 1) + b"a" + struct.pack("<II", 2**32 - 1, 0), "cut off"),
        (struct.pack("<IIII", 0, 2, 1, 0) + struct.pack("<I", 1), "no field 1 there"),
    ],
    ids=range(12),
)
def test_hostile_bytes(data: bytes, words: str) -> None:
    with pytest.raises(SearchError, match=words):
        decode_fields({"d": "datetime", "i": "id"}, data)
