"""Samples as pictures, with their truth and their answer in words. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medalist.contest import Contest
from medalist.records import Answer
from medalist.report.pictures import SIDE, fit_image
from medalist.runs.runs import Run
from medalist.tasks.protocols import Oof, WorstSample


def pictured(
    run: Run, contest: Contest, oof: Oof, names: Sequence[str], words: Callable[[Answer], str]
) -> list[WorstSample]:
    """Return the samples `names` with their pictures, in this order; `words` turns a truth or an answer into text."""
    folds, by_id = run.folds(), {sample.id: sample for sample in oof.samples}
    return [
        WorstSample(
            name,
            folds.fold_of(name),
            by_id[name].stratum or "",
            oof.score.by_sample[name],
            words(oof.truths[name]),
            words(oof.answers[name]),
            fit_image(contest.competition.image(by_id[name].images[0]), SIDE),
        )
        for name in names
    ]
