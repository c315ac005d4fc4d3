"""`medalist replay`: make a submission again from its record, and name the first stage that differs.

The stages are data, config, folds, weights, code, predictions, with --predict also predictions that are made again,
decision, rows and bytes. All is made in a temporary folder; runs and files stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from medalist.contest import Contest
from medalist.errors import MedalistError, RunError
from medalist.experiment import Experiment
from medalist.files import sha256_file
from medalist.kinds import kind_of, run_settings
from medalist.reporter import Reporter
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run
from medalist.runs.submission_record import FOLDER, SubmissionRecord, find_record, nearest_record, run_of
from medalist.runs.surroundings import listed, machine_changes, surroundings, version_changes
from medalist.stores.comparing import difference
from medalist.workflows.recording import part_facts
from medalist.workflows.replay_rows import row_difference
from medalist.workflows.replay_stages import (
    SURROUNDINGS,
    Stage,
    Submitted,
    code_stage,
    config_stage,
    data_stage,
    decision_stage,
    folds_stage,
    predictions_stage,
    weights_stage,
)
from medalist.workflows.replay_view import deciding_as, view_of
from medalist.workflows.submit import predicting_as, write_answers


@dataclass(frozen=True)
class Replay:
    """What a replay has found.

    file: the file that was asked for. stages: in their order. versions, machine: what differs in packages and machine
    now, in words. equal: whether the replay has the bytes that were recorded. known: whether the file itself has these
    bytes; else `record` is the nearest one by name, and `edit` says where the file differs from what was made again.
    """

    file: Path
    record: SubmissionRecord
    stages: tuple[Stage, ...]
    versions: tuple[str, ...]
    machine: tuple[str, ...]
    equal: bool
    known: bool
    edit: str = ""

    @property
    def first(self) -> Stage | None:
        """The first stage that differs; None where none does."""
        return next((stage for stage in self.stages if stage.state == "differs"), None)

    @property
    def cause(self) -> str:
        """The likely cause of the first difference, in words."""
        first = self.first
        if first is None:
            return ""
        if first.cause != SURROUNDINGS:
            return first.cause
        if self.versions:
            return f"package version: {listed(list(self.versions))}"
        if self.machine:
            return f"another machine: {listed(list(self.machine))}"
        return "unknown: data, config, folds, weights, code, versions and machine are those of the record"

    @property
    def fault(self) -> str:
        """The line for a file that was not made again byte for byte; empty where it was."""
        first, told = self.first, ""
        if first is not None and not self.equal:
            told = f"differs first at {first.name}: {first.told}; likely cause: {self.cause}"
        if self.known:
            return told and f"the replay of {self.file} {told}"
        edit = f"; {self.edit}" if self.edit else ""
        made = f"that one {told or 'is made again byte for byte'}"
        return (
            f"no record has the hash of {self.file}, so it is not what submit wrote; the nearest record by name is "
            f"{self.record.file} of {self.record.made[:19]}, and {made}{edit}"
        )


def replay(file: Path, root: Path, data: str | None, predict: bool, reporter: Reporter, verify: bool = False) -> Replay:
    """Make a submission again, and compare each stage with its record.

    root: the folder of all runs. data: the folder of the contest's data, or None for that of the run. predict: whether
    the test predictions are made again from the weights, which needs torch. verify: whether each file of the contest is
    read. Raises RunError where there is no record, or a run of it is gone, and DataError where the file cannot be read.
    """
    digest = sha256_file(file)
    found = find_record(root, digest)
    record = found or nearest_record(root, file.name)
    if record is None:
        raise RunError(
            f"no record of {file} under {root} (records are {root}/CONTEST/{FOLDER}/*.json, written by medalist submit "
            "from this version on); give the folder of all runs: medalist --runs DIR replay ..."
        )
    runs = [_submitted(root, facts_at, record) for facts_at in range(len(record.runs))]
    with TemporaryDirectory(prefix="medalist-replay-") as folder:
        made = Path(folder) / f"replayed{Path(record.file).suffix}"
        stages = _stages(record, runs, root, data, predict, reporter, verify, made)
        is_made = made.is_file()
        equal = is_made and sha256_file(made) == record.sha256
        edit = ""
        if found is None and is_made and sha256_file(made) != digest:
            edit = row_difference(file, made).told
        elif found is not None:
            stages += _compared(file, made, equal)
    was, now = record.surroundings, surroundings()
    changes = tuple(version_changes(was, now)), tuple(machine_changes(was, now))
    if found is None and not equal and is_made:
        stages.append(Stage("bytes", "differs", "the replay has another hash than the record", SURROUNDINGS))
    return Replay(file, record, tuple(stages), *changes, equal, found is not None, edit)


def _submitted(root: Path, at: int, record: SubmissionRecord) -> Submitted:
    run = run_of(root, record.runs[at])
    return Submitted(record.runs[at], run, run_settings(run))


def _stages(
    record: SubmissionRecord,
    runs: Sequence[Submitted],
    root: Path,
    data: str | None,
    predict: bool,
    reporter: Reporter,
    verify: bool,
    made: Path,
) -> list[Stage]:
    """Return all stages up to the decision, and write the replayed file to `made` where this is possible."""
    first = runs[0]
    contest: Contest | None = None
    try:
        lock = first.run.lock()
        known = lock.data_folder if Path(lock.data_folder).is_dir() else None
        contest = open_contest(first.settings.competition, data or known, root)
        stages = [data_stage(record, first, contest, root, verify)]
    except MedalistError as error:
        stages = [Stage("data", "differs", str(error), "the data")]
    stages += [
        config_stage(runs),
        folds_stage(runs),
        weights_stage(runs),
        code_stage(record, first.settings),
        predictions_stage(runs),
    ]
    if contest is None:
        return [*stages, Stage("decision", "unknown", "not made without the data")]
    views = [
        view_of(one.run, number, None if number else record.decision, made.parent, not predict)
        for number, one in enumerate(runs)
    ]
    if predict:
        stages.append(_again(runs, views, contest, reporter))
    decision = decision_stage(record, first)
    try:
        deciding = [deciding_as(first.settings, record.decision), *(one.settings for one in runs[1:])]
        write_answers(made, list(zip(views, deciding, strict=True)), contest, reporter)
    except MedalistError as error:
        told = str(error).replace(str(made.parent), "REPLAY")
        decision = Stage("decision", "differs", f"no answers can be made: {told}", decision.cause or SURROUNDINGS)
    return [*stages, decision]


def _again(runs: Sequence[Submitted], views: Sequence[Run], contest: Contest, reporter: Reporter) -> Stage:
    """Predict the test part again in the views, and compare it with the recorded one."""
    name = "predicted again"
    other: list[str] = []
    for one, view in zip(runs, views, strict=True):
        try:
            kind_of(one.settings).training().predict(view, _as_predicted(one), contest, None, reporter)
            now = part_facts(view.folder / "test")
        except MedalistError as error:
            return Stage(name, "differs", str(error), "predictions cannot be made")
        for part, was in one.was.parts.items():
            made = now[part].files if part in now else {}
            files = [file for file, digest in was.files.items() if made.get(file) != digest]
            if files:
                found = difference(one.run.folder / "test", view.folder / "test", files)
                by = "" if found.largest is None else f", by at most {found.largest:g} from what is stored"
                other.append(f"{len(files)} of {len(was.files)} files of {one.was.name}/test differ{by}")
    if other:
        return Stage(name, "differs", "; ".join(other), SURROUNDINGS)
    return Stage(name, "same", "all predictions are the same, byte for byte")


def _as_predicted(one: Submitted) -> Experiment:
    """Return the settings of a run with the section `predict` that its test part was recorded with."""
    said = next((part.made_by["predict"] for part in one.was.parts.values() if "predict" in part.made_by), None)
    try:
        return one.settings if said is None else predicting_as(one.settings, json.loads(said))
    except ValueError as error:  # JSON, and pydantic's ValidationError
        raise RunError(f"the recorded predict of {one.was.name} cannot be read: {str(error).splitlines()[0]}") from None


def _compared(file: Path, made: Path, equal: bool) -> list[Stage]:
    """Return the stages of rows and bytes."""
    if not made.is_file():
        return [Stage("rows", "unknown", "nothing was made"), Stage("bytes", "unknown")]
    if equal:
        return [Stage("rows", "same"), Stage("bytes", "same")]
    found = row_difference(file, made)
    if found.what == "rows":
        return [Stage("rows", "differs", found.told, SURROUNDINGS), Stage("bytes", "differs", "", SURROUNDINGS)]
    return [Stage("rows", "same"), Stage("bytes", "differs", found.told, SURROUNDINGS)]
