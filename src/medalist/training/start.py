"""The checks before a training begins, and the making of its run folder."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_fabric import Fabric

from medalist.codecs.images import image_kind
from medalist.config import OwnConfig
from medalist.contest import contest_folds
from medalist.data.transforms import check_public, compose_augment
from medalist.engine.devices import first_alone, open_fabric
from medalist.engine.optimizer import scaled_lr
from medalist.errors import ConfigError, FoldError, RunError
from medalist.experiment import Experiment
from medalist.folds.folds import write_folds
from medalist.kinds import kind_of, run_settings
from medalist.models.weights import encoder_weights
from medalist.parts import parts_of, used_hash
from medalist.processes import place
from medalist.records import Sample
from medalist.runs.contest_files import hash_contest, refuse_changed, refuse_other_samples, seal, write_hashes
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run, create_run, make_lock, refuse_mismatch
from medalist.runs.setup import TrainSetup
from medalist.runs.sources import reading_sources
from medalist.system import FORKS
from medalist.training.machine import machine
from medalist.training.request import TrainRequest
from medalist.workflows.names import refuse_unwritable

PROBED_IMAGES = 500
"""Image files whose headers are read to note which kinds a run is trained on."""


def checked(request: TrainRequest) -> TrainSetup:
    """Check all that can be checked before pixels are read: augmentation, weights, data, folds, network.

    No file of the run is written. Raises ConfigError, WeightsError, DataError and FoldError, and RunError where the
    run's folder has another config, data, folds or weights.
    """
    settings, root = request.settings, request.root
    name = request.run_name
    check_public(settings.augment)
    if settings.folds.file is None:  # a file says itself how many folds it has
        _refuse_missing(request.folds, settings.folds.n)
    pretrained = settings.pretrained
    weights = encoder_weights(pretrained.encoder, pretrained.weights, pretrained.whole) if pretrained else None
    contest = open_contest(settings.competition, request.data or settings.data, root)
    compose_augment(settings.augment, parts_of(contest.competition))
    if settings.loader.workers and not FORKS and any(isinstance(one, OwnConfig) for one in settings.augment):
        raise ConfigError("augment: on this system workers cannot make transforms of parts.py; set loader.workers=0")
    refuse_unwritable(contest)
    run, files = Run(root / settings.competition / name), hash_contest(contest, root)
    known = (run.folder / "lock.json").exists()
    if known:
        refuse_changed(run, contest, files)
    folds = contest_folds(contest, settings.folds, root)
    chosen = tuple(dict.fromkeys(request.folds)) or tuple(range(folds.n))
    _refuse_missing(chosen, folds.n)
    hashes = {weights.name: weights.sha256} if weights else {}
    lock = make_lock(
        settings,
        contest.split,
        folds,
        hashes,
        contest.data,
        request.config,
        request.overrides,
        machine(),
        image_kinds(contest.split.train) if contest.competition.read_image is None else [],
        seal(files),
        reading_sources(settings.competition),
        used_hash(settings, contest.competition),
    )
    if known:
        refuse_other_samples(run, contest, lock.data)
        refuse_mismatch(run, settings, lock, settings_before(run))
        lock = run.lock()
    setup = TrainSetup(settings, contest, folds, chosen, weights, run, lock, files)
    if set(chosen) - set(run.trained_folds()):
        kind_of(settings).training().rehearse(setup)
    return setup


def _refuse_missing(chosen: Sequence[int], n: int) -> None:
    """Raise FoldError for a fold that a config of `n` folds has not."""
    for number in chosen:
        if not 0 <= number < n:
            raise FoldError(f"fold {number} does not exist; this config has folds 0..{n - 1}")


def image_kinds(samples: Sequence[Sample]) -> list[str]:
    """Return the kinds of image files among at most PROBED_IMAGES samples, which are spread evenly over all."""
    step = -(-len(samples) // PROBED_IMAGES)
    return sorted({image_kind(sample.images[0]) for sample in samples[:: max(1, step)]})


def settings_before(run: Run) -> Experiment | None:
    """Return the config of an existing run, or None where it is damaged or missing."""
    try:
        return run_settings(run)
    except (ConfigError, RunError):
        return None


def prepare(request: TrainRequest) -> TrainSetup:
    """Call `checked`, and then make the run's folder with its config, lock and folds."""
    setup = checked(request)
    if not (setup.run.folder / "lock.json").exists():
        write_hashes(setup.run, setup.files)
    create_run(setup.run.folder, setup.settings, setup.lock, settings_before(setup.run))
    write_folds(setup.run.folder / "folds.csv", setup.folds)
    return setup


def prepare_together(request: TrainRequest, fabric: Fabric | None = None) -> TrainSetup:
    """Call `prepare` in each process of this command: first in the first process, then in the others."""
    fabric = fabric or open_fabric(request.settings.train.precision)
    return first_alone(fabric, lambda: prepare(request))


def step_line(settings: Experiment) -> str:
    """Return the line that says how many samples make a step of the optimiser, and its highest learning rate."""
    train, world, batch = settings.train, place().world, settings.batch_samples
    rate = scaled_lr(train, world)
    return (
        f"a step has {batch * train.accumulate * world} samples: batch {batch} x accumulate {train.accumulate} x "
        f"processes {world}; learning rate up to {rate:g} (lr_scale: {train.lr_scale})"
    )
