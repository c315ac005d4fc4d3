"""Choosing candidates that help together."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.ensemble.greedy import Chosen, gain_of, greedy, judged

SAMPLES = 60
ALL = np.ones(SAMPLES, bool)


def scores_of(helps: list[float], noise: float = 0.0, seed: int = 0) -> tuple[list[Chosen], object]:
    """Return the choices that were asked for, and scores to which each candidate adds less the more there are."""
    random = np.random.default_rng(seed)
    wobble = {one: random.normal(0, noise, SAMPLES) for one in range(len(helps))} if noise else {}
    asked: list[Chosen] = []

    def scores(chosen: Chosen) -> np.ndarray:
        asked.append(chosen)
        found = np.linspace(0, 1, SAMPLES)
        for place, one in enumerate(sorted(chosen, key=lambda one: -helps[one])):
            found = found + helps[one] / 2**place + wobble.get(one, 0)
        return found

    return asked, scores


def test_the_best_are_added_while_they_gain_clearly() -> None:
    asked, scores = scores_of([0.1, -0.2, 0.4, 0.0])
    assert greedy(range(4), scores, ALL) == (0, 2)  # type: ignore[arg-type]
    assert (2, 3) not in asked[:6] and (1, 2) not in asked  # what lost alone is not tried again
    assert greedy(range(4), lambda chosen: np.zeros(SAMPLES), ALL) == ()
    assert greedy([], scores, ALL) == ()  # type: ignore[arg-type]


def test_a_gain_within_its_error_is_no_gain() -> None:
    difference = np.array([0.5, -0.4] * 30)
    assert greedy([0], lambda chosen: difference if chosen else np.zeros(SAMPLES), ALL) == ()
    gain = gain_of(difference, np.zeros(SAMPLES))
    assert gain.mean == pytest.approx(0.05) and gain.error == pytest.approx(difference.std(ddof=1) / np.sqrt(60))
    assert not gain.is_clear and not gain_of(np.ones(1), np.zeros(1)).is_clear


@given(st.lists(st.integers(-8, 8).map(lambda whole: whole / 8), min_size=1, max_size=5), st.integers(0, 20))
def test_it_is_the_greedy_choice_of_a_loop(helps: list[float], seed: int) -> None:
    """Where gains become smaller with each choice, as here, nothing is lost by not trying all again."""
    _, scores = scores_of(helps, 0.0, seed)
    slow: Chosen = ()
    while len(slow) < len(helps):
        base = scores(slow)  # type: ignore[operator]
        gains = {
            one: gain_of(scores(tuple(sorted({*slow, one}))), base) for one in range(len(helps)) if one not in slow
        }  # type: ignore[operator]
        best = max(gains, key=lambda one: (gains[one].mean, -one))
        if not gains[best].is_clear:
            break
        slow = tuple(sorted({*slow, best}))
    found = greedy(range(len(helps)), scores, ALL)  # type: ignore[arg-type]
    assert scores(found).mean() == pytest.approx(scores(slow).mean())  # type: ignore[operator]


def test_a_part_is_judged_by_what_the_others_choose() -> None:
    """A candidate that helps only one part hurts it nowhere else: the others do not choose it."""
    parts = np.arange(SAMPLES) % 3

    def scores(chosen: Chosen) -> np.ndarray:
        return sum((np.where(parts == one, 1.0, -0.6) for one in chosen), np.zeros(SAMPLES))

    found = judged(range(3), scores, parts)
    for part in range(3):
        others = parts != part
        best = max(
            (set_ for count in range(4) for set_ in combinations(range(3), count)),
            key=lambda s: scores(s)[others].mean(),
        )
        assert (found[~others] == scores(best)[~others]).all()
    assert found.mean() < 0 < scores(greedy(range(3), scores, parts == 0))[parts == 0].mean()
