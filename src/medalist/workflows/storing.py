"""`medalist store`: bring runs, data and weights into a store of blobs, and back, by their pointers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from medalist.errors import RunError
from medalist.files import sha256_file
from medalist.reading import in_units
from medalist.reporter import Reporter
from medalist.runs.blob_store import BlobStore, make_store, open_store
from medalist.runs.pointers import SUFFIX, Pointer, StoredFile, Target, add_to_pointer, is_plain, read_pointer, who_has
from medalist.runs.runs import all_runs, find_run

TRAINING = ("state-*", "snapshot-*")
"""Files of a run that only a training needs that is going on."""

SHOWN = 3


@dataclass(frozen=True)
class StatusLine:
    """What is known of a stored target.

    files: how many files its pointer names. here, changed, missing: how many of these are here, are here with other
    contents, and are not here. stores: how many of the files each store has, in words.
    """

    target: str
    files: int
    here: int
    changed: int
    missing: int
    stores: str


@dataclass
class _Pulled:
    """The counts of a pull, while it goes on."""

    brought: int = 0
    there: int = 0
    lost: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def targets_of(words: Sequence[str], root: Path) -> list[Target]:
    """Return what these words name: a file, a folder or a run, or one that is gone and has a pointer.

    Without words they are all runs under `root`, and those that are gone and have a pointer there. Raises RunError for
    a word that names nothing.
    """
    if words:
        return [_target(word, root) for word in words]
    folders = {run.folder for run in all_runs(root)}
    folders |= {path.with_name(path.name.removesuffix(SUFFIX)) for path in root.glob(f"*/*{SUFFIX}")}
    return [Target(folder) for folder in sorted(folders)]


def _target(word: str, root: Path) -> Target:
    for path in (Path(word.removesuffix(SUFFIX)), root / word.removesuffix(SUFFIX)):
        # A word such as `.` or `..` has no name of its own before it is resolved.
        found = Target(path if path.name and path.name != ".." else path.resolve())
        if found.path.exists() or found.pointer.exists():
            return found
    return Target(find_run(word, root).folder)


def push(targets: Sequence[Target], folder: Path, name: str | None, reporter: Reporter) -> list[str]:
    """Copy the files of targets into a store, and write their pointers; return a line for each target.

    The pointer of a target is written when all its files are stored. Raises RunError for a target that is not here, or
    has a link to a folder in it.
    """
    for target in targets:
        if not target.path.exists():
            raise RunError(f"{target.path} is not here, so it cannot be pushed; bring it back with medalist store pull")
    store = make_store(folder, name)
    lines = []
    for target in targets:
        is_folder = target.path.is_dir()
        files = _files(target.path) if is_folder else {target.path.name: target.path}
        stored: dict[str, tuple[str, int]] = {}
        new = size = 0
        with reporter.progress(f"store {target.path.name}", len(files)) as bar:
            for file, path in files.items():
                digest, count, is_new = store.put(path)
                stored[file], new, size = (digest, count), new + is_new, size + count * is_new
                bar.advance()
        add_to_pointer(target, is_folder, stored, store)
        lines.append(
            f"{target.path}: {len(files)} files in {store.name}, {new} of them new ({in_units(size)}); {target.pointer}"
        )
    return lines


def _files(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their relative names. Hidden files, pointers and states are left out."""
    left_out = TRAINING if (folder / "lock.json").is_file() else ()
    found = {}
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if path.name.endswith(SUFFIX) or any(fnmatch(path.name, one) for one in left_out):
            continue
        if not is_plain(name):
            raise RunError(f"{path} has a name that other systems cannot have; rename it, then push again")
        found[name] = path
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.is_symlink():
            raise RunError(f"{path} is a link to a folder, which is not followed; push that folder by its own name")
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def pull(targets: Sequence[Target], sources: Sequence[Path], link: bool, reporter: Reporter) -> list[str]:
    """Bring back what is missing of targets; return a line for each. Files that are here are never changed.

    sources: folders of stores; without them those that the pointers know. link: whether files become hard links. Raises
    RunError, after all else was brought back, for files that no reachable store has (it names the stores that have had
    them) and for files that are here with other contents.
    """
    given = [open_store(folder) for folder in sources]
    lines, lost, other = [], [], []
    for target in targets:
        pointer = _pointer(target)
        stores = given or _reachable(pointer)
        done = _Pulled()
        with reporter.progress(f"pull {target.path.name}", len(pointer.files)) as bar:
            for name, file in pointer.files.items():
                _pull_file(target.place(pointer, name), pointer, file, stores, link, done)
                bar.advance()
        lines.append(f"{target.path}: {done.brought} files brought back, {done.there} were here")
        lost += done.lost
        other += done.other
    if other:
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        raise RunError(
            f"{', '.join(other[:SHOWN])}{more}: other contents here than were stored; nothing was overwritten: move "
            "them away and pull again, or push them"
        )
    if lost:
        more = f"; {len(lost) - 1} more files are missing" if len(lost) > 1 else ""
        raise RunError(f"{lost[0]}{more}; mount or copy one of these stores, then type: --from DIR")
    return lines


