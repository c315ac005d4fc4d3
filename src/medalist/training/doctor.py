"""`medalist doctor`: describe this machine, and compare it with the machine and files that a run was made with."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import safetensors
import torch
from lightning_fabric.accelerators.mps import MPSAccelerator

from medalist.engine.half_precision import half_precision_ratio
from medalist.errors import FoldError, MedalistError, RunError, WeightsError
from medalist.experiment import Experiment
from medalist.files import reason, sha256_file
from medalist.folds.folds import Folds, read_folds
from medalist.kinds import kind_of, run_settings
from medalist.models.weights import encoder_weights, list_weights, weights_folder
from medalist.processors import keep_buffers, sleep_soon
from medalist.reading import require_file
from medalist.runs.contest_files import hash_contest, refuse_changed
from medalist.runs.fold_weights import read_note
from medalist.runs.opening import open_contest
from medalist.runs.runs import Lock, Run, config_hash, manifest_hash
from medalist.runs.versions import commit, packages
from medalist.system import offline
from medalist.training.machine import machine

SHOWN = (
    "medalist",
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "albumentations",
    "lightning-fabric",
    "numpy",
    "opencv-python-headless",
)


def examine(runs: Path) -> list[list[str]]:
    """Return rows (name, text) about processors, memory, GPUs, disk, weights, network access and versions."""
    memory = psutil.virtual_memory()
    place = next(folder for folder in (runs.resolve(), *runs.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    rows = [
        ["python", sys.version.split()[0]],
        [
            "processors",
            f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        ],
        ["threads of torch", str(torch.get_num_threads())],
        ["threads that wait", sleep_soon()],
        ["freed memory", keep_buffers()],
        ["memory", f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f}"],
        ["disk for runs", f"{free / 1e9:.1f} GB free at {place}"],
    ]
    rows.append(["bfloat16", f"{half_precision_ratio('bf16-mixed'):.1f} of the time of float32 on the processors"])
    rows += _gpus()
    hub = "never downloaded (MEDALIST_OFFLINE=1)" if offline() else "downloaded only if they are not found here"
    rows.append(["weights from the hub", hub])
    rows.append(["weights folder", f"{weights_folder()}"])
    rows += [[f"weights {found.name}", f"{found.source}: {found.path}"] for found in list_weights()]
    rows.append(["commit", commit()])
    rows += [[name, _version(name)] for name in SHOWN]
    return rows


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed by pip"


def _gpus() -> list[list[str]]:
    """A row for each GPU, or that there is none."""
    if MPSAccelerator.is_available():
        most = torch.mps.recommended_max_memory()
        return [
            ["GPU", f"MPS (Apple), up to {most / 1e9:.1f} GB of the memory; DISABLE_MPS=1 trains on the processors"]
        ]
    return [
        [f"GPU {number}", f"{torch.cuda.get_device_name(number)}, {_gpu_memory(number)}"]
        for number in range(torch.cuda.device_count())
    ] or [["GPU", "none: training runs on the processors"]]


def _gpu_memory(number: int) -> str:
    try:
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError as error:  # full, or held by another process alone
        return f"cannot be used: {' '.join(str(error).split())[:80]}"
    return f"{free / 1e9:.1f} GB free of {total / 1e9:.1f}"


@dataclass(frozen=True)
class Differences:
    """Differences between a run's lock and this machine with its files.

    rows: (name, value of the run, value here). damaged: lines about files of the run that cannot be used any more.
    """

    rows: list[list[str]]
    damaged: list[str]


def compare(run: Run, data: str | None, root: Path) -> Differences:
    """Compare a run's lock with python, packages, machine, commit, data, weights, config, folds and checkpoints here.

    data: the folder of the contest's data; None = the folder that the run used, otherwise the one that `open_contest`
    finds. Nothing is downloaded. Raises RunError or ConfigError where lock.json or config.yaml is damaged.
    """
    lock, settings = run.lock(), run_settings(run)
    recorded = _recorded(run, lock)
    here = machine()
    rows = [["python", lock.python, sys.version.split()[0]], ["commit", lock.commit, commit()]]
    rows += [[name, was, here.get(name, "none")] for name, was in recorded.items()]
    rows = [row for row in rows if row[1] != row[2]]
    rows += _packages(lock.packages)
    rows += _config(settings, lock)
    rows += _data(run, settings, lock, data, root)
    rows += _weights(settings, lock)
    lost = _folds(run, lock)
    if not lost:
        folds = read_folds(run.folder / "folds.csv")
        rows += _predictions(run, settings, folds)
        lost += _checkpoints(run, settings, folds)
    return Differences(rows + lost, [f"{what}: {found}" for what, _, found in lost])


def _recorded(run: Run, lock: Lock) -> Mapping[str, str]:
    """Return the machine that a lock names; it is empty in older locks.

    Raises RunError where a value of the lock is no text.
    """
    recorded = lock.machine
    words: list[object] = [lock.python, lock.commit, lock.config, lock.data, lock.folds, lock.data_folder]
    for part in (lock.packages, lock.weights, recorded):
        words += part.values() if isinstance(part, dict) else [None]
    if not all(isinstance(word, str) for word in words):
        raise RunError(f"{run.folder / 'lock.json'} is damaged; train into a new run with --name")
    return dict(recorded)


def _packages(known: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield packages that are missing or have another version here, and how many packages the run did not have."""
    here = {_canonical(name): found for name, found in packages().items()}
    for name, was in known.items():
        now = here.get(_canonical(name), "not installed")
        if now != was:
            yield [name, was, now]
    new = here.keys() - {_canonical(name) for name in known}
    if new:
        yield ["other packages", "none", f"{len(new)} that the run did not have"]


