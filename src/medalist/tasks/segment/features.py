"""Feature maps of timm's encoders at the strides that decoders expect, also where an encoder gives others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from segmentation_models_pytorch.encoders import TimmUniversalEncoder  # type: ignore[import-untyped]
from segmentation_models_pytorch.encoders.timm_vit import TimmViTEncoder  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medalist.tasks.segment.heads import resized

FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError, ImportError)
"""What timm and smp raise where an encoder does not take its arguments or its input."""

_STRIDES = (4, 8, 16, 32)

_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""The arguments with which timm's transformers take images of any size; the first that an encoder knows is used."""


def plain_features(
    name: str, in_channels: int, depth: int, output_stride: int, options: Mapping[str, Any]
) -> nn.Module:
    """Return smp's encoder over timm: maps at strides 1, 2, 4, … of an encoder that has them.

    depth: the number of times that the maps are halved. output_stride: the greatest stride; below 32 the last stages
    are dilated. options: arguments of `timm.create_model`. Raises one of FAILURES where the encoder has other strides.
    """
    any_size = {"strict_img_size": False} if name.startswith("swin") else {}  # their windows are padded
    pretrained = "pretrained_cfg_overlay" in options
    made: nn.Module = TimmUniversalEncoder(name, pretrained, in_channels, depth, output_stride, **any_size, **options)
    return made


class ResizedFeatures(nn.Module):
    """A timm encoder whose features are resized to strides 4, 8, 16 and 32, for those that come at other strides.

    The features are the last ones of the up to four last strides. Where all have one stride, as in a plain vision
    transformer, they are those of four blocks at equal distances. Where there are fewer than four, the first is used
    again. A patch of 14 pixels would not divide the strides, so such an encoder sees its image at 14/16 of its size.
    """

    def __init__(self, name: str, in_channels: int, depth: int, output_stride: int, options: Mapping[str, Any]):
        """The arguments are those of `plain_features`."""
        super().__init__()
        self.name = name
        self.strides = [min(stride, output_stride) for stride in _STRIDES[: depth - 1]]
        indices, self.patch = _chosen(name)
        self.model = _any_size(
            name,
            features_only=True,
            out_indices=indices,
            in_chans=in_channels,
            pretrained="pretrained_cfg_overlay" in options,
            **options,
        )
        self.last = getattr(self.model, "output_fmt", None) == "NHWC"
        widths: list[int] = self.model.feature_info.channels()  # type: ignore[operator, union-attr]
        self.out_channels = [in_channels, 0, *_spread(widths, len(self.strides))]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the image, maps without channels at stride 2, and the resized features."""
        height, width = image.shape[-2:]
        features = self.model(scaled(image, self.patch))
        if self.last:
            features = [maps.permute(0, 3, 1, 2) for maps in features]
        empty = image.new_empty((len(image), 0, height // 2, width // 2))
        found = [image, empty]
        for maps, stride in zip(_spread(features, len(self.strides)), self.strides, strict=True):
            size = (height // stride, width // stride)
            found.append(maps if maps.shape[-2:] == size else resized(maps, size))
        return found


class TokenFeatures(TimmViTEncoder):  # type: ignore[misc]  # smp has no types
    """smp's encoder for its decoder `dpt`, which takes images of any size and has no layers that are never used."""

    def __init__(self, name: str, in_channels: int, options: Mapping[str, Any]):
        """`options` are arguments of `timm.create_model`."""
        pretrained = "pretrained_cfg_overlay" in options
        for any_size in _ANY_SIZE:
            try:
                super().__init__(name, pretrained, in_channels, num_classes=0, **any_size, **options)
                break
            except TypeError as error:
                if not any_size or not all(key in str(error) for key in any_size):
                    raise
        if hasattr(self.model, "prune_intermediate_layers"):
            self.model.prune_intermediate_layers(self._output_indices, prune_norm=True)
        strides: list[int] = list(self.output_strides)  # type: ignore[has-type]  # smp has no types
        self.patch = strides[0]
        self.output_strides = [_power(self.patch) if stride == self.patch else stride for stride in strides]

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor | None]]:
        """Return the features of four blocks and their class tokens."""
        found: tuple[list[Tensor], list[Tensor | None]] = super().forward(scaled(image, self.patch))
        return found


def scaled(image: Tensor, patch: int) -> Tensor:
    """Return an image float[B, C, h, w] whose patches divide it: a patch of 14 pixels becomes one of 16."""
    even = _power(patch)
    if even == patch:
        return image
    size = [side * patch // even for side in image.shape[-2:]]
    return interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def _any_size(name: str, **options: Any) -> nn.Module:
    """Build a timm network that takes images of any size, if it can."""
    for any_size in _ANY_SIZE:
        try:
            made: nn.Module = timm.create_model(name, **any_size, **options)
        except TypeError as error:
            if not any_size or not all(key in str(error) for key in any_size):
                raise
        else:
            return made
    raise AssertionError("the last arguments are none")


def _chosen(name: str) -> tuple[tuple[int, ...], int]:
    """Return the numbers of the features that are used, and the stride of the first.

    Raises AttributeError where the network says nothing of its features.
    """
    try:
        with torch.device("meta"):
            plain: Any = timm.create_model(name)
    except FAILURES:  # some networks compute with values while they are built
        plain = timm.create_model(name)
    strides = [int(info["reduction"]) for info in plain.feature_info]
    if len(set(strides)) == 1:
        count = min(4, len(strides))
        return tuple(len(strides) * part // count - 1 for part in range(1, count + 1)), strides[0]
    last = {stride: number for number, stride in enumerate(strides) if stride > 1}
    indices = sorted(last.values())[-4:]
    return tuple(indices), strides[indices[0]]


def _spread(found: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of these features: the last ones where there are more, the first again where there are fewer."""
    return [*[found[0]] * (count - len(found)), *found[max(0, len(found) - count) :]]


def _power(patch: int) -> int:
    """Return the smallest power of two that is not below `patch`."""
    return 1 << (patch - 1).bit_length()
