"""Whose weights a file holds: the fold and config in its own metadata, and the hashes in `weights.json` beside it.

This module needs no torch. Weights from before these were recorded have neither, and are not refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medalist.errors import RunError
from medalist.files import read_json, sha256_file, write_json
from medalist.reading import open_file
from medalist.runs.runs import Lock, Run

NOTE = "medalist"
"""The key of a safetensors file's metadata. Its one value is JSON, because safetensors writes several keys in an order
that changes from process to process, and the same training must write the same bytes."""

FILE = "weights.json"
"""The hashes of a fold's weights, by file name, written when its training ends."""

LONGEST_HEADER = 100_000_000


def note_of(fold: int, lock: Lock) -> dict[str, str]:
    """Return what the weights of a fold say of themselves: the fold, and the hashes of config and folds of the run."""
    return {"fold": str(fold), "config": lock.config, "folds": lock.folds}


def read_note(path: Path) -> dict[str, str] | None:
    """Return what a file of weights says of itself; None where it says nothing, or is no whole safetensors file."""
    try:
        with open_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LONGEST_HEADER:
                return None
            found: Any = json.loads(json.loads(file.read(length))["__metadata__"][NOTE])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None  # whoever loads the file names its damage
    is_note = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if is_note else None


def refuse_other_fold(run: Run, fold: int, keep: str) -> None:
    """Raise RunError where a fold's weights say that they are of another fold, config or run of folds."""
    path = run.checkpoint(fold, keep)
    note = read_note(path)
    if note is None:
        return
    told = note_of(fold, run.lock())
    other = next((what for what in told if note.get(what) != told[what]), None)
    if other is not None:
        whose = (
            f"fold {note.get('fold')}"
            if other == "fold"
            else f"a run of other {'configs' if other == 'config' else other}"
        )
        raise RunError(
            f"{path} holds the weights of {whose}, which may have been trained on the samples that fold {fold} holds "
            f"out; put the fold's own file back, or delete {path.parent} and train that fold again"
        )


def weights_hash(run: Run, fold: int, keep: str) -> str:
    """Return the SHA-256 of a fold's weights.

    Raises RunError where they are of another fold, or are not what the training wrote, and DataError where they are
    missing.
    """
    path = run.checkpoint(fold, keep)
    refuse_other_fold(run, fold, keep)
    digest = sha256_file(path)
    written = _written(run, fold).get(path.name, digest)
    if written != digest:
        raise RunError(
            f"{path} is not what the training of fold {fold} wrote: it was changed or replaced since; put the file "
            f"back, or delete {path.parent} and train that fold again"
        )
    return digest


def keep_hashes(run: Run, fold: int) -> None:
    """Write the hashes of a fold's weights, after its training has ended."""
    paths = sorted(run.fold_folder(fold).glob("*.safetensors"))
    kept = [path for path in paths if not path.name.startswith(("snapshot-", "state-"))]
    write_json(run.fold_folder(fold) / FILE, {path.name: sha256_file(path) for path in kept})


def has_hashes(run: Run, fold: int) -> bool:
    """Return whether the hashes of a fold's weights are recorded."""
    return (run.fold_folder(fold) / FILE).exists()


def forget_hashes(run: Run, fold: int) -> None:
    """Delete the hashes of weights that are about to be trained again."""
    (run.fold_folder(fold) / FILE).unlink(missing_ok=True)


def _written(run: Run, fold: int) -> Mapping[str, Any]:
    path = run.fold_folder(fold) / FILE
    if not path.exists():
        return {}
    found = read_json(path)
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged; delete {path.parent} and train that fold again")
    return found
