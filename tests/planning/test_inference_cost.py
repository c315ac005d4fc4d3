from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from medalist.planning.arithmetic import Timed
from medalist.planning.inference_cost import InferenceBatch, chosen, inference_batches, largest_peak, timed


def test_batches_count_padded_pixels() -> None:
    found = inference_batches([(30, 30), (64, 32), (32, 32), (20, 30), (33, 32)], 32, 2)
    assert sorted((one.positions, one.pixels) for one in found) == [
        ((0, 2), 2 * 32 * 32),
        ((1, 4), 2 * 64 * 32),
        ((3,), 32 * 32),
    ]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=50), st.integers(2, 6))
def test_chosen_batches_stand_for_all(sizes: list[int], most: int) -> None:
    whole = [InferenceBatch((number,), size) for number, size in enumerate(sizes)]
    found = chosen(whole, most)
    kinds = [one.pixels for one in found]
    assert 1 <= len(found) <= most and kinds == sorted(set(kinds)) and kinds[-1] == max(sizes)
    assert len(set(sizes)) > most or set(kinds) == set(sizes)


def test_the_largest_shares_of_pixels_are_chosen() -> None:
    whole = (
        [InferenceBatch((0,), 10)] * 3
        + [InferenceBatch((1,), 1000)] * 50
        + [InferenceBatch((2,), 1100)]
        + [InferenceBatch((3,), 1200)]
    )
    assert [one.pixels for one in chosen(whole, 2)] == [1000, 1200]


def test_timing_ends_in_time(hand: Any) -> None:
    looked: list[int] = []

    def once(one: InferenceBatch) -> Timed:
        seconds = one.pixels * (2.0 if one.pixels not in looked else 1.0)  # the first look at a shape is slower
        looked.append(one.pixels)
        hand.now += seconds
        return Timed(one.pixels, 0.0, seconds)

    whole = [InferenceBatch((0,), 0.1), InferenceBatch((1,), 0.5), InferenceBatch((2,), 4), InferenceBatch((3,), 50)]  # type: ignore[arg-type]
    found = timed(whole, once, hand.now + 20)
    assert [(one.pixels, one.forward) for one in found] == [(0.1, 0.1), (0.5, 0.5), (4, 8)]
    assert looked == [0.1, 0.1, 0.5, 0.5, 4]
    looked.clear()
    assert len(timed(whole, once, hand.now - 1)) == 1  # the smallest, whatever it takes


def test_the_largest_batch_needs_more_than_those_that_were_tried() -> None:
    assert largest_peak(1000, 1600, [10, 30], [10, 30, 30]) == 1600
    assert largest_peak(1000, 1600, [10, 30], [10, 30, 90]) == 2800  # 600 bytes for 30 pixels, 1800 for 90
    assert largest_peak(1000, 900, [10], [90]) == 900  # nothing grew
    assert largest_peak(1000, 1600, [], []) == 1600
