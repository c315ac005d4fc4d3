"""The stages of a replay before answers are made: each compares what was recorded with what is there now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medalist.contest import Contest
from medalist.errors import MedalistError
from medalist.experiment import Experiment
from medalist.files import sha256_file
from medalist.runs.contest_files import hash_contest, read_hashes
from medalist.runs.fold_weights import weights_hash
from medalist.runs.pointers import holders
from medalist.runs.runs import Run, config_hash, manifest_hash
from medalist.runs.sources import changed, shown
from medalist.runs.submission_record import DecisionFacts, PartFacts, RunFacts, SubmissionRecord
from medalist.stores.comparing import changed_files
from medalist.workflows.recording import code_facts, data_facts, decision_facts, part_facts

State = Literal["same", "differs", "unknown"]

SURROUNDINGS = "surroundings"
"""The cause of a stage whose own facts are the same: a version or the machine, which the replay looks up."""


@dataclass(frozen=True)
class Stage:
    """One stage of a replay. told: what differs, or a note. cause: the likely cause, in words, where it differs."""

    name: str
    state: State
    told: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Submitted:
    """A run of a record, as it was and as it is now."""

    was: RunFacts
    run: Run
    settings: Experiment


def data_stage(record: SubmissionRecord, first: Submitted, contest: Contest, root: Path, verify: bool) -> Stage:
    """Compare the contest's data with that of the submission, and name the files that differ."""
    try:
        files = _other_contents(first, hash_contest(contest, root, verify))
        facts = data_facts(contest, root)
        samples = manifest_hash(contest.split)
    except MedalistError as error:
        return Stage("data", "differs", str(error), "the data")
    was = record.data
    names = was.tables.keys() | facts.tables.keys()
    tables = sorted(name for name in names if was.tables.get(name) != facts.tables.get(name))
    named = list(dict.fromkeys([*files, *tables]))
    if was.reference != facts.reference:
        named.append("the sample submission")
    if named:
        return Stage("data", "differs", f"{shown(named)} changed since", f"the data: {shown(named)}")
    if samples != first.was.samples or facts.order != was.order:
        what = "ids, truths or sizes of images" if samples != first.was.samples else "the order of the test ids"
        return Stage("data", "differs", f"{what} differ in {contest.data}", "the data")
    if not first.was.contents:
        return Stage("data", "unknown", "the run is older than hashes of contents; ids, truths and sizes are the same")
    return Stage("data", "same")


def _other_contents(first: Submitted, now: dict[str, str]) -> list[str]:
    before = read_hashes(first.run, first.run.lock()) or {}
    return sorted(name for name, digest in before.items() if now.get(name) != digest)


def config_stage(runs: Sequence[Submitted]) -> Stage:
    """Compare config.yaml, without its free sections, and lock.json of each run."""

    def fault(one: Submitted) -> str:
        if config_hash(one.settings, one.settings) != one.was.config:
            return f"{one.run.folder / 'config.yaml'} was edited since"
        if sha256_file(one.run.folder / "lock.json") != one.was.lock:
            return f"{one.run.folder / 'lock.json'} is another one: was the run trained again?"
        return ""

    return _over("config", runs, fault, "another config")


def folds_stage(runs: Sequence[Submitted]) -> Stage:
    """Compare the folds of each run."""

    def fault(one: Submitted) -> str:
        same = one.run.folds().hash == one.was.folds
        return "" if same else f"{one.run.folder / 'folds.csv'} has other folds"

    return _over("folds", runs, fault, "other folds")


def weights_stage(runs: Sequence[Submitted]) -> Stage:
    """Compare the weights of each trained fold. A missing file is named with the stores that have had it."""

    def fault(one: Submitted) -> str:
        for name, digest in one.was.weights.items():
            number = name.removeprefix("fold")
            path = one.run.fold_folder(int(number)) / f"{one.was.keep}.safetensors" if number.isdecimal() else None
            if path is None or not path.is_file():
                return f"{path or name} is gone{holders(one.run.folder, f'{name}/{one.was.keep}.safetensors')}"
            if weights_hash(one.run, int(number), one.was.keep) != digest:
                return f"{path} holds other weights: fold {number} was trained again"
        new = sorted({f"fold{fold}" for fold in one.run.trained_folds()} - one.was.weights.keys())
        return f"{', '.join(new)} of {one.was.name} was trained after the submission" if new else ""

    return _over("weights", runs, fault, "other weights")


