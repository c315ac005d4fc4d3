"""The parts of networks of two stages, of torchvision."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import (  # type: ignore[import-untyped]
    FastRCNNPredictor,
    TwoMLPHead,
)
from torchvision.models.detection.rpn import RPNHead  # type: ignore[import-untyped]
from torchvision.ops import MultiScaleRoIAlign  # type: ignore[import-untyped]

from medalist.tasks.detect.model_settings import TwoStageConfig
from medalist.tasks.detect.outputs import DenseOutputs, TwoStageOutputs, flat
from medalist.tasks.detect.pyramid import DEEPEST, FeatureEncoder, Pyramid

POINTS = 2
"""The number of points along each side of a cell at which a level is sampled."""


class ProposalHead(RPNHead):  # type: ignore[misc]  # torchvision has no types
    """torchvision's head of a region proposal network. It keeps the shapes of its anchors."""

    shapes: Tensor

    def __init__(self, config: TwoStageConfig, shapes: Tensor):
        """`shapes`: float32[L, A, 2], the width and height of the anchors of each level in pixels."""
        super().__init__(config.width, shapes.shape[1], config.depth)
        self.register_buffer("shapes", shapes)

    def forward(self, levels: Sequence[Tensor]) -> DenseOutputs:
        """Return the outputs of all levels; their only class is `an object`."""
        logits, offsets = super().forward(list(levels))
        each = self.shapes.shape[1]
        return DenseOutputs(flat(logits, each), flat(offsets, each), None, self.shapes)


class SecondStage(nn.Module):
    """Looks at the content of boxes: which class is it, if any, and where does the object really lie?"""

    def __init__(self, config: TwoStageConfig, classes: int):
        """`classes`: the number of the contest's classes. Inside of this module class 0 is the background."""
        super().__init__()
        self.strides = tuple(stride for stride in config.strides if stride <= DEEPEST)
        names = [str(stride) for stride in self.strides]
        self.pool = MultiScaleRoIAlign(names, config.pooled, POINTS)
        self.head = TwoMLPHead(config.width * config.pooled**2, config.hidden)
        self.predictor = FastRCNNPredictor(config.hidden, classes + 1)

    def forward(
        self, levels: Sequence[Tensor], boxes: Sequence[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return logits float[N, C + 1] of the background and C classes, and offsets float[N, (C + 1) * 4].

        levels: of the pyramid, each [B, width, h, w]. boxes: of each image float32[n, 4]; N is the number of all. size:
        (height, width) of the images. Each box is looked at in one level, by its area (arXiv 1612.03144).
        """
        named = OrderedDict(zip(map(str, self.strides), levels, strict=False))  # coarser levels have proposals alone
        content = self.pool(named, list(boxes), [size] * len(boxes))
        found: tuple[Tensor, Tensor] = self.predictor(self.head(content))
        return found


class TwoStageDetector(nn.Module):
    """An encoder, a pyramid and the first stage: images float32[B, in, h, w] -> `TwoStageOutputs`.

    The second stage is a part of the network, and the criterion runs it. h and w are multiples of 32.
    """

    def __init__(self, encoder: FeatureEncoder, neck: Pyramid, first: ProposalHead, second: SecondStage):
        """The parts as `build_model` makes them."""
        super().__init__()
        self.encoder = encoder
        self.neck = neck
        self.first = first
        self.second = second

    def forward(self, image: Tensor) -> TwoStageOutputs:
        """Return the outputs of a batch of images."""
        levels = tuple(self.neck(self.encoder(image)))
        kind = image.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        return TwoStageOutputs(self.first(levels), levels, self.second, precision)
