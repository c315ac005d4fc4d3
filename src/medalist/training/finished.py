"""Find out whether a training is finished, without importing torch, which takes seconds."""

from __future__ import annotations

from medalist.contest import Contest, contest_folds
from medalist.errors import ConfigError, RunError
from medalist.experiment import Experiment
from medalist.files import sha256_file
from medalist.kinds import kind_of, run_settings
from medalist.runs.contest_files import hash_contest, refuse_changed
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run, config_hash, manifest_hash
from medalist.training.request import TrainRequest


def finished(request: TrainRequest) -> Run | None:
    """Return the run of a request where all its chosen folds are finished, otherwise None.

    A fold is finished when it is trained and predicted and has no states left. Config, data and folds of the run must
    be those of the request. None means that something is left to do, to write or to report, which the training itself
    then does. For instance, None is returned where the sections of the config for decisions, tracking or caches have
    changed, because the training writes the new values. Raises RunError, which names the file, where the content of a
    file of the contest has changed.
    """
    settings, root = request.settings, request.root
    run = Run(root / settings.competition / request.run_name)
    if not (run.folder / "lock.json").exists() or not _same_config(run, settings):
        return None
    contest = open_contest(settings.competition, request.data or settings.data, root)
    lock = run.lock()
    if lock.contents:
        refuse_changed(run, contest, hash_contest(contest, root))
    folds = contest_folds(contest, settings.folds, root)
    chosen = request.folds or tuple(range(folds.n))
    same = (manifest_hash(contest.split), folds.hash) == (lock.data, lock.folds)
    if same and all(_is_whole(run, settings, contest, fold) for fold in chosen):
        return run
    return None


def _same_config(run: Run, settings: Experiment) -> bool:
    try:
        before = run_settings(run)
        return before == settings and run.lock().config == config_hash(before, before)
    except (ConfigError, RunError):
        return False


def _is_whole(run: Run, settings: Experiment, contest: Contest, fold: int) -> bool:
    """Whether a fold is trained, is predicted by its present weights, and has no states left."""
    folder, weights = run.fold_folder(fold), run.checkpoint(fold, settings.train.keep)
    if fold not in run.trained_folds() or not weights.exists() or not (folder / "cost.json").exists():
        return False
    made = kind_of(settings).answering().made_by(run, contest, f"oof/fold{fold}") or {}
    return made.get(f"fold{fold}") == sha256_file(weights) and not any(folder.glob("state-*"))