def code_stage(record: SubmissionRecord, settings: Experiment) -> Stage:
    """Compare the code that predicts, decides and writes."""
    files = changed(record.sources, code_facts(settings))
    if not files:
        return Stage("code", "same")
    was = record.surroundings.commit
    told = f"{shown(files)} changed since the commit {was[:12]}{' with changes' if was.endswith('+') else ''}"
    return Stage("code", "differs", told, f"the code: {shown(files)}")


def predictions_stage(runs: Sequence[Submitted]) -> Stage:
    """Compare the stored test predictions, and name the first file that differs and why."""
    for one in runs:
        folder = one.run.folder / "test"
        try:
            now = part_facts(folder)
            for name, was in one.was.parts.items():
                found = _part_stage(one, folder, name, was, now.get(name))
                if found is not None:
                    return found
        except MedalistError as error:
            return Stage("predictions", "differs", str(error), "damaged predictions")
    return Stage("predictions", "same")


def _part_stage(one: Submitted, folder: Path, name: str, was: PartFacts, now: PartFacts | None) -> Stage | None:
    if now is None:
        told = f"{folder / name}.json is gone{holders(one.run.folder, f'test/{name}.json')}; --predict makes it again"
        return Stage("predictions", "differs", told, "no stored predictions")
    files = sorted(file for file in was.files.keys() | now.files.keys() if was.files.get(file) != now.files.get(file))
    if files:
        why, cause = _why(was, now)
        told = f"{shown([f'{one.was.name}/test/{file}' for file in files])} predicted again{why}"
        return Stage("predictions", "differs", told, cause)
    damaged = changed_files(folder, name, now.files)
    if damaged:
        told = f"{shown([f'{one.was.name}/test/{file}' for file in damaged])} changed or replaced, or gone, since"
        return Stage("predictions", "differs", told, "stored predictions that were changed by hand")
    return None


def _why(was: PartFacts, now: PartFacts) -> tuple[str, str]:
    """Return why predictions that were made again may differ, and the likely cause."""
    keys = sorted(
        key for key in was.made_by.keys() | now.made_by.keys() if was.made_by.get(key) != now.made_by.get(key)
    )
    words = {"predict": "other settings of predict", "data": "other data"}
    if keys:
        told = ", ".join(words.get(key, f"other weights of {key}") for key in keys)
        return f" with {told}", told
    code = changed(was.sources, now.sources)
    if code:
        return f" by other code, {shown(code)}", f"the code: {shown(code)}"
    return " with the same weights, data, settings and code", SURROUNDINGS


def decision_stage(record: SubmissionRecord, first: Submitted) -> Stage:
    """Compare the decision. What the record has is used; files of a decision that differ cannot be had back."""
    was = record.decision
    try:
        now = decision_facts(first.run, first.settings)
    except MedalistError:
        now = DecisionFacts(was.decide, None, was.files)  # a damaged scores.json is not used here
    files = sorted(name for name in was.files.keys() | now.files.keys() if was.files.get(name) != now.files.get(name))
    if files:
        told = f"{', '.join(str(first.run.folder / name) for name in files)} changed since"
        return Stage("decision", "differs", told, "another second stage")
    if now.decide != was.decide or now.scores != was.scores:
        keys = sorted(
            key for key in was.decide.keys() | now.decide.keys() if was.decide.get(key) != now.decide.get(key)
        )
        others = [f"{key} was {was.decide.get(key)}, is {now.decide.get(key)}" for key in keys]
        told = f" ({shown(others)})" if others else ""
        return Stage("decision", "same", f"the run was scored otherwise since{told}; replayed as it was recorded")
    return Stage("decision", "same")


def _over(name: str, runs: Sequence[Submitted], fault: Callable[[Submitted], str], cause: str) -> Stage:
    """Return a stage from the first fault of a run."""
    for one in runs:
        try:
            told = fault(one)
        except MedalistError as error:
            told = str(error)
        if told:
            return Stage(name, "differs", told, cause)
    return Stage(name, "same")
