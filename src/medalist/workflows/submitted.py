"""What `medalist submit` says of the runs that it submits: folds, weights, decision and score, and what is doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from medalist.contest import Contest
from medalist.experiment import Experiment
from medalist.files import sha256_json
from medalist.kinds import kind_of
from medalist.runs.runs import Run
from medalist.runs.tries import is_edited, is_unproved, read_tries
from medalist.workflows.stale import gone_lines, group_lines, numbers, prediction_lines, score_fault, training_lines

Configured = tuple[Run, Experiment]


def warnings(runs: Sequence[Configured], contest: Contest) -> Iterator[str]:
    """Yield a line for each thing that makes the submission another than its user may think."""
    seen: dict[object, int] = {}
    for run, _ in runs:
        seen[run.folder.resolve()] = seen.get(run.folder.resolve(), 0) + 1
    once = {run.folder.resolve(): (run, settings) for run, settings in runs}
    for place, (run, _) in once.items():
        if seen[place] > 1:
            yield f"warning: {run.name} is given {_times(seen[place])}, and counts so often in the mean of {len(runs)}"
    for (run, one), (other, two) in combinations(once.values(), 2):
        same = sorted(_weights(run, one, contest) & _weights(other, two, contest))
        if same:
            yield f"warning: {run.name} and {other.name} have the same weights in {', '.join(name for name, _ in same)}"
    for run, settings in once.values():
        trained, folds = run.trained_folds(), run.folds().n
        if len(trained) < folds:
            missing = [fold for fold in range(folds) if fold not in trained]
            yield (
                f"warning: {run.name} averages only {len(trained)} of its {folds} folds: {numbers(missing)} "
                f"{'are' if len(missing) > 1 else 'is'} not trained; train all folds for a better submission"
            )
        lines = (
            *gone_lines(run),
            *training_lines(run, settings),
            *prediction_lines(run, settings, "oof"),
            *prediction_lines(run, settings, "test"),
            *group_lines(run, contest, settings),
        )
        yield from (f"warning: {line}" for line in lines)


def told(runs: Sequence[Configured], contest: Contest) -> Iterator[str]:
    """Yield a line for each run with its folds, weights and OOF score, and one for the decision."""
    (first, settings), blend = runs[0], len(runs) > 1
    scores = first.scores()
    decide = settings.decide.model_dump(mode="json") if scores is None else scores["decide"]
    for run, own in runs:
        folds, trained = run.folds().n, numbers(run.trained_folds())
        yield f"{run.name}: folds {trained} of {folds}, weights {own.train.keep}; {_score(run, own, contest, decide)}"
        if not run.lock().contents:
            yield f"{run.name} is older than hashes of contents and code: whether these changed since is unknown"
    yield f"decide, {_origin(first, settings, scores)}: {_listed(decide)}"
    if blend:
        yield f"equal weights; the OOF score of this blend of {len(runs)} is not known, only those of its runs"


def _score(run: Run, settings: Experiment, contest: Contest, decide: Mapping[str, Any]) -> str:
    """Return the run's OOF score and what it holds for. decide: the decision of the submission."""
    scores = run.scores()
    remedy = f"medalist score {run.competition}/{run.name}"
    if scores is None:
        return f"OOF score unknown: {remedy}"
    answering = kind_of(settings).answering()
    parts = {f"fold{fold}": answering.made_by(run, contest, f"oof/fold{fold}") for fold in run.trained_folds()}
    made = {name: sha256_json(dict(how)) for name, how in parts.items() if how is not None}
    oof = scores["oof"]
    error = oof.get("standard_error_samples")
    value = f"OOF {oof['value']:.4f}{'' if error is None else f' ± {error:.4f}'}"
    fault = score_fault(run, settings, scores, made)
    folds = numbers(sorted(int(fold) for fold in oof["folds"]))
    if fault is not None:
        return f"{value} of folds {folds} is STALE: {fault}; {remedy} again"
    if scores["decide"] != decide:
        return f"{value} by a decision of its own, which this submission does not use"
    return f"{value} with exactly these"


def _origin(run: Run, settings: Experiment, scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return f"from the config of {run.name}"
    kept = read_tries(run).kept
    if is_edited(scores, kept):
        return f"from the scores.json of {run.name}, which is not what score wrote"
    if is_unproved(run, kept):
        return f"from the scores.json of {run.name}, whose tries.json is gone"
    if kept is None:
        return f"from the last score of {run.name}, which an older version wrote"
    return f"from the config of {run.name}" if kept.origin == "config" else f"from score --keep of {run.name}"


def _weights(run: Run, settings: Experiment, contest: Contest) -> set[tuple[str, str]]:
    made = kind_of(settings).answering().made_by(run, contest, "test") or {}
    return {(name, digest) for name, digest in made.items() if name.startswith("fold")}


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"
