"""What was sent to Kaggle: two files of JSON lines for each contest, to which lines are only added.

`runs/<competition>/submissions.jsonl` has the submissions, `runs/<competition>/notebooks.jsonl` the notebooks that were
pushed. Kaggle lists neither the hash of a file nor the versions of a notebook, so these files alone know them. A
submission whose status or score has changed gets another line with the same key, and the last line of a key counts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from medalist import system
from medalist.errors import RunError
from medalist.files import reason, refuse_newer, refuse_unwritable
from medalist.reading import JSON_BYTES, read_text

FORMAT = 1
"""The format of the lines. A number above it means that a newer version wrote the line."""

SUBMISSIONS, NOTEBOOKS = "submissions.jsonl", "notebooks.jsonl"

LOCK_SECONDS = 10.0
"""How long another process may hold a ledger before this one gives up. A line is written in milliseconds."""

Status = Literal["sending", "pending", "complete", "error", "failed"]
"""sending: begun, and no answer is known. pending, complete, error: what Kaggle says. failed: it never got there."""

Line = TypeVar("Line")


@dataclass(frozen=True)
class Submission:
    """One file, or one output of a notebook, that was submitted.

    key: a name for this submission in the ledger. time: when it was sent, UTC, ISO 8601. sha256: the hash of the file;
    empty where the file is the output of a notebook and is not here. runs: the runs that it was made from, as
    `competition/run`. oof: their OOF scores at that time, in their order; None where a run was not scored. slug: the
    contest's name at Kaggle. reference: Kaggle's number of the submission. public, private: its scores as Kaggle tells
    them, which may mean lower is better. error: why it failed. notebook, version: of a submission by a notebook.
    """

    key: str
    time: str
    file: str
    sha256: str
    message: str
    slug: str
    status: Status
    runs: tuple[str, ...] = ()
    oof: tuple[float | None, ...] = ()
    reference: int | None = None
    public: float | None = None
    private: float | None = None
    error: str = ""
    notebook: str = ""
    version: int | None = None


@dataclass(frozen=True)
class Pushed:
    """One version of a notebook that was pushed: `notebook` is OWNER/NAME, `sha256` the hash of its code file.

    version: the number that Kaggle answered, None where it told none.
    """

    time: str
    notebook: str
    sha256: str
    version: int | None = None
    url: str = ""


def submissions_file(root: Path, competition: str) -> Path:
    """Return the path of a contest's ledger of submissions."""
    return root / competition / SUBMISSIONS


def read_submissions(root: Path, competition: str) -> list[Submission]:
    """Return the submissions of a contest, the oldest first. Raises RunError, which names the line, for damage."""
    return list({one.key: one for one in _read(submissions_file(root, competition), Submission)}.values())


def add_submission(root: Path, competition: str, one: Submission) -> None:
    """Add a line for a new or changed submission. Raises RunError where it cannot be written."""
    _append(submissions_file(root, competition), asdict(one))


def read_pushed(root: Path, competition: str) -> list[Pushed]:
    """Return the notebooks that were pushed for a contest, the oldest first. Raises RunError for damage."""
    return _read(root / competition / NOTEBOOKS, Pushed)


def add_pushed(root: Path, competition: str, one: Pushed) -> None:
    """Add a line for a pushed version of a notebook. Raises RunError where it cannot be written."""
    _append(root / competition / NOTEBOOKS, asdict(one))


def submission_of_run(run: str, submissions: Sequence[Submission]) -> Submission | None:
    """Return the newest scored submission that is of this run alone; otherwise the newest of a blend with the run."""
    scored = [one for one in submissions if run in one.runs and (one.public is not None or one.private is not None)]
    alone = [one for one in scored if set(one.runs) == {run}]
    return max(alone or scored, key=lambda one: one.time, default=None)


def _read(path: Path, kind: type[Line]) -> list[Line]:
    if not path.exists():
        return []
    try:
        lines = read_text(path, JSON_BYTES).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: {reason(error)}") from error
    found: list[Line] = []
    adapter = TypeAdapter(kind)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            refuse_newer(value, path, FORMAT)
            found.append(adapter.validate_python(value))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RunError(f"{path}, line {number}: {where}: {first['msg']}; correct or delete this line") from None
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path}, line {number}: not JSON ({reason(error)}); delete this line") from None
    return found


def _append(path: Path, value: Mapping[str, Any]) -> None:
    """Add one whole line, under a lock, and flush it. What a power cut left without an end gets its own line first."""
    refuse_unwritable(path)
    line = json.dumps({"format": FORMAT, **value}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            _locked(file, path)
            torn = False
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            file.write(b"\n" * torn + line)
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"cannot write {path}: {reason(error)}; the line is lost: {line.decode().strip()}") from error


def _locked(file: IO[bytes], path: Path) -> None:
    end = time.monotonic() + LOCK_SECONDS
    while not system.lock(file):
        if time.monotonic() > end:
            raise RunError(f"{path} is held by another process; end it and run the command again")
        time.sleep(0.02)
