from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from medalist.data.items import Item, Key
from medalist.data.loader import Batch, collate
from medalist.data.padding import Padding
from medalist.errors import ConfigError
from medalist.records import Sample
from medalist.tasks.segment.conditions import Conditioned, conditioned, one_hot, refuse_unfit, unknown_line
from medalist.tasks.segment.model_settings import OwnNetworkConfig, SmpConfig
from medalist.tasks.segment.network_settings import ConditionConfig

CITY = ConditionConfig(column="city", values=("vegas", "paris"))
ANGLE = ConditionConfig(column="angle", values=(-7.5, 10))


def sample(name: str, **meta: str | float) -> Sample:
    return Sample(name, (Path(f"{name}.png"),), (32, 32), meta=meta)


def network(condition: ConditionConfig | None) -> SmpConfig:
    return SmpConfig(kind="unet", encoder="test_resnet", channels=("a",), condition=condition)


class Blank(Dataset[Item]):
    """Items of one size, numbered in the opposite order of their positions."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, key: Key) -> Item:
        return Item(2 - key[1], torch.full((3, 4, 4), float(key[1])), None, Padding(4, 4))


@pytest.mark.parametrize(
    ("config", "value", "expected"),
    [
        (CITY, "vegas", [1, 0]),
        (CITY, "paris", [0, 1]),
        (CITY, "rome", [0, 0]),
        (CITY, None, [0, 0]),
        (ANGLE, -7.5, [1, 0]),
        (ANGLE, 10.0, [0, 1]),
        (ANGLE, "10", [0, 0]),
    ],
)
def test_one_hot(config: ConditionConfig, value: Any, expected: list[float]) -> None:
    assert one_hot(config, value).tolist() == expected


def test_the_value_reaches_the_network_as_planes() -> None:
    samples = [sample("a", city="vegas"), sample("b", city="rome"), sample("c", city="paris")]
    items = conditioned(Blank(), network(CITY), samples)
    batch = collate([items[0, position] for position in range(3)])
    assert batch.indices == (2, 1, 0)
    assert batch.image.shape == (3, 3, 4, 4)
    assert batch.condition is not None and batch.condition.tolist() == [[0, 1], [0, 0], [1, 0]]
    moved = batch.to(torch.device("cpu"), channels_last=False)
    assert moved.image.shape == (3, 5, 4, 4) and moved.condition is None
    assert torch.equal(moved.image[:, :3], batch.image)
    for number, told in enumerate(batch.condition):
        assert torch.equal(moved.image[number, 3:], told.view(2, 1, 1).expand(2, 4, 4))
    assert moved.to(torch.device("cpu"), channels_last=False).image.shape == (3, 5, 4, 4)
    assert [one.image.shape[1] for one in moved.singles()] == [5, 5, 5]
    assert [one.condition.tolist() for one in batch.singles() if one.condition is not None] == [
        [[0, 1]],
        [[0, 0]],
        [[1, 0]],
    ]


def test_without_a_condition_nothing_changes() -> None:
    items = Blank()
    assert conditioned(items, network(None), []) is items
    assert conditioned(items, OwnNetworkConfig(name="mine", channels=("a",)), []) is items
    batch: Batch = collate([items[0, 0]])
    assert batch.condition is None
    assert batch.to(torch.device("cpu"), channels_last=False).image.shape == (1, 3, 4, 4)
    assert len(Conditioned(items, CITY, [])) == 3
    assert unknown_line(network(None), [sample("a")]) == ""
    refuse_unfit(network(None), [sample("a")])


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ([sample("a", citi="vegas")], "sample a has no column 'city'; did you mean 'citi'?"),
        ([sample("a", angle=3)], "sample a has no column 'city'; the samples have angle"),
        ([sample("a")], "sample a has no column 'city'; the samples have no columns"),
        (
            [sample("a", city="vegas"), sample("b", city="paris"), sample("c", city="rome"), sample("d", city="rome")],
            r"values lacks 'rome' \(2 samples\) of the column 'city'",
        ),
        ([sample("a", city="vegas")], "no training sample has city = 'paris'"),
    ],
)
def test_a_condition_that_does_not_fit_the_training_samples_is_refused(samples: list[Sample], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        refuse_unfit(network(CITY), samples)


def test_a_condition_that_fits() -> None:
    refuse_unfit(network(CITY), [sample("a", city="vegas"), sample("b", city="paris")])
    assert unknown_line(network(CITY), [sample("a", city="vegas")]) == ""


def test_unknown_values_at_test_time_are_said() -> None:
    samples = [sample("a", city="vegas"), sample("b", city="rome"), sample("c")]
    line = unknown_line(network(CITY), samples)
    assert line.startswith("note: 2 of 3 samples have a value of 'city' that model.condition does not know (")
    assert "'rome' (1 samples)" in line and "'none' (1 samples)" in line and line.endswith("gets zeros for it")
