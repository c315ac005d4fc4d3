"""Pointers to stored files: small JSON files beside a run, a folder or a file, which may be kept in git.

<target>.stored.json     the SHA-256 and size of each file, and the names of the stores that have had it

The files themselves are in a store (`runs.blob_store`). A pointer is all that is needed to bring them back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from medalist.errors import MedalistError, RunError
from medalist.files import read_json, refuse_newer, write_json
from medalist.runs.blob_store import DIGEST, BlobStore
from medalist.system import held_folder

SUFFIX = ".stored.json"
FORMAT = "medalist pointer 1"
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class StoredFile:
    """A stored file. sha256: of its bytes. size: their number. stores: the names of the stores that have had it."""

    sha256: str
    size: int
    stores: tuple[str, ...]


@dataclass(frozen=True)
class Pointer:
    """The stored files of a target.

    is_folder: whether the target is a folder; then names are relative to it, with slashes. Else there is one file, by
    its own name. stores: the folder of each store when it was last used, by its name.
    """

    is_folder: bool
    files: Mapping[str, StoredFile]
    stores: Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """What is stored: a run or another folder, or a file. It may be gone while its pointer is there."""

    path: Path

    @property
    def pointer(self) -> Path:
        """The path of the pointer, beside the target."""
        return self.path.with_name(self.path.name + SUFFIX)

    def place(self, pointer: Pointer, name: str) -> Path:
        """Return where a file of a pointer belongs. Raises RunError where a link leads out of the target."""
        home = self.path if pointer.is_folder else self.path.parent
        place = home / name
        if not place.parent.resolve().is_relative_to(home.resolve()):
            raise RunError(f"{place.parent} is a link that leads out of {home}; remove the link")
        return place


def read_pointer(target: Target) -> Pointer | None:
    """Return the pointer of a target; None where there is none.

    Raises RunError where it is damaged, of a newer format, or names a file outside of its target.
    """
    path = target.pointer
    if not path.exists():
        return None
    value = read_json(path)
    refuse_newer(value, path, FORMAT)
    known = {key: one for key, one in value.items() if key != "format"} if isinstance(value, dict) else value
    try:
        pointer: Pointer = TypeAdapter(Pointer).validate_python(known)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the whole"
        raise RunError(f"{path} is no pointer ({where}: {first['msg']}); take it from git, or push again") from None
    for name, file in pointer.files.items():
        if not is_plain(name) or (not pointer.is_folder and name != target.path.name):
            raise RunError(f"{path} names the file '{name[:60]}', which is not inside of {target.path}; push again")
        if not DIGEST.fullmatch(file.sha256) or file.size < 0:
            raise RunError(f"{path}: the hash or size of {name} is none; take the pointer from git, or push again")
    return pointer


def is_plain(name: str) -> bool:
    """Return whether a name is relative, has slashes only, and leads neither upwards nor to a hidden file."""
    return bool(name) and not re.search(r"[\\:\0]", name) and all(part and part[0] != "." for part in name.split("/"))


def add_to_pointer(target: Target, is_folder: bool, files: Mapping[str, tuple[str, int]], store: BlobStore) -> None:
    """Write into the pointer of a target that a store has these files (SHA-256 and size by name).

    Files that the pointer had before stay in it. A file with another hash replaces the old one, and only this store has
    it. Raises RunError where another process holds the folder for WAIT_SECONDS.
    """
    with _alone(target.pointer.parent):
        before = read_pointer(target)
        known = dict(before.files) if before is not None and before.is_folder == is_folder else {}
        for name, (digest, size) in files.items():
            old = known.get(name)
            others = old.stores if old is not None and old.sha256 == digest else ()
            known[name] = StoredFile(digest, size, tuple(sorted({*others, store.name})))
        stores = {**(before.stores if before is not None else {}), store.name: str(store.folder.resolve())}
        pointer = Pointer(is_folder, dict(sorted(known.items())), stores)
        if pointer != before:
            write_json(target.pointer, {"format": FORMAT, **asdict(pointer)})


def who_has(pointer: Pointer, file: StoredFile) -> str:
    """Return the stores that have had a file, with their folders, as text."""
    named = [f"{name} ({pointer.stores.get(name, 'folder unknown')})" for name in file.stores]
    return ", ".join(named) or "none"


def holders(folder: Path, name: str) -> str:
    """Return the end of a line about a file of a run that is gone: who has it, and what to type; empty if unknown.

    folder: of the run. name: of the file, relative to it.
    """
    try:
        pointer = read_pointer(Target(folder))
    except MedalistError:
        return ""  # `medalist store` names the damage
    file = None if pointer is None else pointer.files.get(name)
    if pointer is None or file is None:
        return ""
    run = f"{folder.parent.name}/{folder.name}"
    return f"; stores that have had it: {who_has(pointer, file)}; type: medalist store pull {run}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing pointers in a folder while the block runs."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with held_folder(folder) as held:
            if held:
                yield
                return
        if time.monotonic() > deadline:
            raise RunError(f"another process writes into {folder}; wait until it ends, and run the command again")
        time.sleep(0.05)
