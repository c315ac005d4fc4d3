from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from medalist.kinds import load_settings
from medalist.planning.arithmetic import Stage
from medalist.planning.probe import LONG, Clock, Enough, settings_of, weights_bytes
from medalist.system import peak_memory


def batches_seen(hand: Any, clock: Clock, seconds: float) -> int:
    for number in itertools.count(1):
        hand.now += seconds
        try:
            clock.advance()
        except Enough:
            return number
    raise AssertionError


@pytest.mark.parametrize(
    ("until", "last", "seconds", "seen"),
    [(10, 100, 1, 11), (10, 100, 0.1, 60), (10, 100, 8, 4), (10, 20, 15, 2), (-5, -1, 3, 1), (-5, 100, 3, 4)],
)
def test_a_training_is_left_in_time(hand: Any, until: float, last: float, seconds: float, seen: int) -> None:
    clock = Clock(hand.now + until, hand.now + last, 4, 60)
    assert batches_seen(hand, clock, seconds) == seen == len(clock.ends)
    assert np.allclose(np.diff([clock.started, *clock.ends]), seconds)


def test_a_probed_training_never_ends_or_validates(untrained: Any) -> None:
    settings = load_settings(untrained.config, ("train.compile=true",))
    made = settings_of(settings, Stage(3, (32, 64), True)).train
    assert made.size_in(LONG - 1) == (32, 64) and made.freeze == LONG - 1 and not made.compile
    assert made.evaluate_every == 0 and made.average is None
    assert settings_of(settings, Stage(3, None, False)).train.freeze == 0
    assert settings.train.epochs == 1 and settings.train.compile


def test_weights_are_counted() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    model[0].weight.requires_grad_(False)
    assert weights_bytes(model) == (4 * (15 + 5 + 5 + 5 + 5 + 5) + 8, 4 * (5 + 5 + 5))
    before = peak_memory()
    held = np.ones(before // 8 + 2_000_000)  # more than there ever was
    assert peak_memory() > before + 10_000_000 and held.size