def _canonical(name: str) -> str:
    """Return the normalised name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _config(settings: Experiment, lock: Lock) -> Iterator[list[str]]:
    now = config_hash(settings, settings)
    if now != lock.config:
        yield ["config.yaml", _short(lock.config), f"{_short(now)}: edited since"]


def _data(run: Run, settings: Experiment, lock: Lock, data: str | None, root: Path) -> Iterator[list[str]]:
    try:
        known = lock.data_folder if Path(lock.data_folder).is_dir() else None
        contest = open_contest(settings.competition, data or known, root)
        now = manifest_hash(contest.split)
    except MedalistError as error:
        yield ["data", _short(lock.data), f"not checked: {error}"]
        return
    if now != lock.data:
        yield ["data", _short(lock.data), f"{_short(now)} in {contest.data}"]
    elif not lock.contents:
        yield ["contents of the data", "not recorded", "not checked: the run is older than these hashes"]
    else:
        try:
            refuse_changed(run, contest, hash_contest(contest, root))
        except MedalistError as error:
            yield ["contents of the data", _short(lock.contents), str(error)]


def _weights(settings: Experiment, lock: Lock) -> Iterator[list[str]]:
    """Yield pretrained weights that are missing here, or differ under the same name. The hubs are not asked."""
    if not lock.weights:
        return
    pretrained = settings.pretrained
    if pretrained is None or pretrained.weights == "imagenet":
        found = {one.sha256 for one in list_weights()}
        for name, was in lock.weights.items():
            if was not in found:
                yield [f"weights {name}", _short(was), "no such file is here"]
        return
    try:
        now = encoder_weights(pretrained.encoder, pretrained.weights, pretrained.whole)
    except WeightsError as error:
        now, why = None, str(error)
    else:
        why = "none"
    for name, was in lock.weights.items():
        if now is None or now.sha256 != was:
            yield [f"weights {name}", _short(was), f"{_short(now.sha256)} in {now.path}" if now else why]


def _folds(run: Run, lock: Lock) -> list[list[str]]:
    try:
        now = read_folds(run.folder / "folds.csv").hash
    except FoldError as error:
        return [["folds.csv", _short(lock.folds), str(error)]]
    return [] if now == lock.folds else [["folds.csv", _short(lock.folds), f"{_short(now)}: edited since"]]


def _checkpoints(run: Run, settings: Experiment, folds: Folds) -> Iterator[list[str]]:
    """Yield the weights of each trained fold that are missing or cut short."""
    for fold in range(folds.n):
        if fold not in run.trained_folds():
            continue
        for path in dict.fromkeys(run.checkpoint(fold, keep) for keep in ("last", settings.train.keep)):
            name = f"fold{fold}/{path.name}"
            try:
                require_file(path)
                with safetensors.safe_open(path, "np"):  # reads only the header, and checks the length of the file
                    note = read_note(path)
                if note is not None and note.get("fold") != str(fold):
                    yield [name, "written", f"holds the weights of fold {note.get('fold')}"]
            except FileNotFoundError:
                yield [name, "written", "missing"]
            except (OSError, safetensors.SafetensorError) as error:
                yield [name, "written", f"damaged ({reason(error)[:80]})"]


def _predictions(run: Run, settings: Experiment, folds: Folds) -> Iterator[list[str]]:
    """Yield folds whose training has not ended, and OOF predictions that other weights have made."""
    for fold in range(folds.n):
        path = run.checkpoint(fold, settings.train.keep)
        if fold not in run.trained_folds():
            if run.fold_folder(fold).is_dir():
                yield [f"fold {fold}", "begun", "not trained to its end"]
        elif path.is_file():
            made = kind_of(settings).answering().made_by(run, None, f"oof/fold{fold}")
            now = sha256_file(path)
            if made is not None and made.get(f"fold{fold}") != now:
                was = _short(str(made.get(f"fold{fold}")))
                yield [f"predictions of fold {fold}", f"by weights {was}", f"{path.name} is {_short(now)}"]


def _short(digest: str) -> str:
    """Return the first 12 digits of a hash, which are enough for people to compare."""
    return digest[:12]
