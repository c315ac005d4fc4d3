"""The changes of a config that a plan compares: batch, precision, workers, cached pixels.

This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medalist.experiment import Experiment


@dataclass(frozen=True)
class Variant:
    """One change of the config.

    change: the override to type. settings: the config with the change. changes: whether weights and predictions change.
    predicts: whether the forward passes of prediction change too. keeps: whether all decoded pixels are kept in memory.
    """

    change: str
    settings: Experiment
    changes: bool
    predicts: bool = False
    keeps: bool = False


def variants(settings: Experiment, cores: int, on_gpu: bool, all_megabytes: int | None) -> list[Variant]:
    """Return the variants to measure: the cheap ones first, and the larger batch, which may not fit, last.

    all_megabytes: the size of the decoded contest, or None where loader.cache_mb is large enough for it.
    """
    train, loader = settings.train, settings.loader
    found = []
    for precision in ("bf16-mixed", "32-true", *(("16-mixed",) if on_gpu else ())):
        if precision != train.precision:
            changed = _changed(settings, "train", {"precision": precision})
            found.append(Variant(f"train.precision={precision}", changed, changes=True, predicts=True))
    for workers in (2, 4) if loader.workers == 0 else (0,):
        if workers <= cores:
            changed = _changed(settings, "loader", {"workers": workers})
            found.append(Variant(f"loader.workers={workers}", changed, changes=False))
    if all_megabytes is not None:
        changed = _changed(settings, "loader", {"cache_mb": all_megabytes})
        found.append(Variant(f"loader.cache_mb={all_megabytes}", changed, changes=False, keeps=True))
    for double in (False, True):
        other = settings.with_batch(double)
        if other is not None:
            found.append(Variant(other[0], other[1], changes=True))
    return found


def _changed(settings: Experiment, section: str, values: Mapping[str, Any]) -> Experiment:
    part = getattr(settings, section).model_copy(update=dict(values))
    return settings.model_copy(update={section: part})
