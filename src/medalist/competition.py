"""A competition is a value: how one contest's data is read, scored and submitted."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from medalist.errors import ConfigError
from medalist.records import Answer, Grouping, RetrievalSplit, Sample, Score, Split

if TYPE_CHECKING:
    from medalist.formats.submission import SubmissionFormat


MODULES = "competitions_"
"""How the names of the modules begin that competitions are imported as."""


@dataclass(frozen=True)
class Retrieval:
    """How a contest asks who or what is seen: walk 2. Training samples have their identity as their annotation.

    names: what an answer names, gallery `samples` or `identities`.
    depth: how many names an answer has at most.
    splits: (training samples, held-out samples) of a fold -> the splits on which the fold is validated, made as the
        test part is made (builders in `medalist.retrieval.splits`). Each held-out sample is a query at most once.
    new: the name for a query whose identity the gallery does not have; training samples that bear it have no
        known identity. None where the contest has no such name.
    exclusion_key: a key of `Sample.meta`: gallery samples that share its value with the query (its camera, its drawer)
        are neither answers nor right. The query itself never is.
    confident: whether answers need a confidence that is compared over all queries.
    """

    names: Literal["samples", "identities"]
    depth: int
    splits: Callable[[Sequence[Sample], Sequence[Sample]], tuple[RetrievalSplit, ...]]
    new: str | None = None
    exclusion_key: str | None = None
    confident: bool = False


@dataclass(frozen=True)
class Competition:
    """One contest.

    name: the folder's name under `competitions/`, and "folder.track" for one of its TRACKS.
    read: data folder -> samples; raises DataError that names every bad file at once.
    truth: (data folder, train sample) -> its truth.
    score: (truths by id, answers by id) -> Score; the two mappings have the same keys. Each metric takes one
        kind of Answer, that which `truth` and `submission` give.
    submission: how answers become rows, and rows answers.
    groups: optional slow look at the pixels, called once, when folds are made: all samples, train and test ->
        their groups, with the evidence.
        Where it is None the samples' own `group` counts.
    sample_submission: the contest's sample submission, a path inside the data folder; submissions are held
        against it. None where there is none: they are held against the ids of the test part, in any order.
    white: the value of a 16-bit image that is shown as white (4095 for 12-bit data).
    draw: for contests that make their own data: (folder, seed) -> writes the contest there.
    retrieval: for contests of identities; `truth` is then `retrieval.splits.identity`, and `score` is held against the
        right names of each query (`retrieval.splits.right_names`).
    """

    name: str
    read: Callable[[Path], Split]
    truth: Callable[[Path, Sample], Answer]
    score: Callable[[Mapping[str, Any], Mapping[str, Any]], Score]
    submission: SubmissionFormat
    groups: Callable[[Sequence[Sample]], Grouping] | None = None
    sample_submission: str | None = "sample_submission.csv"
    white: int = 65535
    draw: Callable[[Path, int], None] | None = None
    retrieval: Retrieval | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """By its folder and its name: the module that it stands in has a name that other processes do not know."""
        for module_name, module in list(sys.modules.items()):
            if module_name.startswith(MODULES) and self in _values_of(module).values():
                return load_competition, (self.name, Path(str(module.__file__)).parent.parent)
        return Competition, tuple(getattr(self, one.name) for one in fields(self))


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


def folder_names(folder: Path) -> list[str]:
    """Names of the folders in `competitions/`, sorted."""
    return sorted(path.parent.name for path in folder.glob("*/__init__.py"))


def folder_of(name: str) -> str:
    """The folder of a competition: its name without its track."""
    return name.partition(".")[0]


def load_competition(name: str, folder: Path | None = None) -> Competition:
    """Import `competitions/<name>` and return its COMPETITION; the only import by name in the project.

    "folder.track" is the value under "track" in the folder's TRACKS: another question about the same data.
    """
    folder = folder or competitions_folder()
    home, _, track = name.partition(".")
    known = folder_names(folder)
    if home not in known:
        near = get_close_matches(home, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"no competition '{home}' in {folder}; there are: {', '.join(known) or 'none'}{hint}")
    found = _values(home, folder)
    if track not in found:
        tracks = ", ".join(f"{home}.{other}" for other in found if other)
        raise ConfigError(f"{folder / home} has no track '{track}'; there are: {home}{', ' if tracks else ''}{tracks}")
    return found[track]


def competition_names(folder: Path) -> list[str]:
    """Names of all competitions in a `competitions/` folder, tracks too; imports each of them."""
    names = [(home, track) for home in folder_names(folder) for track in sorted(_values(home, folder))]
    return [f"{home}.{track}" if track else home for home, track in names]


def _values(name: str, folder: Path) -> dict[str, Competition]:
    """COMPETITION of a folder under "", and each of its TRACKS under its word."""
    init = (folder / name / "__init__.py").resolve()
    # By its folder too: another checkout's competition of the same name is another module.
    module_name = f"{MODULES}{sha256(str(init).encode()).hexdigest()[:12]}.{name}"
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
    values = _values_of(module)
    if not all(isinstance(value, Competition) for value in values.values()):
        raise ConfigError(f"{init} must define COMPETITION = Competition(...), and each of TRACKS so")
    for track, value in values.items():
        due = f"{name}.{track}" if track else name
        if value.name != due:
            what = f"TRACKS['{track}']" if track else "COMPETITION"
            raise ConfigError(f"{init}: {what}.name is '{value.name}', and must be '{due}'")
    return values


def _values_of(module: ModuleType) -> dict[str, Any]:
    return {"": getattr(module, "COMPETITION", None), **getattr(module, "TRACKS", {})}
