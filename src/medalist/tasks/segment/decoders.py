"""The decoders and heads of segmentation-models-pytorch, built as its own networks build them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import torch
from segmentation_models_pytorch.base import SegmentationHead  # type: ignore[import-untyped]
from segmentation_models_pytorch.base import initialization as init
from segmentation_models_pytorch.decoders.deeplabv3.decoder import (  # type: ignore[import-untyped]
    DeepLabV3Decoder,
    DeepLabV3PlusDecoder,
)
from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder, DPTSegmentationHead  # type: ignore[import-untyped]
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder  # type: ignore[import-untyped]
from segmentation_models_pytorch.decoders.linknet.decoder import LinknetDecoder  # type: ignore[import-untyped]
from segmentation_models_pytorch.decoders.manet.decoder import MAnetDecoder  # type: ignore[import-untyped]
from segmentation_models_pytorch.decoders.pan.decoder import PANDecoder  # type: ignore[import-untyped]
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPDecoder  # type: ignore[import-untyped]
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder  # type: ignore[import-untyped]
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder  # type: ignore[import-untyped]
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder  # type: ignore[import-untyped]
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder  # type: ignore[import-untyped]
from torch import Tensor, nn

from medalist.tasks.segment.features import TokenFeatures
from medalist.tasks.segment.model_settings import SmpConfig

DEPTH = 5
_FIVE = (256, 128, 64, 32, 16)
_WIDTHS = {"linknet": 32, "pan": 32, "pspnet": 512}
_DROPOUT = {"fpn": 0.2, "pspnet": 0.2, "deeplabv3": 0.5, "deeplabv3plus": 0.5}
_OUTPUT_STRIDES = {"deeplabv3": 8, "deeplabv3plus": 16, "pan": 16}
_NORM = {"use_norm": "batchnorm"}


def depth_of(config: SmpConfig) -> int:
    """Return how often the encoder halves its maps."""
    return 3 if config.kind == "pspnet" else DEPTH


def output_stride_of(config: SmpConfig) -> int:
    """Return the greatest stride of the encoder's features."""
    return config.output_stride or _OUTPUT_STRIDES.get(config.kind, 32)


