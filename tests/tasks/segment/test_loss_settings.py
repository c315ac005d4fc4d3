from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from medalist.errors import ConfigError
from medalist.tasks.segment.loss_settings import LossConfig


def test_terms_are_those_above_zero_in_a_fixed_order() -> None:
    assert LossConfig(lovasz=0.5, bce=1).terms == {"bce": 1.0, "lovasz": 0.5}


@pytest.mark.parametrize(
    "bad",
    [{}, {"bce": 0}, {"bce": -1}, {"bce": float("nan")}, {"bce": float("inf")}, {"bec": 1}, {"bce": "x"}],
)
def test_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LossConfig.model_validate(bad)


def test_channel_weights_share_one() -> None:
    config = LossConfig(bce=1, channels={"border": 3})
    assert config.channel_weights(["body", "border"]) == [0.25, 0.75]


def test_a_channel_that_is_not_there_is_named_with_its_nearest() -> None:
    config = LossConfig(bce=1, channels={"boarder": 3})
    with pytest.raises(ConfigError, match=r"no channel 'boarder', only body, border; did you mean 'border'\?"):
        config.channel_weights(["body", "border"])


def test_all_channels_off_is_an_error() -> None:
    with pytest.raises(ConfigError, match="every weight is 0"):
        LossConfig(bce=1, channels={"body": 0}).channel_weights(["body"])


@pytest.mark.parametrize("room", ["tasks.segment.loss_settings", "tasks.segment.model_settings", "models.settings"])
def test_settings_are_torch_free(room: str) -> None:
    code = f"import sys, medalist.{room}; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
