from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from medalist.errors import ConfigError, WeightsError
from medalist.models.states import load_state
from medalist.models.vgg import VGG11, vgg_features
from medalist.models.weights import Resolved, find_weights
from medalist.tasks.segment.model_settings import LinkNetConfig, SmpConfig, TernausConfig, TernausV2Config
from medalist.tasks.segment.network import build_model, normalisation

LITE0 = "tf_efficientnet_lite0"
KINDS = ("unet", "unetplusplus", "fpn", "linknet")


def smp_config(**options: object) -> SmpConfig:
    return SmpConfig.model_validate({"kind": "unet", "encoder": LITE0, "channels": ["body", "border"], **options})


def encoder_of(network: nn.Module) -> nn.Module:
    encoder = network.get_submodule("encoder.model")
    return encoder.eval()


def saved(path: Path, state: dict[str, torch.Tensor]) -> Resolved:
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return Resolved("test", path, "", "path")


@pytest.fixture(scope="module")
def lite0() -> Iterator[Resolved]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDALIST_WEIGHTS", "/nonexistent")
        patch.setenv("MEDALIST_OFFLINE", "1")
        yield find_weights(LITE0)


@pytest.mark.parametrize("in_channels", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_have_the_size_of_the_input(kind: str, in_channels: int, lite0: Resolved) -> None:
    network = build_model(smp_config(kind=kind, in_channels=in_channels), lite0)
    assert network.training
    output = network(torch.zeros(2, in_channels, 32, 64))
    assert output.shape == (2, 2, 32, 64)
    assert output.dtype == torch.float32


@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext", "test_vit4", "resnet18.tv_in1k"])
def test_other_families(encoder: str) -> None:
    config = smp_config(encoder=encoder, weights="none")
    assert build_model(config).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_decoder_options() -> None:
    config = smp_config(encoder="test_resnet", decoder_channels=[32, 16, 16, 16, 20], attention="scse")
    network = build_model(config)
    assert any("attention" in name for name, _ in network.named_modules())
    assert network.get_parameter("segmentation_head.0.weight").shape[1] == 20
    fpn = build_model(smp_config(kind="fpn", encoder="test_resnet", dropout=0.7))
    assert 0.7 in {module.p for module in fpn.modules() if isinstance(module, nn.Dropout2d)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_holds_every_pretrained_tensor(kind: str, lite0: Resolved) -> None:
    ours = encoder_of(build_model(smp_config(kind=kind), lite0)).state_dict()
    theirs = list(load_state(lite0.path).values())
    assert len(ours) == 288  # 296 without the classifier's head
    for mine, other in zip(ours.values(), theirs, strict=False):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_a_timm_state_arrives_whole_under_the_names_of_features(encoder: str, tmp_path: Path) -> None:
    donor = timm.create_model(encoder, num_classes=7)
    for number, tensor in enumerate(donor.state_dict().values()):
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(number)) + 0.5)
    network = build_model(smp_config(encoder=encoder), saved(tmp_path / "a.safetensors", donor.state_dict()))
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = donor.eval().forward_intermediates(image, intermediates_only=True)[-1]
        got = encoder_of(network)(image)[-1]
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert not any("state_dict" in getattr(m, "pretrained_cfg", {}) for m in network.modules())


