"""A competition is a value: how one contest's data is read, scored and submitted."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from medalist.errors import ConfigError, DataError
from medalist.records import Answer, Boxes, Grouping, Mask, RetrievalSplit, Sample, Score, Split
from medalist.shipped import CONTESTS, own_folder, shipped_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medalist.codecs.images import Orientation
    from medalist.formats.submission import AnyFormat


MODULES = "competitions_"
"""The beginning of the names of the modules that hold competitions."""


@dataclass(frozen=True)
class Retrieval:
    """How a contest asks for identities (walk 2 in ARCHITECTURE.md). A training sample's annotation is its identity.

    names: what an answer names: gallery `samples` or `identities`.
    depth: the largest number of names in an answer.
    splits: (training samples, held-out samples) of a fold -> the retrieval splits on which the fold is validated. They
        are made like the test part (builders in `medalist.retrieval.splits`). Each held-out sample is a query at
        most once.
    new: the name to answer for a query whose identity is not in the gallery. Training samples with this name have no
        known identity. None where the contest has no such name.
    exclusion_key: a key of `Sample.meta`, for example the camera or the drawer. Gallery samples that have the same
        value as the query are left out: they are no hits, and they are not counted as right. The query itself is
        always left out.
    confident: whether each answer needs a confidence, because the metric compares confidences over all queries.
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

    name: the folder's name under `competitions/`, or "folder.track" for one of the folder's TRACKS.
    read: data folder -> samples. It raises one DataError that names every bad file.
    truth: (data folder, train sample) -> the truth of the sample.
    score: (truths by id, answers by id) -> Score. The two mappings have the same keys. Each metric takes one type of
        Answer, which is the type that `truth` and `submission` return.
    submission: the format that turns answers into rows, and rows into answers.
    groups: optional: (all samples, train and test) -> their groups, with the evidence. It reads the pixels, which is
        slow, so it is called only once, when folds are made. Where `groups` is None, each sample's own `group` is used.
    sample_submission: the contest's sample submission, a path inside the data folder; submissions are compared with
        it. Where it is None, submissions are compared with the ids of the test part, in any order.
    white: the value of a 16-bit image that is shown as white (4095 for 12-bit data).
    orientation: "shown" where truths and answers are those of the picture as programs show it, turned by its EXIF
        orientation; "stored" where they were made on the pixels as they are stored. Images are read so, and sizes are
        those of the pixels that are read.
    read_image: only where the images are no pictures, or only a part of each picture counts: (the first file of a
        sample's images) -> uint8[H, W, 3]. It raises DataError, which names the file. Truths, answers and sizes are
        those of these pixels; `white` and `orientation` are then not used.
    draw: only for contests that make their own data: (folder, seed) -> None; it writes the contest into the folder.
    retrieval: only for contests of identities. `truth` is then `retrieval.splits.identity`, and the truths given to
        `score` are the right names of each query (`retrieval.splits.right_names`).
    classes: the names of the values 0, 1, 2 ... of masks. Where a contest has a background, this is the first name.
        Empty for masks of one class, and for instances.
    kaggle: the name of the contest in its address at Kaggle, for `medalist kaggle`; None for other contests.
    """

    name: str
    read: Callable[[Path], Split]
    truth: Callable[[Path, Sample], Answer]
    score: Callable[[Mapping[str, Any], Mapping[str, Any]], Score]
    submission: AnyFormat
    groups: Callable[[Sequence[Sample]], Grouping] | None = None
    sample_submission: str | None = "sample_submission.csv"
    white: int = 65535
    orientation: Orientation = "shown"
    read_image: Callable[[Path], NDArray[np.uint8]] | None = None
    draw: Callable[[Path, int], None] | None = None
    retrieval: Retrieval | None = None
    classes: tuple[str, ...] = ()
    kaggle: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for names of classes that cannot be told apart, or that are others in the submission."""
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1 or not name})
        if twice or len(self.classes) > 255 or len(self.classes) == 1:
            raise ConfigError(
                f"{self.name}: classes = {', '.join(map(repr, self.classes[:5]))}{', ...' * (len(self.classes) > 5)}: "
                + (f"'{twice[0]}' is there twice or empty" if twice else "there must be 2..255, the background first")
            )
        written = getattr(self.submission, "classes", None)
        if self.classes and written is not None and tuple(written) != self.classes:
            raise ConfigError(
                f"{self.name}: classes are {', '.join(self.classes)}, and those of the submission "
                f"{', '.join(written)}; give both the same names in the same order"
            )

    def image(self, path: Path) -> NDArray[np.uint8]:
        """Read an image of this contest: uint8[H, W, 3]. Raises DataError as `codecs.images.read_image` does."""
        if self.read_image is not None:
            return self.read_image(path)
        from medalist.codecs.images import read_image  # here, because many commands read no image

        return read_image(path, self.white, self.orientation)

    def checked_truth(self, data: Path, sample: Sample) -> Answer:
        """Return the truth of a training sample.

        Raises DataError as `truth` does; for a mask with values that are no class of the contest; for boxes that are
        not finite, have swapped corners or no area, or a label that is no class; and where the submission could not say
        it: a mask of several values, while the format has one class. All of them would silently become foreground.
        """
        truth = self.truth(data, sample)
        if isinstance(truth, Mask):
            _check_mask(truth, sample, self.classes)
        if isinstance(truth, Boxes):
            from medalist.formats.box_words import first_bad

            bad = first_bad(truth, len(getattr(self.submission, "classes", ())))
            if bad is not None:
                raise DataError(f"{_of_sample(sample)}: box {bad[0]} of its truth: {bad[1]}; correct `truth`")
        # `one_class` is an optional property of a format; own formats of a contest need not have it.
        if isinstance(truth, Mask) and getattr(self.submission, "one_class", False):
            _refuse_classes(truth, sample)
        return truth

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder and the name, because other processes cannot import the competition's module by name."""
        for module_name, module in list(sys.modules.items()):
            if module_name.startswith(MODULES) and self in _values_of(module).values():
                return load_competition, (self.name, Path(str(module.__file__)).parent.parent)
        return Competition, tuple(getattr(self, one.name) for one in fields(self))


