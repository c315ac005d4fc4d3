from __future__ import annotations

import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.engine.schedule import lr_factor
from medalist.engine.settings import TrainConfig

Schedule = Literal["constant", "cosine", "one_cycle", "poly"]
KINDS: tuple[Schedule, ...] = ("constant", "cosine", "one_cycle", "poly")


def config(schedule: Schedule, warmup: float, final_lr: float = 0.01, hold: float = 0.0) -> TrainConfig:
    return TrainConfig(schedule=schedule, warmup=warmup, final_lr=final_lr, hold=hold)


def factors(total: int, chosen: TrainConfig) -> list[float]:
    return [lr_factor(step, total, chosen) for step in range(total)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 9 steps, 4 of warm-up, final_lr 0.2: the peak at step 4, its end at step 8
        ("constant", [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1]),
        ("cosine", [0.2, 0.4, 0.6, 0.8, 1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2]),
        ("poly", [0.2, 0.4, 0.6, 0.8, 1, 0.2 + 0.8 * 0.75**0.9, 0.2 + 0.8 * 0.5**0.9, 0.2 + 0.8 * 0.25**0.9, 0.2]),
    ],
)
def test_by_hand(schedule: Schedule, expected: list[float]) -> None:
    assert factors(9, config(schedule, 4 / 9, 0.2)) == pytest.approx(expected, abs=1e-12)


def test_one_cycle_by_hand() -> None:
    made = factors(6, config("one_cycle", 1 / 3, 0.0))
    rise = [0.04 + 0.96 * (1 - math.cos(math.pi / 3)) / 2, 0.04 + 0.96 * (1 - math.cos(2 * math.pi / 3)) / 2]
    assert rise == pytest.approx([0.28, 0.76])
    assert made == pytest.approx([*rise, 1, 0.75, 0.25, 0], abs=1e-12)


SETTINGS: dict[str, Any] = {
    "schedule": st.sampled_from(KINDS),
    "total": st.integers(1, 200),
    "warmup": st.floats(0, 0.999),
    "final_lr": st.floats(0, 1),
}


@given(**SETTINGS)
def test_shape_of_every_schedule(schedule: Schedule, total: int, warmup: float, final_lr: float) -> None:
    made = factors(total, config(schedule, warmup, final_lr))
    assert made[0] > 0
    assert all(min(final_lr, made[0]) - 1e-12 <= factor <= 1 + 1e-12 for factor in made)
    peak = made.index(1.0)
    assert peak <= round(warmup * total)
    rise, fall = made[: peak + 1], made[peak:]
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    if total > 1:
        assert made[-1] == pytest.approx(1 if schedule == "constant" else final_lr, abs=1e-12)


@given(**SETTINGS)
def test_warmup_takes_its_share(schedule: Schedule, total: int, warmup: float, final_lr: float) -> None:
    made = factors(total, config(schedule, warmup, final_lr))
    below = next(step for step, factor in enumerate(made) if factor == 1.0)
    assert below == min(round(warmup * total), max(0, total - 2))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 12 steps, 4 of warm-up, 4 at rest, final_lr 0.2: the same 9 steps as above, then three more at the end
        ("constant", [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1, 1, 1]),
        (
            "cosine",
            [0.2, 0.4, 0.6, 0.8, 1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2, 0.2, 0.2, 0.2],
        ),
        (
            "poly",
            [
                0.2,
                0.4,
                0.6,
                0.8,
                1,
                0.2 + 0.8 * 0.75**0.9,
                0.2 + 0.8 * 0.5**0.9,
                0.2 + 0.8 * 0.25**0.9,
                0.2,
                0.2,
                0.2,
                0.2,
            ],
        ),
    ],
)
def test_a_rest_by_hand(schedule: Schedule, expected: list[float]) -> None:
    assert factors(12, config(schedule, 1 / 3, 0.2, 1 / 3)) == pytest.approx(expected, abs=1e-12)


HELD: dict[str, Any] = {**SETTINGS, "hold": st.floats(0, 0.999)}


@given(**HELD)
def test_it_rests_for_its_share_of_all_steps(
    schedule: Schedule, total: int, warmup: float, final_lr: float, hold: float
) -> None:
    if warmup + hold >= 1:
        warmup = 0.999 * (1 - hold)
    made = factors(total, config(schedule, warmup, final_lr, hold))
    peak = made.index(1.0)
    assert made[:peak] == sorted(made[:peak])
    assert made[peak:] == sorted(made[peak:], reverse=True)
    if total > 1:
        held = max(1, min(round(hold * total), total - 1))
        end = 1.0 if schedule == "constant" else final_lr
        assert made[-held:] == pytest.approx([end] * held, abs=1e-12)
        if schedule != "constant" and final_lr < 0.999:
            assert made[-held - 1] > final_lr or peak > total - held - 1, "and not longer"
        assert peak < total - held


@given(**HELD)
def test_before_the_rest_it_is_the_shorter_schedule(
    schedule: Schedule, total: int, warmup: float, final_lr: float, hold: float
) -> None:
    """Twin: the schedule without a rest, of as many steps as there are up to the first one at rest."""
    if warmup + hold >= 1:
        warmup = 0.999 * (1 - hold)
    made = factors(total, config(schedule, warmup, final_lr, hold))
    length = total - max(1, min(round(hold * total), total - 1)) + 1
    warm = min(round(warmup * total), max(0, length - 2))
    twin = factors(length, config(schedule, min(warm / length, 0.999), final_lr))
    if round(warm / length * length) == warm:
        assert made[:length] == pytest.approx(twin, abs=1e-12)
