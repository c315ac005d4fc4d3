"""The contest behind a command: its value, where its data lies, its samples and its folds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from medalist.competition import Competition, Retrieval, find_groups, folder_of, load_competition
from medalist.errors import ConfigError, DataError, FoldError, RunError
from medalist.files import read_json, sha256_json, write_json
from medalist.folds.folds import (
    Folds,
    FoldsConfig,
    check_folds,
    make_folds,
    read_folds,
    read_folds_table,
    rehash,
    write_folds,
)
from medalist.records import Answer, RetrievalSplit, Sample, Split
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
    def retrieval(self) -> Retrieval:
        """How the contest asks for identities; ConfigError where it does not."""
        if self.competition.retrieval is None:
            raise ConfigError(
                f"task.kind = embed, but {self.competition.name} does not ask for identities; begin with base: segment"
            )
        return self.competition.retrieval

    @property
    def reference(self) -> Path:
        """The contest's own sample submission."""
        return self.data / self.competition.sample_submission


def fold_splits(contest: Contest, folds: Folds, fold: int) -> tuple[RetrievalSplit, ...]:
    """The trials on which a fold of a contest of identities is validated; FoldError where it has no query."""
    held_out = set(folds.held_out(fold))
    training = [sample for sample in contest.split.train if sample.id not in held_out]
    trials = contest.retrieval.trials(training, [sample for sample in contest.split.train if sample.id in held_out])
    asked = [name for trial in trials for name in trial.queries]
    assert len(set(asked)) == len(asked) and held_out.issuperset(asked), "each held-out sample asks at most once"
    if not asked:
        raise FoldError(f"fold {fold} holds out no sample that asks; make fewer folds, or leave it out with --fold")
    return trials


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
        folder, source = Path(os.environ["MEDALIST_DATA"]) / folder_of(name), "MEDALIST_DATA"
    else:
        runs = [run for run in all_runs(root) if folder_of(run.competition) == folder_of(name)]
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
        # A table from elsewhere may split what only the pixels show to belong together.
        found = find_groups(contest.competition, contest.split) if config.grouped else None
        check_folds(folds, contest.split.train, found.group_of if found else None, grouped=config.grouped)
        return folds
    path = folds_path(contest, config, root)
    if path.exists():
        folds = read_folds(path)
        check_folds(folds, contest.split.train)
        return folds
    found = find_groups(contest.competition, contest.split) if config.grouped else None
    folds = make_folds(contest.split.train, config, found.group_of if found else None)
    if found:
        write_json(path.with_suffix(".groups.json"), asdict(found))
    write_folds(path, folds)
    return folds


def keep_edited_folds(contest: Contest, config: FoldsConfig, root: Path) -> None:
    """Take a folds file that was changed by hand as the folds from now on; FoldError where it has no hash to renew."""
    if config.file is not None and not config.file.is_file():
        raise FoldError(f"no folds file {config.file}; it is what folds.file names")
    if config.file is not None and not config.file.read_bytes().startswith(b"# sha256="):
        raise FoldError(f"{config.file} is a table of your own, without a hash: there is nothing to renew")
    rehash(config.file or folds_path(contest, config, root))


def groups_found(contest: Contest, config: FoldsConfig, root: Path) -> str | None:
    """What the look for groups found, in a line; None where the contest declares its groups, or has none."""
    path = folds_path(contest, config, root).with_suffix(".groups.json")
    if config.file is not None or not path.exists():
        return None
    found = read_json(path)
    try:
        group_of: dict[str, str] = dict(found["group_of"])
        reasons = Counter(str(why).split(" ")[0] for _, _, why in found["joins"])
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{path} is damaged; delete it and the folds beside it to look for groups again") from None
    sizes = Counter(group_of.values())
    shared = [name for name, group in group_of.items() if sizes[group] > 1]
    trained = {group_of.get(sample.id) for sample in contest.split.train} - {None}
    leaking = sum(group_of.get(sample.id) in trained for sample in contest.split.test)
    return (
        f"groups found in the images: {len(shared)} images in {sum(size > 1 for size in sizes.values())} groups of "
        f"several, joined by {', '.join(f'{name} {count}' for name, count in sorted(reasons.items()))}; {leaking} of "
        f"{len(contest.split.test)} test images share a group with a training image; evidence: {path}"
    )
