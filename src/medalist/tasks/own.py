"""Networks and losses of a contest's folder (`medalist.parts`), for the kinds that have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from medalist.config import OwnConfig
from medalist.engine.settings import TrainConfig
from medalist.errors import ConfigError
from medalist.parts import OwnParts, running
from medalist.runs.runs import Run


def own_network(
    config: OwnConfig, own: OwnParts, seen: Sequence[int], outputs: int, expected: Sequence[int]
) -> nn.Module:
    """Build a network of the contest's folder, in training mode, and try it on an image of zeros.

    seen: the shape [C, h, w] of the image that it is tried on. outputs: the number of its outputs. expected: the shape
    of the outputs for this image, [outputs] or [outputs, h, w]. Raises ConfigError where there is no such network, or
    where it cannot be built, fails on the image, or gives another shape.
    """
    make = own.find("NETWORKS", config, "model", 2)
    assert own.file is not None
    with running(own.file, f"model = {config.name} cannot be built"):
        network = make(seen[0], outputs)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"model = {config.name}: {own.file} makes {type(network).__name__}, not a torch.nn.Module")
    shown = f"{seen[2]}x{seen[1]}"
    network.eval()
    with torch.inference_mode(), running(own.file, f"model = {config.name} does not take an image of {shown}"):
        found = network(torch.zeros(1, *seen))
    if not isinstance(found, Tensor) or tuple(found.shape) != (1, *expected):
        given = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ConfigError(
            f"model = {config.name} gives {given} for an image of {shown}, and must give {[1, *expected]}"
        )
    return network.train()


def parts_changed(run: Run, network: object, own: OwnParts) -> str:
    """Return a line where a run's network comes from a `parts.py` that was changed since its training; else empty.

    network: the settings of the network. A run of which no hash is known gives no line.
    """
    if not isinstance(network, OwnConfig) or run.lock().parts in ("", own.hash):
        return ""
    return (
        f"{own.file} was changed since {run.competition}/{run.name} was trained, and its network {network.name} comes "
        "from it: predictions may differ from those that were scored"
    )


def refuse_without_encoder(network: nn.Module, config: OwnConfig, train: TrainConfig) -> None:
    """Raise ConfigError where settings of the encoder's learning rate would act on nothing."""
    asked = [name for name in ("encoder_lr", "layer_decay") if getattr(train, name) != 1]
    if asked and not any(name.startswith("encoder.") for name, _ in network.named_parameters()):
        raise ConfigError(
            f"train.{asked[0]} acts on the parameters below 'encoder', and model = {config.name} has none; give its "
            f"encoder this name, or leave train.{asked[0]} out"
        )


@dataclass(frozen=True)
class OwnLoss:
    """A loss of the contest's folder: outputs float32[B, ...] and targets -> a scalar, or float32[B] by sample.

    It is imported when it is first called, because prediction needs no loss.
    """

    config: OwnConfig
    own: OwnParts
    by_sample: bool

    @cached_property
    def _function(self) -> Callable[..., Any]:
        return self.own.find("LOSSES", self.config, "loss", 2)

    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss, computed in float32. Raises ConfigError where it fails or has another shape."""
        function = self._function
        assert self.own.file is not None
        with torch.autocast(outputs.device.type, enabled=False), running(self.own.file, f"{self._named} fails"):
            found = function(outputs.float(), target)
        wanted = (len(outputs),) if self.by_sample else ()
        if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
            given = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            due = "one number for each sample, [B]" if self.by_sample else "one number, [] (take .mean())"
            raise ConfigError(f"{self._named} gives {given}, and must give {due}")
        return found

    def refuse_unfit(self, outputs: Sequence[int], target: Tensor) -> None:
        """Raise ConfigError where the loss fails on outputs of zeros of this shape, or has no gradient there."""
        zeros = torch.zeros(*outputs, requires_grad=True)
        found = self(zeros, target)
        if not found.requires_grad:
            raise ConfigError(f"{self._named} has no gradient; compute it from the outputs with torch's functions")

    @property
    def _named(self) -> str:
        return f"loss = {self.config.name}"
