"""The gradient of each parameter, and its change by a real step of the optimiser, on a copy of the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from medalist.data.loader import Batch
from medalist.engine.inspect import own_copy
from medalist.engine.job import TrainJob
from medalist.engine.optimizer import make_optimizer
from medalist.engine.schedule import lr_factor


@dataclass(frozen=True)
class Flow:
    """Gradient and update of one parameter over one step of the optimiser.

    values: the number of its values. matrix: whether it has more than one dimension. weight: its norm before the step.
    gradient: the norm of its gradient after clipping; None where it got no gradient. update: the norm of its change.
    zero: whether its gradient was exactly zero, or missing, in each of two steps.
    """

    name: str
    values: int
    matrix: bool
    weight: float
    gradient: float | None
    update: float
    zero: bool

    @property
    def ratio(self) -> float | None:
        """The update divided by the weight, about 1e-3 in a healthy training; None where the weight was zero."""
        return self.update / self.weight if self.weight > 0 else None


@dataclass(frozen=True)
class Flows:
    """Gradients and updates of all parameters that are trained; `frozen` names the other parameters.

    loss: the loss before the step. norm: the norm of the whole gradient before clipping. clip: the largest norm that
    the config allows, 0 = no clipping.
    """

    loss: float
    norm: float
    clip: float
    parameters: tuple[Flow, ...]
    frozen: tuple[str, ...]


def flows(job: TrainJob, batch: Batch) -> Flows:
    """Return the gradients on a batch, and the updates by the first step of the config's optimiser and schedule.

    A second step is made because the gradient of a layer is also zero in the first step where the layer after it starts
    with zero weights.
    """
    own = own_copy(job)
    named = dict(own.model.named_parameters())
    trained = {name: value for name, value in named.items() if value.requires_grad}
    model, optimizer = own.fabric.setup(own.model, make_optimizer(own.model, own.config))
    factor = lr_factor(0, math.ceil(job.steps / job.config.accumulate), job.config)
    for group in optimizer.param_groups:
        group["lr"] *= factor
    zero = dict.fromkeys(trained, True)
    before = {name: value.detach().clone() for name, value in trained.items()}
    gradients: dict[str, float | None] = {}
    updates: dict[str, float] = {}
    first, norm = math.nan, math.nan
    for step in range(2):
        loss = own.task.loss(model(batch.image), batch)["loss"]
        own.fabric.backward(loss)
        own.fabric.strategy.precision.unscale_gradients(optimizer.optimizer)
        if step == 0:
            # Fabric's clip_gradients would unscale the gradients a second time under fp16, so torch's own function
            # clips them below.
            first, norm = float(loss.detach()), _norm_of(trained)
        if own.config.clip:
            torch.nn.utils.clip_grad_norm_(trained.values(), own.config.clip)
        for name, value in trained.items():
            zero[name] &= value.grad is None or not bool(value.grad.ne(0).any())
            if step == 0:
                gradients[name] = None if value.grad is None else float(value.grad.norm())
        optimizer.step()
        optimizer.zero_grad()
        if step == 0:
            updates = {name: float((value.detach() - before[name]).norm()) for name, value in trained.items()}
    found = [
        Flow(
            name=name,
            values=value.numel(),
            matrix=value.ndim > 1,
            weight=float(before[name].norm()),
            gradient=gradients[name],
            update=updates[name],
            zero=zero[name],
        )
        for name, value in trained.items()
    ]
    frozen = tuple(name for name in named if name not in trained)
    return Flows(first, norm, own.config.clip, tuple(found), frozen)


def _norm_of(parameters: Mapping[str, nn.Parameter]) -> float:
    norms = [value.grad.norm() for value in parameters.values() if value.grad is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0
