"""The files of a contest that a run was made from, with the hashes of their contents, in `data.csv` of the run.

They are the images of all samples, the files that annotations and `meta` name (by their path, or by their name alone,
with or without its suffix, in any folder of the data), and, for training samples whose annotation says nothing of their
truth, the files of the data folder that bear the sample's name: their truth must come from there.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from medalist.contents import CACHE, hash_files
from medalist.contest import Contest
from medalist.errors import RunError
from medalist.files import sha256_json, write_text
from medalist.reading import TABLE_BYTES, read_text
from medalist.records import Sample
from medalist.runs.runs import Lock, Run

FILE = "data.csv"
COLUMNS = ["file", "blake2b"]
LONGEST_NAME = 1000
"""The most letters of an annotation that may be the name of a file."""

SUFFIX = re.compile(r"[^\s/\\][^/\\]*\.[A-Za-z][A-Za-z0-9]{1,4}")
"""The name of a file with a suffix."""

STEM = re.compile(r"(?=.*[A-Za-z_-])(?=.*[0-9])[^\s./\\]{2,200}")
"""What an annotation may call a file without its suffix. Most names of classes have no digits, numbers no letters."""

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".xml", ".npy", ".npz", ".h5", ".hdf5", ".mat", ".parquet", ".pkl")
"""The suffixes of files that may hold the truths of all samples."""

CODE = re.compile(r"\d+[ ,]+\d+")
"""What every run-length code and every list of corners has, and no name of a class."""

SHOWN = 3
MOST_TABLES = 100
"""A folder with more tables has one for each sample."""

Hashes = Mapping[str, str]
"""The hash of each file's content, by its path relative to the data folder, with slashes."""


def hash_contest(contest: Contest, root: Path, verify: bool = False) -> dict[str, str]:
    """Return the hashes of the files of a contest; unchanged files are not read again (see `medalist.contents`).

    root: the folder of all runs, which keeps the hashes. verify: whether each file is read. Raises DataError, which
    names the file, where one is missing or cannot be read.
    """
    files = _files(contest, str(root.absolute()))
    digests = hash_files(files.values(), root / contest.competition.name / CACHE, verify)
    return {name: digests[path] for name, path in files.items()}


