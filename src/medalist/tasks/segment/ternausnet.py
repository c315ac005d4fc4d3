"""The U-Nets of TernausNet's authors as data: TernausNet-11 and -16, their variants, AlbuNet-34, TernausNetV2.

They keep the published names of their weights. Some of these name a part of the encoder a second time: `encoder.0` (as
in torchvision) and `conv1`, say. Both names share one storage, so a state dict lists each of these tensors twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from medalist.models import resnet, wide_resnet
from medalist.models.vgg import VGG11, VGG16, vgg_features
from medalist.tasks.segment.heads import Headed, joined
from medalist.tasks.segment.model_settings import TernausConfig, TernausV2Config
from medalist.tasks.segment.outputs import SegmentOutputs

Up = Literal["transposed3", "transposed4", "bilinear", "nearest"]


@dataclass(frozen=True)
class Shape:
    """How one of these networks differs from the others."""

    encoder: Literal["vgg11", "vgg16", "resnet34", "wide_resnet38"]
    """The encoder."""

    up: Up
    """How a block doubles its maps: a transposed convolution with a kernel of 3 or 4, or interpolation."""

    middle: tuple[int, ...]
    """Inner widths of the blocks `center`, `dec5`, `dec4`, …, as multiples of `filters`."""

    out: tuple[int, ...]
    """Output widths of these blocks, as multiples of `filters`."""

    single: bool = False
    """Whether the published names of the encoder's stages are of single convolutions."""


SHAPES = {
    "ternausnet11": Shape("vgg11", "transposed3", (16, 16, 16, 8, 4), (8, 8, 4, 2, 1), single=True),
    "ternausnet16": Shape("vgg16", "bilinear", (16, 16, 16, 8, 4), (8, 8, 8, 2, 1)),
    "unet11": Shape("vgg11", "transposed4", (16, 16, 16, 8, 4), (8, 8, 4, 2, 1)),
    "unet16": Shape("vgg16", "transposed4", (16, 16, 16, 8, 4), (8, 8, 8, 2, 1)),
    "albunet34": Shape("resnet34", "bilinear", (16, 16, 16, 8, 4, 4), (8, 8, 8, 2, 4, 1)),
    "ternausnetv2": Shape("wide_resnet38", "nearest", (8, 8, 8, 2, 2), (8, 8, 8, 2, 1)),
}


class ConvRelu(nn.Module):
    """A 3×3 convolution and a ReLU: float[B, in, h, w] -> float[B, out, h, w]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(conv(x))."""
        return functional.relu(self.conv(x), inplace=True)