def _check_mask(truth: Mask, sample: Sample, classes: Sequence[str]) -> None:
    """Raise DataError for a mask whose void does not fit its classes, or that has values of no class."""
    where = _of_sample(sample)
    if truth.void is not None:
        if truth.void.shape != truth.classes.shape or truth.void.dtype != bool:
            raise DataError(f"{where}: its mask has void of another shape or type than bool{list(truth.classes.shape)}")
        if truth.classes[truth.void].any():
            raise DataError(f"{where}: its mask has classes at void pixels; in `truth`, set them to 0 there")
    if not classes or truth.classes.max(initial=0) < len(classes):
        return
    from medalist.codecs.label_pictures import counted

    values = {value: count for value, count in counted(truth.classes).items() if value >= len(classes)}
    told = ", ".join(f"{value} ({count:,} pixels)" for value, count in list(values.items())[:6])
    more = f" and {len(values) - 6} more" if len(values) > 6 else ""
    raise DataError(
        f"{where}: its mask has the values {told}{more}, and the contest's classes are 0..{len(classes) - 1} "
        f"({classes[0]} ... {classes[-1]}); in `truth`, map them, or make them void: layouts.label_masks(data, sample, "
        "CLASSES, ids={...}, ignore=(...))"
    )


def _of_sample(sample: Sample) -> str:
    """The sample in words, with the file or code of its annotation where it has one."""
    named = f" ({sample.annotation[0]:.80})" if len(sample.annotation) == 1 and sample.annotation[0] else ""
    return f"sample {sample.id}{named}"


def _refuse_classes(truth: Mask, sample: Sample) -> None:
    """Raise DataError for a mask with other values than 0 and 1, or 0 and 255."""
    if truth.classes.max(initial=0) <= 1:
        return
    from medalist.codecs.label_pictures import told, values_in

    values = values_in(truth.classes)
    if [value for value in values if value] != [255]:
        raise DataError(
            f"{_of_sample(sample)}: its mask has {told(values)}, and a submission of this contest has one class; "
            "in `truth`, return the class that is asked for: Mask((classes == 1).astype(np.uint8)), or "
            "layouts.mask_picture(data, sample, foreground=(1,))"
            + (
                "; where 255 is void: layouts.label_masks(data, sample, CLASSES, ignore=(255,))"
                if 255 in values
                else ""
            )
        )


def find_groups(competition: Competition, split: Split) -> Grouping | None:
    """Find the groups of all samples by `competition.groups`; None where that is None.

    Test images are looked at too, because a test tile can join two training tiles of one field of view.
    """
    return competition.groups((*split.train, *split.test)) if competition.groups else None


