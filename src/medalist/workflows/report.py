"""`medalist report`: write the page of one run. This module needs no torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from medalist.contest import Contest
from medalist.experiment import Experiment
from medalist.kinds import kind_of
from medalist.report.page import RunReport
from medalist.runs.curves import metrics_rows
from medalist.runs.runs import Run
from medalist.workflows.score import oof_of_scores


def report(run: Run, contest: Contest, settings: Experiment) -> Path:
    """Write `report/index.html` of a scored run, and return its path. Raises RunError where the run is not scored."""
    oof = oof_of_scores(run, contest)
    scores = run.scores()
    assert scores is not None
    page = RunReport(
        run=run.name,
        competition=run.competition,
        config=run.config(),
        provenance=asdict(run.lock()),
        curves={f"fold {fold}": metrics_rows(run, fold) for fold in run.trained_folds()},
        scores=scores,
        strata={sample.id: sample.stratum for sample in contest.split.train if sample.stratum is not None},
    )
    path = run.folder / "report" / "index.html"
    kind_of(settings).answering().write_page(path, run, contest, settings, oof, page)
    return path