@pytest.fixture(scope="module")
def gray_as_three(lite0: Resolved) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A gray image, and what the pretrained encoder makes of three such channels."""
    gray = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return gray, encoder_of(build_model(smp_config(), lite0))(gray.expand(1, 3, 64, 64))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 11])
def test_gray_input_of_an_adapted_encoder_equals_three_equal_channels(
    count: int, lite0: Resolved, gray_as_three: tuple[torch.Tensor, list[torch.Tensor]]
) -> None:
    gray, three = gray_as_three
    with torch.inference_mode():
        other = encoder_of(build_model(smp_config(in_channels=count), lite0))(gray.expand(1, count, 64, 64))
    for a, b in zip(three, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        ("resnet43", "encoder 'resnet43' is not in timm .*; did you mean resnet34"),
        ("hf-hub:timm/resnet34", "is not in timm"),
        ("tu-resnet34", "write timm's own name, 'resnet34'"),
        ("resnet34.tv_in2k", "resnet34 has no weights 'tv_in2k'; did you mean resnet34.tv_in1k?"),
        ("inception_v3", "encoder 'inception_v3' cannot be used with unet"),
        ("coat_lite_tiny", "encoder 'coat_lite_tiny' cannot be used with unet"),
    ],
)
def test_encoders_that_do_not_serve_are_one_line(encoder: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        build_model(smp_config(encoder=encoder))
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused_not_left_random(tmp_path: Path, lite0: Resolved) -> None:
    with pytest.raises(WeightsError, match=r"weights hold 296 tensors, encoder 'tf_efficientnet_lite1' has"):
        build_model(smp_config(encoder="tf_efficientnet_lite1"), lite0)
    state = dict(timm.create_model("test_resnet").state_dict())
    other = saved(tmp_path / "other.safetensors", state)
    with pytest.raises(WeightsError, match="do not fit encoder 'test_efficientnet'"):
        build_model(smp_config(encoder="test_efficientnet"), other)
    del state["layer1.0.conv1.weight"]
    part = saved(tmp_path / "part.safetensors", state)
    with pytest.raises(WeightsError, match=r"part.safetensors: .*Missing key.*layer1.0.conv1.weight") as error:
        build_model(smp_config(encoder="test_resnet"), part)
    assert "\n" not in str(error.value)


def test_tensors_by_order_must_agree_in_shape_and_kind(tmp_path: Path, lite0: Resolved) -> None:
    state = load_state(lite0.path)
    names = list(state)
    swapped = {**state, names[1]: state[names[6]]}
    torch.save(swapped, tmp_path / "swapped.pth")
    with pytest.raises(WeightsError, match=r"found .*_bn0.weight \(32, 1, 3, 3\), expected bn1.weight \(32,\)"):
        build_model(smp_config(), Resolved(LITE0, tmp_path / "swapped.pth", "", "path"))
    order = [
        names[0],
        names[2],
        names[1],
        *names[3:],
    ]  # weight and bias of a norm: one shape, another meaning
    torch.save({name: state[name] for name in order}, tmp_path / "order.pth")
    with pytest.raises(WeightsError, match=r"_bn0.bias .*, expected bn1.weight"):
        build_model(smp_config(), Resolved(LITE0, tmp_path / "order.pth", "", "path"))


def test_normalisation_is_that_of_the_weights() -> None:
    assert normalisation(smp_config()) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    resnet = normalisation(smp_config(encoder="resnet34"))
    assert resnet == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert normalisation(TernausConfig(kind="ternausnet11", channels=("car",))) == resnet
    mean, std = normalisation(smp_config(encoder="resnet34", in_channels=1))
    assert mean == pytest.approx((0.449,))
    assert std == pytest.approx((0.226,))
    assert normalisation(smp_config(encoder="resnet34", in_channels=5))[0] == (
        0.485,
        0.456,
        0.406,
        0.485,
        0.456,
    )


def test_ternausnet_takes_the_features_of_a_vgg(tmp_path: Path) -> None:
    donor = vgg_features(VGG11, in_channels=3)
    state = {f"features.{name}": tensor for name, tensor in donor.state_dict().items()}
    config = TernausConfig(kind="ternausnet11", channels=("car",), filters=1)
    network = build_model(config, saved(tmp_path / "vgg11.safetensors", state))
    for name, tensor in donor.state_dict().items():
        assert torch.equal(network.state_dict()[f"encoder.{name}"], tensor)
    assert torch.equal(network.state_dict()["conv5.weight"], donor.state_dict()["18.weight"])
    gray = config.model_copy(update={"in_channels": 1})
    one = build_model(gray, Resolved("vgg11", tmp_path / "vgg11.safetensors", "", "path"))
    assert torch.allclose(one.state_dict()["conv1.weight"], donor.state_dict()["0.weight"].sum(1, keepdim=True))

    sixteen = TernausConfig(kind="ternausnet16", channels=("car",), filters=1)
    with pytest.raises(WeightsError, match=r"vgg11.safetensors: the weights do not fit vgg16: features.2.weight"):
        build_model(sixteen, Resolved("vgg16", tmp_path / "vgg11.safetensors", "", "path"))


def test_the_seed_decides_what_is_random(lite0: Resolved) -> None:
    def head(seed: int, weights: Resolved | None) -> torch.Tensor:
        torch.manual_seed(seed)
        return build_model(smp_config(kind="linknet"), weights).get_parameter("segmentation_head.0.weight")

    assert torch.equal(head(1, lite0), head(1, lite0))
    assert not torch.equal(head(1, lite0), head(2, lite0))


def digest(network: nn.Module) -> str:
    """A hash of names, shapes and values of all tensors of a network."""
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(f"{name} {tuple(tensor.shape)} ".encode() + tensor.numpy().tobytes())
    return found.hexdigest()[:16]


EARLIER = {
    "ternausnet11": "161ff120fe524619",
    "ternausnet16": "7fbe2c8c6336504e",
}
"""The digests of networks that were built before these were data after seed 7."""


@pytest.mark.parametrize("kind", EARLIER)
def test_names_and_random_weights_of_earlier_versions(kind: str) -> None:
    torch.manual_seed(7)
    network = build_model(TernausConfig.model_validate({"kind": kind, "channels": ["a"], "filters": 2}))
    assert digest(network) == EARLIER[kind]


def test_a_whole_checkpoint_with_the_published_names(tmp_path: Path) -> None:
    """As the publication saves them: below "model", with names of nn.DataParallel, and the epoch beside."""
    config = TernausConfig(kind="ternausnet11", channels=("car",), filters=1)
    donor = build_model(config)
    content = {"model": {f"module.{name}": value for name, value in donor.state_dict().items()}, "epoch": 3}
    torch.save(content, tmp_path / "whole.pt")
    resolved = Resolved("vgg11", tmp_path / "whole.pt", "", "path")
    found = build_model(config, resolved).state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in donor.state_dict().items())
    two = config.model_copy(update={"channels": ("car", "wheel")})
    with pytest.raises(WeightsError, match=r"whole.pt: .*final.weight is \(1, 1, 1, 1\), not \(2, 1, 1, 1\)"):
        build_model(two, resolved)
    sixteen = TernausConfig(kind="ternausnet16", channels=("car",), filters=1)
    with pytest.raises(WeightsError, match=r"whole.pt: .* it has no tensor encoder.3.weight, nor"):
        build_model(sixteen, resolved)


@pytest.mark.parametrize("own_names", [True, False])
def test_a_whole_checkpoint_of_smp(own_names: bool, tmp_path: Path) -> None:
    config = smp_config(encoder="resnet18", decoder_channels=[16, 8, 4, 4, 4], weights="none")
    state = build_model(config).state_dict()
    if not own_names:  # as smp's encoder "resnet18", which is not timm's
        state = {name.replace("encoder.model.", "encoder."): tensor for name, tensor in state.items()}
    resolved = saved(tmp_path / "unet.safetensors", state)
    found = build_model(config, resolved).state_dict()
    assert all(torch.equal(tensor, found[name if own_names else _longer(name)]) for name, tensor in state.items())
    four = build_model(config.model_copy(update={"in_channels": 4}), resolved)
    first = four.get_parameter("encoder.model.conv1.weight")
    assert torch.allclose(first.sum(dim=1), found["encoder.model.conv1.weight"].sum(dim=1), atol=1e-5)
    with pytest.raises(WeightsError, match=r"unet.safetensors: .*has no tensor|is missing|is \("):
        build_model(smp_config(encoder="resnet18", kind="fpn", weights="none"), resolved)


def _longer(name: str) -> str:
    return name.replace("encoder.", "encoder.model.", 1)


def test_resnet_encoders_of_published_networks(tmp_path: Path) -> None:
    donor = timm.create_model("resnet34")
    resolved = saved(tmp_path / "resnet34.safetensors", donor.state_dict())
    for config in (
        TernausConfig(kind="albunet34", channels=("a",), filters=1, in_channels=4),
        LinkNetConfig(kind="linknet34", channels=("a",), in_channels=4),
    ):
        found = build_model(config, resolved).state_dict()
        for name, tensor in donor.state_dict().items():
            if name == "conv1.weight":
                assert torch.allclose(found[f"encoder.{name}"].sum(dim=1), tensor.sum(dim=1), atol=1e-5)
            elif not name.startswith("fc."):
                assert torch.equal(found[f"encoder.{name}"], tensor)
    with pytest.raises(WeightsError, match="ternausnetv2 takes the weights of a whole network"):
        build_model(TernausV2Config(kind="ternausnetv2", channels=("a",), filters=1), resolved)
