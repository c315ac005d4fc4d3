"""A training that was stopped on a device goes on there and ends as if it had not been stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from medalist.engine.checkpoint import states
from medalist.engine.job import TrainJob
from medalist.engine.settings import CheckpointConfig
from medalist.engine.train import fit
from medalist.reporter import Result

Make = Callable[..., TrainJob]
Trained = Callable[[TrainJob], tuple[list[float], dict[str, torch.Tensor]]]

EVERY_STEP = CheckpointConfig(steps=1, minutes=0)


class Stop(BaseException):
    """As Ctrl-C is: no mistake of the training."""


class Stopping:
    """A progress that ends the training after some batches."""

    def __init__(self, after: int):
        self.left = after

    def advance(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise Stop

    def skip(self, steps: int) -> None:
        """Nothing is skipped before the stop."""

    def aside(self, work: Callable[[], Result]) -> Result:
        return work()

    def say(self, text: str) -> None:
        """Nobody reads it."""


def stopped_and_resumed(
    make: Make, trained: Trained, device: str, **settings: Any
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The weights of a training in one go, and those of one that was stopped in the middle of its second epoch."""
    _, whole = trained(make(device, "whole", epochs=3, **settings))
    first = make(device, "stopped", epochs=3, checkpoint=EVERY_STEP, **settings)
    with pytest.raises(Stop):
        fit(first, lambda row: None, Stopping(6))
    assert states(first.folder) and not (first.folder / "last.safetensors").exists()
    _, resumed = trained(make(device, "stopped", epochs=3, checkpoint=EVERY_STEP, **settings))
    assert whole.keys() == resumed.keys()
    return whole, resumed


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_the_same_bits_after_a_stop(make: Make, trained: Trained, device: str, precision: str, optimizer: str) -> None:
    """With dropout, averaged weights, moments of the optimiser and, in float16, the scaler."""
    settings = {"network": "dropout", "precision": precision, "optimizer": optimizer, "ema": 0.9, "clip": 0.5}
    whole, resumed = stopped_and_resumed(make, trained, device, **settings)
    assert [name for name, value in whole.items() if not torch.equal(value, resumed[name])] == []


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_u_net_after_a_stop(make: Make, trained: Trained, device: str, channels_last: bool) -> None:
    """A GPU may add up the gradients of its max pooling in any order, so that the last bits may differ there."""
    settings: dict[str, Any] = {"optimizer": "sgd", "lr": 0.005, "channels_last": channels_last}
    whole, resumed = stopped_and_resumed(make, trained, device, **settings)
    for name, value in whole.items():
        most = 0.0 if device == "cpu" else 5e-3 if "running" in name else 5e-4
        torch.testing.assert_close(
            resumed[name], value, rtol=most, atol=most, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_state_of_a_gpu_goes_on_on_a_processor(make: Make, trained: Trained, device: str) -> None:
    """A machine may be gone; what is kept names no device."""
    first = make(device, epochs=2, network="dropout", checkpoint=EVERY_STEP)
    with pytest.raises(Stop):
        fit(first, lambda row: None, Stopping(5))
    losses, weights = trained(make("cpu", epochs=2, network="dropout"))
    assert len(losses) == 1, "the second epoch alone was left"
    assert all(value.isfinite().all() for value in weights.values())


def test_a_fold_does_not_depend_on_the_one_before(
    make: Make, trained: Trained, fabric_on: Callable[..., Fabric], device: str
) -> None:
    """One Fabric serves all folds of a command, and with it the scaler of float16."""
    settings = {"network": "plain", "side": 32, "precision": "16-mixed"}
    _, alone = trained(make(device, "alone", **settings))
    fabric = fabric_on(device, "16-mixed")
    used = fabric.strategy.precision
    assert isinstance(used, MixedPrecision) and used.scaler is not None
    used.scaler.load_state_dict({**used.scaler.state_dict(), "scale": 2.0**-14})
    _, after = trained(make(device, "after", fabric=fabric, **settings))
    assert [name for name, value in alone.items() if not torch.equal(value, after[name])] == []
