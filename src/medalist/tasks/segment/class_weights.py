"""How many pixels of each channel a fold is trained on, the class weights that follow, and what no sample has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from medalist.data.map_targets import ClassTarget, MapTarget
from medalist.records import Sample
from medalist.tasks.segment.channels import BACKGROUND, is_regression
from medalist.tasks.segment.loss_settings import LossConfig, StagedLossConfig

Terms = TypeVar("Terms", bound=LossConfig)

NAMED = 5
"""The most samples that a message names."""


@dataclass(frozen=True)
class PixelCounts:
    """The pixels of one target: how many are judged, and how many of these each channel has."""

    judged: int
    each: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CountedTargets:
    """Makes the targets of samples, and remembers their pixel counts, because a cache decodes each sample once."""

    make: Callable[[Sample], MapTarget | ClassTarget]
    known: dict[str, PixelCounts] = field(default_factory=dict)

    def __call__(self, sample: Sample) -> MapTarget | ClassTarget:
        """Return the target of a sample."""
        target = self.make(sample)
        self.known[sample.id] = pixel_counts(target)
        return target

    def counts(self, sample: Sample) -> PixelCounts:
        """Return the pixel counts of a sample; its target is made where it was not made before."""
        if sample.id not in self.known:
            self(sample)
        return self.known[sample.id]


def pixel_counts(target: MapTarget | ClassTarget) -> PixelCounts:
    """Count the pixels of a target. In a map of numbers, all pixels above 0 count."""
    if isinstance(target, ClassTarget):
        found = np.bincount(target.classes.ravel(), minlength=target.count)[: target.count]
        return PixelCounts(int(found.sum()), tuple(found.tolist()))
    judged = target.maps.shape[0] * target.maps.shape[1]
    if target.void is not None:
        judged -= int(np.count_nonzero(target.void))
    each = tuple(int(np.count_nonzero(target.maps[..., number])) for number in range(target.maps.shape[2]))
    return PixelCounts(judged, each)


def weighted(
    loss: LossConfig | StagedLossConfig, channels: Sequence[str], counts: Sequence[PixelCounts]
) -> LossConfig | StagedLossConfig:
    """Return the loss with its `class_weights` computed from the counts of a fold's training samples."""
    if isinstance(loss, StagedLossConfig):
        stages = tuple(_weighted(stage, channels, counts) for stage in loss.stages)
        return loss.model_copy(update={"stages": stages})
    return _weighted(loss, channels, counts)


def _weighted(loss: Terms, channels: Sequence[str], counts: Sequence[PixelCounts]) -> Terms:
    if loss.class_weights == "none":
        return loss
    beta = loss.effective_beta if loss.class_weights == "effective" else None
    totals = {name: sum(one.each[place] for one in counts) for place, name in enumerate(channels)}
    return loss.with_class_weights(class_factors(totals, beta))


def class_factors(pixels: Mapping[str, int], beta: float | None) -> dict[str, float]:
    """Return a factor for each channel, by the inverse of its pixels, or of their effective number where beta is given.

    The effective number of n pixels is (1 - beta^n) / (1 - beta) (arXiv 1901.05555). The factors of channels with
    pixels have the mean 1. A channel without pixels has the factor 1, and so has a channel of numbers.
    """
    rare = {name: 1 / _effective(n, beta) for name, n in pixels.items() if n and not is_regression(name)}
    mean = sum(rare.values()) / len(rare) if rare else 1.0
    return {name: rare[name] / mean if name in rare else 1.0 for name in pixels}


def _effective(number: int, beta: float | None) -> float:
    if beta is None:
        return float(number)
    if beta == 0:
        return 1.0
    return -math.expm1(number * math.log(beta)) / (1 - beta)


def lacking(title: str, samples: Sequence[Sample], channels: Sequence[str], counts: Sequence[PixelCounts]) -> list[str]:
    """Return a line for channels that no training sample of a fold has, and one for samples without a judged pixel.

    counts: of the samples; without them, nothing is said.
    """
    lines: list[str] = []
    if not counts:
        return lines
    missing = [
        name for place, name in enumerate(channels) if name != BACKGROUND and not any(one.each[place] for one in counts)
    ]
    if missing:
        lines.append(
            f"{title}: no training sample has a pixel of {', '.join(missing)}, so its network learns only where that "
            "is not"
        )
    blind = [sample.id for sample, one in zip(samples, counts, strict=True) if not one.judged]
    if blind:
        more = f" and {len(blind) - NAMED} more" if len(blind) > NAMED else ""
        lines.append(
            f"{title}: every pixel of {len(blind)} training sample{'s' * (len(blind) > 1)} is void, so nothing is "
            f"learned from them: {', '.join(blind[:NAMED])}{more}"
        )
    return lines
