"""Gather what a submission is made from, for its record (`runs.submission_record`) and for a replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medalist.contents import CACHE, hash_files
from medalist.contest import Contest
from medalist.errors import MedalistError
from medalist.experiment import Experiment
from medalist.files import read_json, sha256_file, sha256_json
from medalist.reporter import Reporter
from medalist.runs.contest_files import tables_of
from medalist.runs.fold_weights import weights_hash
from medalist.runs.runs import Run, config_hash
from medalist.runs.sources import predicting_sources, scoring_sources
from medalist.runs.submission_record import (
    DataFacts,
    DecisionFacts,
    PartFacts,
    RunFacts,
    SubmissionRecord,
    write_record,
)
from medalist.runs.surroundings import surroundings

Configured = tuple[Run, Experiment]

DECIDING = ("second_stage.json",)
"""Files of a run, beside scores.json, that a decision reads."""


def record(
    runs: Sequence[Configured],
    contest: Contest,
    file: Path,
    name: str,
    rows: int,
    root: Path,
    reporter: Reporter,
) -> None:
    """Write the record of a submission that has just been made.

    file: where the bytes are now. name: the name that the file will have. A record that cannot be written, as in a
    folder of runs that is read only, is told and stops nothing.
    """
    (first, settings), digest = runs[0], sha256_file(file)
    try:
        write_record(
            root,
            SubmissionRecord(
                competition=first.competition,
                sha256=digest,
                file=name,
                rows=rows,
                made=datetime.now(UTC).isoformat(timespec="microseconds"),
                kind=settings.task.kind,
                runs=tuple(run_facts(run, own, root) for run, own in runs),
                data=data_facts(contest, root),
                decision=decision_facts(first, settings),
                sources=code_facts(settings),
                surroundings=surroundings(),
            ),
        )
    except MedalistError as error:
        reporter.say(f"warning: {name} has no record, so medalist replay will not know it: {error}")


def run_facts(run: Run, settings: Experiment, root: Path) -> RunFacts:
    """Return a run as it is now. Raises MedalistError where its lock, folds, weights or predictions are damaged."""
    lock, folder, above = run.lock(), run.folder.resolve(), root.resolve()
    keep = settings.train.keep
    return RunFacts(
        name=f"{run.competition}/{run.name}",
        folder=folder.relative_to(above).as_posix() if folder.is_relative_to(above) else str(folder),
        lock=sha256_file(run.folder / "lock.json"),
        config=config_hash(settings, settings),
        samples=lock.data,
        contents=lock.contents,
        folds=run.folds().hash,
        pretrained=lock.weights,
        keep=keep,
        weights={f"fold{fold}": weights_hash(run, fold, keep) for fold in run.trained_folds()},
        parts=part_facts(run.folder / "test"),
    )


def part_facts(folder: Path) -> dict[str, PartFacts]:
    """Return what the indexes of the complete parts in a folder of predictions say, by the name of the part.

    Raises RunError where an index is damaged.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        value = read_json(path)
        if isinstance(value, dict) and "made_by" in value:
            made, files, sources = (_texts(value.get(key)) for key in ("made_by", "files", "sources"))
            found[path.stem] = PartFacts(made, files, sources)
    return found


def _texts(value: object) -> dict[str, str]:
    return {str(key): str(one) for key, one in value.items()} if isinstance(value, dict) else {}


def data_facts(contest: Contest, root: Path) -> DataFacts:
    """Return the facts of a contest's data that the locks of runs do not have. Raises DataError for a missing file."""
    tables = {path.relative_to(contest.data).as_posix(): str(path) for path in tables_of(contest.data)}
    reference = str(contest.reference) if contest.reference is not None and contest.reference.is_file() else ""
    paths = [*tables.values(), *([reference] if reference else [])]
    digests = hash_files(paths, root / contest.competition.name / CACHE)
    return DataFacts(
        tables={name: digests[path] for name, path in tables.items()},
        reference=digests[reference] if reference else "",
        order=sha256_json([sample.id for sample in contest.split.test]),
    )


def decision_facts(run: Run, settings: Experiment) -> DecisionFacts:
    """Return how the predictions of a submission whose first run is `run` are decided now."""
    scores = run.scores()
    files = [run.folder / name for name in DECIDING if (run.folder / name).is_file()]
    return DecisionFacts(
        decide=settings.decide.model_dump(mode="json") if scores is None else scores["decide"],
        scores=None if scores is None else {**scores, "by_sample": {}},
        files={path.name: sha256_file(path) for path in files},
    )


def code_facts(settings: Experiment) -> Mapping[str, str]:
    """Return the hashes of the code that predicts, decides and writes, by file."""
    given: tuple[Any, ...] = (settings.competition, settings.task.kind)
    return {**predicting_sources(*given), **scoring_sources(*given)}
