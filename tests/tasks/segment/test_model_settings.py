from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from medalist.tasks.segment.model_settings import LinkNetConfig, ModelConfig, SmpConfig, TernausConfig, TernausV2Config

ADAPTER: TypeAdapter[SmpConfig | TernausConfig | LinkNetConfig | TernausV2Config] = TypeAdapter(ModelConfig)


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
            "'decoder_channels' is for unet, unetplusplus and manet, not for fpn",
        ),
        (
            {"kind": "linknet", "attention": "scse"},
            "'attention' is for unet and unetplusplus, not for linknet",
        ),
        ({"attention": "scse", "decoder_channels": [64, 32, 16, 16, 8]}, "at least 16, not 8"),
        ({"dropout": 0.5}, "'dropout' is for fpn, pspnet, deeplabv3 and deeplabv3plus, not for unet"),
        ({"width": 64}, "'width' is for fpn, linknet, pan, .*, not for unet"),
        ({"kind": "fpn", "width": 96}, "'width' of fpn is a multiple of 64"),
        ({"output_stride": 8}, "'output_stride' is for deeplabv3 and deeplabv3plus, not for unet"),
        ({"kind": "deeplabv3", "output_stride": 4}, "8 or 16"),
        ({"kind": "manet", "attention": "scse"}, "'attention' is for unet and unetplusplus, not for manet"),
        ({"kind": "fpn", "hypercolumn": True}, "'hypercolumn' is for unet, manet and linknet, not for fpn"),
        ({"kind": "unetplusplus", "deep_supervision": True}, "'deep_supervision' is for unet, manet and linknet, not"),
        ({"kind": "dpt", "condition": {"column": "a", "values": ["b"]}}, "'condition' is for unet, .*, not for dpt"),
        ({"kind": "linknet", "upsample": "bilinear"}, "'upsample: bilinear' is for unet, .*, not for linknet"),
        ({"kind": "manet", "upsample": "pixel_shuffle"}, "'upsample: pixel_shuffle' is for unet, not for manet"),
        ({"kind": "pan", "multiple": 32}, "'multiple' of pan is one of 128"),
        ({"kind": "pspnet", "condition": {"column": "a", "values": ["b"]}}, "'condition' is for .*, not for pspnet"),
        ({"multiple": 48}, "'multiple' is a multiple of 32: .*; not 48"),
        ({"channels": ["presence:a"]}, "names that begin with presence: are of the classification head"),
        ({"condition": {"column": "a", "values": []}}, "at least 1"),
        ({"condition": {"column": "a", "values": ["b", "b"]}}, "the value 'b' is there twice"),
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
        ({"kind": "unet11", "channels": ["car"]}, "vgg11"),
        ({"kind": "unet16", "channels": ["car"]}, "vgg16"),
        ({"kind": "albunet34", "channels": ["car"]}, "resnet34"),
        ({"kind": "linknet34", "channels": ["car"]}, "resnet34"),
    ],
)
def test_the_encoder_has_a_name_in_timm(config: dict[str, object], encoder: str) -> None:
    assert ADAPTER.validate_python(config).encoder_name == encoder


def test_published_networks_say_what_they_cannot() -> None:
    with pytest.raises(ValidationError, match=r"'hypercolumn' is for .*, not for linknet34"):
        ADAPTER.validate_python({"kind": "linknet34", "channels": ["car"], "hypercolumn": True})
    with pytest.raises(ValidationError, match="no WideResNet-38"):
        ADAPTER.validate_python({"kind": "ternausnetv2", "channels": ["body"], "weights": "imagenet"})
    bands = ADAPTER.validate_python({"kind": "ternausnetv2", "channels": ["body", "border"]})
    assert (bands.in_channels, bands.weights, bands.stride) == (11, "none", 32)


def test_pan_pools_seven_times() -> None:
    assert ADAPTER.validate_python({**UNET, "kind": "pan"}).stride == 128
    assert ADAPTER.validate_python({**UNET, "kind": "pan", "multiple": 256}).stride == 256


def test_names_of_predicted_channels() -> None:
    plain, presence = ADAPTER.validate_python(UNET), ADAPTER.validate_python({**UNET, "presence": True})
    assert plain.outputs == ("body", "border")
    assert presence.outputs == ("body", "border", "presence:body", "presence:border")
    told = {"column": "angle", "values": [1, 2.5, "x"]}
    assert ADAPTER.validate_python({**UNET, "condition": told}).seen_channels == 6
    assert plain.seen_channels == 3
