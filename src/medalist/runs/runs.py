"""Runs on disk: where each file of a run lies, what made it, and the scores that were written.

runs/<competition>/folds/<hash of how>.csv     the folds, shared by runs
runs/<competition>/<run>/config.yaml           resolved
runs/<competition>/<run>/lock.json             provenance
runs/<competition>/<run>/folds.csv             the folds this run is of
runs/<competition>/<run>/fold0/ ...            weights, metrics.jsonl, cost.json; states while it trains
runs/<competition>/<run>/oof/ test/            predictions
runs/<competition>/<run>/oof.csv scores.json   answers as written rows, and their score
runs/<competition>/<run>/report/index.html
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from medalist.config import ConfigModel, differences, dump_config
from medalist.errors import DataError, RunError
from medalist.experiment import Experiment
from medalist.files import read_json, sha256_json, write_json, write_text
from medalist.folds.folds import Folds, read_folds
from medalist.records import Sample, Split

MUST_MATCH = ("config", "data", "folds", "weights")
"""What of a lock must be the same for a training to go on in its folder."""

FREE = ("data", "loader", "tracking", "decide", "checkpoint")
"""Sections of a config that change neither weights nor predictions."""


@dataclass(frozen=True)
class Lock:
    """What made a run. Hashes are sha256; `data_folder` is where the data lay on the machine that trained."""

    commit: str
    config: str
    data: str
    folds: str
    weights: Mapping[str, str]
    data_folder: str
    config_file: str
    overrides: tuple[str, ...]
    packages: Mapping[str, str]
    python: str = field(default_factory=lambda: sys.version.split()[0])
    machine: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    folder: Path

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.folder.name

    @property
    def competition(self) -> str:
        """The competition's name: that of the folder above."""
        return self.folder.parent.name

    def config(self) -> str:
        """The resolved config it was trained with, as text; RunError where there is none."""
        try:
            return (self.folder / "config.yaml").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise RunError(f"{self.folder} is no run: config.yaml: {reason}; run medalist train first") from None

    def lock(self) -> Lock:
        """Its provenance."""
        value = read_json(self.folder / "lock.json")
        try:
            return Lock(**{**value, "overrides": tuple(value["overrides"])})
        except (TypeError, KeyError):
            raise RunError(f"{self.folder / 'lock.json'} is damaged; train into a new run with --name") from None

    def folds(self) -> Folds:
        """The folds it is of; RunError where the file is not the one the lock names."""
        folds = read_folds(self.folder / "folds.csv")
        if folds.hash != self.lock().folds:
            raise RunError(f"{self.folder / 'folds.csv'} is not the file this run was trained on; train a new run")
        return folds

    def fold_folder(self, fold: int) -> Path:
        """Checkpoints and metrics of one fold."""
        return self.folder / f"fold{fold}"

    def checkpoint(self, fold: int, keep: str) -> Path:
        """The weights that predict."""
        return self.fold_folder(fold) / f"{keep}.safetensors"

    def trained_folds(self) -> list[int]:
        """Folds whose training has ended: their `last` checkpoint is there."""
        names = [path.parent.name for path in self.folder.glob("fold*/last.safetensors")]
        return sorted(int(name.removeprefix("fold")) for name in names if re.fullmatch("fold[0-9]{1,6}", name))

    def scores(self) -> dict[str, Any] | None:
        """What `medalist score` wrote, None before it; RunError where it is damaged."""
        path = self.folder / "scores.json"
        if not path.exists():
            return None
        scores = read_json(path)
        parts = [scores.get(name) for name in ("oof", "decide", "by_sample")] if isinstance(scores, dict) else []
        whole = [part for part in parts if isinstance(part, dict)]
        if len(whole) < 3 or not {"value", "folds", "folds_of", "parts"} <= whole[0].keys():
            raise RunError(f"{path} is damaged; run medalist score {self.competition}/{self.name} again")
        return dict(scores)


def create_run(folder: Path, settings: Experiment, lock: Lock, before: Experiment | None = None) -> Run:
    """Make a run's folder, or take the one that is there where it is of the same config, data, folds and weights.

    What may change without another run (how predictions are decided, where data lies, how it is cached and tracked)
    is then written into its config. Raises RunError, naming what differs, where the folder holds another run.
    before: the config of the run that is there, where it can be read.
    """
    run = Run(folder)
    known = (folder / "lock.json").exists()
    if known:
        refuse_mismatch(run, settings, lock, before)
    config, text = folder / "config.yaml", dump_config(settings)
    if not config.exists() or config.read_text(encoding="utf-8", errors="replace") != text:
        write_text(config, text)
    if not known:
        write_json(folder / "lock.json", asdict(lock))
    return run


