"""What does not fit together any more in a run: folds that are gone, code that has changed, scores of other folds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medalist.contest import Contest
from medalist.errors import FoldError, RunError
from medalist.experiment import Experiment
from medalist.folds.folds import check_folds
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.runs.sources import changed, predicting_sources, reading_sources, scoring_sources, shown, stale_parts
from medalist.runs.tries import FILE as TRIES
from medalist.runs.tries import is_edited, is_unproved, read_tries


def warn_of_score(run: Run, contest: Contest, settings: Experiment, reporter: Reporter) -> None:
    """Say before a run is scored what its user must know: folds that are gone, other code, groups that are split."""
    for line in (*gone_lines(run), *prediction_lines(run, settings, "oof"), *group_lines(run, contest, settings)):
        reporter.say(f"warning: {line}")


def gone_folds(run: Run) -> list[int]:
    """Return the folds that were scored or predicted, and whose weights are not there any more."""
    try:
        scores = run.scores() or {}
    except RunError:  # a damaged file of scores is written again
        scores = {}
    known = {str(fold) for fold in scores.get("oof", {}).get("folds", ())}
    known |= {path.stem.removeprefix("fold") for path in (run.folder / "oof").glob("fold*.json")}
    folds = {int(fold) for fold in known if re.fullmatch("0|[1-9][0-9]{0,5}", fold)}
    return sorted(folds - set(run.trained_folds()))


def gone_lines(run: Run) -> list[str]:
    """Return a line where folds are gone."""
    gone = gone_folds(run)
    if not gone:
        return []
    named, there = numbers(gone), numbers(run.trained_folds())
    return [
        f"{run.name}: fold{'s' if len(gone) > 1 else ''} {named} {'were' if len(gone) > 1 else 'was'} scored or "
        f"predicted before, and the weights are gone: only {there or 'none'} of {run.folds().n} count now; put "
        f"{run.folder / f'fold{gone[0]}'} back, or train again"
    ]


def prediction_lines(run: Run, settings: Experiment, split: str) -> list[str]:
    """Return a line where other code has made the predictions of `oof` or `test`."""
    stale = stale_parts(run, split, predicting_sources(settings.competition, settings.task.kind))
    if not stale:
        return []
    files = sorted({file for files in stale.values() for file in files})
    return [
        f"{run.name}: the predictions {', '.join(stale)} were made by other code, {shown(files)} changed since; "
        f"make them again: medalist predict {run.competition}/{run.name} --split {split}"
    ]


def group_lines(run: Run, contest: Contest, settings: Experiment) -> list[str]:
    """Return a line where the folds of a run split a group that the contest declares now."""
    try:
        check_folds(run.folds(), contest.split.train, grouped=settings.folds.grouped, remedy="its score is too good")
    except FoldError as error:
        return [f"{run.name}: {run.folder / 'folds.csv'} was made before the contest had its present groups: {error}"]
    return []


def training_lines(run: Run, settings: Experiment) -> list[str]:
    """Return a line where images or truths were read by other code when the run was trained."""
    files = changed(run.lock().sources, reading_sources(settings.competition))
    if not files:
        return []
    return [
        f"{run.name} was trained when other code read images and truths: {shown(files)} changed since; train a new run "
        "where this changes what networks see"
    ]


def score_fault(run: Run, settings: Experiment, scores: Mapping[str, Any], made: Mapping[str, str]) -> str | None:
    """Return why the score in `scores.json` is not that of the run as it is now; None where nothing speaks against it.

    made: the hash of what made the present OOF predictions, by part, as in `scores["predictions"]`.
    """
    if scores.get("predictions") != dict(made):
        return "it is of other folds, weights or predictions than the run has now"
    kept = read_tries(run).kept
    if is_unproved(run, kept):
        return f"{run.folder / TRIES} is gone, so nothing says whether scores.json is what score wrote"
    if is_edited(scores, kept):
        return f"{run.folder / 'scores.json'} is not what score wrote"
    files = [] if kept is None else changed(kept.sources, scoring_sources(settings.competition, settings.task.kind))
    return f"other code decided and scored, {shown(files)} changed since" if files else None


def numbers(folds: Sequence[int]) -> str:
    """Return the numbers of folds as text."""
    return ", ".join(map(str, folds))