def write_hashes(run: Run, hashes: Hashes) -> None:
    """Write `data.csv` of a run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(hashes.items()))
    write_text(run.folder / FILE, text.getvalue())


def seal(hashes: Hashes) -> str:
    """Return the hash of all hashes, which stands in the lock, so that an edited `data.csv` is recognised."""
    return sha256_json(dict(hashes))


def read_hashes(run: Run, lock: Lock) -> dict[str, str] | None:
    """Return the hashes that the run was made with; None for runs from before contents were hashed.

    Raises RunError where `data.csv` is missing or was edited.
    """
    if not lock.contents:
        return None
    path = run.folder / FILE
    try:
        rows = list(csv.reader(io.StringIO(read_text(path, TABLE_BYTES), newline=""), strict=True))
        found = dict(rows[1:])
    except (OSError, ValueError, csv.Error):
        found = None
    if found is None or seal(found) != lock.contents:
        raise RunError(
            f"{path} is missing or was edited, so nothing says whether the data is that of the run; put it back, or "
            "train a new run with --name NAME"
        )
    return found


def refuse_changed(run: Run, contest: Contest, now: Hashes) -> None:
    """Raise RunError, which names the files, where files that the run was made from have other contents or are gone.

    Nothing is known, and nothing refused, for runs from before contents were hashed.
    """
    before = read_hashes(run, run.lock())
    other = sorted(name for name, digest in (before or {}).items() if now.get(name) != digest)
    if not other:
        return
    named = ", ".join(f"{name} {'has other content' if name in now else 'is gone'}" for name in other[:SHOWN])
    more = f" and {len(other) - SHOWN} more files" if len(other) > SHOWN else ""
    raise RunError(
        f"{contest.data} is not the data that {run.name} was trained on; give its folder with --data: since then, "
        f"{named}{more}; put the files back, or train under another name: medalist train ... --name NAME"
    )


def refuse_other_samples(run: Run, contest: Contest, samples: str) -> None:
    """Raise RunError where the contest has other samples, truths or sizes of images than the run was made with.

    samples: `manifest_hash` of the contest. The message names the tables that were written after the run was made.
    """
    if samples == run.lock().data:
        return
    made = (run.folder / "lock.json").stat().st_mtime_ns
    later = [path.name for path in tables_of(contest.data) if path.stat().st_mtime_ns > made]
    more = f" and {len(later) - SHOWN} more tables" if len(later) > SHOWN else ""
    told = f"; after the run was made, {', '.join(later[:SHOWN])}{more} was written" if later else ""
    raise RunError(
        f"{contest.data} is not the data that {run.name} was trained on: ids, truths or images differ{told}; put the "
        "files back, give the folder of the data with --data, or train under another name: medalist train ... --name "
        "NAME"
    )


def tables_of(data: Path) -> list[Path]:
    """Return the tables in the data folder and in the folders in it, sorted; none of a folder with very many."""
    found = []
    for folder in (data, *sorted(path for path in data.iterdir() if path.is_dir())):
        there = [path for path in sorted(folder.iterdir()) if path.name.lower().endswith(TABLES) and path.is_file()]
        found += there if len(there) <= MOST_TABLES else []
    return [path for path in found if "submission" not in path.name.lower()]


def _files(contest: Contest, root: str) -> dict[str, str]:
    """Return the absolute path of each file by its name relative to the data folder."""
    data, split = str(contest.data.absolute()), contest.split
    paths = dict.fromkeys(_absolute(str(image)) for sample in split.all for image in sample.images)
    texts: dict[str, Sample] = {}
    for sample in split.all:
        for text in (*sample.annotation, *(value for value in sample.meta.values() if isinstance(value, str))):
            texts.setdefault(text, sample)
    named = {text: _named(text, sample, data) for text, sample in texts.items()}
    paths |= dict.fromkeys(path for path in named.values() if path is not None)
    silent = [sample for sample in split.train if _is_silent(sample, contest)]
    lone = {text for text, path in named.items() if path is None and SUFFIX.fullmatch(text.rsplit("/", 1)[-1])}
    lone |= {text for sample in split.train for text in sample.annotation if STEM.fullmatch(text)}
    if silent or lone:
        more = dict.fromkeys(_bearing(data, silent, {text.rsplit("/", 1)[-1] for text in lone}, root))
        # Where no sample says its truth, and none has a file of its own, all share one.
        if len(silent) == len(split.train) and not more.keys() - paths.keys():
            more |= dict.fromkeys(_bearing(data, (), (), root, TABLES))
        paths |= more
    start = data + os.sep
    return {
        (path[len(start) :] if path.startswith(start) else os.path.relpath(path, data)).replace(os.sep, "/"): path
        for path in paths
    }


def _is_silent(sample: Sample, contest: Contest) -> bool:
    """Whether the annotation of a training sample says nothing of its truth, or of its pixels where masks are asked."""
    texts = [text for text in sample.annotation if text]
    if not texts or not hasattr(contest.competition.submission, "one_class"):  # formats of masks have this property
        return not texts
    return not any(CODE.search(text) or SUFFIX.fullmatch(text.rsplit("/", 1)[-1]) for text in texts)


def _absolute(path: str) -> str:
    return path if path.startswith(os.sep) else str(Path(path).absolute())


def _named(text: str, sample: Sample, data: str) -> str | None:
    """Return the path of the file that a text names, from the data folder, from the image's folder or from here."""
    if (
        not 0 < len(text) <= LONGEST_NAME
        or not ("." in text or "/" in text or os.sep in text)
        or not text.isprintable()
    ):
        return None
    first = text if text.startswith(os.sep) else f"{data}{os.sep}{text}"
    if os.path.isfile(first):  # noqa: PTH113  # a third of the time of Path, which counts for 100,000 files
        return first
    places = [*(image.parent / text for image in sample.images[:1]), Path(text)]
    return next((str(path.absolute()) for path in places if path.is_file()), None)


def _bearing(
    data: str, samples: Sequence[Sample], lone: Collection[str], root: str, tables: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield the files below the data folder that bear the name of a sample or of its image, or are in its folder.

    lone: names of files, with or without suffix, that are yielded wherever they are. tables: suffixes of files that
    are yielded too, but for submissions.
    """
    names = {sample.id for sample in samples} | {image.stem for sample in samples for image in sample.images}
    seen: set[tuple[int, int]] = set()  # a folder can be reached twice by links
    folders = [(data, False)]
    while folders:
        folder, inside = folders.pop()
        about = Path(folder).stat()
        if (about.st_dev, about.st_ino) in seen or folder == root:
            continue
        seen.add((about.st_dev, about.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append((entry.path, inside or entry.name in names))
                elif entry.is_file() and (
                    inside
                    or (entry.name.lower().endswith(tables) and "submission" not in entry.name.lower())
                    or entry.name in lone
                    or entry.name.rsplit(".", 1)[0] in lone
                    or _bears(entry.name, names)
                ):
                    yield entry.path


def _bears(file: str, names: set[str]) -> bool:
    """Whether a file's name is one of `names`, or begins with one that a sign such as `_`, `-` or `.` ends."""
    if file in names:
        return True
    return any(file[:at] in names for at, letter in enumerate(file) if at and not letter.isalnum())
