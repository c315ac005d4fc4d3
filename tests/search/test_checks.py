from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.errors import SearchError
from medalist.search.checks import (
    MOST_ANSWERS,
    MOST_THREADS,
    RECALL,
    check_aim,
    check_choice,
    check_k,
    check_options,
    check_score,
    check_threads,
    file_name,
    processors,
)

HUGE = 10**5000
"""Python refuses to write it in decimal digits."""


def refused(act: Any, *arguments: Any) -> str:
    with pytest.raises(SearchError) as caught:
        act(*arguments)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 200
    return line


def test_scores() -> None:
    for value in (1, 1.5, np.float32(2), np.int64(-3), 10**300):
        assert check_score(value, "x") == float(value) and type(check_score(value, "x")) is float
    assert check_score(float("inf"), "x") == np.inf
    for wrong in (None, "1", b"1", True, np.True_, 1j, [1], np.array([1, 2]), np.array(1.0), Fraction(1, 2), {}, HUGE):
        assert refused(check_score, wrong, "min_score").startswith("min_score=")
    assert (
        refused(check_score, float("nan"), "x")
        == refused(check_score, np.float32("nan"), "x")
        == ("x: not a number (NaN)")
    )


def test_choices() -> None:
    assert [check_choice(name, "plan", ("a", "b")) for name in ("a", "b")] == [0, 1]
    for wrong in (None, 0, "A", "c", ["a"], b"a", HUGE, [HUGE], "\n", "x" * 999):
        line = refused(check_choice, wrong, "plan", ("a", "b"))
        assert line.startswith("plan=") and line.endswith("expected one of 'a', 'b'")


def test_numbers_of_answers_and_threads() -> None:
    assert check_k(0) == 0 and check_k(np.int8(7)) == 7 and check_k(MOST_ANSWERS) == MOST_ANSWERS  # type: ignore[arg-type]
    assert check_threads(None) == processors() >= 1 and check_threads(MOST_THREADS) == MOST_THREADS
    for wrong in (-1, 1.0, "1", None, True, MOST_ANSWERS + 1, HUGE, -HUGE, [HUGE], np.array([1, 2])):
        assert refused(check_k, wrong).startswith("k=")
    for wrong in (0, -1, 1.0, "1", True, MOST_THREADS + 1, HUGE):
        assert refused(check_threads, wrong).startswith("threads=")


def test_either_a_width_or_a_recall() -> None:
    assert check_aim(None, None) == (None, RECALL)
    assert check_aim(5, None) == (5, None)
    assert check_aim(None, np.float64(0.5)) == (None, 0.5)  # type: ignore[arg-type]
    assert "give one of them" in refused(check_aim, 5, 0.5)
    for wrong in (0, 1.5, HUGE, "5", True):
        assert refused(check_aim, wrong, None).startswith("ef=")
    for wrong in (0, 1.1, float("nan"), HUGE, "1", True, [1]):
        assert refused(check_aim, None, wrong).startswith("recall=")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("dim", (0, 65537, 2.0, HUGE, None)),
        ("metric", ("cos", None, 1, ["l2"], HUGE)),
        ("refine", ("float64", None, b"float32")),
        ("degree", (3, 513, 4.0, HUGE)),
        ("effort", (7, 65537, "8", HUGE)),
        ("seed", (-1, 2**64, None, HUGE)),
    ],
)
def test_options(name: str, wrong: tuple[Any, ...]) -> None:
    right: dict[str, Any] = {"dim": 3, "metric": "l2", "refine": "float16", "degree": 4, "effort": None, "seed": 0}
    check_options(**right)
    for value in wrong:
        line = refused(lambda value=value: check_options(**{**right, name: value}))
        assert line.startswith(f"{name}=")


def test_names_of_files() -> None:
    assert file_name("a b") == "a b" and file_name(Path("x/y")) == "x/y"
    assert file_name(os.fsdecode(b"\xff")) == "\udcff"
    for wrong in ("", "a\0b", 7, None, ["a"], HUGE):
        refused(file_name, wrong)
