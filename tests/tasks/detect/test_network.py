from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from medalist.errors import ConfigError
from medalist.models.weights import encoder_weights
from medalist.tasks.detect.model_settings import (
    AlignedConfig,
    FcosConfig,
    ModelConfig,
    RetinaConfig,
)
from medalist.tasks.detect.network import build_model, build_network, build_normalisation
from medalist.tasks.detect.outputs import places_of
from medalist.tasks.detect.pyramid import Pyramid

TINY = {"encoder": "test_resnet", "weights": "none", "width": 32}
EACH = [
    AlignedConfig(kind="aligned", depth=0, finest=4, coarsest=64, bins=4, **TINY),
    AlignedConfig(kind="aligned", depth=1, neck="fpn", in_channels=1, **TINY),
    FcosConfig(kind="fcos", depth=1, **TINY),
    RetinaConfig(kind="retinanet", ratios=(1.0, 2.0), scales=(4.0,), **TINY),
]


@pytest.mark.parametrize("config", EACH, ids=lambda config: f"{config.kind}-{config.finest}-{config.coarsest}")
def test_a_network_speaks_of_each_place(config: ModelConfig) -> None:
    network = build_model(config, 3).eval()
    with torch.inference_mode():
        outputs = network(torch.zeros(2, config.in_channels, 64, 96))
    places = places_of((64, 96), config.strides, torch.device("cpu"), outputs.shapes)
    count = sum(places.levels)
    assert outputs.scores.shape == (2, count, 3)
    assert outputs.sides.shape[:2] == (2, count)
    assert float(outputs.scores.sigmoid().max()) < 0.05  # nothing is seen before the training


def test_the_strides_of_levels_double() -> None:
    assert EACH[0].strides == (4, 8, 16, 32, 64) and EACH[1].strides == (8, 16, 32)
    assert EACH[2].strides == (8, 16, 32, 64, 128)


def test_random_weights_depend_on_the_seed_and_the_fold(settings_of) -> None:  # type: ignore[no-untyped-def]
    def weights(fold: int) -> Tensor:
        return build_network(settings_of(), None, fold, 3).head.scores.weight  # type: ignore[union-attr,return-value]

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))
    assert build_normalisation(settings_of()).mean == (0.5, 0.5, 0.5)
    assert build_normalisation(settings_of("model.weights=imagenet", "model.encoder=resnet18")).mean != (0.5, 0.5, 0.5)


def test_an_encoder_without_such_maps_is_refused() -> None:
    with pytest.raises(ConfigError, match="'test_vit' has no feature maps at the strides") as caught:
        build_model(AlignedConfig(kind="aligned", encoder="test_vit", weights="none"), 2)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="is not in timm"):
        build_model(AlignedConfig(kind="aligned", encoder="resnet35", weights="none"), 2)


def test_frozen_norms_stay_as_they_were_pretrained(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model("test_resnet")
    for value in whole.state_dict().values():
        if value.ndim == 1:
            value.uniform_(0.5, 1.5)
    save_file(whole.state_dict(), tmp_path / "some.safetensors")
    weights = encoder_weights("test_resnet", str(tmp_path / "some.safetensors"))
    config = AlignedConfig(kind="aligned", encoder="test_resnet", weights="some", norm="frozen", width=8, depth=0)
    network = build_model(config, 2, weights)
    learning = build_model(config.model_copy(update={"norm": "batch"}), 2, weights)
    image = torch.rand(2, 3, 64, 64)
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    expected = learning.eval().encoder(image)
    for one, other in zip(network.train().encoder(image), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    sum(level.sum() for level in network.encoder(image)).backward()
    optimizer.step()
    after = network.encoder.state_dict()
    norms = [name for name, value in before.items() if value.ndim == 1]
    assert any("running_mean" in name for name in norms)
    assert all(torch.equal(before[name], after[name]) for name in norms)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_norms_that_cannot_be_frozen_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'test_convnext' has no batch norms to freeze; type model.norm=batch"):
        build_model(AlignedConfig(kind="aligned", encoder="test_convnext", norm="frozen"), 2)
    with pytest.raises(ValueError, match="norm: frozen keeps pretrained batch norms"):
        AlignedConfig(kind="aligned", encoder="test_resnet", weights="none", norm="frozen")


def test_every_level_hears_of_every_map() -> None:
    config = AlignedConfig(kind="aligned", encoder="x", width=8, coarsest=64)
    neck = Pyramid((4, 6, 8), config, back=True)
    maps = [torch.rand(1, width, 64 // 2**at, 64 // 2**at, requires_grad=True) for at, width in enumerate((4, 6, 8))]
    for level in neck(maps):
        grads = torch.autograd.grad(level.sum() + level.square().sum(), maps, retain_graph=True)
        assert all(float(grad.abs().sum()) > 0 for grad in grads)
    assert [level.shape[-1] for level in neck(maps)] == [64, 32, 16, 8]
