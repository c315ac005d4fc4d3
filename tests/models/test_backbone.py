from __future__ import annotations

from typing import Any

import pytest
import torch

from medalist.errors import ConfigError
from medalist.models.backbone import build_encoder, encoder_statistics
from medalist.models.settings import EncoderConfig
from medalist.models.weights import encoder_weights

SIZE = (64, 96)


def config(**changes: Any) -> EncoderConfig:
    return EncoderConfig.model_validate({"encoder": "test_resnet", "weights": "none", **changes})


def test_a_tokens_position_is_kept_and_class_tokens_are_left_out() -> None:
    encoder = build_encoder(config(encoder="test_vit"), (160, 160), None).eval()
    found = encoder(torch.randn(1, 3, 160, 160))
    tokens = encoder.body.forward_features(torch.zeros(1, 3, 160, 160))
    assert found.shape == (1, encoder.width, tokens.shape[1] - encoder.body.num_prefix_tokens, 1)
    assert encoder.cells == found.shape[2]


def test_transformers_take_the_size_of_the_config() -> None:
    encoder = build_encoder(config(encoder="test_vit"), (96, 64), None).eval()
    assert encoder(torch.zeros(1, 3, 96, 64)).shape[1] == encoder.width


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": "resnet33"}, "encoder 'resnet33' is not in timm"),
        ({"encoder": "resnet18", "options": {"layer": [1]}}, "with options {'layer': [1]} does not accept images"),
    ],
)
def test_encoders_that_cannot_look_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_encoder(config(**changes), SIZE, None)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_pretrained_weights_are_those_of_the_package() -> None:
    """The last features of lite0 are the same as timm's own network gives with these tensors."""
    chosen = config(encoder="tf_efficientnet_lite0", weights="imagenet", in_channels=3)
    weights = encoder_weights(chosen.encoder, chosen.weights)
    assert weights is not None
    torch.manual_seed(0)
    one, other = build_encoder(chosen, SIZE, weights).eval(), build_encoder(chosen, SIZE, weights).eval()
    image = torch.randn(1, 3, *SIZE)
    assert torch.equal(one(image), other(image)), "nothing in it is random"
    random = build_encoder(config(encoder="tf_efficientnet_lite0"), SIZE, None).eval()
    assert not torch.allclose(one(image), random(image))


def test_statistics_are_those_of_the_weights_or_plain() -> None:
    assert encoder_statistics(config()) == ((0.5,) * 3, (0.5,) * 3)
    assert encoder_statistics(config(in_channels=1)) == ((0.5,), (0.5,))
    mean, _ = encoder_statistics(config(encoder="resnet18", weights="imagenet"))
    assert mean == pytest.approx((0.485, 0.456, 0.406))
