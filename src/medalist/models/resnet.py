"""The convolutional layers of ResNet-34 as modules by their own names, and their weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import timm
from torch import Tensor, nn

from medalist.errors import WeightsError
from medalist.models.encoders import fitted_state
from medalist.models.inputs import adapted_input

RESNET34 = "resnet34"
WIDTHS = (64, 64, 128, 256, 512)
"""The channels after the first convolution and after each of the four layers."""


def resnet_features(in_channels: int) -> nn.Sequential:
    """Return `conv1`, `bn1`, `act1` and `layer1` … `layer4` of timm's ResNet-34 (arXiv 1512.03385).

    The weights are random. The max pool after `act1` is left out, because networks differ in it.
    """
    made = timm.create_model(RESNET34, num_classes=0, in_chans=in_channels)
    names = ("conv1", "bn1", "act1", "layer1", "layer2", "layer3", "layer4")
    return nn.Sequential(OrderedDict((name, made.get_submodule(name)) for name in names))


def resnet_state(state: Mapping[str, Tensor], in_channels: int) -> dict[str, Tensor]:
    """Return the part of `resnet_features` of a state dict of the whole ResNet-34, of timm or torchvision.

    The first convolution is adapted to `in_channels`, see `adapted_input`. Raises WeightsError, which names the first
    tensor that is missing or of another shape.
    """
    found = {name: tensor for name, tensor in fitted_state(RESNET34, state).items() if not name.startswith("fc.")}
    try:
        found["conv1.weight"] = adapted_input(found["conv1.weight"], in_channels)
    except KeyError as error:
        raise WeightsError("the weights do not fit resnet34: conv1.weight is missing") from error
    return found
