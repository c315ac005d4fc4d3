"""Runs on disk: the path of each file of a run, its provenance, and its written scores.

runs/<competition>/folds/n5-seed2018-gs-<ids>.csv  the folds, shared by runs; the name says how they were made
runs/<competition>/<run>/config.yaml           the resolved config
runs/<competition>/<run>/lock.json             provenance
runs/<competition>/<run>/folds.csv data.csv    the folds of this run; the hashes of the contest's files
runs/<competition>/<run>/fold0/ ...            weights, metrics.jsonl, cost.json; states while it trains
runs/<competition>/<run>/oof/ test/            predictions
runs/<competition>/<run>/oof.csv scores.json   OOF answers as written rows, and their score
runs/<competition>/<run>/report/index.html
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medalist.config import as_said, differences, dump_changed, dump_config, parse_config
from medalist.errors import DataError, FoldError, RunError
from medalist.experiment import Experiment
from medalist.files import read_json, refuse_newer, sha256_json, write_json, write_text
from medalist.folds.folds import Folds, read_folds
from medalist.parts import parts_conflict
from medalist.reading import CONFIG_BYTES, read_text
from medalist.records import Sample, Split
from medalist.runs.versions import commit, packages

LOCK_FORMAT = 1
"""The format of lock.json. A number above it means that a newer version wrote the file."""

SCORES_FORMAT = 1
"""The format of scores.json."""

MUST_MATCH = ("data", "folds", "weights")
"""The fields of a lock that must be the same, beside the config, so that a training may continue in the folder."""

FREE = ("data", "loader", "tracking", "decide", "checkpoint")
"""The sections of a config that change neither weights nor predictions."""


@dataclass(frozen=True)
class Lock:
    """The provenance of a run.

    commit: the project's git commit. config, data, folds: sha256 hashes. weights: the sha256 of pretrained weights by
    name. data_folder: the path of the data on the machine that trained. packages: versions by name. images: the kinds
    of image files among the training samples (`codecs.images.image_kind`); empty in runs from before they were noted.
    contents: the hash of `data.csv`, which has the hashes of the contest's files. sources: the hashes of the code that
    reads images and truths. Both are empty in runs from before they were recorded. parts: the hash of the contest's own
    parts (`parts.OwnParts.hash`); empty where the config names none.
    """

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
    images: tuple[str, ...] = ()
    contents: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    parts: str = ""


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    folder: Path

    @property
    def name(self) -> str:
        """The name of the run, which is the name of its folder."""
        return self.folder.name

    @property
    def competition(self) -> str:
        """The name of the competition, which is the name of the folder above."""
        return self.folder.parent.name

    def config(self) -> str:
        """Return the text of the resolved config of the training. Raises RunError where it cannot be read."""
        try:
            return read_text(self.folder / "config.yaml", CONFIG_BYTES)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise RunError(f"{self.folder} is not a run: config.yaml: {reason}; run medalist train first") from None

    def lock(self) -> Lock:
        """Return the provenance of the run. Raises RunError where lock.json is damaged, or of a newer format.

        Keys that this version does not know are left out.
        """
        path = self.folder / "lock.json"
        value = read_json(path)
        refuse_newer(value, path, LOCK_FORMAT)
        try:
            known = {one.name: value[one.name] for one in fields(Lock) if one.name in value}
            listed = {name: tuple(known.get(name, ())) for name in ("overrides", "images")}
            return Lock(**{**known, **listed, "overrides": tuple(known["overrides"])})
        except (TypeError, KeyError):
            raise RunError(f"{path} is damaged; train into a new run with --name") from None

    def folds(self) -> Folds:
        """Return the folds of the run. Raises RunError where folds.csv is not the file that the lock was made with."""
        path, made = self.folder / "folds.csv", self.lock().folds
        if (folds := _folds_if(path, made)) is not None:
            return folds
        what = "was edited since the run was made" if path.exists() else "is missing"
        same = next((one for one in sorted(self.folder.parent.glob("folds/*.csv")) if _folds_if(one, made)), None)
        raise RunError(f"{path} {what}; put it back{f': cp {same} {path}' if same else ''}, or train a new run")

    def fold_folder(self, fold: int) -> Path:
        """Return the folder of one fold, with its checkpoints and metrics."""
        return self.folder / f"fold{fold}"

    def checkpoint(self, fold: int, keep: str) -> Path:
        """Return the path of a fold's weights that predict. `keep` is `last`, `best`, `average` or `raw`."""
        return self.fold_folder(fold) / f"{keep}.safetensors"

    def trained_folds(self) -> list[int]:
        """Return the numbers of the folds whose training has ended, which means that their `last` weights exist."""
        names = [path.parent.name for path in self.folder.glob("fold*/last.safetensors")]
        return sorted(int(name.removeprefix("fold")) for name in names if re.fullmatch("fold(0|[1-9][0-9]{0,5})", name))

    def scores(self) -> dict[str, Any] | None:
        """Return what `medalist score` wrote, or None before it has run.

        Raises RunError where the file is damaged, or of a newer format.
        """
        path = self.folder / "scores.json"
        if not path.exists():
            return None
        scores = read_json(path)
        refuse_newer(scores, path, SCORES_FORMAT)
        parts = [scores.get(name) for name in ("oof", "decide", "by_sample")] if isinstance(scores, dict) else []
        whole = [part for part in parts if isinstance(part, dict)]
        if len(whole) < 3 or not {"value", "folds", "folds_of", "parts"} <= whole[0].keys():
            raise RunError(f"{path} is damaged; run medalist score {self.competition}/{self.name} again")
        return dict(scores)


