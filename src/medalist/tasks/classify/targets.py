"""Make the target of a sample, on which the network is trained, from its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from medalist.contest import Contest
from medalist.data.targets import LabelTarget
from medalist.errors import DataError
from medalist.records import Answer, Labels, Sample
from medalist.tasks.classify.classes import classes_of


def label_target(
    truth: Answer, sample: Sample, number: Mapping[str, int], multi_label: bool, search: bool = True
) -> LabelTarget:
    """Return the target of a sample: its class as int64[], or with `multi_label` float32[C] with 1 for its labels.

    number: class name -> number of the class. search: whether an error names the most similar class, which takes time.
    Raises DataError for a label that is not a class of the contest, and, without `multi_label`, for a sample that does
    not have exactly one label.
    """
    assert isinstance(truth, Labels), type(truth).__name__
    for name in truth.names:
        if name not in number:
            near = get_close_matches(name, number, n=1) if search else []
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise DataError(f"label '{name:.60}' is not among the {len(number)} classes of the contest{hint}")
    if multi_label:
        value = np.zeros(len(number), np.float32)
        value[[number[name] for name in truth.names]] = 1
        return LabelTarget(value)
    if len(truth.names) != 1:
        raise DataError(
            f"sample {sample.id} has {len(truth.names)} labels, but task.mode allows one; set task.mode=multi"
        )
    return LabelTarget(np.asarray(number[truth.names[0]], np.int64))


def all_targets(contest: Contest, samples: Sequence[Sample], multi_label: bool) -> list[LabelTarget]:
    """Return the targets of samples. Raises one DataError for all samples whose labels are bad."""
    number = {name: at for at, name in enumerate(classes_of(contest))}
    found: list[LabelTarget] = []
    bad: list[str] = []
    for sample in samples:
        try:
            found.append(label_target(contest.truth(sample), sample, number, multi_label, search=len(bad) < 10))
        except DataError as error:
            bad.append(f"sample {sample.id}: {error}")
    if bad:
        more = f"; and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise DataError(f"{len(bad)} bad labels: {'; '.join(bad[:10])}{more}")
    return found
