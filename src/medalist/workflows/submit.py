"""`medalist submit`: turn the test predictions of one or several runs into a validated submission."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medalist.config import with_present_names
from medalist.contest import Contest
from medalist.errors import RunError
from medalist.experiment import Experiment
from medalist.files import refuse_unwritable, written
from medalist.formats.box_words import sized
from medalist.formats.submission import AnyFormat, refuse, suffix_of, write_submission
from medalist.kinds import kind_of, run_settings
from medalist.reporter import Reporter
from medalist.runs.fold_weights import weights_hash
from medalist.runs.opening import open_run_contest
from medalist.runs.runs import Run, refuse_edited
from medalist.workflows.recording import record
from medalist.workflows.score import changed_settings, predicted_with
from medalist.workflows.submitted import told, warnings

Configured = tuple[Run, Experiment]


def submit(
    runs: Sequence[Run],
    output: Path,
    data: str | None,
    root: Path,
    reporter: Reporter,
    verify: bool = False,
    memory: str | None = None,
) -> int:
    """Blend the runs' test predictions with equal weights, make answers, write and validate. Return the number of rows.

    Answers are made with the `decide` settings that the first run was scored with (`scores.json` has them), otherwise
    with those of its config. The output file appears only after validation. The reporter gets a line for each run with
    its folds, weights, decision and OOF score, and warnings. verify: whether each file of the contest is read, see
    `open_run_contest`. What the file was made from is recorded beside the runs (`runs.submission_record`), for
    `medalist replay`. memory: the most memory of the process where it predicts, such as "4GB"; see `predict.memory`.
    Raises RunError, before anything is predicted, for runs that cannot be blended or were edited,
    and SubmissionError for a file that the contest would refuse.
    """
    refuse_unwritable(output)
    limits = [] if memory is None else [f"predict.memory={memory}"]
    configured = [(run, changed_settings(run, limits, "predict") if limits else run_settings(run)) for run in runs]
    refuse_unlike(configured)
    for run, own in configured:
        refuse_edited(run, own)
    first, settings = configured[0]
    contest = open_run_contest(first, settings.competition, data, root, verify)
    due = suffix_of(contest.competition.submission)
    if due != ".csv" and output.suffix.lower() != due:
        raise RunError(f"{contest.competition.name} asks for a {due}: type -o {output.with_suffix(due)}")
    for run, own in configured:
        _predict_where_missing(run, own, contest, reporter)
    for line in (*warnings(configured, contest), *told(configured, contest)):
        reporter.say(line)
    with written(output) as unfinished:
        rows, form = write_answers(unfinished, configured, contest, reporter)
        refuse(output, form.validate(unfinished, contest.split.test, contest.reference))
        # Before the file appears, so that every file has its record.
        record(configured, contest, unfinished, output.name, rows, root, reporter)
    return rows


def write_answers(
    path: Path, runs: Sequence[Configured], contest: Contest, reporter: Reporter
) -> tuple[int, AnyFormat]:
    """Decide the stored test predictions of runs and write them; return the number of rows, or of files, and the form.

    Nothing is validated.
    """
    found = kind_of(runs[0][1]).answering().test(runs, contest, reporter)
    return write_submission(path, sized(found.form, contest.split.test), found.answers), found.form


def refuse_unlike(runs: Sequence[Configured]) -> None:
    """Raise RunError for runs that cannot be blended.

    Their contest, data and kind must be the same, and their kind must allow the blend of their settings.
    """
    first, one = runs[0]
    for run, other in runs[1:]:
        both = f"{first.folder} and {run.folder}"
        if run.competition != first.competition:
            raise RunError(f"{both} are runs of different contests; they cannot be blended")
        if run.lock().data != first.lock().data:
            raise RunError(f"{both} were trained on different data; they cannot be blended")
        if one.task.kind != other.task.kind:
            kinds = f"one has task.kind = {one.task.kind}, the other {other.task.kind}"
            raise RunError(f"{both}: {kinds}; they cannot be blended")
        why = kind_of(one).answering().blend_conflict(one, other)
        if why is not None:
            raise RunError(f"{both} {why}")


def _predict_where_missing(run: Run, settings: Experiment, contest: Contest, reporter: Reporter) -> None:
    """Predict the test part, with the `predict` settings that the run was scored with.

    Nothing is done where the present weights have predicted it already.
    """
    kind = kind_of(settings)
    used_in_scores = (run.scores() or {}).get("predict")
    scored = next(iter(used_in_scores.values()), None) if isinstance(used_in_scores, dict) else None
    made = kind.answering().made_by(run, contest, "test") or {}
    by_folds = {name: digest for name, digest in made.items() if name.startswith("fold")}
    keep = settings.train.keep
    if by_folds == {f"fold{fold}": weights_hash(run, fold, keep) for fold in run.trained_folds()} != {}:
        used = predicted_with({"test": made})["test"]
        if scored and used and used != scored:
            reporter.say(f"note: {run.name} was scored with predict {scored}, its test part was predicted with {used}")
        return
    if scored:
        settings = predicting_as(settings, scored)
    # Only this call needs torch.
    kind.training().predict(run, settings, contest, None, reporter)


def predicting_as(settings: Experiment, predict: Mapping[str, Any]) -> Experiment:
    """Return settings with another section `predict`, as a score or predictions have recorded it."""
    now = settings.predict.model_dump(mode="json")
    values = {**now, **with_present_names(predict, type(settings.predict))}
    how = type(settings.predict).model_validate_json(json.dumps(values))
    return settings.model_copy(update={"predict": how})
