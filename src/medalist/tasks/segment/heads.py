"""Options of networks with an encoder and a decoder: hypercolumn, deep supervision, presence, condition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medalist.tasks.segment.network_settings import Network
from medalist.tasks.segment.outputs import SegmentOutputs


class Headed(nn.Module):
    """A network with the options of `Network`, as the base of those that have an encoder and a decoder.

    A condition arrives as constant planes behind the image's channels, see `data.loader.Batch`. A subclass makes its
    encoder, decoder and head, and calls `add_heads` last, so that these options change no random weight of the others.
    """

    def __init__(self, config: Network):
        super().__init__()
        self.channels = len(config.channels)
        self.in_channels = config.in_channels
        self.extra = config.seen_channels - config.in_channels
        """The number of channels that a condition adds to the encoder's last features."""
        self.hypercolumn = config.hypercolumn
        self.presence_head: nn.Module | None = None
        self.deep_heads: nn.ModuleList | None = None

    def add_heads(self, config: Network, deepest: int, levels: Sequence[int]) -> None:
        """Add the heads that the config asks for.

        deepest: channels of the encoder's last features. levels: channels of each block of the decoder, deepest first.
        """
        if config.deep_supervision:
            self.deep_heads = nn.ModuleList(nn.Conv2d(width, self.channels, kernel_size=1) for width in levels[:-1])
        if config.presence:
            self.presence_head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(deepest, self.channels))

    def split(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the image's own channels, and the condition float[B, K], which is None where there is none."""
        if not self.extra:
            return image, None
        return image[:, : self.in_channels], image[:, self.in_channels :].mean(dim=(2, 3))

    def head_width(self, levels: Sequence[int]) -> int:
        """Return the number of channels that the head sees; levels: channels of each block of the decoder."""
        return sum(levels) if self.hypercolumn else levels[-1]

    def decoded(self, levels: Sequence[Tensor]) -> Tensor:
        """Return what the head sees: the decoder's last map, or the maps of all blocks at its size."""
        if not self.hypercolumn:
            return levels[-1]
        size = levels[-1].shape[-2:]
        return torch.cat([level if level.shape[-2:] == size else resized(level, size) for level in levels], dim=1)

    def outputs(self, maps: Tensor, deepest: Tensor, levels: Sequence[Tensor]) -> Tensor | SegmentOutputs:
        """Return the logits of all heads; `maps` alone where there are no others.

        deepest: the encoder's last features, without a condition. levels: the maps of the decoder's blocks.
        """
        if self.presence_head is None and self.deep_heads is None:
            return maps
        presence = None if self.presence_head is None else self.presence_head(deepest)
        deep: tuple[Tensor, ...] = ()
        if self.deep_heads is not None and self.training:
            size = maps.shape[-2:]
            pairs = zip(self.deep_heads, levels[:-1], strict=True)
            deep = tuple(resized(head(level), size) for head, level in pairs)
        return SegmentOutputs(maps, presence, deep)


def joined(features: Tensor, condition: Tensor | None) -> Tensor:
    """Return features float[B, C, h, w] with a condition float[B, K] as K constant maps behind their channels."""
    if condition is None:
        return features
    planes = condition[:, :, None, None].expand(-1, -1, *features.shape[-2:])
    return torch.cat([features, planes.to(features.dtype)], dim=1)


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps float[B, C, h, w] at another size, bilinear."""
    return interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
