"""What a config says of folds."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from medalist.config import ConfigModel


class FoldsConfig(ConfigModel):
    """How folds are made: `n` parts, or, with `file`, the user's own table with the columns id and fold.

    grouped: samples of one group stay in one fold. stratified: each fold gets its share of every stratum.
    With `file`, the table decides the number of folds and `n`, `seed` and `stratified` do not count.
    """

    n: int = Field(default=5, ge=2)
    seed: int = 2018
    stratified: bool = True
    grouped: bool = True
    file: Path | None = None