def _folds_if(path: Path, made: str) -> Folds | None:
    """Return the folds of a file; None where it cannot be read, or where their hash is not `made`."""
    try:
        folds = read_folds(path)
    except FoldError:
        return None
    return folds if folds.hash == made else None


def create_run(folder: Path, settings: Experiment, lock: Lock, before: Experiment | None = None) -> Run:
    """Make a run's folder, or use the existing one where it has the same config, data, folds and pretrained weights.

    The sections in FREE may differ from the existing run. Their new values are written into its config. before: the
    config of the existing run, or None where it cannot be read. Raises RunError, which names the difference, where the
    folder holds another run.
    """
    run = Run(folder)
    config, text = folder / "config.yaml", dump_config(settings)
    known = (folder / "lock.json").exists()
    if known:
        refuse_mismatch(run, settings, lock, before)
        if before is not None:
            # Sections outside FREE keep their words, because lock.json holds the hash of these.
            text = run.config() if before == settings else dump_changed(before, settings, FREE)
    if not config.exists() or config.read_text(encoding="utf-8", errors="replace") != text:
        write_text(config, text)
    if not known:
        write_json(folder / "lock.json", {"format": LOCK_FORMAT, **asdict(lock)})
    return run


def refuse_mismatch(run: Run, settings: Experiment, lock: Lock, before: Experiment | None) -> None:
    """Raise RunError where config, data, folds or pretrained weights differ from those of the run.

    before: the config of the run, or None where its config.yaml is damaged. With None the message names no keys, and
    only the hashes of the configs are compared. Otherwise the settings themselves are compared. A key that came later
    than the run's config.yaml has its default there.
    """
    old = run.lock()
    found = differences(before, settings) if before is not None else []
    changed = [change for change in found if change[0].split(".")[0] not in FREE]
    remedy = "change it back, or train under another name: medalist train ... --name NAME"
    if before is not None and config_hash(before, before) != old.config:
        told = _listed([f"{key} is {there} there, and {now} in this config" for key, there, now in changed])
        raise RunError(f"{run.folder / 'config.yaml'} was edited since the run was made{told}; {remedy}")
    conflict = parts_conflict(settings, old.parts, lock.parts, FREE)
    if conflict:
        raise RunError(f"{run.folder}: {conflict}; {remedy}")
    others = [what for what in MUST_MATCH if getattr(old, what) != getattr(lock, what)]
    if changed or (before is None and old.config != lock.config):
        others.insert(0, "config")
    if others:
        told = _listed([f"{key} was {earlier}, is {now}" for key, earlier, now in changed])
        raise RunError(f"{run.folder} was made with other {others[0]}{told}; {remedy}")


def refuse_edited(run: Run, settings: Experiment) -> None:
    """Raise RunError where the config of a run, as it was read, is not the one that the run was made with."""
    if config_hash(settings, settings) != run.lock().config:
        told = "was edited since the run was made; change it back, or train a new run: medalist train ... --name NAME"
        raise RunError(f"{run.folder / 'config.yaml'} {told}")


def _listed(changes: Sequence[str]) -> str:
    """Return the first five changes in parentheses; empty where there are none."""
    return f" ({'; '.join(changes[:5])}{'; ...' if len(changes) > 5 else ''})" if changes else ""


