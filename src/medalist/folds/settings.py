"""What a config says of folds."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from medalist.config import ConfigModel


class FoldsConfig(ConfigModel):
    """How folds are made."""

    n: int = Field(default=5, ge=2)
    """The number of folds."""

    seed: int = 2018
    """The seed that breaks ties when samples are dealt into folds."""

    stratified: bool = True
    """Whether each fold gets its share of every stratum."""

    grouped: bool = True
    """Whether the samples of one group stay in one fold."""

    file: Path | None = None
    """A csv table of your own with the columns id and fold. The table then decides the number of folds, and `n`, `seed`
    and `stratified` are not used. With null the folds are made."""
