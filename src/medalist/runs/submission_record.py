"""What a submission was made from, in `runs/<competition>/submissions/<hash>.json`: one file for each made file.

`medalist submit` writes the record before its file appears, and `medalist replay` finds it by the hash of the file. The
first 16 digits of the file's SHA-256 are the name of the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medalist.errors import MedalistError, RunError
from medalist.files import read_json, refuse_newer, write_json
from medalist.runs.runs import Run
from medalist.runs.surroundings import Surroundings

FOLDER = "submissions"
FORMAT = 1
"""The format of a record. A number above it means that a newer version wrote the file."""

DIGITS = 16


@dataclass(frozen=True)
class PartFacts:
    """A stored part of the test predictions.

    made_by: as in its index (see `tasks.jobs.made_by`). files: the hash of each stored file, by name. sources: the
    hashes of the code that predicted.
    """

    made_by: Mapping[str, str]
    files: Mapping[str, str]
    sources: Mapping[str, str]


@dataclass(frozen=True)
class RunFacts:
    """A run as it was submitted.

    name: `<competition>/<run>`. folder: relative to the folder of all runs, or absolute. lock: the SHA-256 of
    lock.json. config: the hash of the config without the sections that are free (`runs.config_hash`). samples,
    contents, folds: as in the lock. pretrained: the SHA-256 of pretrained weights by name. keep: which weights
    predicted, such as `last`. weights: the SHA-256 of each fold's weights, by `fold0`, `fold1`, .... parts: the stored
    parts of the test predictions, by name.
    """

    name: str
    folder: str
    lock: str
    config: str
    samples: str
    contents: str
    folds: str
    pretrained: Mapping[str, str]
    keep: str
    weights: Mapping[str, str]
    parts: Mapping[str, PartFacts]


@dataclass(frozen=True)
class DataFacts:
    """The contest's data, beside the hashes that `data.csv` of the run has.

    tables: the hash of each table in the data folder, by its relative name. reference: that of the contest's sample
    submission; empty where there is none. order: the hash of the test ids in their order.
    """

    tables: Mapping[str, str]
    reference: str
    order: str


@dataclass(frozen=True)
class DecisionFacts:
    """How predictions became answers.

    decide: the section of the config that was used. scores: the scores.json of the first run without its samples, from
    which tuned numbers come; None where it was never scored. files: the SHA-256 of further files that a decision reads,
    by name.
    """

    decide: Mapping[str, Any]
    scores: Mapping[str, Any] | None
    files: Mapping[str, str]


@dataclass(frozen=True)
class SubmissionRecord:
    """What one submission was made from.

    sha256: of the file. file: its name, without its folder. rows: its rows, or files. made: the time in UTC, in ISO
    form. kind: the kind of the contest. sources: the hashes of the code that predicts, decides and writes.
    """

    competition: str
    sha256: str
    file: str
    rows: int
    made: str
    kind: str
    runs: tuple[RunFacts, ...]
    data: DataFacts
    decision: DecisionFacts
    sources: Mapping[str, str]
    surroundings: Surroundings


def record_path(root: Path, competition: str, digest: str) -> Path:
    """Return the path of the record of a file. root: the folder of all runs. digest: the SHA-256 of the file."""
    return root / competition / FOLDER / f"{digest[:DIGITS]}.json"


def write_record(root: Path, record: SubmissionRecord) -> Path:
    """Write a record, whole or not at all, and return its path. Raises MedalistError where it cannot be written."""
    path = record_path(root, record.competition, record.sha256)
    write_json(path, {"format": FORMAT, **asdict(record)})
    return path


def read_record(path: Path) -> SubmissionRecord:
    """Read a record. Raises RunError where it is missing, damaged, or of a newer format."""
    value = read_json(path)
    refuse_newer(value, path, FORMAT)
    known = {key: one for key, one in value.items() if key != "format"} if isinstance(value, dict) else value
    try:
        record: SubmissionRecord = TypeAdapter(SubmissionRecord).validate_python(known)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the whole"
        raise RunError(f"{path} is no record of a submission ({where}: {first['msg']}); submit again") from None
    if not record.runs or record.sha256[:DIGITS] != path.stem:
        raise RunError(f"{path} is no record of a submission of this name; submit again")
    return record


def find_record(root: Path, digest: str) -> SubmissionRecord | None:
    """Return the record of the file with this SHA-256 under `root`; None where there is none."""
    for path in sorted(root.glob(f"*/{FOLDER}/{digest[:DIGITS]}.json")):
        record = read_record(path)
        if record.sha256 == digest:
            return record
    return None


def nearest_record(root: Path, name: str) -> SubmissionRecord | None:
    """Return the newest record of a file of this name, otherwise of the most similar name; None where none is near.

    Damaged records are passed over.
    """
    found: list[SubmissionRecord] = []
    for path in sorted(root.glob(f"*/{FOLDER}/*.json")):
        try:
            found.append(read_record(path))
        except MedalistError:
            continue
    near = get_close_matches(name, sorted({one.file for one in found}), n=1)
    if not near:
        return None
    chosen = name if any(one.file == name for one in found) else near[0]
    return max((one for one in found if one.file == chosen), key=lambda one: one.made)


def run_of(root: Path, facts: RunFacts) -> Run:
    """Return the run of a record, where it is now. Raises RunError where it is gone."""
    # An absolute folder stays itself here.
    for folder in (root / facts.folder, root / facts.name):
        if (folder / "lock.json").is_file():
            return Run(folder.resolve())
    raise RunError(
        f"the run {facts.name} is not under {root}; give the folder of all runs: medalist --runs DIR replay ..., or "
        f"bring it back: medalist store pull {facts.name}"
    )