def make_lock(
    settings: Experiment,
    split: Split,
    folds: Folds,
    weights: Mapping[str, str],
    data_folder: Path,
    config_file: Path,
    overrides: Sequence[str],
    machine: Mapping[str, str] | None = None,
    images: Sequence[str] = (),
    contents: str = "",
    sources: Mapping[str, str] | None = None,
    parts: str = "",
) -> Lock:
    """Return the provenance of a run that is about to start. `machine` describes the machine that trains."""
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
        images=tuple(images),
        contents=contents,
        sources=dict(sources or {}),
        parts=parts,
    )


def config_hash(settings: Experiment, before: Experiment | None = None) -> str:
    """Return the hash of those parts of a config that determine weights and predictions, which is all but FREE.

    So the data's folder, caches and tracking may change after training, and also how predictions become answers.
    Renamed keys are hashed under their old names, so that older runs keep their hash. before: settings that were read
    from a config.yaml. Keys that came later than this file are then left out (see `as_said`), so
    `config_hash(before, before)` is the hash in the lock for as long as nobody edits the file.
    """
    return sha256_json({name: value for name, value in as_said(settings, before).items() if name not in FREE})


def said_section(run: Run, settings: Experiment, section: str) -> dict[str, Any]:
    """Return a section of settings as JSON values, for the provenance of predictions.

    The keys `batch` and `memory` are left out, because they change no prediction. Keys that came later than the run's
    config.yaml are left out where they have their default (see `as_said`). So a run's provenance stays the same when
    medalist gets new keys, and its predictions, vectors and galleries stay valid. Raises RunError or ConfigError where
    config.yaml is missing or damaged.
    """
    before = parse_config(run.config(), str(run.folder / "config.yaml"), type(settings))
    values = as_said(getattr(settings, section), getattr(before, section)).items()
    return {key: value for key, value in values if key not in ("batch", "memory") and (key, value) != ("tile", None)}


def manifest_hash(split: Split) -> str:
    """Return the hash of the contest's samples: ids, file names, byte sizes, image sizes and the text of the truth.

    Pixels are not hashed, because reading a contest of 100 GB for each command would take minutes. The order of the
    samples and the folders of the files do not change the hash. The order of one sample's annotations does, because it
    numbers the objects. Raises DataError where an image file is missing.
    """

    def line(sample: Sample) -> list[Any]:
        try:
            files = [[path.name, path.stat().st_size] for path in sample.images]
        except OSError as error:
            raise DataError(f"sample {sample.id}: {error.filename}: {error.strerror}") from None
        return [sample.id, files, list(sample.size), list(sample.annotation)]

    parts = [sorted(part, key=lambda sample: sample.id) for part in (split.train, split.test, split.gallery)]
    if not split.gallery:  # older runs have hashes without a gallery part, and must still match
        parts.pop()
    return sha256_json([[line(sample) for sample in part] for part in parts])


def find_run(name: str, root: Path) -> Run:
    """Return the run with this folder, this `<competition>/<run>`, or this name where only one competition has it.

    Raises RunError where no run, or more than one run, is found.
    """
    for folder in (Path(name).resolve(), root / name) if name else ():  # resolved, so that '.' also has a parent
        try:
            if (folder / "lock.json").exists():  # whoever reads it says what it is, where it is no file
                return Run(folder)
        except OSError as error:  # for example a name that is too long for a file
            raise RunError(f"no run '{name[:60]}…': {error.strerror}") from None
    known = all_runs(root)
    named = [run for run in known if run.name == name]
    if len(named) == 1:
        return named[0]
    if named:
        folders = ", ".join(str(run.folder) for run in named)
        raise RunError(f"several runs are called '{name}': {folders}; type one of them")
    listed = [f"{run.competition}/{run.name}" for run in known]
    near = get_close_matches(name, [*listed, *(run.name for run in known)], n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    if "=" in name:
        hint = f"; '{name}' changes a setting: medalist score RUN {name} --keep decides so from then on, submit too"
    elif not hint and name.endswith((".yaml", ".yml")):
        hint = f"; {name} is a config: name a run of it, or make one with medalist train {name}"
    shown = f"{', '.join(listed[:20]) or 'none'}{f' and {len(listed) - 20} more' if len(listed) > 20 else ''}"
    raise RunError(f"no run '{name}' under {root}; there are: {shown}{hint}")


def all_runs(root: Path) -> list[Run]:
    """Return every run under `root`, sorted by competition and name."""
    return [Run(path.parent) for path in sorted(root.glob("*/*/lock.json"))]
