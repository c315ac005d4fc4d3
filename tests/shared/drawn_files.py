"""What tests of contests share that draw their data: comparing folders, and spoiling tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file of a folder, by its path inside it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of a file."""
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
