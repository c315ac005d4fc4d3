"""Inspect a network on real batches: its parts, and units that do nothing.

Every function works on a copy of network and loss, so the network that is trained later does not change. Forward hooks
are used here and never in the training loop, because they are slow.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from medalist.data.devices import takes_channels_last
from medalist.data.loader import Batch
from medalist.engine.job import TrainJob

RELU_LIKE = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Threshold)
"""Activations that are exactly zero, and give no gradient, for all inputs below some value."""

EVEN = 1e-6
"""A channel counts as constant when its values differ by at most this share of the largest absolute value."""


@dataclass(frozen=True)
class NetworkPart:
    """A part of the network.

    depth: 0 for a direct child of the network, 1 for a stage of such a child. shapes: the shapes of its outputs on the
    batch. parameters, trainable: counts of values. flops: the operations of one forward of the batch, as torch counts
    them (only matrix products and convolutions).
    """

    name: str
    kind: str
    depth: int
    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    trainable: int
    flops: int


@dataclass(frozen=True)
class Anatomy:
    """The parts of a network, and sums over the whole network, in which a shared parameter counts once."""

    image: tuple[int, ...]
    output: tuple[tuple[int, ...], ...]
    parts: tuple[NetworkPart, ...]
    parameters: int
    trainable: int
    flops: int


@dataclass(frozen=True)
class Idle:
    """Channels of one layer that never change: the numbers in `dead`, of `channels` channels.

    A channel of an activation is dead when it is 0 for every sample and position. A channel before a batch norm is dead
    when it is constant.
    """

    layer: str
    kind: str
    channels: int
    dead: tuple[int, ...]

    @property
    def share(self) -> float:
        """The share of the layer's channels that are dead, 0..1."""
        return len(self.dead) / self.channels if self.channels else 0.0


@dataclass(frozen=True)
class Idleness:
    """Dead units of each call of a ReLU-like activation, and constant channels before each batch norm.

    Both are in the order of the forward pass. samples: how many samples were seen.
    """

    activations: tuple[Idle, ...]
    norms: tuple[Idle, ...]
    samples: int


def own_copy(job: TrainJob) -> TrainJob:
    """Return the job with copies of its network and loss, on the job's device, as they are when its epoch begins.

    The network is in training mode. The two are copied together, because a loss may hold weights that are part of the
    network. torch's generator is seeded with the job's seed.
    """
    model, task = copy.deepcopy((job.model, job.task))
    model.to(job.fabric.device)
    if takes_channels_last(job.fabric.device, job.config.channels_last):
        model.to(memory_format=torch.channels_last)
    set_training(model)
    task.begin_epoch(job.epoch)
    torch.manual_seed(job.seed)
    return replace(job, model=model, task=task)


def set_training(model: nn.Module) -> None:
    """Set training mode. A child whose parameters are all frozen gets evaluation mode, so its batch norms stay too."""
    model.train()
    for part in model.children():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()


def outputs_of(job: TrainJob, batch: Batch) -> Tensor:
    """Return the network's outputs on a batch, computed in the config's precision and cast to float32."""
    with job.fabric.autocast():
        outputs: Tensor = job.model(batch.image)
    return outputs.float()


def anatomy(job: TrainJob, batch: Batch) -> Anatomy:
    """Return output shapes, counts of parameters and operations of each part, measured on one batch."""
    own = own_copy(job)
    named = {module: name for name, module in own.model.named_modules()}
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def seen(module: nn.Module, inputs: Any, outputs: Any) -> None:
        shapes[named[module]] = tuple(tuple(tensor.shape) for tensor in tensors_in(outputs))

    counter = FlopCounterMode(display=False)
    with hooked(module.register_forward_hook(seen) for module in named), torch.no_grad(), counter:
        outputs_of(own, batch)
    root = type(own.model).__name__
    flops = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}

    def part(name: str, module: nn.Module, depth: int) -> NetworkPart:
        kind, counts = type(module).__name__, counted(module)
        below = (f"{root}.{name}.{child}" for child, _ in module.named_children())  # a list of layers is never called
        of = flops[f"{root}.{name}"] if f"{root}.{name}" in flops else sum(flops.get(child, 0) for child in below)
        return NetworkPart(name, kind, depth, shapes.get(name, ()), *counts, of)

    parts = [
        part(name, module, depth)
        for top, child in own.model.named_children()
        for depth, (name, module) in _levels(top, child)
    ]
    return Anatomy(tuple(batch.image.shape), shapes[""], tuple(parts), *counted(own.model), flops.get("Global", 0))


