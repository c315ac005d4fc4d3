"""Where config files are found: as typed, else among those that come with the package."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from medalist.config.faults import nearest
from medalist.errors import ConfigError
from medalist.shipped import CONFIGS, shipped_folder

BASE = "base"
"""The folder of bases, in a folder of configs."""


def config_file(path: Path) -> Path:
    """Return `path`, or the shipped config of this name where `path` is `configs/...` and there is no such file.

    Raises ConfigError where neither is there.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError):
        return path  # whoever reads it says why it cannot be read
    else:
        return path
    shipped = shipped_folder(CONFIGS)
    below = Path(*path.parts[1:]) if path.parts[:1] == (CONFIGS,) else None
    if shipped is not None and below is not None and (shipped / below).is_file():
        return shipped / below
    folders = [path.parent, *([(shipped / below).parent] if shipped is not None and below is not None else [])]
    near = get_close_matches(path.stem, [file.stem for folder in folders for file in folder.glob("*.yaml")], n=1)
    hint = f"; did you mean {path.parent / near[0]}.yaml?" if near else ""
    raise ConfigError(f"no config file {path}{hint}")


def base_file(path: Path, base: object) -> Path:
    """Return the file of a base: `base/<base>.yaml` beside the config at `path` or above it, else a shipped one.

    Raises ConfigError where there is no such file.
    """
    known: dict[str, Path] = {}
    for folder in _base_folders(path):
        for file in sorted(folder.glob("*.yaml")):
            known.setdefault(file.stem, file)
    if not known:
        raise ConfigError(f"{path}: base = {base!r}, but there is no folder '{BASE}' beside or above it")
    if not isinstance(base, str) or base not in known:
        listed = ", ".join(known)
        raise ConfigError(f"{path}: base = {base!r} is not known; allowed: {listed}{nearest(str(base), list(known))}")
    return known[base]


def _base_folders(path: Path) -> Iterator[Path]:
    """The nearest folder of bases, and the shipped one."""
    yield from [folder / BASE for folder in path.resolve().parents if (folder / BASE).is_dir()][:1]
    shipped = shipped_folder(CONFIGS)
    if shipped is not None and (shipped / BASE).is_dir():
        yield shipped / BASE
