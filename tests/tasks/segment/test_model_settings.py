from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from medalist.tasks.segment.model_settings import ModelConfig, SmpConfig, TernausConfig

ADAPTER: TypeAdapter[SmpConfig | TernausConfig] = TypeAdapter(ModelConfig)


UNET = {"kind": "unet", "encoder": "resnet34", "channels": ["body", "border"]}


def test_kind_picks_the_config() -> None:
    unet = ADAPTER.validate_python(UNET)
    assert isinstance(unet, SmpConfig)
    assert unet.channels == ("body", "border")
    assert (unet.weights, unet.in_channels, unet.stride) == ("imagenet", 3, 32)
    ternaus = ADAPTER.validate_python({"kind": "ternausnet11", "channels": ["car"]})
    assert isinstance(ternaus, TernausConfig)
    assert ternaus.filters == 32


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "unett"}, "unett"),
        ({"channels": []}, "at least 1"),
        ({"channels": ["body", "body"]}, "channel 'body' is there twice"),
        ({"channels": [" "]}, "needs a name"),
        ({"encoder": ""}, "at least 1 character"),
        ({"encodr": "resnet34"}, "Extra inputs"),
        ({"in_channels": 0}, "greater than or equal to 1"),
        ({"decoder_channels": [16, 8]}, "5 widths are needed, not 2"),
        ({"decoder_channels": [16, 8, 4, 2, 0]}, "greater than 0"),
        (
            {"kind": "fpn", "decoder_channels": [5, 4, 3, 2, 1]},
            "'decoder_channels' is for unet and unetplusplus",
        ),
        (
            {"kind": "linknet", "attention": "scse"},
            "'attention' is for unet and unetplusplus, not for linknet",
        ),
        ({"attention": "scse", "decoder_channels": [64, 32, 16, 16, 8]}, "at least 16, not 8"),
        ({"dropout": 0.5}, "'dropout' is for fpn, not for unet"),
        ({"kind": "ternausnet16"}, "encoder"),
    ],
)
def test_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ADAPTER.validate_python({**UNET, **change})


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(UNET).in_channels = 4


@pytest.mark.parametrize(
    ("config", "encoder"),
    [
        (UNET, "resnet34"),
        ({"kind": "ternausnet11", "channels": ["car"]}, "vgg11"),
        ({"kind": "ternausnet16", "channels": ["car"]}, "vgg16"),
    ],
)
def test_the_encoder_has_a_name_in_timm(config: dict[str, object], encoder: str) -> None:
    assert ADAPTER.validate_python(config).encoder_name == encoder
