"""The contest behind a command: its value, where its data lies, its samples and its folds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medalist.competition import Competition, load_competition
from medalist.errors import DataError
from medalist.files import sha256_json
from medalist.folds import (
    Folds,
    FoldsConfig,
    check_folds,
    make_folds,
    read_folds,
    read_folds_table,
    write_folds,
)
from medalist.records import Answer, Sample, Split
from medalist.runs import all_runs


@dataclass(frozen=True)
class Contest:
    """A competition with its data."""

    competition: Competition
    data: Path
    split: Split

    def truth(self, sample: Sample) -> Answer:
        """The truth of a training sample."""
        return self.competition.truth(self.data, sample)

    def truths(self, samples: tuple[Sample, ...]) -> Mapping[str, Answer]:
        """Truth by id."""
        return {sample.id: self.truth(sample) for sample in samples}

    @property
    def reference(self) -> Path:
        """The contest's own sample submission."""
        return self.data / self.competition.sample_submission


def open_contest(name: str, data: str | Path | None, root: Path) -> Contest:
    """Find a contest's data and read its samples.

    The data lies where `data` says (--data, or the config's `data:`), else in $MEDALIST_DATA/<competition>, else
    where the newest run under `root` found it. Raises ConfigError for an unknown name and DataError for the data.
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
        folder, source = Path(os.environ["MEDALIST_DATA"]) / name, "MEDALIST_DATA"
    else:
        runs = [run for run in all_runs(root) if run.competition == name]
        if not runs:
            raise DataError(
                f"where is the data of {name}? type --data DIR, or set MEDALIST_DATA to the folder above it"
            )
        newest = max(runs, key=lambda run: (run.folder / "lock.json").stat().st_mtime)
        folder, source = Path(newest.lock().data_folder), f"the run {newest.name}"
    if not folder.is_dir():
        raise DataError(f"no data folder {folder} (from {source}); type --data DIR")
    return folder


def folds_path(contest: Contest, config: FoldsConfig, root: Path) -> Path:
    """Where these folds of this contest are kept; the name says how they were made."""
    kinds = f"{'g' if config.grouped else ''}{'s' if config.stratified else ''}"
    ids = sha256_json([sample.id for sample in sorted(contest.split.train, key=lambda sample: sample.id)])[:8]
    return root / contest.competition.name / "folds" / f"n{config.n}-seed{config.seed}-{kinds or 'plain'}-{ids}.csv"


def contest_folds(contest: Contest, config: FoldsConfig, root: Path) -> Folds:
    """The folds: the user's file, or those made before, or new ones, which are then kept."""
    if config.file is not None:
        folds = read_folds_table(config.file)
        check_folds(folds, contest.split.train, grouped=config.grouped)
        return folds
    path = folds_path(contest, config, root)
    if path.exists():
        folds = read_folds(path)
        check_folds(folds, contest.split.train)
        return folds
    find = contest.competition.groups if config.grouped else None
    # Test images count too: they bridge training tiles of one field of view.
    groups = find((*contest.split.train, *contest.split.test)) if find else None
    folds = make_folds(contest.split.train, config, groups)
    write_folds(path, folds)
    return folds
