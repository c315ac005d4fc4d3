from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.optim import Optimizer

from medalist.engine.optimizer import freeze, layers_of, make_optimizer, regroup, scaled_lr, train_mode, unfreeze
from medalist.engine.settings import TrainConfig
from medalist.errors import ConfigError
from medalist.models.backbone import build_encoder
from medalist.tasks.embed.model_settings import EmbedderConfig
from medalist.tasks.segment.model_settings import SmpConfig, TernausConfig
from medalist.tasks.segment.network import build_model

FAMILIES = {  # layers of the encoder of each family: its blocks and its stem
    "resnet34": 17,
    "resnet50d": 17,
    "tf_efficientnet_lite0": 17,
    "convnext_tiny": 19,
    "swin_tiny_patch4_window7_224": 13,
    "vit_tiny_patch16_224": 13,
    "regnety_002": 14,
    "mobilevit_s": 11,
    "vgg11": 8,
    "beit_base_patch16_224": 13,
}


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{"lr": 0.1, "weight_decay": 0.3, **settings})


def names_of(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def seen(model: nn.Module, name: str) -> Tensor:
    """A batch of random images, and one step's loss."""
    image = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(len(name)))
    loss: Tensor = model(image).square().mean()
    return loss


def step(model: nn.Module, optimizer: Optimizer, times: int = 1) -> None:
    for number in range(times):
        optimizer.zero_grad()
        seen(model, "x" * number).backward()
        optimizer.step()


def state(part: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(dict(part.state_dict()))


def moved(before: dict[str, Tensor], part: nn.Module) -> set[str]:
    return {name for name, value in part.state_dict().items() if not torch.equal(before[name], value)}


@pytest.mark.parametrize("encoder", FAMILIES)
def test_layers_follow_timms_own_groups(encoder: str) -> None:
    """Whatever timm puts into an earlier layer is not in a later one here."""
    with torch.device("meta"):
        model: Any = timm.create_model(encoder, pretrained=False, num_classes=0)
    names = names_of(model)
    ours = {
        name.removeprefix("encoder.body."): layer
        for name, layer in layers_of(["encoder.body." + n for n in names]).items()
    }
    assert max(ours.values()) + 1 == FAMILIES[encoder] == len(set(ours.values()))
    theirs = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    highest = -1
    for layer in sorted({theirs[name] for name in names}):
        members = [ours[name] for name in names if theirs[name] == layer]
        assert min(members) >= highest
        highest = max(highest, *members)
    assert abs(len({theirs[name] for name in names}) - FAMILIES[encoder]) <= 1


@pytest.mark.parametrize(
    "encoder", ["resnet34", "tf_efficientnet_lite0", "convnext_tiny", "swin_tiny_patch4_window7_224"]
)
def test_features_have_the_layers_of_the_classifier(encoder: str) -> None:
    """Names differ (`stages_0` for `stages.0`), depths do not; this is so for both kinds of encoders of ours."""
    network = build_model(SmpConfig(kind="unet", encoder=encoder, weights="none", channels=("a",)))
    features = layers_of([name for name in names_of(network) if name.startswith("encoder.")])
    with torch.device("meta"):
        plain = layers_of(names_of(timm.create_model(encoder, num_classes=0)))
    for name, layer in features.items():
        same = name.removeprefix("encoder.model.")
        for stage in ("stages_", "layers_", "stem_"):
            same = same.replace(stage, stage[:-1] + ".")
        assert plain[same] == layer
    assert len(set(features.values())) == FAMILIES[encoder]


def test_layers_of_the_other_encoders() -> None:
    ternaus = build_model(TernausConfig(kind="ternausnet11", weights="none", channels=("a",), filters=1))
    found = layers_of([name for name in names_of(ternaus) if name.startswith("encoder.")])
    assert list(found.values()) == [layer for layer in range(8) for _ in ("weight", "bias")]
    vit = build_encoder(EmbedderConfig(encoder="test_vit", weights="none", dim=8), (96, 64), None)
    layers = layers_of(names_of(vit))
    assert layers["body.patch_embed.proj.weight"] == layers["body.pos_embed"] == 0
    assert [layers[f"body.blocks.{number}.mlp.fc1.weight"] for number in range(6)] == [1, 2, 3, 4, 5, 6]
    assert layers["body.norm.weight"] == 6


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["weight"], [0]),
        (["a.weight", "a.bias", "b.weight"], [0, 0, 1]),
        (["stem.conv.weight", "stem.norm.weight"], [0, 1]),
        (["layer1.0.conv1.weight", "layer1.1.conv1.weight", "layer2.0.downsample.0.weight"], [0, 1, 2]),
        (["s.0.blocks.0.a.weight", "s.1.down.0.weight", "s.1.blocks.0.a.weight", "norm.bias"], [0, 1, 1, 1]),
        (["f.5.conv.weight", "f.6.branch1.0.conv.weight", "f.6.branch2.0.conv.weight"], [0, 1, 1]),
        (["f.denseblock1.denselayer1.norm1.weight", "f.transition1.norm.weight", "f.norm5.weight"], [0, 1, 1]),
    ],
)
def test_layers_by_hand(names: list[str], expected: list[int]) -> None:
    assert list(layers_of(names).values()) == expected


