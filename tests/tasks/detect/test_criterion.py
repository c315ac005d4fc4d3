from __future__ import annotations

import pytest

from medalist.tasks.detect.criterion import build_criterion
from medalist.tasks.detect.dense import DenseCriterion
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import AlignedConfig, FcosConfig, ModelConfig, RetinaConfig

EACH = [
    AlignedConfig(kind="aligned", encoder="x"),
    FcosConfig(kind="fcos", encoder="x"),
    RetinaConfig(kind="retinanet", encoder="x"),
]


@pytest.mark.parametrize("model", EACH, ids=lambda model: model.kind)
def test_each_network_of_one_stage_has_the_dense_criterion(model: ModelConfig) -> None:
    criterion = build_criterion(model, LossConfig())
    assert isinstance(criterion, DenseCriterion) and criterion.model is model and not criterion.draws
