"""A competition is a value: how one contest's data is read, scored and submitted."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

from medalist.errors import ConfigError
from medalist.records import Answer, Grouping, Sample, Score, Split
from medalist.submission import SubmissionFormat


@dataclass(frozen=True)
class Competition:
    """One contest.

    name: the folder's name under `competitions/`.
    read: data folder -> samples; raises DataError that names every bad file at once.
    truth: (data folder, train sample) -> its truth.
    score: (truths by id, answers by id) -> Score; the two mappings have the same keys. Each metric takes one
        kind of Answer, that which `truth` and `submission` give.
    submission: how answers become rows, and rows answers.
    groups: optional slow look at the pixels, called once, when folds are made: all samples, train and test ->
        their groups, with the evidence.
        Where it is None the samples' own `group` counts.
    sample_submission: the contest's sample submission, a path inside the data folder; submissions are held
        against it.
    white: the value of a 16-bit image that is shown as white (4095 for 12-bit data).
    draw: for contests that make their own data: (folder, seed) -> writes the contest there.
    """

    name: str
    read: Callable[[Path], Split]
    truth: Callable[[Path, Sample], Answer]
    score: Callable[[Mapping[str, Any], Mapping[str, Any]], Score]
    submission: SubmissionFormat
    groups: Callable[[Sequence[Sample]], Grouping] | None = None
    sample_submission: str = "sample_submission.csv"
    white: int = 65535
    draw: Callable[[Path, int], None] | None = None


def find_groups(competition: Competition, split: Split) -> Grouping | None:
    """Look for groups where the contest says how; None where samples declare their own, or have none.

    Test images count too: they bridge training tiles of one field of view.
    """
    return competition.groups((*split.train, *split.test)) if competition.groups else None


def competitions_folder(start: Path | None = None) -> Path:
    """Find the folder `competitions/`, at `start` (default: here) or the nearest folder above it."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "competitions").is_dir():
            return folder / "competitions"
    raise ConfigError(f"no folder 'competitions' in {start} or above it; run medalist inside the project's checkout")


def competition_names(folder: Path) -> list[str]:
    """Names of the competitions in a `competitions/` folder, sorted."""
    return sorted(path.parent.name for path in folder.glob("*/__init__.py"))


def load_competition(name: str, folder: Path | None = None) -> Competition:
    """Import `competitions/<name>` and return its COMPETITION; the only import by name in the project."""
    folder = folder or competitions_folder()
    known = competition_names(folder)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"no competition '{name}' in {folder}; there are: {', '.join(known) or 'none'}{hint}")
    init = (folder / name / "__init__.py").resolve()
    # By its folder too: another checkout's competition of the same name is another module.
    module_name = f"competitions_{sha256(str(init).encode()).hexdigest()[:12]}.{name}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, init, submodule_search_locations=[str(init.parent)])
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # so that the folder's own relative imports resolve
        try:
            spec.loader.exec_module(module)
        except BaseException:
            for loaded in [key for key in sys.modules if f"{key}.".startswith(f"{module_name}.")]:
                del sys.modules[loaded]
            raise
    competition = getattr(module, "COMPETITION", None)
    if not isinstance(competition, Competition):
        raise ConfigError(f"{init} must define COMPETITION = Competition(...)")
    if competition.name != name:
        raise ConfigError(f"{init}: COMPETITION.name is '{competition.name}', and must be the folder's, '{name}'")
    return competition
