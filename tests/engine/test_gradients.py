"""Gradients and updates against autograd and the optimiser by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medalist.engine.gradients import flows

Make = Callable[..., Any]


def first(job: Any) -> Any:
    job.train.batch_sampler.epoch = 0
    return next(iter(job.train)).to(job.fabric.device, job.config.channels_last)


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_norms_are_those_of_a_step_by_hand(make: Make, network: Any, clip: float) -> None:
    job = make(model=network(dropout=0.0), optimizer="sgd", momentum=0.0, weight_decay=0.0, clip=clip, warmup=0.0)
    job.config.__dict__["schedule"] = "constant"
    batch = first(job)
    twin = copy.deepcopy(job.model)
    twin.train()
    loss = job.task.loss(twin(batch.image), batch)["loss"]
    loss.backward()
    found = flows(job, batch)
    whole = float(torch.stack([value.grad.norm() for value in twin.parameters()]).norm())
    assert found.loss == pytest.approx(float(loss.detach()))
    assert found.norm == pytest.approx(whole, rel=1e-5)
    cut = min(1.0, clip / whole) if clip else 1.0
    for flow, (name, value) in zip(found.parameters, twin.named_parameters(), strict=True):
        assert (flow.name, flow.values, flow.matrix) == (name, value.numel(), value.ndim > 1)
        gradient, weight = float(value.grad.norm()) * cut, float(value.detach().norm())
        assert flow.gradient == pytest.approx(gradient, rel=1e-3, abs=1e-9)
        assert flow.weight == pytest.approx(weight, rel=1e-5)
        rate = 0.01 * (0.5 if name.startswith("encoder.") else 1.0)
        assert flow.update == pytest.approx(rate * gradient, rel=2e-2, abs=1e-7)
        assert flow.ratio == (None if weight == 0 else pytest.approx(flow.update / weight, rel=1e-5))


class Planted(nn.Module):
    """One layer that nothing uses, one behind a zero that stays, one behind a zero that is learned away."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 2, 1)
        self.unused = nn.Linear(2, 2)
        self.cut = nn.Conv2d(3, 2, 1)
        self.later = nn.Conv2d(3, 2, 1)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.encoder(image) + 0 * self.cut(image) + self.gate * self.later(image)
        return logits


def test_zero_and_missing_gradients_are_named(make: Make) -> None:
    job = make(model=Planted())
    job.model.encoder.bias.requires_grad_(False)
    before = copy.deepcopy(job.model.state_dict())
    found = flows(job, first(job))
    assert [flow.name for flow in found.parameters if flow.gradient is None] == ["unused.weight", "unused.bias"]
    zero = {flow.name for flow in found.parameters if flow.zero and flow.gradient is not None}
    assert zero == {"cut.weight", "cut.bias"}
    assert next(flow for flow in found.parameters if flow.name == "later.weight").gradient == 0
    assert found.frozen == ("encoder.bias",)
    assert all(torch.equal(before[name], value) for name, value in job.model.state_dict().items())
