"""The request for a training, as a value. This module needs no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from medalist.experiment import Experiment
from medalist.system import WINDOWS


@dataclass(frozen=True)
class TrainRequest:
    """The request for a training.

    settings: the config with its overrides. config, overrides: the file and the overrides that the config was read
    from. data: the contest's folder, None where the config or the environment names it. folds: the numbers of the folds
    to train; empty = all. name: the name of the run; None = made from config and overrides. root: the folder of all
    runs.
    """

    settings: Experiment
    config: Path
    overrides: tuple[str, ...]
    data: str | None
    folds: tuple[int, ...]
    name: str | None
    root: Path

    def of_fold(self, fold: int, data: Path, name: str) -> TrainRequest:
        """Return the request for one fold, with absolute paths, because another process may have another folder."""
        return replace(self, data=str(data.resolve()), folds=(fold,), name=name, root=self.root.resolve())


def run_name(config: Path, overrides: Sequence[str]) -> str:
    """Return the name of a run: the config's name and the overrides, so that each idea has a run of its own.

    A name longer than 150 bytes is cut, and ends in a hash.
    """
    parts = [config.stem, *(override.strip().replace("/", "_").replace(" ", "") for override in overrides)]
    name = "+".join(parts)
    if WINDOWS:
        name = re.sub(r'[<>:"\\|?*]', "_", name).rstrip(".")  # characters that file names of Windows cannot have
    if len(name.encode()) <= 150:
        return name
    return name.encode()[:137].decode(errors="ignore") + "+" + sha256(name.encode()).hexdigest()[:12]
