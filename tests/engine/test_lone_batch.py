"""A batch of one sample under a norm that sees one value for each channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medalist.data.samplers import ShuffleBatchSampler
from medalist.engine.job import TrainJob
from medalist.engine.lone_batch import lone_batches_told, refuse_lone, smallest_batch
from medalist.engine.settings import TrainConfig
from medalist.engine.train import fit
from medalist.errors import ConfigError, TrainingError
from medalist.reporter import Progress

POOLED = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))
SPREAD = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))


@pytest.mark.parametrize(
    ("network", "config", "smallest", "world", "refused"),
    [
        (POOLED, {"batch": 1}, 1, 1, "a batch of one sample: 2 then sees one value"),
        (POOLED, {"batch": 8}, 1, 1, "because the training part of a fold has one sample"),
        (POOLED, {"batch": 2}, 2, 1, ""),
        (POOLED, {"batch": 1}, 1, 2, ""),  # norms of two processes see both samples
        (SPREAD, {"batch": 1}, 1, 1, ""),
        (SPREAD, {"batch": 1, "sizes": ({"epochs": 1, "size": (8, 8)},)}, 1, 1, ""),
        (nn.Flatten(), {"batch": 1}, 1, 1, ""),
    ],
)
def test_a_network_is_refused_before_its_first_step(
    network: nn.Module, config: dict[str, Any], smallest: int, world: int, refused: str
) -> None:
    train = TrainConfig.model_validate({"epochs": 2, **config})
    if not refused:
        refuse_lone(train, network, smallest, world, (3, 16, 16), "train.batch")
        return
    with pytest.raises(ConfigError, match=refused) as caught:
        refuse_lone(train, network, smallest, world, (3, 16, 16), "train.batch")
    remedy = "type train.batch=2" if config["batch"] == 1 else "make folds with more samples"
    assert "\n" not in str(caught.value) and remedy in str(caught.value)


def test_the_smallest_size_of_all_epochs_counts() -> None:
    deep = nn.Sequential(nn.Conv2d(3, 4, 3, 32, 1), nn.BatchNorm2d(4))
    config = {"epochs": 2, "batch": 1}
    refuse_lone(TrainConfig.model_validate(config), deep, 1, 1, (3, 64, 64), "train.batch")
    small = TrainConfig.model_validate({**config, "sizes": [{"epochs": 1, "size": (32, 32)}]})
    with pytest.raises(ConfigError, match="at images of 32x32"):
        refuse_lone(small, deep, 1, 1, (3, 64, 64), "train.batch")


@pytest.mark.parametrize(("length", "batch"), [(9, 4), (8, 4), (5, 2), (3, 8), (1, 8), (7, 1)])
def test_a_last_sample_alone_is_no_batch(length: int, batch: int) -> None:
    """N = k * batch + 1 leaves the last sample to other epochs, unless it is the only one."""
    sampler = ShuffleBatchSampler(length, batch, 3)
    assert {len(keys) for keys in sampler} == {smallest_batch(sampler)} == {min(length, batch)}


class Pooled(nn.Module):
    """A network whose norm sees pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.out = nn.Conv2d(3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.out(image + self.norm(image.mean((2, 3), keepdim=True)))


def test_a_training_that_meets_one_says_what_to_type(make: Callable[..., TrainJob], quiet: Progress) -> None:
    job = make(batch=1, epochs=1, model=Pooled())
    with pytest.raises(TrainingError, match=r"^fold \d+: a norm .* type train\.batch=2 or more"):
        fit(job, lambda row: None, quiet)


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="another"), lone_batches_told("fold 0", "train.batch"):
        raise ValueError("another")
    with pytest.raises(TrainingError), lone_batches_told("fold 0", "train.batch"):
        nn.BatchNorm1d(2)(torch.zeros(1, 2))
