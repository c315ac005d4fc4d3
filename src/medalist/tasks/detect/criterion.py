"""The criterion of a config: the loss of its network, and the boxes in its outputs."""

from __future__ import annotations

from typing import assert_never

from medalist.tasks.detect.dense import DenseCriterion
from medalist.tasks.detect.detr import DetrCriterion
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.mask_criterion import MaskCriterion
from medalist.tasks.detect.model_settings import (
    AlignedConfig,
    DetrConfig,
    FasterRcnnConfig,
    FcosConfig,
    MaskRcnnConfig,
    ModelConfig,
    RetinaConfig,
)
from medalist.tasks.detect.protocols import Criterion
from medalist.tasks.detect.two_stage import TwoStageCriterion


def build_criterion(model: ModelConfig, loss: LossConfig) -> Criterion:
    """Return the criterion of a network."""
    match model:
        case AlignedConfig() | FcosConfig() | RetinaConfig():
            return DenseCriterion(model, loss)
        case FasterRcnnConfig():
            return TwoStageCriterion(model, loss)
        case MaskRcnnConfig():
            return MaskCriterion(model, loss)
        case DetrConfig():
            return DetrCriterion(model, loss)
        case _:
            assert_never(model)
