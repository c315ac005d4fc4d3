"""Open the contest of a command, or of a run, with its data."""

from __future__ import annotations

import os
from pathlib import Path

from medalist.competition import folder_of, load_competition
from medalist.contest import Contest
from medalist.errors import DataError
from medalist.runs.contest_files import hash_contest, refuse_changed, refuse_other_samples
from medalist.runs.runs import Run, all_runs, manifest_hash


def open_contest(name: str, data: str | Path | None, root: Path) -> Contest:
    """Find a contest's data folder and read its samples.

    The folder is `data` (from --data, or the config's `data:`), otherwise $MEDALIST_DATA/<competition>, otherwise the
    folder that the newest run of the competition under `root` used. Raises ConfigError where the name is unknown, and
    DataError where the data is missing or wrong.
    """
    competition = load_competition(name)
    folder = _data_folder(name, data, root)
    split = competition.read(folder)
    if not split.train:
        raise DataError(f"{folder}: the contest {name} has no training samples there")
    return Contest(competition, folder, split)


def _data_folder(name: str, data: str | Path | None, root: Path) -> Path:
    if data is not None:
        folder, source = Path(data).expanduser(), "--data or data:"
    elif "MEDALIST_DATA" in os.environ:
        folder, source = Path(os.environ["MEDALIST_DATA"]) / folder_of(name), "MEDALIST_DATA"
    else:
        runs = [run for run in all_runs(root) if folder_of(run.competition) == folder_of(name)]
        if not runs:
            raise DataError(
                f"the data of {name} is not found; type --data DIR, or set MEDALIST_DATA to its parent folder"
            )
        newest = max(runs, key=lambda run: (run.folder / "lock.json").stat().st_mtime)
        folder, source = Path(newest.lock().data_folder), f"the run {newest.name}"
    if not folder.is_dir():
        raise DataError(f"no data folder {folder} (from {source}); type --data DIR")
    return folder


def open_run_contest(run: Run, competition: str, data: str | None, root: Path, verify: bool = False) -> Contest:
    """Return the contest that a run was trained on, with its data.

    The data folder is `data`, otherwise the folder that the run was trained with, otherwise the one that `open_contest`
    finds. verify: whether every file is read, also those whose times say that they are unchanged. Raises RunError,
    which names the files, where the data differs from the data that the run was trained on.
    """
    lock = run.lock()
    known = lock.data_folder if Path(lock.data_folder).is_dir() else None
    contest = open_contest(competition, data or known, root)
    if lock.contents:  # else the run is older than hashes of contents
        refuse_changed(run, contest, hash_contest(contest, root, verify))
    refuse_other_samples(run, contest, manifest_hash(contest.split))
    return contest
