from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from medalist.metrics.paired import Paired, clearly_behind, paired, sample_differences, standard_error

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 1), max_size=8)


def test_two_folds_by_hand() -> None:
    run, base = {"0": 0.50, "1": 0.70}, {"0": 0.40, "1": 0.66, "2": 0.9}
    samples, base_samples = {"a": 0.5, "b": 0.5, "c": 0.7}, {"a": 0.3, "b": 0.5, "c": 0.6, "d": 0.9}
    found = paired(run, samples, base, base_samples)
    assert found is not None
    # Differences 0.10 and 0.04: mean 0.07, sd 0.06 / sqrt(2), error 0.03. Samples 0.2, 0, 0.1: sd 0.1, over sqrt(3).
    assert found.difference == pytest.approx(0.07)
    assert found.by_folds == found.standard_error == pytest.approx(0.03)
    assert found.by_samples == pytest.approx(0.1 / math.sqrt(3))
    assert (found.folds, found.samples) == (2, 3)


def test_one_fold_takes_the_error_of_samples() -> None:
    found = paired({"0": 0.5}, {"a": 0.4, "b": 0.6}, {"0": 0.3, "1": 0.1}, {"a": 0.3, "b": 0.3})
    assert found is not None and found.by_folds is None
    assert found.difference == pytest.approx(0.2)
    assert found.standard_error == found.by_samples == pytest.approx(0.1)


def test_no_fold_in_both_is_none_and_one_sample_has_no_error() -> None:
    assert paired({"0": 1.0}, {"a": 1.0}, {"1": 1.0}, {"b": 1.0}) is None
    assert paired({"0": 1.0}, {"a": 1.0}, {"0": 0.5}, {"a": 0.5}) == Paired(0.5, None, None, 1, 1)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_the_error_is_that_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    run = {str(number): first for number, (first, _) in enumerate(pairs)}
    base = {str(number): second for number, (_, second) in enumerate(pairs)}
    found = paired(run, run, base, base)
    assert found is not None and found.by_folds is not None and found.by_folds == found.by_samples
    if found.by_folds > 1e-6:
        twin = ttest_rel(np.array(list(run.values())), np.array(list(base.values()))).statistic
        assert found.difference / found.by_folds == pytest.approx(twin, rel=1e-6, abs=1e-6)


@given(SCORES, SCORES)
def test_the_order_of_the_two_is_the_sign(first: dict[str, float], second: dict[str, float]) -> None:
    there, back = paired(first, first, second, second), paired(second, second, first, first)
    assert (there is None) == (back is None) == (not first.keys() & second.keys())
    if there and back:
        assert there.difference == pytest.approx(-back.difference)
        assert (there.folds, there.samples) == (back.folds, back.samples)
    assert not (clearly_behind(first, second) and clearly_behind(second, first))
    assert not clearly_behind(first, first)
    assert len(sample_differences(first, second)) == len(first.keys() & second.keys())


def test_clearly_behind_by_hand() -> None:
    best = dict.fromkeys("abcd", 0.5)
    # Differences -0.1, -0.2, -0.1, -0.2: mean -0.15, sd 0.0577, error 0.0289: -0.15 + 2 * 0.0289 = -0.092.
    assert clearly_behind({"a": 0.4, "b": 0.3, "c": 0.4, "d": 0.3}, best)
    # -0.4, 0.2, -0.3, 0.1: mean -0.1, sd 0.294, error 0.147: -0.1 + 0.294 > 0.
    assert not clearly_behind({"a": 0.1, "b": 0.7, "c": 0.2, "d": 0.6}, best)
    assert clearly_behind({"a": 0.1, "b": 0.7, "c": 0.2, "d": 0.6}, best, errors=0.5)
    assert not clearly_behind({"a": 0.1}, best)
    assert clearly_behind({"a": 0.4, "b": 0.4}, best)  # by the same on each: no doubt at all


def test_standard_error_by_hand() -> None:
    assert standard_error([]) is None and standard_error([0.3]) is None
    assert standard_error([1.0, 2.0, 3.0]) == pytest.approx(1 / math.sqrt(3))
    assert standard_error([1.0, 1.0, 1.0]) == 0.0
    # mean 3, squares 4 + 1 + 0 + 1 + 4 = 10, variance 10 / 4, divided by 5
    assert standard_error([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(math.sqrt(10 / 4 / 5))
