from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import ConfigError
from medalist.training.axes import Axis, Choice, Range, grid, parse_words, split_values

PLAIN = st.text(string.ascii_letters + string.digits + ".-_/", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1e-4,3e-4", ["1e-4", "3e-4"]),
        ("a", ["a"]),
        ("a, b ,c", ["a", "b", "c"]),
        ("[1,2],[3,4]", ["[1,2]", "[3,4]"]),
        ("{of: last, count: 2},null", ["{of: last, count: 2}", "null"]),
        ("[{a: [1,2]}],[]", ["[{a: [1,2]}]", "[]"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ('"[",b', ['"["', "b"]),
        ("a]],b", ["a]]", "b"]),
        ("", [""]),
        ("a,,b", ["a", "", "b"]),
    ],
)
def test_values_are_divided_at_outer_commas(text: str, parts: list[str]) -> None:
    assert split_values(text) == parts


@given(st.lists(PLAIN, min_size=1, max_size=6))
def test_what_was_joined_is_divided(parts: list[str]) -> None:
    assert split_values(",".join(parts)) == parts
    assert split_values(",".join(f"[{part},{part}]" for part in parts)) == [f"[{part},{part}]" for part in parts]


def test_words_are_fixed_or_swept() -> None:
    fixed, swept = parse_words(["seed=3", "train.lr=1e-4,3e-4", "loss={bce: 1, dice: 1}", "train.clip=0.5..20"])
    assert fixed == ("seed=3", "loss={bce: 1, dice: 1}")
    assert swept == (Choice("train.lr", ("1e-4", "3e-4")), Range("train.clip", 0.5, 20.0, False))
    assert parse_words(["a=1,1,2"])[1] == (Choice("a", ("1", "2")),)
    assert parse_words(["a=1,1"]) == (("a=1,1",), ())  # left as typed, for the config to judge


@pytest.mark.parametrize(
    ("text", "found", "log"),
    [
        ("1e-4..1e-2", Range("k", 1e-4, 1e-2, False), True),
        ("1..9", Range("k", 1, 9, True), False),
        ("1..10", Range("k", 1, 10, True), True),
        ("0..100", Range("k", 0, 100, True), False),
        ("-1.5..2", Range("k", -1.5, 2, False), False),
        (".1...9", Range("k", 0.1, 0.9, False), False),
    ],
)
def test_ranges(text: str, found: Range, log: bool) -> None:
    assert parse_words([f"k={text}"]) == ((), (found,))
    assert found.log is log


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr"], "'lr' is not key=value"),
        (["=1,2"], "is not key=value"),
        (["a=1,2", "a=3,4"], "a is swept twice"),
        (["a=1,,2"], "has an empty value"),
        (["a=2..1"], "a=2..1 must go up"),
        (["a=1..1"], "must go up"),
        (["a=1..1e999"], "must go up"),
    ],
    ids=["no-equals", "no-key", "twice", "empty", "down", "point", "infinite"],
)
def test_mistakes_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as caught:
        parse_words(words)
    assert said in str(caught.value)


def test_a_grid_has_every_combination_once() -> None:
    swept: list[Axis] = [Choice("a", ("1", "2")), Choice("b", ("x", "y", "z"))]
    points = grid(swept)
    assert points[:4] == [("a=1", "b=x"), ("a=1", "b=y"), ("a=1", "b=z"), ("a=2", "b=x")]
    assert len(set(points)) == len(points) == 6
    with pytest.raises(ConfigError, match="--trials N"):
        grid([Range("a", 1, 2, True)])


@given(st.lists(st.lists(PLAIN, min_size=2, max_size=4, unique=True), min_size=1, max_size=4))
def test_a_grid_is_as_large_as_its_product(lists: list[list[str]]) -> None:
    words = [f"k{number}={','.join(values)}" for number, values in enumerate(lists)]
    swept = parse_words(words)[1]
    points = grid([axis for axis in swept if isinstance(axis, Choice)])
    assert len(set(points)) == len(points) == math.prod(len(axis.values) for axis in swept if isinstance(axis, Choice))
