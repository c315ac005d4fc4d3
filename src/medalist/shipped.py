"""The contests and configs that come with the package, for folders that have none of their own."""

from __future__ import annotations

from pathlib import Path

CONTESTS, CONFIGS = "competitions", "configs"


def shipped_folder(name: str) -> Path | None:
    """Return the folder `competitions` or `configs` that belongs to this installation; None where it has none.

    A wheel has it inside the package. A checkout has it beside `src`.
    """
    package = Path(__file__).resolve().parent
    inside, beside = package / "shipped" / name, package.parent.parent / name
    if inside.is_dir():
        return inside
    return beside if package.parent.name == "src" and beside.is_dir() else None


def own_folder(name: str, start: Path | None = None) -> Path | None:
    """Return the folder with this name at `start` (default: the working folder) or the nearest folder above it."""
    start = (start or Path.cwd()).resolve()
    return next((folder / name for folder in (start, *start.parents) if (folder / name).is_dir()), None)
