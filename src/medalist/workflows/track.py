"""What `medalist score` logs to the run's tracker: the scores, and the worst samples as pictures. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from medalist.contest import Contest
from medalist.engine.tracking_board import board_writer
from medalist.engine.tracking_mark import read_mark, write_mark
from medalist.engine.tracking_wandb import wandb_run
from medalist.files import read_image
from medalist.records import Ranking, Sample
from medalist.report.page import extremes
from medalist.report.pictures import SIDE, Picture, fit_image, printable, side_by_side
from medalist.runs import Run
from medalist.settings import Settings
from medalist.tasks.embed.page import shown_queries

if TYPE_CHECKING:
    from medalist.workflows.score import Oof

NAMES = 5
"""So many first answers to a query stand in the table."""


@dataclass(frozen=True, eq=False)
class WorstSample:
    """A sample whose answer scored low. truth, answer: the names of an answer in names, empty for pictures.

    picture: uint8[H, W, 3]; of masks and instances the image, the truth and the answer side by side.
    """

    id: str
    fold: int
    stratum: str
    score: float
    truth: str
    answer: str
    picture: Picture


def track_scores(run: Run, contest: Contest, settings: Settings, oof: Oof, scores: Mapping[str, Any]) -> None:
    """Log what was scored to where the run's config says: scores as figures, worst samples as a table with pictures.

    wandb: one run `RUN-score` of job type `score` beside those of the folds; scoring again goes on in it. tensorboard:
    event files in the run's folder; scoring again replaces what they show.
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
                worst = worst_samples(run, contest, oof)
                columns: list[str | int] = ["id", "fold", "stratum", "score", "truth", "answer", "picture"]
                # The pictures of an offline table wait in the user's folder of wandb, those of a list in the run's own:
                # a run that is copied to where the network is still shows them.
                pictures = [wandb.Image(one.picture, caption=f"{one.score:.4f} {one.id}") for one in worst]
                rows: list[Iterable[Any]] = [[*_cells(one), shown] for one, shown in zip(worst, pictures, strict=True)]
                tracked.summary.update(figures(scores))
                tracked.log({"worst": wandb.Table(columns=columns, data=rows), "worst pictures": pictures})
        case "tensorboard":
            with board_writer(run.folder, config, purge_step=0) as writer:
                for name, value in figures(scores).items():
                    writer.add_scalar(name, value, 0)
                for rank, one in enumerate(worst_samples(run, contest, oof), start=1):
                    writer.add_image(f"worst/{rank:02d} {one.score:.4f} {one.id}", one.picture, 0, dataformats="HWC")
        case _:
            assert_never(settings.tracking)


def figures(scores: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of scores.json by name, such as `score/oof` and `score/fold0`; those that are not finite left out."""
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


def worst_samples(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """The samples that the report shows as the worst, worst first."""
    folds = run.folds()
    by_id: dict[str, Sample] = {sample.id: sample for sample in oof.samples}
    if contest.competition.retrieval is not None:
        asked = {name: oof.score.by_sample[name] for name, truth in oof.truths.items() if _names(truth)}
        worst = shown_queries(asked)[0]
    else:
        worst = extremes(oof.score.by_sample)[0]
    found = []
    for name in worst:
        sample, truth, answer = by_id[name], oof.truths[name], oof.answers[name]
        image = read_image(sample.images[0], contest.competition.white)
        drawn = fit_image(image, SIDE) if isinstance(truth, Ranking) else side_by_side(image, truth, answer)
        words = _names(truth), _names(answer)
        found.append(
            WorstSample(name, folds.fold_of(name), sample.stratum or "", oof.score.by_sample[name], *words, drawn)
        )
    return found


def _names(answer: object) -> str:
    """The first names of an answer in names; nothing for pictures."""
    return ", ".join(printable(name, 80) for name in answer.names[:NAMES]) if isinstance(answer, Ranking) else ""


def _cells(one: WorstSample) -> list[Any]:
    return [one.id, one.fold, one.stratum, one.score, one.truth, one.answer]
