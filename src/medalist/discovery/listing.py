"""List the files of a contest by folder. Links are not followed, and what systems leave behind is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medalist.errors import DataError
from medalist.files import reason

MOST_FILES = 20_000_000
"""The most files that are listed."""

_JUNK = {"thumbs.db", "desktop.ini", "__macosx"}


@dataclass(frozen=True)
class Listing:
    """The files of a contest.

    root: its folder. folders: the names of the files of each folder, sorted, by its path inside the root with slashes;
    the root itself is ".". links: the paths of links, which are not followed.
    """

    root: Path
    folders: Mapping[str, tuple[str, ...]]
    links: tuple[str, ...] = ()

    def files(self, *suffixes: str) -> Iterator[str]:
        """Yield the paths inside the root of all files with one of these suffixes, in lower case."""
        for folder, names in self.folders.items():
            for name in names:
                if name.lower().endswith(suffixes):
                    yield joined(folder, name)

    def suffixes(self) -> dict[str, int]:
        """Count the files by their suffix in lower case."""
        counts: dict[str, int] = {}
        for names in self.folders.values():
            for name in names:
                suffix = PurePosixPath(name).suffix.lower()
                counts[suffix] = counts.get(suffix, 0) + 1
        return counts


def joined(folder: str, name: str) -> str:
    """Return the path of a file or folder inside a folder, both inside the contest's folder."""
    return name if folder == "." else f"{folder}/{name}"


def listed(root: Path) -> Listing:
    """List the files under a folder. Raises DataError where it is no folder, cannot be read, or holds nothing."""
    if not root.is_dir():
        raise DataError(f"no folder {root}; pass the folder of the downloaded contest, or its archive, with --data")
    folders: dict[str, tuple[str, ...]] = {}
    links: list[str] = []
    waiting, count = ["."], 0
    while waiting:
        folder = waiting.pop()
        names: list[str] = []
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name.lower() in _JUNK:
                        continue
                    if not entry.name.isprintable():
                        raise DataError(f"{root / folder}: {entry.name!a} is no printable name; rename it")
                    if entry.is_symlink():
                        links.append(joined(folder, entry.name))
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(joined(folder, entry.name))
                    elif entry.is_file(follow_symlinks=False):
                        names.append(entry.name)
        except OSError as error:
            raise DataError(f"{root / folder}: {reason(error)}") from error
        count += len(names)
        if count > MOST_FILES:
            raise DataError(f"{root}: more than {MOST_FILES:,} files; give the folder of one contest")
        if names:
            folders[folder] = tuple(sorted(names))
    if not folders:
        raise DataError(f"{root}: no files there; pass the folder of the downloaded contest with --data")
    return Listing(root, dict(sorted(folders.items())), tuple(sorted(links)))
