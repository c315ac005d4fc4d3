"""`medalist score`: turn OOF predictions into answers, write them as rows, parse the rows back, and score them.

This module needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from medalist.config import differences, with_present_names
from medalist.contest import Contest
from medalist.errors import ConfigError, RunError
from medalist.experiment import Experiment
from medalist.files import sha256_file, sha256_json, write_json
from medalist.kinds import kind_of, load_settings, run_settings
from medalist.metrics.paired import standard_error
from medalist.records import Score
from medalist.reporter import Reporter
from medalist.runs.runs import SCORES_FORMAT, Run, refuse_edited
from medalist.runs.sources import scoring_sources
from medalist.runs.tries import FILE as TRIES
from medalist.runs.tries import Kept, Origin, Try, add_try, read_tries
from medalist.tasks.protocols import Answering, Oof
from medalist.tasks.scored import oof_path
from medalist.workflows.stale import warn_of_score


def changed_settings(run: Run, overrides: Sequence[str], allowed: str) -> Experiment:
    """Return a run's settings with `key=value` changes inside the section `allowed`.

    Raises ConfigError for a change outside of that section, and RunError where the run's config was edited.
    """
    settings = run_settings(run)
    refuse_edited(run, settings)
    if not overrides:
        return settings
    changed = load_settings(run.folder / "config.yaml", tuple(overrides))
    for key, _, value in differences(settings, changed):
        if not key.startswith(f"{allowed}."):
            raise ConfigError(f"{key}={value} changes how the run was made; only {allowed}.* may be changed here")
    return changed


def kept_settings(run: Run, settings: Experiment) -> Experiment:
    """Return a run's settings with the `decide` that `score --keep` has kept; the settings themselves where none was.

    Raises RunError where the kept settings cannot be read any more.
    """
    kept = read_tries(run).kept
    if kept is None or kept.origin == "config":
        return settings
    try:
        values = {**settings.model_dump(mode="json"), "decide": dict(kept.decide)}
        whole = type(settings).model_validate_json(json.dumps(with_present_names(values, type(settings))))
        return settings.model_copy(update={"decide": whole.decide})
    except ValidationError:
        raise RunError(
            f"{run.folder / TRIES} keeps a decision that this version cannot read; keep one again: medalist score "
            f"{run.competition}/{run.name} --keep"
        ) from None


def score_run(
    run: Run,
    contest: Contest,
    settings: Experiment,
    reporter: Reporter,
    figures: Sequence[str] = (),
    keep: bool = False,
) -> dict[str, Any]:
    """Score the OOF answers of the trained folds, and return the scores.

    Where `decide` is the one that is kept (the config's own, or that of an earlier `keep`), or with `keep`, `oof.csv`
    and `scores.json` are written, and the scores are logged to the tracker of the run's config (`tracking`). Otherwise
    it is a try: only a line is added to `tries.json`. figures: names of further figures that the kind computes on
    request.
    """
    own = run_settings(run)
    is_kept = keep or kept_settings(run, own).decide == settings.decide
    warn_of_score(run, contest, settings, reporter)
    answering = kind_of(settings).answering()
    with ExitStack() as scratch:
        rows = oof_path(run, contest) if is_kept else _scratch(scratch)
        apart = {} if is_kept else {"rows": rows}
        oof = answering.oof(run, contest, settings, reporter, figures, **apart)
        scores = _scores(run, contest, settings, answering, oof, rows)
    errors = scores["oof"]
    lost = [str(fold) for fold in run.trained_folds() if str(fold) not in errors["folds"]]
    if lost:
        reporter.say(
            f"note: trained, but without out-of-fold predictions, and so not in this score: folds {', '.join(lost)}; "
            f"type medalist predict {run.competition}/{run.name} --split oof, then score again"
        )
    one = Try(
        changes=_changes(own, settings),
        decide=scores["decide"],
        value=errors["value"],
        error=errors["standard_error_samples"],
        folds=tuple(errors["folds"]),
        folds_of=errors["folds_of"],
        predictions=scores["predictions"],
    )
    if not is_kept:
        add_try(run, one, None)
        return scores
    write_json(run.folder / "scores.json", scores)
    origin: Origin = "config" if own.decide == settings.decide else "--keep"
    add_try(
        run, one, Kept(origin, scores["decide"], sha256_json(scores), scoring_sources(own.competition, own.task.kind))
    )
    if settings.tracking != "none":
        from medalist.workflows.track import track_scores  # imported here, because most runs have no tracker

        track_scores(run, contest, settings, oof, scores)
    return scores


def _scratch(stack: ExitStack) -> Path:
    return Path(stack.enter_context(TemporaryDirectory())) / "try.csv"


def _changes(own: Experiment, settings: Experiment) -> dict[str, Any]:
    return {key: value for key, _, value in differences(own, settings) if key.startswith("decide.")}


def _scores(
    run: Run, contest: Contest, settings: Experiment, answering: Answering, oof: Oof, rows: Path
) -> dict[str, Any]:
    """Return what `scores.json` says. rows: the csv that was scored."""
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
    return {
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
        "rows": sha256_file(rows),
        "by_sample": dict(oof.score.by_sample),
    }


def oof_of_scores(run: Run, contest: Contest) -> Oof:
    """Read back the OOF answers and scores that `medalist score` wrote.

    Raises RunError where the run is not scored, or where `oof.csv` has changed since then.
    """
    scores = run.scores()
    if scores is None:
        raise RunError(f"{run.folder} has no scores.json; run medalist score {run.competition}/{run.name} first")
    path = oof_path(run, contest)
    if scores.get("rows") != sha256_file(path):
        raise RunError(f"{path} is not what was scored; run medalist score {run.competition}/{run.name} again")
    samples = tuple(sample for sample in contest.split.train if sample.id in scores["by_sample"])
    answers = contest.competition.submission.parse(path, samples)
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
