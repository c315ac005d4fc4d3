"""Training by every precision, device and layout of memory ends near to float32 on the processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from medalist.engine.job import TrainJob
from medalist.errors import TrainingError

Make = Callable[..., TrainJob]
Result = tuple[list[float], dict[str, torch.Tensor]]
Trained = Callable[[TrainJob], Result]

NEAR = {"bf16-mixed": 0.05, "16-mixed": 0.10}
"""How far the mean loss of an epoch may be from that of float32, as a share of it. bfloat16 has 8 bits of precision;
float16 has 11, but its scaler starts high and may leave out the first steps."""

SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.005, "epochs": 2}
"""AdamW divides by the size of a gradient, so it turns a difference in the last bits into one of a whole step."""

SMALL: dict[str, dict[str, Any]] = {"cuda": {"network": "unet"}, "cpu": {"network": "plain", "side": 32}}
"""A processor takes half a minute for a U-Net in float16."""


def close(found: Result, expected: Result) -> None:
    """Losses within a thousandth; weights within 5e-4, of which they move ten times as much; statistics within 5e-3."""
    assert found[0] == pytest.approx(expected[0], rel=1e-3)
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        most = 5e-3 if "running" in name else 5e-4
        torch.testing.assert_close(
            found[1][name], value, rtol=0.01, atol=most, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_trains_nearly_as_float32(make: Make, trained: Trained, device: str, precision: str) -> None:
    settings = {"epochs": 4, **SMALL[device]}
    expected, _ = trained(make(device, "full", **settings))
    found, weights = trained(make(device, "half", precision=precision, **settings))
    assert found == pytest.approx(expected, rel=NEAR[precision]), (found, expected)
    assert found[-1] < found[0] * (1 - 2 * NEAR[precision]), "a training that stands still compares nothing"
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("clip", [0.0, 0.1])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_float16_scales_accumulates_and_clips(
    make: Make, trained: Trained, device: str, accumulate: int, clip: float
) -> None:
    """The scaler must take its factor out of the gradients before they are clipped."""
    settings = {"optimizer": "sgd", "lr": 0.02, "epochs": 4, "accumulate": accumulate, "clip": clip, **SMALL[device]}
    expected, _ = trained(make(device, "full", **settings))
    found, _ = trained(make(device, "half", precision="16-mixed", **settings))
    assert found == pytest.approx(expected, rel=NEAR["16-mixed"]), (found, expected)


@pytest.mark.gpu
def test_a_gpu_takes_the_steps_of_a_processor(make: Make, trained: Trained, gpu: str, exact: None) -> None:
    close(trained(make(gpu, "gpu", **SGD)), trained(make("cpu", "cpu", **SGD)))


def test_channels_last_trains_as_channels_first(make: Make, trained: Trained, device: str, exact: None) -> None:
    first = make(device, "first", channels_last=False, **SGD)
    begun = {name: value.detach().clone() for name, value in first.model.named_parameters()}
    expected = trained(first)
    close(trained(make(device, "last", channels_last=True, **SGD)), expected)
    assert max(float((expected[1][name] - value).abs().max()) for name, value in begun.items()) > 10 * 5e-4


def test_the_loss_of_a_batch_that_is_no_number_is_told(make: Make, trained: Trained, device: str) -> None:
    """Its loss is read one batch late, so that a GPU has work meanwhile."""
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf)"):
        trained(make(device, lr=1e30, optimizer="sgd", epochs=3))