def counted(module: nn.Module) -> tuple[int, int]:
    """Return how many parameters a module has, and how many of them are trained. A shared parameter counts once."""
    every = list(module.parameters())
    return sum(value.numel() for value in every), sum(value.numel() for value in every if value.requires_grad)


def _levels(name: str, module: nn.Module) -> Iterator[tuple[int, tuple[str, nn.Module]]]:
    """Yield (0, part), then (1, stage) for each stage with parameters.

    Stages are looked for below wrappers with one child, and inside lists of modules.
    """
    yield 0, (name, module)
    inside = _stages(name, module)
    if len(inside) > 1:
        yield from ((1, stage) for stage in inside)


def _stages(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    children = [(f"{name}.{child}", part) for child, part in module.named_children() if counted(part)[0]]
    if len(children) == 1:
        deeper = _stages(*children[0])
        return deeper or children
    lists = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    found: list[tuple[str, nn.Module]] = []
    for child, part in children:
        within = [(f"{child}.{key}", one) for key, one in part.named_children() if counted(one)[0]]
        found += within if isinstance(part, lists) and within else [(child, part)]
    return found


def idleness(job: TrainJob, batches: Sequence[Batch]) -> Idleness:
    """Return the units that do nothing on any of the batches, found by forward passes in training mode.

    An activation that is called more than once in a forward pass has one entry for each call.
    """
    own = own_copy(job)
    named = {module: name for name, module in own.model.named_modules()}
    alive: dict[tuple[str, int], Tensor] = {}
    kinds: dict[tuple[str, int], str] = {}
    ranges: dict[str, tuple[Tensor, Tensor]] = {}
    calls: dict[str, int] = {}

    def activated(module: nn.Module, inputs: Any, outputs: Any) -> None:
        name = named[module]
        calls[name] = calls.get(name, 0) + 1
        key = (name, calls[name])
        fires = channels_first(outputs).ne(0).any(dim=1)
        alive[key] = alive[key] | fires if key in alive else fires
        kinds[key] = type(module).__name__

    def normed(module: nn.Module, inputs: Any) -> None:
        values, name = channels_first(inputs[0]).float(), named[module]
        low, high = values.amin(dim=1), values.amax(dim=1)
        if name in ranges:
            low, high = torch.minimum(low, ranges[name][0]), torch.maximum(high, ranges[name][1])
        ranges[name] = low, high

    handles = [module.register_forward_hook(activated) for module in named if isinstance(module, RELU_LIKE)]
    handles += [module.register_forward_pre_hook(normed) for module in named if isinstance(module, _BatchNorm)]
    with hooked(handles), torch.no_grad():
        for batch in batches:
            calls.clear()
            outputs_of(own, batch)
    activations = [
        Idle(name if call == 1 else f"{name} (call {call})", kinds[name, call], len(fires), _numbers(~fires))
        for (name, call), fires in alive.items()
    ]
    norms = [
        Idle(name, "batch norm", len(low), _numbers(high - low <= EVEN * torch.maximum(low.abs(), high.abs())))
        for name, (low, high) in ranges.items()
    ]
    return Idleness(tuple(activations), tuple(norms), sum(len(batch.indices) for batch in batches))


def channels_first(values: Tensor) -> Tensor:
    """Reshape [B, C], maps [B, C, h, w] or tokens [B, N, C] to [C, product of all other sizes]."""
    dim = 2 if values.ndim == 3 else min(1, values.ndim - 1)
    return values.detach().movedim(dim, 0).flatten(1)


def _numbers(which: Tensor) -> tuple[int, ...]:
    return tuple(int(number) for number in which.nonzero().flatten().cpu())


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield every tensor of nested tuples, lists and dicts."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors_in(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)


@contextmanager
def hooked(handles: Iterator[RemovableHandle] | Sequence[RemovableHandle]) -> Iterator[None]:
    """Keep hooks while the block runs, and remove them also after an exception."""
    kept = list(handles)
    try:
        yield
    finally:
        for handle in kept:
            handle.remove()
