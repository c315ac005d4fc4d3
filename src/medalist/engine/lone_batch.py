"""Batches of one sample. A norm that sees only one value for each channel has no variance to divide by in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from medalist.data.samplers import TrainBatchSampler
from medalist.engine.settings import TrainConfig
from medalist.errors import ConfigError, TrainingError

LONE = ("Expected more than 1 value per channel", "one value for each channel has no variance")
"""Beginnings of the messages of torch, and of `engine.syncnorm`, where a norm sees one value for each channel."""


def is_lone(error: ValueError) -> bool:
    """Whether an error says that a norm in training has seen only one value for each channel."""
    return str(error).startswith(LONE)


@contextmanager
def lone_batches_told(where: str, setting: str) -> Iterator[None]:
    """Turn the error of a norm that sees one value for each channel into a TrainingError that says what to type.

    setting: the config key of the batch size.
    """
    try:
        yield
    except ValueError as error:
        if not is_lone(error):
            raise
        raise TrainingError(
            f"{where}: a norm of the network sees one value for each channel, because a batch has one sample, and one "
            f"value has no variance; type {setting}=2 or more"
        ) from error


def smallest_batch(sampler: TrainBatchSampler) -> int:
    """Return the number of samples of the smallest batch of this process.

    The first batch is as small as any other, because a smaller rest of an epoch is left out unless it is the only
    batch.
    """
    return len(next(iter(sampler)))


def refuse_lone(
    config: TrainConfig, network: nn.Module, smallest: int, world: int, shape: Sequence[int], setting: str
) -> None:
    """Raise ConfigError where a norm of the network would see one value for each channel.

    smallest: samples of the smallest batch on one process. world: the number of processes, whose batches count
    together. shape: of one sample as augmentation gives it. Only batches of one sample can fail, so only for these a
    sample of zeros goes through the network, in the smallest size of any epoch. It changes the running statistics of
    the network, which must not be trained afterwards.
    """
    if smallest * world > 1 or not len(shape):
        return
    sizes = [config.size_in(epoch) for epoch in range(config.epochs)] if len(shape) == 3 else []
    least = min([size for size in sizes if size is not None] + [tuple(shape[1:])], key=_area)
    entered: list[str] = []
    hooks = [part.register_forward_pre_hook(partial(_enter, entered, name)) for name, part in network.named_modules()]
    network.train()
    try:
        with torch.no_grad():
            network(torch.zeros(1, shape[0], *least))
    except ValueError as error:
        if not is_lone(error):
            raise
        seen = f"images of {least[1]}x{least[0]}" if len(least) == 2 else "pooled features"
        why = "" if config.batch == 1 else ", because the training part of a fold has one sample"
        remedy = f"type {setting}=2 or more" if config.batch == 1 else "make folds with more samples"
        raise ConfigError(
            f"a batch of one sample{why}: {entered[-1]} then sees one value for each channel at {seen}, and one value "
            f"has no variance; {remedy} (larger images help where no pooling comes before it)"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()


def _enter(entered: list[str], name: str, part: nn.Module, inputs: Any) -> None:
    entered.append(name)


def _area(size: Sequence[int]) -> int:
    return size[0] * size[1] if len(size) == 2 else 0
