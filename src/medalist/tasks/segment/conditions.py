"""The condition of a network: the value of a column of `Sample.meta` as one-hot, on its way to the network.

Each item carries a vector float32[K]. `Batch.to` puts it behind the channels of the images as K constant planes, so
views, scales, mixing and padding need no word for it. The network takes the planes off again (`heads.Headed.split`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from types import MappingProxyType

import torch
from torch import Tensor
from torch.utils.data import Dataset

from medalist.data.items import Item, Key
from medalist.errors import ConfigError
from medalist.records import Sample
from medalist.tasks.segment.model_settings import ModelConfig
from medalist.tasks.segment.network_settings import ConditionConfig, Network

_SHOWN = 3

NOTHING: Mapping[str, str | float] = MappingProxyType({})
"""The columns of an image that has none."""


def condition_of(model: ModelConfig) -> ConditionConfig | None:
    """Return the condition of a network; None where it has none."""
    return model.condition if isinstance(model, Network) else None


def one_hot(config: ConditionConfig, value: str | float | None) -> Tensor:
    """Return float32[K], 1 at the place of the value; zeros where the config does not name it, or where it is None."""
    found = torch.zeros(len(config.values))
    if value in config.values:
        found[config.values.index(value)] = 1
    return found


def with_condition(item: Item, config: ConditionConfig | None, meta: Mapping[str, str | float] = NOTHING) -> Item:
    """Return an item with the condition of these columns; unchanged where the network has none."""
    return item if config is None else replace(item, condition=one_hot(config, meta.get(config.column)))


class Conditioned(Dataset[Item]):
    """A dataset whose items carry the condition of their samples."""

    def __init__(self, items: Dataset[Item], config: ConditionConfig, samples: Sequence[Sample]):
        """`samples` are found by the index of an item."""
        self.items, self.config, self.samples = items, config, samples

    def __len__(self) -> int:
        return len(self.items)  # type: ignore[arg-type]  # all datasets here have a length

    def __getitem__(self, key: Key) -> Item:
        item: Item = self.items[key]
        return with_condition(item, self.config, self.samples[item.index].meta)


def conditioned(items: Dataset[Item], model: ModelConfig, samples: Sequence[Sample]) -> Dataset[Item]:
    """Return the dataset with the network's condition, or unchanged where it has none."""
    config = condition_of(model)
    return items if config is None else Conditioned(items, config, samples)


def refuse_unfit(model: ModelConfig, samples: Sequence[Sample]) -> None:
    """Raise ConfigError where training samples lack the condition's column or have values that it does not name.

    It is raised too where it names a value that no sample has. Without this, a typing mistake would train on zeros.
    """
    config = condition_of(model)
    if config is None:
        return
    columns = sorted({column for sample in samples for column in sample.meta})
    without = [sample.id for sample in samples if config.column not in sample.meta]
    if without:
        near = get_close_matches(config.column, columns, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; the samples have {', '.join(columns) or 'no columns'}"
        raise ConfigError(f"model.condition: sample {without[0]} has no column '{config.column}'{hint}")
    counts = Counter(sample.meta[config.column] for sample in samples)
    unknown = [value for value in counts if value not in config.values]
    if unknown:
        raise ConfigError(
            f"model.condition.values lacks {_listed(counts, unknown)} of the column '{config.column}'; add what the "
            "training samples have"
        )
    unused = [value for value in config.values if value not in counts]
    if unused:
        raise ConfigError(
            f"model.condition.values: no training sample has {config.column} = {unused[0]!r}; leave it out, because "
            "its weights would stay random"
        )


def unknown_line(model: ModelConfig, samples: Sequence[Sample]) -> str:
    """Return a line that says which samples give the network a condition of zeros; empty where none does."""
    config = condition_of(model)
    if config is None:
        return ""
    counts = Counter(sample.meta.get(config.column, "none") for sample in samples)
    unknown = [value for value in counts if value not in config.values]
    if not unknown:
        return ""
    total = sum(counts[value] for value in unknown)
    return (
        f"note: {total} of {len(samples)} samples have a value of '{config.column}' that model.condition does not know "
        f"({_listed(counts, unknown)}); the network gets zeros for it"
    )


def _listed(counts: Counter[str | float], values: Sequence[str | float]) -> str:
    often = sorted(values, key=lambda value: -counts[value])
    shown = ", ".join(f"{value!r} ({counts[value]} samples)" for value in often[:_SHOWN])
    return shown if len(often) <= _SHOWN else f"{shown} and {len(often) - _SHOWN} more"
