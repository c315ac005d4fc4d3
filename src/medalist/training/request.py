"""What is asked to be trained. Torch-free."""

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
    """What is asked to be trained.

    settings: the config as it was read, with its overrides. config, overrides: where it came from. data: the contest's
    folder, None where the config or the environment says it. folds: numbers, empty = all. name: of the run, None = by
    the config and the overrides. root: the folder of all runs.
    """

    settings: Experiment
    config: Path
    overrides: tuple[str, ...]
    data: str | None
    folds: tuple[int, ...]
    name: str | None
    root: Path

    def of_fold(self, fold: int, data: Path, name: str) -> TrainRequest:
        """The request for one fold alone, with whole paths, as another process needs it."""
        return replace(self, data=str(data.resolve()), folds=(fold,), name=name, root=self.root.resolve())


def run_name(config: Path, overrides: Sequence[str]) -> str:
    """The config's name; overrides are added to it, so that each idea has a run of its own. At most 150 bytes."""
    parts = [config.stem, *(override.strip().replace("/", "_").replace(" ", "") for override in overrides)]
    name = "+".join(parts)
    if WINDOWS:
        name = re.sub(r'[<>:"\\|?*]', "_", name).rstrip(".")  # what no file name of Windows holds
    if len(name.encode()) <= 150:
        return name
    return name.encode()[:137].decode(errors="ignore") + "+" + sha256(name.encode()).hexdigest()[:12]
