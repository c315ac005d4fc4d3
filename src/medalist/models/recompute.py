"""Gradient checkpointing (arXiv 1604.06174): saves memory, because activations inside an encoder's blocks are not kept.

They are computed a second time in the backward pass.
"""

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
    """Make the blocks of `model.encoder` drop their activations and compute them again in the backward pass.

    Returns the number of these blocks. Outputs, gradients, running statistics and the names in the state dict stay the
    same, and dropout draws the same numbers again. Nothing changes in prediction, or for a frozen encoder. timm's own
    `set_grad_checkpointing` is not used, because it updates the statistics of batch norms twice for each batch, and
    because on feature encoders it works on whole stages. Raises ConfigError, which names the encoder, where the encoder
    has no blocks of more than one layer.
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
        # `forward` is replaced on the instance, because a module around the block would rename the weights.
        if not isinstance(block.forward, _Again):
            setattr(block, "forward", _Again(block, block.forward))  # noqa: B010  # mypy knows forward as a method
    return len(found)


@dataclass(frozen=True, eq=False)
class _Again:
    """The forward of a block, which keeps only the inputs for the backward pass."""

    block: nn.Module
    forward: Callable[..., Any]

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if not (self.block.training and torch.is_grad_enabled()):
            return self.forward(*inputs, **options)
        # The compiler computes activations again without running the block, so statistics are updated only once.
        if torch.compiler.is_compiling():
            return checkpoint(self.forward, *inputs, use_reentrant=False, **options)
        return checkpoint(self.forward, *inputs, use_reentrant=False, context_fn=self._contexts, **options)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Return the contexts around the first and the second computation."""
        return nullcontext(), _buffers_apart(self.block)


@contextmanager
def _buffers_apart(block: nn.Module) -> Iterator[None]:
    """Give batch norms copies of their running statistics, so that each batch updates the statistics only once."""
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
    """Return the innermost members of nn.Sequential and nn.ModuleList that have at least two layers with weights."""
    found: list[nn.Module] = []
    for child in part.children():
        inner = _blocks(child)
        if inner:
            found += inner
        elif isinstance(part, nn.Sequential | nn.ModuleList) and _layers(child) > 1:
            found.append(child)
    return found


def _stages(part: nn.Module) -> list[nn.Module]:
    """Return the outermost parts of a network that has no such members, for example a RegNet.

    Returns an empty list for fewer than two parts, because one part alone would save no memory.
    """
    inner = [child for child in part.children() if _layers(child) > 1]
    if len(inner) == 1:
        return _stages(inner[0])
    stages = [child for child in inner if not isinstance(child, nn.Sequential)]
    return stages if len(stages) > 1 else []


def _beside(model: nn.Module, encoder: nn.Module) -> list[nn.Module]:
    """Return the nn.Sequential children of `model` that consist of the encoder's layers, as in TernausNet-16."""
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
    """Return the encoder's name in timm, in quotes, or the name of its class where it has no timm name."""
    known = getattr(getattr(encoder, "body", None), "pretrained_cfg", None)
    named = known.get("architecture") if isinstance(known, dict) else getattr(encoder, "name", None)
    return f"'{named}'" if isinstance(named, str) else type(encoder).__name__
