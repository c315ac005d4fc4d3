"""Whether a training has anything left to do; told without torch, which takes seconds to import."""

from __future__ import annotations

from medalist.contest import Contest, contest_folds
from medalist.errors import ConfigError, RunError
from medalist.experiment import Experiment
from medalist.files import sha256_file
from medalist.kinds import kind_of, run_settings
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run, config_hash, manifest_hash
from medalist.training.request import TrainRequest, run_name


def finished(request: TrainRequest) -> Run | None:
    """The run, where its config, data and folds are those of the request, and all asked folds are trained, predicted
    and tidy; None where anything is left to do or to be told, which the training itself then does.

    What the config says of decisions, tracking and caches may have changed: it is then written by the training.
    """
    settings, root = request.settings, request.root
    run = Run(root / settings.competition / (request.name or run_name(request.config, request.overrides)))
    if not (run.folder / "lock.json").exists() or not _same_config(run, settings):
        return None
    contest = open_contest(settings.competition, request.data or settings.data, root)
    folds = contest_folds(contest, settings.folds, root)
    chosen = request.folds or tuple(range(folds.n))
    lock = run.lock()
    same = (manifest_hash(contest.split), folds.hash) == (lock.data, lock.folds)
    if same and all(_is_whole(run, settings, contest, fold) for fold in chosen):
        return run
    return None


def _same_config(run: Run, settings: Experiment) -> bool:
    try:
        return run_settings(run) == settings and run.lock().config == config_hash(settings)
    except (ConfigError, RunError):
        return False


def _is_whole(run: Run, settings: Experiment, contest: Contest, fold: int) -> bool:
    """Whether a fold is trained, predicted by the weights that are there, and tidy."""
    folder, weights = run.fold_folder(fold), run.checkpoint(fold, settings.train.keep)
    if fold not in run.trained_folds() or not weights.exists() or not (folder / "cost.json").exists():
        return False
    made = kind_of(settings).answering().made_by(run, contest, f"oof/fold{fold}") or {}
    return made.get(f"fold{fold}") == sha256_file(weights) and not any(folder.glob("state-*"))
