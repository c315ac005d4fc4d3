"""Score a run under other settings of `predict` or `decide`, without a training and without a change of the run."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from medalist.errors import RunError
from medalist.experiment import Experiment
from medalist.files import sha256_json
from medalist.kinds import kind_of
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.runs.setup import TrainSetup
from medalist.workflows.score import score_run

AFTER_TRAINING = ("predict", "decide")
"""Sections of a config that are used only when the training is over."""

OWN_FILES = ("oof.csv", "oof.json", "oof.zip", "scores.json", "report", "debug", "plan.json")
"""Files of a run that its copies do not share."""


def after_training(word: str) -> bool:
    """Whether a key, or a `key=value`, belongs to a section that changes no weights."""
    return word.partition("=")[0].strip().partition(".")[0] in AFTER_TRAINING


def score_untrained(setup: TrainSetup, settings: Experiment, scratch: Path, reporter: Reporter) -> dict[str, object]:
    """Return the scores of a trained run under settings that differ from its own in `predict` and `decide` only.

    Other settings of `decide` use the run's stored predictions, and others of `predict` its stored weights. All is
    written to a copy of the run in the folder `scratch`, which shares weights and predictions with the run. A second
    call with the same settings of `predict` finds their predictions there. Raises RunError where a fold is not trained.
    """
    run, contest = setup.run, setup.contest
    missing = set(setup.chosen) - set(run.trained_folds())
    if missing:
        raise RunError(f"fold {min(missing)} of {run.folder} is not trained; run medalist train first")
    same = settings.predict == setup.settings.predict
    home = scratch / ("same" if same else sha256_json(settings.predict.model_dump(mode="json"))[:12])
    copy = shared_copy(run, home / run.competition / run.name, OWN_FILES if same else (*OWN_FILES, "oof", "test"))
    settings = settings.model_copy(update={"tracking": "none"})
    if not same:
        training = kind_of(settings).training()
        for fold in setup.chosen:
            training.predict(copy, settings, contest, fold, reporter)
    return score_run(copy, contest, settings, reporter)


def shared_copy(run: Run, folder: Path, without: Iterable[str]) -> Run:
    """Return a copy of a run in a new folder, whose files and folders are links to those of the run.

    without: names that are left out, so that the copy has its own. Where the system makes no links, files are copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left_out = set(without)
    for path in run.folder.resolve().iterdir():
        target = folder / path.name
        if path.name in left_out or target.exists():
            continue
        try:
            target.symlink_to(path, target_is_directory=path.is_dir())
        except OSError:
            if path.is_dir():
                shutil.copytree(path, target)
            else:
                shutil.copy(path, target)
    return Run(folder)