def test_rates_fall_towards_the_input(network: Any) -> None:
    model = nn.Module()
    model.encoder = nn.ModuleDict({"stem": nn.Conv2d(3, 4, 3), "blocks": nn.Sequential(network(), network())})
    model.head = nn.Linear(2, 2)
    made = make_optimizer(model, config(encoder_lr=0.5, layer_decay=0.5))
    rates = {
        id(value): (group["lr"], group["weight_decay"]) for group in made.param_groups for value in group["params"]
    }
    expected = {
        "encoder.stem.weight": (0.1 * 0.5 * 0.25, 0.3),
        "encoder.blocks.0.encoder.0.weight": (0.1 * 0.5 * 0.5, 0.3),
        "encoder.blocks.0.decoder.2.bias": (0.1 * 0.5 * 0.5, 0),
        "encoder.blocks.1.encoder.0.weight": (0.1 * 0.5, 0.3),
        "encoder.blocks.1.encoder.1.weight": (0.1 * 0.5, 0),
        "head.weight": (0.1, 0.3),
        "head.bias": (0.1, 0),
    }
    for name, rate in expected.items():
        assert rates[id(model.get_parameter(name))] == pytest.approx(rate)
    assert len(rates) == len(names_of(model)) == sum(len(group["params"]) for group in made.param_groups)
    assert len(make_optimizer(model, config(encoder_lr=0.5)).param_groups) == 4


@pytest.mark.parametrize(
    ("rule", "factor"), [("none", 1), ("sqrt", math.sqrt(8)), ("linear", 8)], ids=["none", "sqrt", "linear"]
)
def test_rates_on_several_processes(rule: Any, factor: float, network: Any) -> None:
    chosen = config(lr_scale=rule, encoder_lr=0.5)
    assert scaled_lr(chosen, 8) == pytest.approx(0.1 * factor)
    assert scaled_lr(chosen, 1) == 0.1
    rates = {group["lr"] for group in make_optimizer(network(), chosen, processes=8).param_groups}
    assert sorted(rates) == pytest.approx([0.05 * factor, 0.1 * factor])


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_frozen_encoder_rests_and_then_learns(kind: Any, network: Any) -> None:
    torch.manual_seed(0)
    model, chosen = network(), config(optimizer=kind, lr=0.01, layer_decay=0.5)
    before = state(model)
    names = freeze(model)
    assert names == tuple(name for name in names_of(model) if name.startswith("encoder."))
    optimizer = make_optimizer(model, chosen)
    train_mode(model, frozen=True)
    assert model.decoder.training and not model.encoder.training
    step(model, optimizer, 3)
    assert moved(before, model) == {"decoder.2.weight", "decoder.2.bias"}, "neither weights nor statistics of norms"

    unfreeze(model, names)
    made = regroup(optimizer, model, chosen)
    assert {id(value) for group in made.param_groups for value in group["params"]} == {
        id(value) for value in model.parameters()
    }
    train_mode(model, frozen=False)
    before = state(model)
    step(model, made)
    still = set(before) - moved(before, model)
    assert still <= {"encoder.0.bias"}, "all weights, and the statistics of norms; a norm takes this bias away again"


def test_to_require_gradients_again_is_not_enough(network: Any) -> None:
    """The mistake that `regroup` is there for: the optimiser was told of the decoder alone."""
    model = network()
    names = freeze(model)
    optimizer = make_optimizer(model, config(optimizer="sgd"))
    unfreeze(model, names)
    before = state(model)
    step(model, optimizer)
    assert {name for name in moved(before, model) if "encoder.0" in name} == set()
    assert model.get_parameter("encoder.0.weight").grad is not None


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_what_the_head_has_learned_to_do_goes_on(kind: Any, network: Any) -> None:
    """After the regrouping the head moves as under the former optimiser, bit for bit, given the same gradients."""
    torch.manual_seed(0)
    model, chosen = network(dropout=0.0), config(optimizer=kind, lr=0.01)
    names = freeze(model)
    optimizer = make_optimizer(model, chosen)
    step(model, optimizer, 3)
    twin = copy.deepcopy(model)
    old = make_optimizer(twin, chosen)
    old.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    kept = {id(value): copy.deepcopy(optimizer.state[value]) for value in model.decoder.parameters()}
    unfreeze(model, names)
    made = regroup(optimizer, model, chosen)
    for value in model.decoder.parameters():
        assert made.state[value].keys() == kept[id(value)].keys()
        for name, known in kept[id(value)].items():
            assert torch.equal(torch.as_tensor(made.state[value][name]), torch.as_tensor(known))
    assert not any(value in made.state for value in model.encoder.parameters())
    step(model, made)
    step(twin, old)
    for mine, other in zip(model.decoder.parameters(), twin.decoder.parameters(), strict=True):
        assert torch.equal(mine, other)
    fresh = make_optimizer(model, chosen)
    fresh.load_state_dict(made.state_dict())
    assert len(fresh.state) == len(names_of(model)), "the state goes on in a resumed training"


def test_what_never_learned_stays_so(network: Any) -> None:
    model = network()
    model.get_parameter("encoder.0.bias").requires_grad_(False)
    unfreeze(model, freeze(model))
    assert [name for name, value in model.named_parameters() if not value.requires_grad] == ["encoder.0.bias"]


def test_a_network_without_an_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no encoder to freeze; type train\.freeze=0"):
        freeze(nn.Linear(2, 2))
