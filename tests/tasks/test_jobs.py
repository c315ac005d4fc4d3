"""What kinds with gradients share."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from medalist.data.samplers import ShuffleBatchSampler
from medalist.data.settings import ShuffleSampler, WeightedSampler
from medalist.data.weighted_sampler import WeightedBatchSampler
from medalist.engine.settings import TrainConfig
from medalist.errors import ConfigError, RunError
from medalist.folds.folds import Folds
from medalist.records import Sample
from medalist.runs.runs import Run
from medalist.tasks.jobs import FoldPlace, open_devices, rehearse_network, sample_sampler, trained_or_refuse
from medalist.tasks.segment.settings import SegmentSettings

SETTINGS = SegmentSettings.model_validate(
    {
        "competition": "toy",
        "seed": 3,
        "model": {"kind": "unet", "encoder": "test_resnet", "weights": "none", "channels": ["body"]},
        "loss": {"bce": 1.0},
        "train": {"batch": 2, "precision": "32-true"},
        "decide": {"kind": "watershed"},
    }
)


def test_positions_are_those_among_the_samples_that_are_there() -> None:
    folds = Folds({f"s{number}": number % 3 for number in range(7)}, dict.fromkeys("x"), dict.fromkeys("x"), 3, 0)
    samples = [Sample(f"s{number}", (), (8, 8)) for number in reversed(range(7))]
    training, held_out = FoldPlace(folds, 1, Path("fold1")).positions(samples)
    assert {samples[position].id for position in held_out} == {"s1", "s4"}
    assert {samples[position].id for position in training} == {"s0", "s2", "s3", "s5", "s6"}
    assert sorted([*training, *held_out]) == list(range(7))


def test_samples_are_drawn_as_the_config_says() -> None:
    fabric = open_devices(SETTINGS)
    plain = sample_sampler(ShuffleSampler(), SETTINGS, ["a", "b", None, "a", "b"], fabric)
    assert isinstance(plain, ShuffleBatchSampler)
    assert [len(batch) for batch in plain] == [2, 2]
    weighted = WeightedSampler(kind="weighted", weights={"b": 0.0})
    drawn = sample_sampler(weighted, SETTINGS, ["a", "b", "a", "b"], fabric)
    assert isinstance(drawn, WeightedBatchSampler)
    assert {key[1] for batch in drawn for key in batch} <= {0, 2}
    with pytest.raises(ConfigError, match="stratum 'c'"):
        sample_sampler(WeightedSampler(kind="weighted", weights={"c": 2.0}), SETTINGS, ["a", "b"], fabric)


def test_a_network_is_tried_on_what_training_asks_of_it() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    rehearse_network(TrainConfig(), network)
    for asked in ({"grad_checkpointing": True}, {"freeze": 1}):
        with pytest.raises(ConfigError):
            rehearse_network(TrainConfig.model_validate(asked), network)


def test_a_run_without_a_trained_fold_cannot_go_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(RunError, match=r"has no trained fold; run medalist train first$"):
        trained_or_refuse(run)
    for fold in (10, 2):
        (tmp_path / f"fold{fold}").mkdir()
        run.checkpoint(fold, "last").write_bytes(b"")
    assert trained_or_refuse(run) == [2, 10]
