"""Overfitting and the learning-rate range test, on problems whose answer is known."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medalist.data.targets import LabelTargets, MapTargets
from medalist.engine.first_steps import losses_of_steps, lr_range, overfit, perfect_loss, suggested
from medalist.engine.optimizer import make_optimizer

Make = Callable[..., Any]


def first(job: Any) -> Any:
    job.train.batch_sampler.epoch = 0
    return next(iter(job.train)).to(job.fabric.device, job.config.channels_last)


class Point(nn.Module):
    """One weight, whatever the image."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        return self.at * 1


class Bowl:
    """x * x / 2: gradient descent goes x -> (1 - lr) x, so it falls fastest at 1 and explodes above 2."""

    def begin_epoch(self, epoch: int) -> None:
        pass

    def loss(self, outputs: Tensor, batch: Any) -> Mapping[str, Tensor]:
        return {"loss": (outputs**2).sum() / 2}


def bowl(make: Make, **settings: Any) -> Any:
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip": 0.0, "lr": 0.1}
    return make(model=Point(), task=Bowl(), **plain, **settings)


def test_steps_are_those_of_gradient_descent(make: Make) -> None:
    job = bowl(make)
    rates = [0.5, 0.1, 1.5, 0.0]
    x, expected = 1.0, []
    for rate in rates:
        expected.append(x * x / 2)
        x *= 1 - rate
    assert list(losses_of_steps(job, itertools.repeat(first(job)), rates)) == pytest.approx(expected)
    assert job.model.at.item() == 1.0


def test_steps_are_those_of_the_configs_optimiser(make: Make, network: Any) -> None:
    job = make(model=network(dropout=0.0), clip=0.5)
    batch = first(job)
    twin = copy.deepcopy(job.model).train()
    optimizer = make_optimizer(twin, job.config)
    expected = []
    for _ in range(3):
        loss = job.task.loss(twin(batch.image), batch)["loss"]
        expected.append(float(loss.detach()))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    found = list(losses_of_steps(job, itertools.repeat(batch), [job.config.lr] * 3))
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_range_test_on_a_bowl(make: Make) -> None:
    job = bowl(make)
    found = lr_range(job, itertools.repeat(first(job)), 100, 1e-3, 1e3)
    assert found.rates[0] == pytest.approx(1e-3)
    steps = [math.log(b / a) for a, b in itertools.pairwise(found.rates)]
    assert steps == pytest.approx([math.log(1e6) / 99] * len(steps))
    assert found.diverged and 2 < found.rates[-1] < 300
    mean = sum(0.2 * 0.8 ** (len(found.losses) - 1 - at) * loss for at, loss in enumerate(found.losses))
    assert found.smoothed[-1] == pytest.approx(mean / (1 - 0.8 ** len(found.losses)))
    assert found.steepest is not None and found.tenth is not None
    assert 1e-2 < found.steepest < 2 and 0.01 < found.tenth < 3
    assert found.steepest < 10 * found.tenth


def test_suggestions_by_hand() -> None:
    rates = [10.0**power for power in range(-8, 2)]
    losses = [5.0, 5.0, 5.0, 4.9, 4.5, 3.0, 2.5, 2.4, 9.0, math.nan]
    # between 4.9 and 3.0, and 4.5 and 2.5: the second falls by 2.0
    assert suggested(rates, losses) == (pytest.approx(1e-3), pytest.approx(1e-2))
    assert suggested(rates, [5.0] * 10) == (None, None)
    assert suggested(rates, [5.0 + at for at in range(10)]) == (None, None)
    assert suggested(rates[:2], losses[:2]) == (None, None)


def test_a_rate_of_zero_learns_nothing_and_says_so(make: Make, network: Any) -> None:
    job = make(model=network(dropout=0.0))
    found = overfit(job, first(job), 6, lr=0.0)
    assert len(found.losses) == 7 and not found.learned and found.finite
    assert found.losses[-1] == pytest.approx(found.losses[0])


def test_a_batch_is_learned_by_heart(make: Make) -> None:
    job = bowl(make)
    found = overfit(job, first(job), 100)
    assert found.learned and found.losses[-1] <= found.goal == pytest.approx(0.05)
    assert len(found.losses) < 30, "it ends when it stays at the goal"
    assert (found.lr, found.best) == (0.1, 0.0)


def test_what_explodes_ends_at_once(make: Make) -> None:
    job = bowl(make)
    found = overfit(job, first(job), 200, lr=1e6)
    assert not found.finite and not found.learned and len(found.losses) < 20


def test_a_perfect_answer(make: Make) -> None:
    job = make(loss={"bce": 1.0})
    batch = first(job)
    assert 0 <= perfect_loss(job, batch) < 1e-6
    half = MapTargets(torch.full_like(batch.target.maps, 0.5))
    assert perfect_loss(job, replace(batch, target=half)) == pytest.approx(math.log(2), rel=1e-5)
    for unknown in (None, LabelTargets(torch.zeros(len(batch.indices), dtype=torch.int64))):
        assert perfect_loss(job, replace(batch, target=unknown)) == 0.0
