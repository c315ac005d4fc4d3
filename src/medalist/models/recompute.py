"""Gradient checkpointing: activations inside an encoder's blocks are computed twice and not kept (arXiv 1604.06174)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from medalist.errors import ConfigError


def recompute(model: nn.Module) -> int:
    """Let the blocks of `model.encoder` forget what they computed and compute it again when gradients are asked for.

    Returns how many do so. Outputs, gradients, running statistics and names of the state stay what they are; dropout
    draws the same again. In prediction nothing changes, nor for a frozen encoder. timm's own `set_grad_checkpointing`
    is not used: it moves the statistics of batch norms twice a batch, and for features it works by whole stages.
    Raises ConfigError, naming the encoder, where it has no blocks of more than one layer.
    """
    encoder = getattr(model, "encoder", None)
    found: list[nn.Module] = []
    if isinstance(encoder, nn.Module):
        found = _blocks(encoder) or _stages(encoder) or _beside(model, encoder)
    if not found:
        raise ConfigError(
            f"train.grad_checkpointing: {type(model).__name__} with encoder {_name(encoder)} has no blocks whose "
            "activations could be computed again; set train.grad_checkpointing=false"
        )
    for block in found:
        # On the instance, as a module around it would rename the weights.
        if not isinstance(block.forward, _Again):
            setattr(block, "forward", _Again(block, block.forward))  # noqa: B010  # mypy knows forward as a method
    return len(found)


@dataclass(frozen=True, eq=False)
class _Again:
    """A block's forward that keeps its inputs alone."""

    block: nn.Module
    forward: Callable[..., Any]

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if not (self.block.training and torch.is_grad_enabled()):
            return self.forward(*inputs, **options)
        if torch.compiler.is_compiling():  # the compiler computes again without running the block, so nothing moves
            return checkpoint(self.forward, *inputs, use_reentrant=False, **options)
        return checkpoint(self.forward, *inputs, use_reentrant=False, context_fn=self._contexts, **options)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """What surrounds the first computation, and the second."""
        return nullcontext(), _buffers_apart(self.block)


@contextmanager
def _buffers_apart(block: nn.Module) -> Iterator[None]:
    """Batch norms see copies of their running statistics, so that one batch moves them once."""
    norms = [part for part in block.modules() if isinstance(part, _BatchNorm) and part.training]
    kept = [(norm, name, value) for norm in norms for name, value in norm._buffers.items()]
    for norm, name, value in kept:
        norm._buffers[name] = None if value is None else value.clone()
    try:
        yield
    finally:
        for norm, name, value in kept:
            norm._buffers[name] = value


def _blocks(part: nn.Module) -> list[nn.Module]:
    """The innermost members of chains (nn.Sequential, nn.ModuleList) that have at least two layers with weights."""
    found: list[nn.Module] = []
    for child in part.children():
        inner = _blocks(child)
        if inner:
            found += inner
        elif isinstance(part, nn.Sequential | nn.ModuleList) and _layers(child) > 1:
            found.append(child)
    return found


def _stages(part: nn.Module) -> list[nn.Module]:
    """The outermost parts of a network without chains, such as a RegNet: two or more, else nothing would be saved."""
    inner = [child for child in part.children() if _layers(child) > 1]
    if len(inner) == 1:
        return _stages(inner[0])
    stages = [child for child in inner if not isinstance(child, nn.Sequential)]
    return stages if len(stages) > 1 else []


def _beside(model: nn.Module, encoder: nn.Module) -> list[nn.Module]:
    """Chains of the encoder's own layers that the network holds beside it, as TernausNet-16 does."""
    own = {id(part) for part in encoder.modules()}
    return [
        child
        for child in model.children()
        if isinstance(child, nn.Sequential) and id(child) not in own
        if all(id(part) in own for part in child) and _layers(child) > 1
    ]


def _layers(part: nn.Module) -> int:
    return sum(any(True for _ in inner.parameters(recurse=False)) for inner in part.modules())


def _name(encoder: object) -> str:
    """The encoder's name in timm where it says it, else what it is."""
    known = getattr(getattr(encoder, "body", None), "pretrained_cfg", None)
    named = known.get("architecture") if isinstance(known, dict) else getattr(encoder, "name", None)
    return f"'{named}'" if isinstance(named, str) else type(encoder).__name__
