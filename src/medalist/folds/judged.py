"""Divide out-of-fold samples into parts, for what is chosen or trained on them and must be judged on others."""

from __future__ import annotations

from collections.abc import Sequence

from medalist.folds.folds import Folds, make_folds
from medalist.folds.settings import FoldsConfig
from medalist.records import Sample

PARTS = 5
"""The parts of the samples of a single fold."""


def judged_parts(folds: Folds, samples: Sequence[Sample]) -> dict[str, int]:
    """Return the part of each sample id: its fold; for samples of one fold, one of up to five parts of it.

    The groups of the folds stay together. What comes from the other parts knows nothing of a part: neither the networks
    nor what was chosen or trained on their predictions have seen its groups. All samples are in one part where they are
    one group.
    """
    of_fold = {sample.id: folds.fold_of(sample.id) for sample in samples}
    if len(set(of_fold.values())) > 1:
        return of_fold
    groups = {name: folds.group[name] for name in of_fold if folds.group[name]}
    several = len(set(groups.values())) + len(of_fold) - len(groups)
    if several < 2:
        return dict.fromkeys(of_fold, 0)
    config = FoldsConfig(n=min(PARTS, several), seed=0, grouped=True, stratified=True)
    return dict(make_folds(samples, config, groups).fold)