def _pull_file(
    path: Path, pointer: Pointer, file: StoredFile, stores: Sequence[BlobStore], link: bool, done: _Pulled
) -> None:
    if path.exists():
        if path.is_file() and sha256_file(path) == file.sha256:
            done.there += 1
        else:
            done.other.append(str(path))
        return
    damage = ""
    for store in stores:
        if not store.path(file.sha256).is_file():
            continue
        try:
            store.get(file.sha256, path, link)
        except RunError as error:  # damaged there; another store may have it
            damage = f" ({error})"
        else:
            done.brought += 1
            return
    asked = ", ".join(store.name for store in stores) or "no store, for none is reachable"
    done.lost.append(
        f"{path} ({in_units(file.size)}, SHA-256 {file.sha256[:12]}) is not in {asked}{damage}; stores that have "
        f"had it: {who_has(pointer, file)}"
    )


def _pointer(target: Target) -> Pointer:
    pointer = read_pointer(target)
    if pointer is None:
        raise RunError(f"{target.pointer} is not there; {target.path} was never pushed, or its pointer is elsewhere")
    return pointer


def _reachable(pointer: Pointer) -> list[BlobStore]:
    """Return the stores of a pointer that are where they were, and are the same stores still."""
    found = []
    for name, folder in pointer.stores.items():
        try:
            store = open_store(Path(folder))
        except (RunError, OSError):
            continue
        if store.name == name:
            found.append(store)
    return found


def status(targets: Sequence[Target], sources: Sequence[Path] = ()) -> list[StatusLine]:
    """Return what is known of each target that has a pointer. Blobs are not read, only looked for by their size."""
    given, lines = [open_store(folder) for folder in sources], []
    for target in targets:
        pointer = read_pointer(target)
        if pointer is None:
            lines.append(StatusLine(str(target.path), 0, 0, 0, 0, "never pushed"))
            continue
        here = changed = 0
        for name, file in pointer.files.items():
            path = target.place(pointer, name)
            if path.is_file():
                same = path.stat().st_size == file.size and sha256_file(path) == file.sha256
                here, changed = here + same, changed + (not same)
        count = len(pointer.files)
        told = []
        stores = {store.name: store for store in (*_reachable(pointer), *given)}
        for name in sorted({*pointer.stores, *stores}):
            if name in stores:
                held = sum(stores[name].has(file.sha256, file.size) for file in pointer.files.values())
                told.append(f"{name} {held}/{count}")
            else:
                told.append(f"{name} not reachable")
        lines.append(StatusLine(str(target.path), count, here, changed, count - here - changed, ", ".join(told)))
    return lines


def verify(folder: Path, reporter: Reporter) -> tuple[int, list[str]]:
    """Read every blob of a store; return their number, and a line for each that is damaged."""
    store = open_store(folder)
    digests, found = list(store.digests()), []
    with reporter.progress(f"verify {store.name}", len(digests)) as bar:
        for digest in digests:
            fault = store.damaged(digest)
            if fault is not None:
                found.append(f"{fault}; push the file again, or copy the blob from another store")
            bar.advance()
    return len(digests), found