def levels_of(config: SmpConfig, widths: Sequence[int]) -> list[int]:
    """Return the channels of the decoder's blocks, deepest first; the last map alone where blocks are not seen.

    widths: channels of the encoder's features.
    """
    if config.kind == "linknet":
        skips = [*widths[1:-1][::-1], _width(config)]
        for number, width in enumerate(skips):
            skips[number] = width or skips[number - 1]  # an encoder may have no features of stride 2
        return skips
    if config.kind in ("unet", "manet", "unetplusplus"):
        blocks = list(config.decoder_channels or _FIVE)
        return blocks[-1:] if config.kind == "unetplusplus" else blocks
    return [_width(config) // 2 if config.kind == "fpn" else _width(config)]


def build_decoder(config: SmpConfig, encoder: nn.Module, widths: list[int]) -> nn.Module:
    """Return the decoder with random weights. widths: channels of the encoder's features, with those of a condition."""
    up = "bilinear" if config.upsample == "bilinear" else "nearest"
    width = _width(config)
    dropout = _DROPOUT.get(config.kind, 0.0) if config.dropout is None else config.dropout
    made: nn.Module
    match config.kind:
        case "unet" | "unetplusplus" | "manet":
            made = _five_blocks(config, widths, up)
        case "linknet":
            kind = LinknetLevels if _seen(config) else LinknetDecoder
            made = kind(widths, n_blocks=DEPTH, prefinal_channels=width, **_NORM)
        case "fpn":
            made = FPNDecoder(widths, DEPTH, width, width // 2, dropout, "add", up)
        case "pan":
            made = PANDecoder(widths, DEPTH, width, config.upsample or "bilinear")
        case "pspnet":
            made = PSPDecoder(widths, out_channels=width, dropout=dropout, **_NORM)
        case "deeplabv3":
            made = DeepLabV3Decoder(widths[-1], width, (12, 24, 36), aspp_separable=False, aspp_dropout=dropout)
        case "deeplabv3plus":
            made = DeepLabV3PlusDecoder(widths, DEPTH, width, (12, 24, 36), output_stride_of(config), True, dropout)
        case "upernet":
            made = UPerNetDecoder(widths, DEPTH, width, **_NORM)
        case "segformer":
            made = SegformerDecoder(widths, DEPTH, width)
        case "dpt":
            assert isinstance(encoder, TokenFeatures)
            readout = "cat" if encoder.has_prefix_tokens else "ignore"
            made = DPTDecoder(widths, encoder.output_strides, encoder.has_prefix_tokens, readout, fusion_channels=width)
        case _:
            assert_never(config.kind)
    return made


def _five_blocks(config: SmpConfig, widths: list[int], up: str) -> nn.Module:
    """Return one of the decoders with `decoder_channels`."""
    options: dict[str, Any] = {
        "decoder_channels": config.decoder_channels or _FIVE,
        "n_blocks": DEPTH,
        "interpolation_mode": up,
        **_NORM,
    }
    if config.kind == "manet":
        kind = ManetLevels if _seen(config) else MAnetDecoder
        made: nn.Module = kind(widths, pab_channels=64, **options)
    elif config.kind == "unet":
        kind = UnetLevels if _seen(config) else UnetDecoder
        made = kind(widths, attention_type=config.attention, **options)
    else:
        made = UnetPlusPlusDecoder(widths, attention_type=config.attention, center=False, **options)
    return made


def _width(config: SmpConfig) -> int:
    return config.width or _WIDTHS.get(config.kind, 256)


def build_head(config: SmpConfig, width: int) -> nn.Module:
    """Return the head with random weights: `width` channels of the decoder -> logits at full size."""
    classes = len(config.channels)
    match config.kind:
        case "unet" | "unetplusplus" | "manet":
            made = SegmentationHead(width, classes, kernel_size=3)
        case "linknet":
            made = SegmentationHead(width, classes, kernel_size=1)
        case "fpn" | "upernet" | "segformer" | "deeplabv3plus":
            made = SegmentationHead(width, classes, kernel_size=1, upsampling=4)
        case "pan":
            made = SegmentationHead(width, classes, kernel_size=3, upsampling=4)
        case "pspnet":
            made = SegmentationHead(width, classes, kernel_size=3, upsampling=8)
        case "deeplabv3":
            made = SegmentationHead(width, classes, kernel_size=1, upsampling=output_stride_of(config))
        case "dpt":
            made = DPTSegmentationHead(width, classes, kernel_size=3, upsampling=2)
        case _:
            assert_never(config.kind)
    head: nn.Module = made
    return head


def initialise(config: SmpConfig, decoder: nn.Module, head: nn.Module, width: int) -> None:
    """Give decoder and head the random weights of smp's networks (DeepLab keeps torch's own), and add pixel shuffle.

    width: channels of the map that the decoder begins with.
    """
    if config.kind not in ("deeplabv3", "deeplabv3plus"):
        init.initialize_decoder(decoder)
        init.initialize_head(head)
    if config.upsample == "pixel_shuffle":
        inputs = [width, *(config.decoder_channels or _FIVE)[:-1]]
        pairs = zip(decoder.get_submodule("blocks").children(), inputs, strict=True)
        decoder.add_module("blocks", nn.ModuleList(ShuffledBlock(block, channels) for block, channels in pairs))


def _seen(config: SmpConfig) -> bool:
    """Whether the maps of all blocks are used, and not only the last."""
    return config.hypercolumn or config.deep_supervision


class UnetLevels(UnetDecoder):  # type: ignore[misc]  # smp has no types
    """smp's decoder of U-Net, which returns the maps of all its blocks."""

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return one map for each block, deepest first. features: of the encoder, of strides 1, 2, …"""
        x = self.center(features[-1])
        found = []
        for block, skip, place in zip(self.blocks, [*features[1:-1][::-1], None], features[-2::-1], strict=True):
            x = block(x, *place.shape[-2:], skip_connection=skip)
            found.append(x)
        return found


class ManetLevels(MAnetDecoder):  # type: ignore[misc]  # smp has no types
    """smp's decoder of MA-Net, which returns the maps of all its blocks."""

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return one map for each block, deepest first. features: of the encoder, of strides 1, 2, …"""
        return _maps_of(self.blocks, self.center(features[-1]), features)


class LinknetLevels(LinknetDecoder):  # type: ignore[misc]  # smp has no types
    """smp's decoder of LinkNet, which returns the maps of all its blocks."""

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return one map for each block, deepest first. features: of the encoder, of strides 1, 2, …"""
        return _maps_of(self.blocks, features[-1], features)


def _maps_of(blocks: nn.ModuleList, x: Tensor, features: list[Tensor]) -> list[Tensor]:
    found = []
    for block, skip in zip(blocks, [*features[1:-1][::-1], None], strict=True):
        x = block(x, skip)
        found.append(x)
    return found


class ShuffledBlock(nn.Module):
    """A block of smp's U-Net whose input is doubled by pixel shuffle, and not by interpolation.

    The 1×1 convolution begins as nearest up-sampling (arXiv 1707.02937).
    """

    def __init__(self, block: nn.Module, channels: int):
        """`channels` are those of the map that is doubled."""
        super().__init__()
        self.block = block
        self.widen = nn.Conv2d(channels, 4 * channels, kernel_size=1)
        self.shuffle = nn.PixelShuffle(2)
        with torch.no_grad():
            self.widen.weight.copy_(torch.eye(channels).repeat_interleave(4, dim=0)[:, :, None, None])
            self.widen.bias.zero_()  # type: ignore[union-attr]  # a bias is there by default

    def forward(self, x: Tensor, height: int, width: int, skip_connection: Tensor | None = None) -> Tensor:
        """Return the block's output at (height, width), twice the size of x."""
        x = self.shuffle(self.widen(x))
        return self.block(x, height, width, skip_connection=skip_connection)  # type: ignore[no-any-return]
