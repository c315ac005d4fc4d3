"""Log the results of `medalist score` to the run's tracker: scores, and pictures of the worst samples.

This module needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from medalist.contest import Contest
from medalist.experiment import Experiment
from medalist.kinds import kind_of
from medalist.runs.runs import Run
from medalist.tasks.protocols import Oof, WorstSample
from medalist.tracking.mark import read_mark, write_mark
from medalist.tracking.tensorboard import board_writer
from medalist.tracking.wandb import forget_superseded, import_wandb, wandb_run


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
            wandb = import_wandb()
            mark = read_mark(run.folder, "wandb")
            write_mark(run.folder, mark)
            names = {"project": run.competition, "group": run.name, "name": f"{run.name}-score"}
            with wandb_run(run.folder, **names, id=mark.id, job_type="score", config=config) as tracked:
                worst = kind_of(settings).answering().worst(run, contest, oof)
                columns: list[str | int] = ["id", "fold", "stratum", "score", "truth", "answer", "picture"]
                # Offline, wandb keeps the pictures of a table in the user's folder, and those of a list in the run's
                # folder. So the list is logged too: it is still there when the run is copied and synced elsewhere.
                rows: list[Iterable[Any]] = [[*_cells(one), wandb.Image(one.picture)] for one in worst]
                # wandb shows a list of pictures as if all had the size of the first one.
                alike = zip(worst, _of_one_size([one.picture for one in worst]), strict=True)
                pictures = [wandb.Image(shown, caption=f"{one.score:.4f} {one.id}") for one, shown in alike]
                tracked.summary.update(figures(scores))
                tracked.log({"worst": wandb.Table(columns=columns, data=rows), "worst pictures": pictures})
            forget_superseded(run.folder, tracked)
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


def _of_one_size(pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return the pictures uint8[h, w, 3] with white below and to the right, so that all have the largest h and w."""
    height, width = (max((picture.shape[side] for picture in pictures), default=0) for side in (0, 1))
    rest = [((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)) for picture in pictures]
    return [np.pad(one, more, constant_values=255) for one, more in zip(pictures, rest, strict=True)]


def _cells(one: WorstSample) -> list[Any]:
    return [one.id, one.fold, one.stratum, one.score, one.truth, one.answer]
