"""Hashes of the contents of many files. A file that was hashed before is read again only where it was written since.

The hashes are kept in a file, by path, with the size, the times and the inode that the file had when it was read. The
time of a change of the inode (ctime) is one of them: no program can set it back, as `touch` and `cp -p` do with the
time of writing. Kernels count time in ticks of some milliseconds, and old file systems in seconds, so a hash that was
taken less than SETTLED after the last change is not kept, because a later change in the same tick could not be seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from medalist.errors import DataError, MedalistError
from medalist.files import reason, write_text
from medalist.reading import open_file

CACHE = "hashes.json"
"""The name of the file with the hashes, in the folder of a contest's runs."""

FORMAT = 1
SETTLED = 2_000_000_000
"""Nanoseconds after which a change of a file shows in its times on every file system (FAT counts in 2 s)."""

DIGEST_BYTES = 16
MOST_THREADS = 8

Stamp = tuple[int, int, int, int]
"""The size, the time of writing, the time of the inode's change (both in ns) and the inode of a file."""


def hash_bytes(data: bytes) -> str:
    """Return the hash of some bytes: BLAKE2b with 128 bits, in hexadecimal."""
    made = _blake()
    made.update(data)
    return made.hexdigest()


def hash_file(path: str | Path) -> str:
    """Return the hash of a regular file's bytes, as `hash_bytes`. Raises OSError where it cannot be read."""
    with open_file(path) as file:
        made = hashlib.file_digest(file, _blake)  # type: ignore[arg-type]  # it has readinto
    return made.hexdigest()


def _blake() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=DIGEST_BYTES)


def hash_unchanged(path: Path) -> str:
    """Return the hash of a file's bytes, which this process reads once where they stay the same.

    Raises DataError where it cannot be read.
    """
    stamp = _stamp(str(path))
    settled = time.time_ns() - max(stamp[1:3]) > SETTLED
    return _hash_stamped(str(path), stamp) if settled else _hash(str(path))


@lru_cache(maxsize=1000)
def _hash_stamped(path: str, stamp: Stamp) -> str:
    return _hash(path)


def hash_files(paths: Iterable[str], cache: Path, verify: bool = False) -> dict[str, str]:
    """Return the hash of each file's content, by path.

    cache: the file that keeps the hashes; it is made and renewed where it can be written, and is not used where it is
    damaged. verify: whether each file is read, also where its times say that it is unchanged. Raises DataError, which
    names the file, where one is missing, is not a regular file, or cannot be read.
    """
    known = {} if verify else _read(cache)
    stamps = {path: _stamp(path) for path in paths}
    keys = {path: path if path.startswith(os.sep) else str(Path(path).absolute()) for path in stamps}
    found = {path: old[4] for path, stamp in stamps.items() if (old := known.get(keys[path])) and old[:4] == [*stamp]}
    todo = [path for path in stamps if path not in found]
    if todo:
        from concurrent.futures import ThreadPoolExecutor  # imported here, because most commands hash nothing

        before = time.time_ns()
        with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
            read = dict(zip(todo, pool.map(_hash, todo), strict=True))
        kept = dict(_read(cache)) | {
            keys[path]: [*stamps[path], digest]
            for path, digest in read.items()
            if before - max(stamps[path][1:3]) > SETTLED and _stamp(path) == stamps[path]
        }
        if kept != known:
            _write(cache, kept)
        found |= read
    return found


def _stamp(path: str) -> Stamp:
    try:
        about = os.stat(path)  # noqa: PTH116  # half the time of Path.stat, which counts for 100,000 files
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None
    if not stat.S_ISREG(about.st_mode):
        raise DataError(f"{path}: not a regular file")
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def _hash(path: str) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None


def _read(cache: Path) -> Mapping[str, list[Any]]:
    """Return the kept stamps and hashes by absolute path; none where the file is missing or damaged."""
    try:
        return _parsed(str(cache), _stamp(str(cache)))
    except DataError:
        return {}


@lru_cache(maxsize=2)
def _parsed(cache: str, stamp: Stamp) -> Mapping[str, list[Any]]:
    """Parse the file once for all calls in a process; it is replaced as a whole, so it has another inode then."""
    with suppress(OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError):
        value = json.loads(Path(cache).read_bytes())
        if value["format"] == FORMAT:
            return {path: kept for path, kept in value["files"].items() if len(kept) == 5 and isinstance(kept[4], str)}
    return {}


def _write(cache: Path, known: Mapping[str, list[Any]]) -> None:
    with suppress(MedalistError):  # the folder may be read-only, and then each command reads all files
        write_text(cache, json.dumps({"format": FORMAT, "files": dict(known)}), flush=False)