def competition_folders(start: Path | None = None) -> tuple[Path, ...]:
    """Find the folders that hold competitions: the nearest `competitions/` at `start` or above it, and the shipped one.

    `start` is the working folder by default. ConfigError where there is neither.
    """
    found = [folder for folder in (own_folder(CONTESTS, start), shipped_folder(CONTESTS)) if folder is not None]
    if not found:
        here = (start or Path.cwd()).resolve()
        raise ConfigError(f"no folder '{CONTESTS}' in {here} or above it; run medalist in the folder that has it")
    return tuple(dict.fromkeys(found))


def folder_names(folder: Path) -> list[str]:
    """Return the names of the folders in `competitions/` that have an `__init__.py`, sorted."""
    return sorted(path.parent.name for path in folder.glob("*/__init__.py"))


def folder_of(name: str) -> str:
    """Return the folder name of a competition: its name without the track."""
    return name.partition(".")[0]


def load_competition(name: str, folder: Path | None = None) -> Competition:
    """Import `competitions/<name>` and return its COMPETITION; the only import by name in the project.

    "folder.track" is the value under "track" in the folder's TRACKS: another question about the same data. Without
    `folder` a competition of the user's own comes before a shipped one of the same name. ConfigError for unknown names.
    """
    folders = competition_folders() if folder is None else (folder,)
    home, _, track = name.partition(".")
    known = {each: place for place in reversed(folders) for each in folder_names(place)}
    if home not in known:
        near = get_close_matches(home, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        places = " and ".join(map(str, folders))
        raise ConfigError(f"no competition '{home}' in {places}; there are: {', '.join(sorted(known)) or 'none'}{hint}")
    found = _values(home, known[home])
    if track not in found:
        tracks = ", ".join(f"{home}.{other}" for other in found if other)
        raise ConfigError(
            f"{known[home] / home} has no track '{track}'; there are: {home}{', ' if tracks else ''}{tracks}"
        )
    return found[track]


def source_folder(name: str) -> Path | None:
    """Return the folder with the code of a competition or a track; None where there is none. Nothing is imported."""
    places = (own_folder(CONTESTS), shipped_folder(CONTESTS))
    found = (place / folder_of(name) for place in places if place is not None)
    return next((folder for folder in found if (folder / "__init__.py").is_file()), None)


def competition_names(folder: Path) -> list[str]:
    """Return the names of all competitions in a `competitions/` folder, with their tracks; imports each of them."""
    names = [(home, track) for home in folder_names(folder) for track in sorted(_values(home, folder))]
    return [f"{home}.{track}" if track else home for home, track in names]


def _values(name: str, folder: Path) -> dict[str, Competition]:
    """Return the competitions of a folder by track: its COMPETITION under "", and each value of its TRACKS by name."""
    init = (folder / name / "__init__.py").resolve()
    # The module name contains a hash of the path, because another checkout may have a competition of the same name.
    module_name = f"{MODULES}{sha256(str(init).encode()).hexdigest()[:12]}.{name}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, init, submodule_search_locations=[str(init.parent)])
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # the folder's own relative imports need this
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


def contests_fault(error: BaseException) -> str | None:
    """Return a line where the code of a contest's folder has raised an error; None where it was not this code.

    What counts is the innermost call that belongs to a contest or to medalist: a library that a contest calls wrongly
    is no fault of medalist. An AssertionError below a call of a contest is its fault too: medalist asserts what the
    arguments of formats and metrics must be.
    """
    text = " ".join(str(error).split())[:200]
    named = f"{type(error).__name__}{f': {text}' if text else ''}; correct the contest's code (--debug shows more)"
    if isinstance(error, SyntaxError):  # medalist reads no other code
        return f"{error.filename}, line {error.lineno}: {named}"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(MODULES):
            return f"{frame.f_code.co_filename}, line {line}: {named}"
        if module.partition(".")[0] == "medalist" and not isinstance(error, AssertionError):
            return None
    return None


def package_of(competition: Competition) -> ModuleType | None:
    """Return the package of the folder that defines a competition; None for a value that no folder defines."""
    for name, module in list(sys.modules.items()):
        if name.startswith(MODULES) and hasattr(module, "__path__") and competition in _values_of(module).values():
            return module
    return None