class DecoderBlock(nn.Module):
    """A block of the decoder: [B, in, h, w] -> [B, out, 2h, 2w]."""

    def __init__(self, up: Up, in_channels: int, middle: int, out_channels: int) -> None:
        super().__init__()
        match up:
            case "transposed3":
                last = nn.ConvTranspose2d(middle, out_channels, kernel_size=3, stride=2, padding=1, output_padding=1)
                self.block = nn.Sequential(ConvRelu(in_channels, middle), last, nn.ReLU(inplace=True))
            case "transposed4":
                last = nn.ConvTranspose2d(middle, out_channels, kernel_size=4, stride=2, padding=1)
                self.block = nn.Sequential(ConvRelu(in_channels, middle), last, nn.ReLU(inplace=True))
            case "bilinear" | "nearest":
                first = nn.Upsample(scale_factor=2, mode=up, align_corners=False if up == "bilinear" else None)
                self.block = nn.Sequential(first, ConvRelu(in_channels, middle), ConvRelu(middle, out_channels))
            case _:
                assert_never(up)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output at twice the size."""
        return self.block(x)  # type: ignore[no-any-return]


class TernausNet(Headed):
    """An encoder, whose maps are halved once more, and a decoder. float[B, in, h, w] -> logits float[B, C, h, w].

    h and w must be multiples of `config.stride`. The output is logits for any number of channels, also where the
    publication had a softmax.
    """

    def __init__(self, config: TernausConfig | TernausV2Config):
        super().__init__(config)
        shape, n = SHAPES[config.kind], config.filters
        self.pool = nn.MaxPool2d(2, 2)
        self.pooled = shape.encoder != "resnet34"
        self._add_encoder(shape, config.in_channels)
        middle, out = [n * times for times in shape.middle], [n * times for times in shape.out]
        skips = _skips(shape)
        widths = skips + [0] * (len(out) - len(skips))
        self.center = DecoderBlock(shape.up, widths[0] + self.extra, middle[0], out[0])
        self.steps: list[tuple[str, bool]] = []
        """The name of each further block, and whether it sees features of the encoder."""
        for number in range(1, len(out)):
            before, skip = out[number - 1], widths[number - 1]
            self._add_step(number, DecoderBlock(shape.up, before + skip, middle[number], out[number]), skip)
        self._add_step(len(out), ConvRelu(out[-1] + widths[len(out) - 1], n), widths[len(out) - 1])
        levels = [*out, n]
        self.final = nn.Conv2d(self.head_width(levels[1:]), self.channels, kernel_size=1)
        self.add_heads(config, skips[0], levels[1:])

    def _add_encoder(self, shape: Shape, in_channels: int) -> None:
        """Add the encoder, and the published names of its stages."""
        match shape.encoder:
            case "vgg11" | "vgg16":
                self.encoder = vgg_features(VGG11 if shape.encoder == "vgg11" else VGG16, in_channels)
                self.stages = self._add_vgg_names(shape.single)
                return
            case "resnet34":
                self.encoder = resnet.resnet_features(in_channels)
                part = self.encoder.get_submodule
                first = nn.Sequential(part("conv1"), part("bn1"), part("act1"), self.pool)
                named = [first, *(part(f"layer{number}") for number in range(1, 5))]
            case "wide_resnet38":
                self.encoder = wide_resnet.wide_resnet_features(in_channels)
                named = list(self.encoder)
            case _:
                assert_never(shape.encoder)
        for number, stage in enumerate(named, start=1):
            self.add_module(f"conv{number}", stage)
        self.stages = tuple((f"conv{number}",) for number in range(1, 6))

    def _add_vgg_names(self, single: bool) -> tuple[tuple[str, ...], ...]:
        """Add the published names of a VGG's stages; return the names of each stage."""
        stages: list[list[nn.Module]] = [[]]
        for layer in self.encoder:
            if isinstance(layer, nn.MaxPool2d):
                stages.append([])
            else:
                stages[-1].append(layer)
        found: list[tuple[str, ...]] = []
        for number, layers in enumerate(stages[:-1], start=1):
            parts: dict[str, nn.Module] = {f"conv{number}": nn.Sequential(*layers)}
            if single:  # the last convolution of a stage has the plain name
                alone = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
                parts = dict(zip((f"conv{number}s", f"conv{number}")[-len(alone) :], alone, strict=True))
            for name, part in parts.items():
                self.add_module(name, part)
            found.append(tuple(parts))
        return tuple(found)

    def _add_step(self, number: int, block: nn.Module, skip: int) -> None:
        """Add block `dec5`, `dec4`, … of the decoder; the last of six after the center is `dec0`."""
        name = f"dec{6 - number}"
        self.add_module(name, block)
        self.steps.append((name, skip > 0))

    def forward(self, image: Tensor) -> Tensor | SegmentOutputs:
        """Return logits of the input's height and width."""
        x, condition = self.split(image)
        features: list[Tensor] = []
        for names in self.stages:
            if features and self.pooled:
                x = self.pool(x)
            for name in names:
                part = self.get_submodule(name)
                x = functional.relu(part(x)) if isinstance(part, nn.Conv2d) else part(x)
            features.append(x)
        x = self.center(joined(self.pool(features[-1]), condition))
        deepest, levels = features[-1], []
        for name, skips in self.steps:
            x = self.get_submodule(name)(torch.cat([x, features.pop()], dim=1) if skips else x)
            levels.append(x)
        return self.outputs(self.final(self.decoded(levels)), deepest, levels)


def _skips(shape: Shape) -> list[int]:
    """Return the channels of the encoder's stages that the decoder sees, deepest first."""
    match shape.encoder:
        case "vgg11":
            return [stage[-1] for stage in reversed(VGG11)]
        case "vgg16":
            return [stage[-1] for stage in reversed(VGG16)]
        case "resnet34":
            return list(resnet.WIDTHS[:0:-1])
        case "wide_resnet38":
            return list(reversed(wide_resnet.WIDTHS))
        case _:
            assert_never(shape.encoder)