def refuse_mismatch(run: Run, settings: Experiment, lock: Lock, before: Experiment | None) -> None:
    """RunError where config, data, folds or pretrained weights are not those the run was made with.

    before: the config of the run; None where its config.yaml is damaged: then only the hashes speak.
    """
    old = run.lock()
    what = next((what for what in MUST_MATCH if getattr(old, what) != getattr(lock, what)), None)
    if what is None:
        return
    changed = ""
    if what == "config" and before is not None:
        found = [change for change in differences(before, settings) if change[0].split(".")[0] not in FREE]
        listed = [f"{key} was {earlier}, is {now}" for key, earlier, now in found[:5]]
        changed = f" ({'; '.join(listed)}{'; ...' if len(found) > 5 else ''})" if listed else ""
    raise RunError(
        f"{run.folder} was made with other {what}{changed}; "
        "undo that, or train under another name: medalist train ... --name NAME"
    )


def make_lock(
    settings: Experiment,
    split: Split,
    folds: Folds,
    weights: Mapping[str, str],
    data_folder: Path,
    config_file: Path,
    overrides: Sequence[str],
    machine: Mapping[str, str] | None = None,
) -> Lock:
    """Provenance of a run that is about to start; `machine` names what it runs on."""
    return Lock(
        commit=commit(),
        config=config_hash(settings),
        data=manifest_hash(split),
        folds=folds.hash,
        weights=dict(weights),
        data_folder=str(data_folder.resolve()),
        config_file=str(config_file),
        overrides=tuple(overrides),
        packages=packages(),
        machine=dict(machine or {}),
    )


def config_hash(settings: Experiment) -> str:
    """Hash of what decides the weights and the predictions: not where the data lies, how it is cached or tracked,
    nor how predictions are decided, which may be changed after training.

    Keys that were renamed count by their former names, so that runs made before go on.
    """
    return sha256_json({name: value for name, value in _by_former_names(settings).items() if name not in FREE})


def _by_former_names(model: ConfigModel) -> dict[str, Any]:
    """The model as JSON values."""
    former = {new: old for old, new in type(model).renamed.items()}
    values = model.model_dump(mode="json")
    for name in values:
        match getattr(model, name):
            case ConfigModel() as inside:
                values[name] = _by_former_names(inside)
            case tuple(items) if items and all(isinstance(one, ConfigModel) for one in items):
                values[name] = [_by_former_names(one) for one in items]
    return {former.get(name, name): value for name, value in values.items()}


def manifest_hash(split: Split) -> str:
    """Hash of the contest's files: ids, file names, byte sizes, image sizes and the text of the truth.

    Pixels do not count: reading a contest of 100 GB for each command would cost minutes. Neither does the order of the
    samples, nor where the files lie; the order of one sample's annotations does, as it numbers the objects.
    """

    def line(sample: Sample) -> list[Any]:
        try:
            files = [[path.name, path.stat().st_size] for path in sample.images]
        except OSError as error:
            raise DataError(f"sample {sample.id}: {error.filename}: {error.strerror}") from None
        return [sample.id, files, list(sample.size), list(sample.annotation)]

    parts = [sorted(part, key=lambda sample: sample.id) for part in (split.train, split.test, split.gallery)]
    if not split.gallery:  # as it was before there were galleries, so that older runs still match
        parts.pop()
    return sha256_json([[line(sample) for sample in part] for part in parts])


def commit() -> str:
    """The project's git commit, with `+` where files differ from it; `unknown` outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        status = ["git", "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.run(status, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def packages() -> dict[str, str]:
    """Name and version of every installed distribution."""
    found = {dist.name: dist.version for dist in distributions() if dist.name}  # a broken one has no name
    return dict(sorted(found.items()))


def find_run(name: str, root: Path) -> Run:
    """A run by its folder, by `<competition>/<run>`, or by its name alone where only one competition has it."""
    if name:
        for folder in (Path(name).resolve(), root / name):  # resolved: '.' too has a name and a folder above it
            if (folder / "lock.json").is_file():
                return Run(folder)
    known = all_runs(root)
    named = [run for run in known if run.name == name]
    if len(named) == 1:
        return named[0]
    if named:
        raise RunError(
            f"several runs are called '{name}': {', '.join(str(run.folder) for run in named)}; type one of them"
        )
    listed = [f"{run.competition}/{run.name}" for run in known]
    near = get_close_matches(name, [*listed, *(run.name for run in known)], n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
    raise RunError(f"no run '{name}' under {root}; there are: {', '.join(listed[:20]) or 'none'}{more}{hint}")


def all_runs(root: Path) -> list[Run]:
    """Every run under `root`, sorted by competition and name."""
    return [Run(path.parent) for path in sorted(root.glob("*/*/lock.json"))]
