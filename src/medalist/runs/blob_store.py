"""A store of weights and data by their contents: a folder of blobs, each named by the SHA-256 of its bytes.

<store>/store.json             the format, and the name of the store
<store>/ab/cdef...             a blob: the first two digits of its hash are its folder, the others its name

A blob appears whole or not at all, two writers of one blob write the same bytes, and nothing is ever deleted. So any
number of machines may push to one folder, and a copy of the folder, made by any tool, is a store too.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medalist.errors import DataError, RunError
from medalist.files import read_json, reason, refuse_newer, sha256_file, write_json, written
from medalist.reading import open_file

FILE = "store.json"
FORMAT = "medalist store 1"
DIGEST = re.compile("[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][\w .-]{0,59}", re.ASCII)
READ_ONLY = 0o444


@dataclass(frozen=True)
class BlobStore:
    """A folder of blobs. name: as store.json says; pointers keep it, so that a missing file can say who has it."""

    folder: Path
    name: str

    def path(self, digest: str) -> Path:
        """Return the path of a blob. digest: the SHA-256 of its bytes, in hexadecimal."""
        return self.folder / digest[:2] / digest[2:]

    def has(self, digest: str, size: int) -> bool:
        """Return whether there is a blob of this hash with this number of bytes; its bytes are not read."""
        try:
            return self.path(digest).stat().st_size == size
        except OSError:
            return False

    def put(self, path: Path) -> tuple[str, int, bool]:
        """Copy a file into the store; return its SHA-256, its bytes, and whether the blob is new.

        A blob that is there is read, and written again where it is damaged. Raises DataError where the file cannot be
        read, and RunError where it changes meanwhile.
        """
        digest = sha256_file(path)
        blob = self.path(digest)
        if blob.is_file() and sha256_file(blob) == digest:
            return digest, blob.stat().st_size, False
        with written(blob) as temporary:
            _copy(path, temporary)
            if sha256_file(temporary) != digest:
                raise RunError(f"{path} was changed while it was stored; push it again")
        with suppress(OSError):  # some file systems have no permissions
            blob.chmod(READ_ONLY)
        return digest, blob.stat().st_size, True

    def get(self, digest: str, target: Path, link: bool = False) -> None:
        """Bring a blob to `target`, which does not exist, after its bytes were checked.

        link: whether it becomes a hard link, which takes no room and is read only; another disk gets a copy. Raises
        RunError where the blob is missing or damaged; then nothing appears.
        """
        blob = self.path(digest)
        if not blob.is_file():
            raise RunError(f"{blob} is not in the store {self.name}")
        # A hard link cannot be flushed, because it is read only; the blob was flushed when it was written.
        with written(target, flush=not link) as temporary:
            if not (link and _linked(blob, temporary)):
                _copy(blob, temporary)
            if sha256_file(temporary) != digest:
                raise RunError(f"{blob} is damaged: its bytes have another hash; push the file to {self.name} again")

    def digests(self) -> Iterator[str]:
        """Yield the hash that each blob is named by, sorted."""
        for path in sorted(self.folder.glob("??/*")):
            if DIGEST.fullmatch(path.parent.name + path.name):
                yield path.parent.name + path.name

    def damaged(self, digest: str) -> str | None:
        """Read a blob, and return what is wrong with it; None where nothing is."""
        blob = self.path(digest)
        try:
            return None if sha256_file(blob) == digest else f"{blob}: its bytes have another hash"
        except DataError as error:
            return str(error)


def open_store(folder: Path) -> BlobStore:
    """Open a store. Raises RunError where the folder is none, or a newer version made it."""
    path = folder / FILE
    if not path.is_file():
        raise RunError(f"{folder} is no store of medalist; make one with: medalist store push ... --to {folder}")
    value = read_json(path)
    refuse_newer(value, path, FORMAT)
    name = value.get("name") if isinstance(value, dict) and value.get("format") == FORMAT else None
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RunError(f'{path} is damaged; write into it: {{"format": "{FORMAT}", "name": "NAME"}}')
    return BlobStore(folder, name)


def make_store(folder: Path, name: str | None = None) -> BlobStore:
    """Open a store, or make one in a new or empty folder. name: of a new store; None for the folder's name.

    Raises RunError where the folder holds something else, or is a store of another name.
    """
    if (folder / FILE).exists():
        found = open_store(folder)
        if name is not None and name != found.name:
            raise RunError(f"{folder} is the store {found.name}, not {name}; leave out --name")
        return found
    try:
        others = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise RunError(f"{folder}: {reason(error)}; give a folder with --to") from None
    if [one for one in others if not one.startswith(".")]:
        raise RunError(f"{folder} is not empty and no store ({others[0]} is in it); give a new folder with --to")
    chosen = name or folder.resolve().name
    if not NAME.fullmatch(chosen):
        raise RunError(f"'{chosen}' cannot be the name of a store; take letters, digits, '-', '_': --name NAME")
    write_json(folder / FILE, {"format": FORMAT, "name": chosen})
    return BlobStore(folder, chosen)


def _copy(path: Path, target: Path) -> None:
    try:
        with open_file(path) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except OSError as error:
        if error.filename == str(path):
            raise DataError(f"{path}: {reason(error)}") from None
        raise


def _linked(blob: Path, target: Path) -> bool:
    """Make a hard link; return False where the system or the disk refuses."""
    try:
        os.link(blob, target)
    except OSError:
        return False
    return True
