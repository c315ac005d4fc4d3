"""Build the detection network of a config: float32[B, in, h, w] -> the outputs of all its places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSHead  # type: ignore[import-untyped]
from torchvision.models.detection.retinanet import RetinaNetHead  # type: ignore[import-untyped]

from medalist.data.items import Normalisation
from medalist.errors import WeightsError
from medalist.models.backbone import PLAIN
from medalist.models.encoders import adapted, statistics
from medalist.models.states import load_state
from medalist.models.weights import Resolved
from medalist.tasks.detect.anchors import listed_shapes
from medalist.tasks.detect.detr_network import Detr, build_detr
from medalist.tasks.detect.mask_network import MaskStage
from medalist.tasks.detect.model_settings import (
    AlignedConfig,
    DetrConfig,
    FasterRcnnConfig,
    FcosConfig,
    MaskRcnnConfig,
    ModelConfig,
    RetinaConfig,
)
from medalist.tasks.detect.outputs import DenseOutputs, flat
from medalist.tasks.detect.pyramid import FeatureEncoder, Pyramid, build_encoder, convolution
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.detect.two_stage_network import ProposalHead, SecondStage, TwoStageDetector

RARE = 0.01
"""The score that every class has at every place before the training, as nearly all places are background (arXiv
1708.02002)."""


class AlignedHead(nn.Module):
    """Two branches that all levels share: class scores, and distributions over the distances to the sides."""

    def __init__(self, config: AlignedConfig, classes: int):
        """`classes`: the number of the contest's classes; the background is none of them."""
        super().__init__()
        width = config.width
        self.score_branch = nn.Sequential(*(convolution(width, width) for _ in range(config.depth)))
        self.side_branch = nn.Sequential(*(convolution(width, width) for _ in range(config.depth)))
        self.scores = nn.Conv2d(width, classes, 3, padding=1)
        self.sides = nn.Conv2d(width, 4 * (config.bins + 1), 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(config.strides)))
        for layer in (self.scores, self.sides):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.scores.bias, math.log(RARE / (1 - RARE)))  # type: ignore[arg-type]
        # Distances begin at about three strides. In an even distribution they would begin at half of all bins, and the
        # boxes would hardly overlap small objects, which then would be learned late.
        with torch.no_grad():
            self.sides.bias.copy_(-0.25 * torch.arange(config.bins + 1.0).repeat(4))  # type: ignore[union-attr]

    def forward(self, levels: Sequence[Tensor]) -> DenseOutputs:
        """Return the outputs of all levels [B, width, h, w]."""
        scores = [self.scores(self.score_branch(level)) for level in levels]
        sides = [self.sides(self.side_branch(level)) * scale for level, scale in zip(levels, self.scales, strict=True)]
        return DenseOutputs(flat(scores), flat(sides))


class FcosHead(FCOSHead):  # type: ignore[misc]  # torchvision has no types
    """torchvision's head of FCOS, for classes without background."""

    def __init__(self, config: FcosConfig, classes: int):
        """`classes`: the number of the contest's classes."""
        super().__init__(config.width, 1, classes, config.depth)

    def forward(self, levels: Sequence[Tensor]) -> DenseOutputs:
        """Return the outputs of all levels."""
        found = super().forward(list(levels))
        return DenseOutputs(found["cls_logits"], found["bbox_regression"], found["bbox_ctrness"])


class RetinaHead(RetinaNetHead):  # type: ignore[misc]
    """torchvision's head of RetinaNet, for classes without background. It keeps the shapes of its anchors."""

    shapes: Tensor

    def __init__(self, config: RetinaConfig, classes: int, shapes: Tensor):
        """`shapes`: float32[L, A, 2], the width and height of the anchors of each level in pixels."""
        super().__init__(config.width, shapes.shape[1], classes, partial(nn.GroupNorm, math.gcd(config.width, 32)))
        self.register_buffer("shapes", shapes)

    def forward(self, levels: Sequence[Tensor]) -> DenseOutputs:
        """Return the outputs of all levels."""
        found = super().forward(list(levels))
        return DenseOutputs(found["cls_logits"], found["bbox_regression"], None, self.shapes)


class DenseDetector(nn.Module):
    """An encoder, a pyramid and a head: images float32[B, in, h, w] -> `DenseOutputs`. h and w are multiples of 32."""

    def __init__(self, encoder: FeatureEncoder, neck: Pyramid, head: nn.Module):
        """The parts as `build_model` makes them."""
        super().__init__()
        self.encoder = encoder
        self.neck = neck
        self.head = head

    def forward(self, image: Tensor) -> DenseOutputs:
        """Return the outputs of a batch of images."""
        outputs: DenseOutputs = self.head(self.neck(self.encoder(image)))
        return outputs


Detector = DenseDetector | TwoStageDetector | Detr
"""A network of any kind."""


def build_network(
    settings: DetectSettings, weights: Resolved | None, fold: int, classes: int, shapes: Tensor | None = None
) -> Detector:
    """Return the network with its pretrained encoder; its random weights depend only on the seed and the fold."""
    torch.manual_seed(settings.seed * 1000 + fold)
    return build_model(settings.model, classes, weights, shapes)


def build_model(
    config: ModelConfig, classes: int, weights: Resolved | None = None, shapes: Tensor | None = None
) -> Detector:
    """Return the network in training mode: its encoder with `weights`, where they are given, and all else random.

    shapes: of the anchors, float32[L, A, 2]; None takes those that the config lists. Raises ConfigError (the encoder
    is unknown, or has not the feature maps) and WeightsError (the weights do not fit).
    """
    try:
        state = None if weights is None else load_state(weights.path)
        if isinstance(config, DetrConfig):
            return build_detr(config, classes, state)
        encoder = build_encoder(config, state)
    except WeightsError as error:
        raise WeightsError(f"{weights.path if weights else ''}: {error}") from error
    match config:
        case AlignedConfig():
            neck, head = Pyramid(encoder.widths, config, config.neck == "pan"), AlignedHead(config, classes)
            return DenseDetector(encoder, neck, head)
        case FcosConfig():
            return DenseDetector(encoder, Pyramid(encoder.widths, config, False), FcosHead(config, classes))
        case RetinaConfig():
            cells = listed_shapes(config) if shapes is None else shapes
            return DenseDetector(encoder, Pyramid(encoder.widths, config, False), RetinaHead(config, classes, cells))
        case FasterRcnnConfig() | MaskRcnnConfig():
            cells = listed_shapes(config) if shapes is None else shapes
            neck, first = Pyramid(encoder.widths, config, False), ProposalHead(config, cells)
            second = MaskStage(config, classes) if isinstance(config, MaskRcnnConfig) else SecondStage(config, classes)
            return TwoStageDetector(encoder, neck, first, second)
        case _:
            assert_never(config)


def build_normalisation(settings: DetectSettings) -> Normalisation:
    """Return the mean and std that the encoder was pretrained with; plain ones where it begins with random weights."""
    channels = settings.model.in_channels
    if isinstance(settings.model, DetrConfig) and settings.model.own_encoder:
        return Normalisation((0.0,) * channels, (1.0,) * channels)  # as the published networks see images
    plain = settings.model.weights == "none"
    mean, std = adapted(PLAIN, channels) if plain else statistics(settings.model.encoder, channels)
    return Normalisation(tuple(mean), tuple(std))
