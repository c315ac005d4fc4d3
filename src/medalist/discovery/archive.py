"""Unpack the archive of a contest into a folder beside it, whole or not at all.

Archives come from anywhere, so names that lead out of the folder, links, devices, encrypted members and bombs are
refused before anything is left on the disk. Archives inside the archive are unpacked too.
"""

from __future__ import annotations

import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from medalist.errors import DataError
from medalist.files import reason
from medalist.reading import CHUNK, require_file

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
"""The archives that are unpacked."""

MOST_MEMBERS = 5_000_000
"""The most files of an archive with all archives inside it."""

DEEPEST = 3
"""How deep an archive may lie in others."""

_RATIO = 200  # deflate packs zeros 1,000 times, tables of codes 10 times, and images hardly
_ALLOWED = 256 * 1024**2  # bytes that any archive may have unpacked, whatever its ratio
_FAILS = (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error)
_JUNK = ("__MACOSX", ".DS_Store")


@dataclass
class _Budget:
    """What an archive may still become on the disk: bytes and members."""

    archive: Path
    bytes: int
    members: int = MOST_MEMBERS

    def take(self, count: int) -> None:
        """Count bytes. Raises DataError where there are more than are left."""
        self.bytes -= count
        if self.bytes < 0:
            raise DataError(
                f"{self.archive}: unpacked it is larger than {_RATIO} times its size, or than the free space of the "
                "disk; unpack it yourself if you trust it, and give the folder as --data"
            )

    def member(self) -> None:
        """Count a member. Raises DataError where there are too many."""
        self.members -= 1
        if self.members < 0:
            raise DataError(
                f"{self.archive}: more than {MOST_MEMBERS:,} files; unpack it yourself, and give the folder"
            )


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive that `unpacked` opens."""
    return name.lower().endswith(SUFFIXES)


def folder_beside(archive: Path) -> Path:
    """Return the folder into which an archive is unpacked: its name without the suffix, beside it."""
    suffix = max((one for one in SUFFIXES if archive.name.lower().endswith(one)), key=len, default="")
    return archive.with_name(archive.name[: len(archive.name) - len(suffix)] if suffix else archive.name + ".d")


def unpacked(archive: Path) -> Path:
    """Unpack an archive, and the archives inside it, into the folder beside it; return the folder.

    Raises DataError where the folder is there already, and for an archive that is cut short, damaged, encrypted or
    hostile; then nothing is left.
    """
    target = folder_beside(archive)
    if not target.name or target.exists():
        raise DataError(f"{target} is there already; type --data {target} if it is the unpacked {archive.name}")
    try:
        require_file(archive)
        size, free = archive.stat().st_size, shutil.disk_usage(archive.parent).free
    except OSError as error:
        raise DataError(f"{archive}: {reason(error)}") from error
    staging = target.with_name(f".{secrets.token_hex(4)}-{target.name}")
    budget = _Budget(archive, min(max(_RATIO * size, _ALLOWED), free))
    try:
        staging.mkdir()
        _unpack(archive, staging, budget)
        _unpack_inner(staging, budget, 1)
        staging.rename(target)
    except OSError as error:
        raise DataError(f"{archive}: cannot be unpacked: {reason(error)}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _unpack_inner(folder: Path, budget: _Budget, depth: int) -> None:
    """Unpack the archives in a folder in place of themselves. Several parts of a contest are often such archives."""
    for path in sorted(path for path in folder.rglob("*") if is_archive(path.name) and path.is_file()):
        if depth >= DEEPEST:
            raise DataError(f"{budget.archive}: archives lie {depth + 1} deep in one another; unpack it yourself")
        inside = folder_beside(path)
        staging = path.with_name(f".{secrets.token_hex(4)}")
        staging.mkdir()
        _unpack(path, staging, budget)
        _unpack_inner(staging, budget, depth + 1)
        path.unlink()
        (only, *others) = [*staging.iterdir(), staging]
        # train.zip often holds one folder train/, and train.csv.zip one file train.csv: they are no second level.
        source = only if len(others) == 1 and only.name == inside.name else staging
        if inside.exists():
            raise DataError(f"{budget.archive}: it holds both {path.name} and {inside.name}; unpack it yourself")
        source.rename(inside)
        shutil.rmtree(staging, ignore_errors=True)


def _unpack(archive: Path, folder: Path, budget: _Budget) -> None:
    try:
        if archive.name.lower().endswith(".zip"):
            _unzip(archive, folder, budget)
        else:
            _untar(archive, folder, budget)
    except _FAILS as error:
        what = "cut short, damaged or no such archive"
        raise DataError(f"{archive.name}: {what} ({reason(error)}); download it again") from error


def _unzip(archive: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        if sum(one.compress_size for one in infos) > archive.stat().st_size:
            raise DataError(f"{archive.name}: its members share bytes, as those of a bomb do; it is not unpacked")
        for one in infos:
            kind = stat.S_IFMT(one.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"{archive.name}: '{_shown(one.filename)}' is a link or a device; it is not unpacked")
            if one.flag_bits & 1:
                raise DataError(f"{archive.name}: it is encrypted; unpack it yourself, and give the folder as --data")
        for one in infos:
            path = _place(archive, one.orig_filename, folder)
            if path is not None and not one.is_dir():
                with opened.open(one) as source:
                    _copy(source, path, budget)


def _untar(archive: Path, folder: Path, budget: _Budget) -> None:
    with tarfile.open(archive, "r:*") as opened:
        for one in opened:
            if not (one.isreg() or one.isdir()):
                raise DataError(f"{archive.name}: '{_shown(one.name)}' is a link or a device; it is not unpacked")
            path = _place(archive, one.name, folder)
            source = opened.extractfile(one) if path is not None and one.isreg() else None
            if source is not None and path is not None:
                with source:
                    _copy(source, path, budget)


def _place(archive: Path, name: str, folder: Path) -> Path | None:
    """The path of a member inside the folder; None for what systems leave behind. DataError where it leads out."""
    inside = PurePosixPath(name)
    bad = inside.is_absolute() or ".." in inside.parts or "\\" in name or ":" in name or not name.isprintable()
    if bad or not name.strip():
        raise DataError(f"{archive.name}: the member '{_shown(name)}' would not lie inside the folder; not unpacked")
    return None if any(part in _JUNK or part.startswith("._") for part in inside.parts) else folder / inside


def _copy(source: IO[bytes], path: Path, budget: _Budget) -> None:
    budget.member()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        for chunk in _chunks(source):
            budget.take(len(chunk))
            target.write(chunk)


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk


def _shown(name: str) -> str:
    return ascii(name)[1:-1][:80]
