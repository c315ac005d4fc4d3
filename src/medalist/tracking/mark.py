"""The last step that a tracker has logged, kept in a file in the tracked folder. Torch-free."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex

from medalist.errors import RunError
from medalist.files import read_json, write_json
from medalist.tracking.settings import Tracking

MARK = "tracking.json"


@dataclass(frozen=True)
class Mark:
    """Which tracker logged a fold, and up to which step.

    kind: the tracker. id: the id of the wandb run; a resumed fold continues this wandb run. step: the step of the last
    row that was logged, -1 where no row was logged yet.

    The mark is a file in the folder of a fold or of a run, and it is deleted with that folder. So a fold that is
    deleted and trained again becomes a new wandb run.
    """

    kind: Tracking
    id: str
    step: int = -1


def read_mark(folder: Path, kind: Tracking) -> Mark:
    """Return the mark in a folder; a new mark where the folder has none of this kind, or where it is damaged."""
    try:
        found = read_json(folder / MARK)
        same = found["kind"] == kind and type(found["step"]) is int and re.fullmatch("[0-9a-f]{16}", found["id"])
    except (RunError, TypeError, LookupError):
        same = None
    return Mark(kind, found["id"], max(found["step"], -1)) if same else Mark(kind, token_hex(8))


def write_mark(folder: Path, mark: Mark) -> None:
    """Write the mark into `folder`."""
    write_json(folder / MARK, asdict(mark))
