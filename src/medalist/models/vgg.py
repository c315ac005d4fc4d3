"""The convolutional layers of VGG networks, and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medalist.errors import WeightsError
from medalist.models.inputs import adapted_input

VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg_features(stages: Sequence[Sequence[int]], in_channels: int) -> nn.Sequential:
    """Return the convolutional layers of a VGG (arXiv 1409.1556), numbered as torchvision numbers them.

    Each stage is conv, ReLU, …, and a max pool. The weights start from Kaiming's normal distribution with zero bias;
    with torch's default start a VGG hardly learns from scratch.
    """
    layers: list[nn.Module] = []
    width = in_channels
    for stage in stages:
        for out in stage:
            conv = nn.Conv2d(width, out, kernel_size=3, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # a bias is there by default
            layers += [conv, nn.ReLU(inplace=True)]
            width = out
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)


def vgg_state(name: str, state: Mapping[str, Tensor], in_channels: int = 3) -> dict[str, Tensor]:
    """Return the encoder's part of torchvision's (or timm's) state dict of the whole "vgg11" or "vgg16".

    The first convolution is adapted to `in_channels`, see `adapted_input`. Raises WeightsError, which names the
    first tensor that is missing or of another shape.
    """
    with torch.device("meta"):
        encoder = vgg_features(VGG11 if name.startswith("vgg11") else VGG16, in_channels=3)
    found = {}
    for key, want in encoder.state_dict().items():
        have = state.get(f"features.{key}")
        if have is None or have.shape != want.shape:
            there = "is missing" if have is None else f"is {tuple(have.shape)}"
            raise WeightsError(f"the weights do not fit {name}: features.{key} {there}, not {tuple(want.shape)}")
        found[key] = have
    found["0.weight"] = adapted_input(found["0.weight"], in_channels)
    return found
