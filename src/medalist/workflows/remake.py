"""`medalist folds --remake`: make the folds of a config again, after the contest's images or groups have changed."""

from __future__ import annotations

from pathlib import Path

from medalist.contest import LOOKED_AT, Contest, contest_folds, folds_path
from medalist.errors import FoldError, MedalistError
from medalist.folds.folds import Folds, hashes_of
from medalist.folds.settings import FoldsConfig
from medalist.runs.runs import all_runs

SHOWN = 5


def remake_folds(contest: Contest, config: FoldsConfig, root: Path) -> Folds:
    """Delete the file of folds and what was found for it, and make the folds again.

    Raises FoldError where the folds are the user's own table, and where runs use the file: their scores could then not
    be compared with those of new runs of the same config.
    """
    if config.file is not None:
        raise FoldError(
            f"{config.file} is a table of your own: correct it there; medalist only makes its own folds again"
        )
    path = folds_path(contest, config, root)
    users = users_of(path, contest, root)
    if users:
        more = f" and {len(users) - SHOWN} more" if len(users) > SHOWN else ""
        raise FoldError(
            f"{path} is used by {', '.join(users[:SHOWN])}{more}; delete these runs first, or make other folds "
            "beside it: set another folds.seed"
        )
    for old in (path, path.with_suffix(".groups.json"), path.with_suffix(LOOKED_AT)):
        old.unlink(missing_ok=True)
    return contest_folds(contest, config, root)


def users_of(path: Path, contest: Contest, root: Path) -> list[str]:
    """Return the names of the contest's runs that were made with the folds of this file.

    A run whose provenance cannot be read counts, because nobody knows.
    """
    if not path.exists():
        return []
    hashes = hashes_of(path)
    users = []
    for run in all_runs(root):
        if run.competition == contest.competition.name:
            try:
                used = run.lock().folds in hashes
            except MedalistError:
                used = True
            if used:
                users.append(f"{run.competition}/{run.name}")
    return users
