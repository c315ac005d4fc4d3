"""The request for a training, as a value. This module needs no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from medalist.errors import ConfigError
from medalist.experiment import Experiment
from medalist.system import DEVICES, WINDOWS

RESERVED = ("", ".", "..", "folds", "features", "data", "sweeps", "submissions")
"""Names that no run may have, because they name other folders beside the runs."""

LONGEST = 150
"""The most bytes of a run's name. File systems allow 255, and some names in a run's folder begin with it."""

SHORT = 80
"""The most letters of a name that is made from a config and overrides, before its hash."""

WORD = 28
"""The most letters that such a name has of a key, and of a value."""

PLAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.=,+-]*[A-Za-z0-9_])?")
"""Names that every file system and every shell takes as they are."""


@dataclass(frozen=True)
class TrainRequest:
    """The request for a training.

    settings: the config with its overrides. config, overrides: the file and the overrides that the config was read
    from. data: the contest's folder, None where the config or the environment names it. folds: the numbers of the folds
    to train; empty = all. name: the name of the run; None = made from config and overrides. root: the folder of all
    runs.
    """

    settings: Experiment
    config: Path
    overrides: tuple[str, ...]
    data: str | None
    folds: tuple[int, ...]
    name: str | None
    root: Path

    def of_fold(self, fold: int, data: Path, name: str) -> TrainRequest:
        """Return the request for one fold, with absolute paths, because another process may have another folder."""
        return replace(self, data=str(data.resolve()), folds=(fold,), name=name, root=self.root.resolve())

    @property
    def run_name(self) -> str:
        """The name of the run: the one that was asked for, otherwise one made from config and overrides.

        A run that an earlier version has named in its own way keeps that name. Raises ConfigError where the name that
        was asked for is no name of a folder.
        """
        if self.name is not None:
            refuse_name(self.name)
            return self.name
        former = former_name(self.config, self.overrides)
        there = (self.root / self.settings.competition / former / "lock.json").exists()
        name = former if there else run_name(self.config, self.overrides)
        refuse_name(name)
        return name


def refuse_name(name: str) -> None:
    """Raise ConfigError where a run cannot have this name: no plain word, too long, or the name of another folder."""
    if Path(name).name != name or name in RESERVED or not name.isprintable():
        raise ConfigError(f"a run cannot be called '{name[:LONGEST]}'; give --name a plain word")
    size = len(name.encode("utf-8", "replace"))
    if size > LONGEST:
        raise ConfigError(f"the name of a run may have {LONGEST} bytes, and '{name[:40]}…' has {size}; shorten --name")


def run_name(config: Path, overrides: Sequence[str]) -> str:
    """Return the name of a run: the config's name and the overrides, so that each idea has a run of its own.

    Where this would be long, or has signs that a file system or a shell may not take as they are, the name is made of
    plain words of the overrides and a hash of them. The board shows the overrides themselves.
    """
    changes = [re.sub(r"\s*=\s*", "=", override.strip(), count=1) for override in overrides]
    whole, said = "+".join([config.stem, *changes]), "".join(changes)
    device = config.stem.partition(".")[0].upper() in DEVICES
    # File systems of macOS and Windows take `A` and `a` for one name.
    if PLAIN.fullmatch(whole) and said == said.lower() and len(whole) <= SHORT and not device:
        return whole
    slug = "+".join(filter(None, [_slug(config.stem, SHORT // 2), *map(_change_slug, changes)]))
    digest = sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{slug[:SHORT].rstrip('+-._=') or 'run'}+{digest}"


def _change_slug(change: str) -> str:
    """Return plain words: `augment=[{D4: {}}, {InvertImg: {p: 0.2}}]` -> `augment=D4-InvertImg-p-0.2`."""
    key, _, value = change.partition("=")
    return f"{_slug(key, WORD)}={_slug(value, WORD)}".strip("=")


def _slug(text: str, longest: int) -> str:
    """Return the words of a text with `-` between them, as many whole ones as fit."""
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")
    cut = words[:longest] if len(words) <= longest or "-" not in words[: longest + 1] else words[: longest + 1]
    return (cut if len(cut) <= longest else cut.rpartition("-")[0]).rstrip("-.")


def former_name(config: Path, overrides: Sequence[str]) -> str:
    """Return the name that earlier versions gave to a run: config and overrides as they are, except for slashes.

    A name longer than 150 bytes is cut, and ends in a hash.
    """
    parts = [config.stem, *(override.strip().replace("/", "_").replace(" ", "") for override in overrides)]
    name = "+".join(parts)
    if WINDOWS:
        name = re.sub(r'[<>:"\\|?*]', "_", name).rstrip(".")  # characters that file names of Windows cannot have
    if len(name.encode()) <= 150:
        return name
    return name.encode()[:137].decode(errors="ignore") + "+" + sha256(name.encode()).hexdigest()[:12]
