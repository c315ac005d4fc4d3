"""Log the results of `medalist score` to the run's tracker: scores, and pictures of the worst samples.

This module needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from medalist.contest import Contest
from medalist.experiment import Experiment
from medalist.kinds import kind_of
from medalist.runs.runs import Run
from medalist.tasks.protocols import Oof, WorstSample
from medalist.tracking.mark import read_mark, write_mark
from medalist.tracking.tensorboard import board_writer
from medalist.tracking.wandb import wandb_run


def track_scores(run: Run, contest: Contest, settings: Experiment, oof: Oof, scores: Mapping[str, Any]) -> None:
    """Log the scores as figures, and the worst samples as a table with pictures, to the tracker of the run's config.

    wandb: one run `RUN-score` of job type `score` beside the runs of the folds; a second scoring continues this run.
    tensorboard: event files in the run's folder; a second scoring replaces their values.
    """
    config = settings.model_dump(mode="json")
    match settings.tracking:
        case "none":
            return
        case "wandb":
            import wandb

            mark = read_mark(run.folder, "wandb")
            write_mark(run.folder, mark)
            names = {"project": run.competition, "group": run.name, "name": f"{run.name}-score"}
            with wandb_run(run.folder, **names, id=mark.id, job_type="score", config=config) as tracked:
                worst = kind_of(settings).answering().worst(run, contest, oof)
                columns: list[str | int] = ["id", "fold", "stratum", "score", "truth", "answer", "picture"]
                # Offline, wandb keeps the pictures of a table in the user's folder, and those of a list in the run's
                # folder. So the list is logged too: it is still there when the run is copied and synced elsewhere.
                pictures = [wandb.Image(one.picture, caption=f"{one.score:.4f} {one.id}") for one in worst]
                rows: list[Iterable[Any]] = [[*_cells(one), shown] for one, shown in zip(worst, pictures, strict=True)]
                tracked.summary.update(figures(scores))
                tracked.log({"worst": wandb.Table(columns=columns, data=rows), "worst pictures": pictures})
        case "tensorboard":
            worst = kind_of(settings).answering().worst(run, contest, oof)
            with board_writer(run.folder, config, purge_step=0) as writer:
                for name, value in figures(scores).items():
                    writer.add_scalar(name, value, 0)
                for rank, one in enumerate(worst, start=1):
                    writer.add_image(f"worst/{rank:02d} {one.score:.4f} {one.id}", one.picture, 0, dataformats="HWC")
        case _:
            assert_never(settings.tracking)


def figures(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of scores.json by name, such as `score/oof` and `score/fold0`."""
    oof = scores["oof"]
    named = {
        "score/oof": oof["value"],
        "score/mean": oof["mean"],
        "score/standard_error": oof["standard_error"],
        "score/standard_error_samples": oof["standard_error_samples"],
        **{f"score/fold{fold}": value for fold, value in oof["folds"].items()},
        **{f"part/{name}": value for name, value in oof["parts"].items()},
    }
    return {name: float(value) for name, value in named.items() if value is not None and math.isfinite(value)}


def _cells(one: WorstSample) -> list[Any]:
    return [one.id, one.fold, one.stratum, one.score, one.truth, one.answer]
