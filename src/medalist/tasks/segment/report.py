"""The parts of the report that only segmentation has: pictures of the worst and best samples. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medalist.contest import Contest
from medalist.records import Sample
from medalist.report.page import RunReport, SamplePicture, extremes, write_report
from medalist.report.pictures import side_by_side
from medalist.runs.runs import Run
from medalist.tasks.protocols import Oof, WorstSample


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first."""
    folds = run.folds()
    by_id = {sample.id: sample for sample in oof.samples}
    return [
        WorstSample(
            name,
            folds.fold_of(name),
            by_id[name].stratum or "",
            oof.score.by_sample[name],
            "",
            "",
            _picture(contest, oof, by_id[name]).picture,
        )
        for name in extremes(oof.score.by_sample)[0]
    ]


def write_page(path: Path, run: Run, contest: Contest, oof: Oof, page: RunReport) -> None:
    """Write the report with pictures of the worst and the best samples."""
    lowest, best = extremes(oof.score.by_sample)
    by_id, folds = {sample.id: sample for sample in oof.samples}, run.folds()

    def drawn(names: Sequence[str]) -> list[SamplePicture]:
        return [_picture(contest, oof, by_id[name], folds.fold_of(name)) for name in names]

    write_report(path, page.with_pictures(drawn(lowest), drawn(best)))


def _picture(contest: Contest, oof: Oof, sample: Sample, fold: int = 0) -> SamplePicture:
    image = contest.competition.image(sample.images[0])
    picture = side_by_side(image, oof.truths[sample.id], oof.answers[sample.id])
    return SamplePicture(sample.id, fold, oof.score.by_sample[sample.id], sample.stratum, picture)
