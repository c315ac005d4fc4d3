"""Half precision on processors is measured, and a training is warned where it is slower than float32."""

from __future__ import annotations

import pytest
import torch

from medalist.engine import half_precision
from medalist.engine.half_precision import half_precision_ratio, slow_precision


def test_the_ratio_of_float32_is_one_and_that_of_bfloat16_is_measured() -> None:
    assert half_precision_ratio("32-true") == 1
    assert half_precision_ratio("bf16-mixed") > 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("ratio", "warned"), [(0.6, False), (13.25, True)])
def test_only_slow_processors_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, device: str, ratio: float, warned: bool
) -> None:
    seconds = {torch.bfloat16: ratio, torch.float32: 1.0}
    monkeypatch.setattr(half_precision, "find_device", lambda name: torch.device(device))
    monkeypatch.setattr(half_precision, "_seconds", seconds.__getitem__)
    line = slow_precision("bf16-mixed")
    assert (line is not None) == (warned and device == "cpu")
    assert line is None or line.startswith("warning: train.precision=bf16-mixed takes 13.2 times as long as 32-true")
