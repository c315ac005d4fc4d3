"""`medalist score`: turn OOF predictions into answers, write them as rows, parse the rows back, and score them.

This module needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from medalist.config import differences
from medalist.contest import Contest
from medalist.errors import ConfigError, RunError
from medalist.experiment import Experiment
from medalist.files import sha256_file, sha256_json, write_json
from medalist.kinds import kind_of, load_settings, run_settings
from medalist.metrics.paired import standard_error
from medalist.records import Score
from medalist.reporter import Reporter
from medalist.runs.runs import SCORES_FORMAT, Run
from medalist.tasks.protocols import Oof


def changed_settings(run: Run, overrides: Sequence[str], allowed: str) -> Experiment:
    """Return a run's settings with `key=value` changes inside the section `allowed`.

    Raises ConfigError for a change outside of that section.
    """
    settings = run_settings(run)
    if not overrides:
        return settings
    changed = load_settings(run.folder / "config.yaml", tuple(overrides))
    for key, _, value in differences(settings, changed):
        if not key.startswith(f"{allowed}."):
            raise ConfigError(f"{key}={value} changes how the run was made; only {allowed}.* may be changed here")
    return changed


def score_run(
    run: Run, contest: Contest, settings: Experiment, reporter: Reporter, figures: Sequence[str] = ()
) -> dict[str, Any]:
    """Score the OOF answers of the trained folds, write `oof.csv` and `scores.json`, and return the scores.

    The scores are also logged to the tracker of the run's config (`tracking`). figures: names of further figures that
    the kind computes on request.
    """
    answering = kind_of(settings).answering()
    oof = answering.oof(run, contest, settings, reporter, figures)
    folds = run.folds()
    by_fold: dict[str, float] = {}
    for fold in sorted({folds.fold_of(sample.id) for sample in oof.samples}):
        ids = [sample.id for sample in oof.samples if folds.fold_of(sample.id) == fold]
        by_fold[str(fold)] = _part(contest, oof, ids).value
    known = {sample.stratum for sample in oof.samples if sample.stratum is not None}
    strata = sorted(known) if oof.by_stratum else []
    by_stratum: dict[str, dict[str, float]] = {}
    for stratum in strata:
        ids = [sample.id for sample in oof.samples if sample.stratum == stratum]
        by_stratum[stratum] = {"score": _part(contest, oof, ids).value, "samples": len(ids)}
    parts = {f"fold{fold}": answering.made_by(run, contest, f"oof/fold{fold}") for fold in by_fold}
    makers = {name: made for name, made in parts.items() if made is not None}
    scores = {
        "format": SCORES_FORMAT,
        "oof": {
            "value": oof.score.value,
            "mean": sum(by_fold.values()) / len(by_fold),
            "standard_error": standard_error(list(by_fold.values())),
            "standard_error_samples": standard_error(list(oof.score.by_sample.values())),
            "folds": by_fold,
            "folds_of": folds.n,
            "strata": by_stratum,
            "parts": dict(oof.score.parts),
        },
        "weights": settings.train.keep,
        "optimistic": settings.train.chosen_on_held_out,
        "decide": settings.decide.model_dump(mode="json"),
        **oof.details,
        "predict": predicted_with(makers),
        "predictions": {name: sha256_json(dict(made)) for name, made in makers.items()},
        "rows": sha256_file(run.folder / "oof.csv"),
        "by_sample": dict(oof.score.by_sample),
    }
    write_json(run.folder / "scores.json", scores)
    if settings.tracking != "none":
        from medalist.workflows.track import track_scores  # imported here, because most runs have no tracker

        track_scores(run, contest, settings, oof, scores)
    return scores


def oof_of_scores(run: Run, contest: Contest) -> Oof:
    """Read back the OOF answers and scores that `medalist score` wrote.

    Raises RunError where the run is not scored, or where `oof.csv` has changed since then.
    """
    scores = run.scores()
    if scores is None:
        raise RunError(f"{run.folder} has no scores.json; run medalist score {run.competition}/{run.name} first")
    if scores.get("rows") != sha256_file(run.folder / "oof.csv"):
        raise RunError(
            f"{run.folder / 'oof.csv'} is not what was scored; run medalist score {run.competition}/{run.name} again"
        )
    samples = tuple(sample for sample in contest.split.train if sample.id in scores["by_sample"])
    answers = contest.competition.submission.parse(run.folder / "oof.csv", samples)
    score = Score(scores["oof"]["value"], scores["oof"]["parts"], scores["by_sample"])
    truths = contest.evaluation.fold_truths(contest, run.folds(), [int(fold) for fold in scores["oof"]["folds"]])
    return Oof(samples, {sample.id: truths[sample.id] for sample in samples}, answers, score)


def _part(contest: Contest, oof: Oof, ids: Sequence[str]) -> Score:
    truths, answers = {name: oof.truths[name] for name in ids}, {name: oof.answers[name] for name in ids}
    return contest.competition.score(truths, answers)


def predicted_with(makers: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the section `predict` of the config with which each part was predicted; None where it is not recorded."""
    used: dict[str, Any] = {}
    for name, made in makers.items():
        try:
            used[name] = json.loads(made["predict"])
        except (KeyError, TypeError, ValueError):
            used[name] = None
    return used
