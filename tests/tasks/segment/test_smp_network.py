"""All of smp's decoders: equal to smp's own networks, on encoders of every form, and with their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import segmentation_models_pytorch as smp  # type: ignore[import-untyped]
import timm
import torch
from torch import Tensor, nn

from medalist.errors import ConfigError
from medalist.models.weights import Resolved
from medalist.tasks.segment.features import ResizedFeatures, TokenFeatures, plain_features
from medalist.tasks.segment.model_settings import SmpConfig
from medalist.tasks.segment.network import build_model
from medalist.tasks.segment.outputs import SegmentOutputs, heads_of

THEIRS = {
    "unet": smp.Unet,
    "unetplusplus": smp.UnetPlusPlus,
    "fpn": smp.FPN,
    "linknet": smp.Linknet,
    "manet": smp.MAnet,
    "pan": smp.PAN,
    "pspnet": smp.PSPNet,
    "deeplabv3": smp.DeepLabV3,
    "deeplabv3plus": smp.DeepLabV3Plus,
    "upernet": smp.UPerNet,
    "segformer": smp.Segformer,
}
NARROW = {"unet", "unetplusplus", "manet"}
WIDTHS = {"fpn": 64, "pspnet": 32}
LEVELS = ("unet", "manet", "linknet")


def config_of(kind: str, encoder: str = "test_resnet", **options: Any) -> SmpConfig:
    narrow = {"decoder_channels": [32, 16, 16, 16, 16]} if kind in NARROW else {"width": WIDTHS.get(kind, 32)}
    given = {"kind": kind, "encoder": encoder, "channels": ["body", "border"], "weights": "none"}
    return SmpConfig.model_validate({**given, **narrow, **options})


def built(config: SmpConfig, seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(config)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("kind", THEIRS)
def test_equal_to_smps_own_network_to_the_last_bit(kind: str, encoder: str) -> None:
    dilated = {"encoder_output_stride"} if kind in ("deeplabv3", "deeplabv3plus", "pan") else set()
    if dilated and encoder == "test_convnext":
        pytest.skip("smp gives a convnext of stride 16 wrong sizes; it is refused there, and resized here")
    ours = built(SmpConfig(kind=kind, encoder=encoder, channels=("a", "b"), weights="none"))  # type: ignore[arg-type]
    torch.manual_seed(3)
    theirs = THEIRS[kind](f"tu-{encoder}", encoder_weights=None, classes=2)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    image = torch.randn(2, 3, 128, 128) if kind == "pan" else torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(ours.eval()(image), theirs.eval()(image))


def test_dpt_equals_smps_own_network() -> None:
    ours = built(SmpConfig(kind="dpt", encoder="test_vit", channels=("a", "b"), weights="none"))
    theirs = smp.DPT("tu-test_vit", encoder_weights=None, classes=2, dynamic_img_size=True)
    state = ours.state_dict()
    unused = set(theirs.state_dict()) - set(state)
    assert all(name.startswith(("encoder.model.norm.", "encoder.model.head.")) for name in unused)
    theirs.load_state_dict(state, strict=False)
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(ours.eval()(image), theirs.eval()(image))


ENCODERS = ("test_resnet", "test_convnext", "test_vit", "test_vit4", "test_nfnet", "test_mambaout", "test_byobnet")


@pytest.mark.parametrize("encoder", ENCODERS[:3])
@pytest.mark.parametrize("kind", [*THEIRS, "dpt"])
def test_every_decoder_learns_at_two_sizes(kind: str, encoder: str) -> None:
    network = build_model(config_of(kind, encoder))
    for height, width in ((64, 64), (96, 128)) if kind != "pan" else ((128, 128), (128, 256)):
        output = network(torch.randn(2, 3, height, width))
        assert output.shape == (2, 2, height, width)
        network.zero_grad()
        output.square().mean().backward()
        without = [name for name, p in network.named_parameters() if p.grad is None]
        assert not without, without


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS[3:])
@pytest.mark.parametrize("kind", THEIRS)
def test_every_decoder_with_other_encoders(kind: str, encoder: str) -> None:
    test_every_decoder_learns_at_two_sizes(kind, encoder)


def test_resized_features_come_at_the_usual_strides() -> None:
    vit = ResizedFeatures("test_vit", 3, 5, 32, {}).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        found = vit(image)
    assert [tuple(maps.shape[2:]) for maps in found] == [(64, 96), (32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert [maps.shape[1] for maps in found] == vit.out_channels == [3, 0, 64, 64, 64, 64]
    with torch.inference_mode():
        own = vit.model(image)[2]
    assert torch.equal(found[4], own)  # at its own stride nothing is resized


def test_patches_of_14_see_the_image_at_14_sixteenths() -> None:
    encoder = TokenFeatures("test_vit", 3, {"patch_size": 14}).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        features, tokens = encoder(image)
    assert features[0].shape[2:] == (4, 6)
    assert encoder.output_strides == [16] * 4
    assert tokens[0] is not None


def test_dilation_that_an_encoder_lacks_is_replaced_by_resizing() -> None:
    with pytest.raises(Exception):  # noqa: B017  # whatever timm says of the argument
        plain_features("test_vit", 3, 5, 16, {})
    network = build_model(config_of("deeplabv3plus", "test_vit"))
    assert isinstance(network.get_submodule("encoder"), ResizedFeatures)
    assert network.eval()(torch.zeros(1, 3, 32, 64)).shape == (1, 2, 32, 64)


@pytest.mark.parametrize("kind", LEVELS)
def test_levels_end_in_smps_own_map(kind: str) -> None:
    plain, seen = built(config_of(kind)), built(config_of(kind, deep_supervision=True))
    state = seen.state_dict()
    assert set(plain.state_dict()) < set(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state_dict().items())
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(plain.eval()(image), heads_of(seen.eval()(image)).maps)
        assert heads_of(seen(image)).deep == ()


@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext"])
@pytest.mark.parametrize("kind", LEVELS)
def test_all_heads_at_once(kind: str, encoder: str) -> None:
    told = {"column": "city", "values": ["vegas", "paris", "khartoum"]}
    options = {"hypercolumn": True, "deep_supervision": True, "presence": True, "condition": told}
    config = config_of(kind, encoder, **options)
    assert config.seen_channels == 6
    assert config.outputs == ("body", "border", "presence:body", "presence:border")
    network = build_model(config)
    found = network(torch.randn(2, 6, 64, 64))
    assert isinstance(found, SegmentOutputs)
    assert found.maps.shape == (2, 2, 64, 64)
    assert found.presence is not None and found.presence.shape == (2, 2)
    assert [maps.shape for maps in found.deep] == [(2, 2, 64, 64)] * 4
    total: Tensor = sum((maps.mean() for maps in found.deep), found.maps.mean() + found.presence.mean())
    total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("kind", [kind for kind in THEIRS if kind != "pspnet"])
def test_a_condition_changes_the_maps_and_zeros_are_a_value_of_their_own(kind: str) -> None:
    network = build_model(config_of(kind, condition={"column": "city", "values": ["vegas", "paris"]})).eval()
    image = torch.randn(1, 3, 128, 128)

    def told(*values: float) -> Tensor:
        planes = torch.tensor(values).view(1, 2, 1, 1).expand(1, 2, 128, 128)
        with torch.inference_mode():
            return network(torch.cat([image, planes], dim=1))  # type: ignore[no-any-return]

    vegas, paris, unknown = told(1, 0), told(0, 1), told(0, 0)
    assert not torch.allclose(vegas, paris) and not torch.allclose(vegas, unknown)


def test_hypercolumn_widens_the_head_alone() -> None:
    network = build_model(config_of("unet", hypercolumn=True, decoder_channels=[64] * 5))
    assert network.get_parameter("segmentation_head.0.weight").shape == (2, 320, 3, 3)


def test_pixel_shuffle_begins_as_nearest() -> None:
    plain, shuffled = built(config_of("unet")), built(config_of("unet", upsample="pixel_shuffle"))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected, found = plain.eval()(image), shuffled.eval()(image)
    assert torch.allclose(expected, found, atol=1e-5)
    shuffled.train()(torch.randn(2, 3, 64, 64)).mean().backward()
    assert all(p.grad is not None for p in shuffled.parameters())


@pytest.mark.parametrize("kind", ["unet", "unetplusplus", "manet", "fpn", "pan"])
def test_upsample(kind: str) -> None:
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        default, nearest, bilinear = (
            built(config_of(kind, **({} if up is None else {"upsample": up}))).eval()(image)
            for up in (None, "nearest", "bilinear")
        )
    assert torch.equal(default, bilinear if kind == "pan" else nearest)
    assert not torch.equal(nearest, bilinear)


@pytest.mark.parametrize(
    ("kind", "encoder", "says"),
    [
        ("unet", "test_resnet2", "is not in timm"),
        ("unet", "vit_small_patch16_18x2_224x", "is not in timm"),
    ],
)
def test_refusals_are_one_line(kind: str, encoder: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        build_model(config_of(kind, encoder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", ["unet", "dpt"])
def test_pretrained_weights_of_a_plain_transformer_arrive_whole(kind: str, channels: int, tmp_path: Path) -> None:
    donor = timm.create_model("test_vit", num_classes=7)
    state = {name: torch.rand_like(tensor) for name, tensor in donor.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "vit.safetensors")
    found = build_model(
        config_of(kind, "test_vit", in_channels=channels, weights="imagenet"),
        Resolved("test_vit", tmp_path / "vit.safetensors", "", "path"),
    ).state_dict()
    seen = 0
    for name, tensor in state.items():
        inner = [own for own in found if own.startswith("encoder.") and own.endswith(f"model.{name}")]
        if name == "patch_embed.proj.weight" and channels == 4:
            assert torch.allclose(found[inner[0]].sum(dim=1), tensor.sum(dim=1), atol=1e-4)
        elif inner:
            assert torch.equal(found[inner[0]], tensor), name
            seen += 1
        else:
            assert name.startswith(("norm.", "head.", "fc_norm.")), name
    assert seen > 60


FAMILIES = {
    "resnet18": "plain",
    "swinv2_cr_tiny_ns_224": "plain",
    "pvt_v2_b0": "plain",
    "efficientvit_m0": "resized",
    "vit_tiny_patch16_224": "resized",
    "hiera_tiny_224": "it is made for images of 224x224 alone",
    "halonet_h1": "cannot be used with unet",
    "inception_v3": "type model.multiple=64",
}
"""Members of some families; benchmarks/encoder_families.py tries one of each."""


@pytest.mark.slow
@pytest.mark.parametrize("encoder", FAMILIES)
def test_families_of_encoders(encoder: str) -> None:
    config, expected = config_of("unet", encoder), FAMILIES[encoder]
    if expected in ("plain", "resized"):
        network = build_model(config)
        assert isinstance(network.get_submodule("encoder"), ResizedFeatures) == (expected == "resized")
    else:
        with pytest.raises(ConfigError, match=expected) as error:
            build_model(config)
        assert "\n" not in str(error.value)
