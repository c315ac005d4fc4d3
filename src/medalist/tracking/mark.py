"""How far a tracker came, kept beside what it tracks. Torch-free."""

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
    """id: of the wandb run, in which what is resumed goes on. step: of the last row that was logged, -1 before it.

    It stands in the folder of a fold or of a run and goes with it: a fold that is deleted and trained anew is another
    wandb run.
    """

    kind: Tracking
    id: str
    step: int = -1


def read_mark(folder: Path, kind: Tracking) -> Mark:
    """The mark in a folder; a new one where there is none of this kind, or it is damaged."""
    try:
        found = read_json(folder / MARK)
        same = found["kind"] == kind and type(found["step"]) is int and re.fullmatch("[0-9a-f]{16}", found["id"])
    except (RunError, TypeError, LookupError):
        same = None
    return Mark(kind, found["id"], max(found["step"], -1)) if same else Mark(kind, token_hex(8))


def write_mark(folder: Path, mark: Mark) -> None:
    """Keep a mark."""
    write_json(folder / MARK, asdict(mark))
