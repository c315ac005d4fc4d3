"""`medalist report`: the page of one run. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medalist.errors import RunError
from medalist.files import read_image
from medalist.records import Sample
from medalist.report.page import RunReport, SamplePicture, extremes, write_report
from medalist.report.pictures import side_by_side
from medalist.runs import Run
from medalist.stages.contest import Contest
from medalist.stages.score import Oof, oof_of_scores


def report(run: Run, contest: Contest) -> Path:
    """Write `report/index.html` of a scored run and return its path; RunError where it was not scored yet."""
    oof = oof_of_scores(run, contest)
    scores = run.scores()
    assert scores is not None
    worst, best = extremes(oof.score.by_sample)
    path = run.folder / "report" / "index.html"
    page = RunReport(
        run=run.name,
        competition=run.competition,
        config=(run.folder / "config.yaml").read_text(encoding="utf-8"),
        provenance=asdict(run.lock()),
        curves={f"fold {fold}": metrics_rows(run, fold) for fold in run.trained_folds()},
        scores=scores,
        worst=_pictures(run, contest, oof, worst),
        best=_pictures(run, contest, oof, best),
    )
    write_report(path, page)
    return path


def metrics_rows(run: Run, fold: int) -> list[dict[str, Any]]:
    """The rows of a fold's metrics.jsonl, one an epoch."""
    path = run.fold_folder(fold) / "metrics.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is not a row of figures")
        return rows
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({' '.join(str(error).split())[:80]}); train that fold again") from None


def _pictures(run: Run, contest: Contest, oof: Oof, ids: Sequence[str]) -> list[SamplePicture]:
    folds = run.folds()
    by_id: dict[str, Sample] = {sample.id: sample for sample in oof.samples}
    pictures = []
    for name in ids:
        sample = by_id[name]
        image = read_image(sample.images[0], contest.competition.white)
        picture = side_by_side(image, oof.truths[name], oof.answers[name])
        pictures.append(SamplePicture(name, folds.fold_of(name), oof.score.by_sample[name], sample.stratum, picture))
    return pictures
