"""Score thresholds that are tuned on OOF predictions, each fold with those of the other folds. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from medalist.contest import Contest
from medalist.errors import RunError
from medalist.folds.folds import Folds
from medalist.postprocess.box_settings import ObjectDecideConfig
from medalist.postprocess.box_thresholds import OofBoxes, TunedCuts, cut, tune_cuts
from medalist.postprocess.boxes import score_cuts
from medalist.records import Answer, Boxes, BoxPrediction, Instances
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.tasks.detect.deciding import scored


def tuned_answers(
    predictions: Mapping[str, BoxPrediction],
    truths: Mapping[str, Answer],
    folds: Folds,
    config: ObjectDecideConfig,
    contest: Contest,
    classes: Sequence[str],
    reporter: Reporter,
) -> tuple[dict[str, Boxes | Instances], dict[str, Any]]:
    """Return the answers, each with the thresholds of the other folds, and what `scores.json` says of the tuning.

    predictions: by sample id, in the order of the answers. Raises RunError for fewer than two folds.
    """
    every = config.model_copy(update={"score": 0.0, "max_boxes": None})
    answers = {name: scored(one, every, classes) for name, one in predictions.items()}
    of = np.array([folds.fold_of(name) for name in answers])
    oof = OofBoxes(tuple(answers), truths, answers, of)
    with reporter.progress("tune", len(np.unique(of)) + 1) as bar:
        found = tune_cuts(
            oof,
            score_cuts(config, classes),
            contest.competition.score,
            max_boxes=config.max_boxes,
            each_class=config.tuned == "classes",
            advance=bar.advance,
        )
    answered = {
        name: cut(answer, found.by_fold[fold], config.max_boxes)
        for (name, answer), fold in zip(answers.items(), of.tolist(), strict=True)
    }
    return answered, {"tuning": _said(found, classes)}


def _said(found: TunedCuts, classes: Sequence[str]) -> dict[str, Any]:
    def named(cuts: Sequence[float]) -> dict[str, float]:
        return dict(zip(classes, cuts, strict=True))

    return {
        "thresholds": named(found.final.tolist()),
        "by_fold": {str(fold): named(cuts.tolist()) for fold, cuts in found.by_fold.items()},
        "honest": found.honest,
        "naive": found.naive,
        "untuned": found.untuned,
    }


def with_scored_cuts(run: Run, config: ObjectDecideConfig, classes: Sequence[str]) -> ObjectDecideConfig:
    """Return the config with the thresholds of the run's last score, where it asks for tuned ones.

    Raises RunError where nothing was tuned for these classes yet.
    """
    if config.tuned == "none":
        return config
    try:
        found = (run.scores() or {})["tuning"]["thresholds"]
        cuts = {name: float(found[name]) for name in classes}
        if not all(isfinite(cut) and 0 <= cut < 1 for cut in cuts.values()):
            raise ValueError(cuts)
    except (TypeError, ValueError, LookupError):
        raise RunError(
            f"decide.tuned = {config.tuned}: nothing was tuned for these classes yet; run medalist score "
            f"{run.competition}/{run.name} first"
        ) from None
    return config.model_copy(update={"score": cuts})
