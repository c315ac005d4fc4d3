from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from medalist.models.settings import EncoderConfig


def config(**changes: Any) -> EncoderConfig:
    return EncoderConfig.model_validate({"encoder": "resnet18", **changes})


def test_pooled_features_are_the_vector_unless_a_neck_is_named() -> None:
    plain = config()
    assert (plain.weights, plain.in_channels, plain.pooling, plain.neck, plain.dim) == (
        "imagenet",
        3,
        "gem",
        "none",
        None,
    )
    assert config(neck="linear_bn", dim=256).dim == 256
    assert config(weights="none", options={"layers": [1, 1, 1, 1]}).options == {"layers": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"neck": "linear"}, "neck 'linear' needs the number of components"),
        ({"neck": "linear_bn"}, "type for instance model.dim=256"),
        ({"dim": 8}, "neck 'none' keeps the encoder's width; leave out dim"),
        ({"neck": "bn", "dim": 8}, "leave out dim, or take neck: linear_bn"),
        ({"options": {"layers": [1]}}, "set weights: none"),
        ({"encoder": ""}, "at least 1 character"),
        ({"in_channels": 2}, "in_channels"),
        ({"pooling": "mean"}, "pooling"),
        ({"gem": float("nan")}, "gem"),
        ({"dropout": 1.0}, "less than 1"),
        ({"encodr": "resnet18"}, "Extra inputs"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(**changes)


def test_a_config_stays_what_it_is() -> None:
    with pytest.raises(ValidationError):
        config().gem = 4.0
