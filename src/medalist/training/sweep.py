"""`medalist sweep`: try many values of some keys, each in a run of its own on the queue.

Each run is compared with the base on the same folds and samples. Where all swept keys belong to `predict` or `decide`,
nothing is trained but the base, and only where it is not trained yet: each point is the base under other settings.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
)
from optuna.exceptions import OptunaError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from medalist.config import dump_config
from medalist.errors import ConfigError, MedalistError, RunError
from medalist.experiment import Experiment
from medalist.files import written
from medalist.kinds import load_settings
from medalist.metrics.paired import Paired, clearly_behind, paired
from medalist.reporter import Reporter
from medalist.runs.setup import TrainSetup
from medalist.training.axes import Axis, grid, typed
from medalist.training.distributions import distribution
from medalist.training.fold_queue import jobs_of
from medalist.training.queue_status import JobEnd, QueueJob
from medalist.training.request import TrainRequest, former_name, run_name
from medalist.training.start import prepare
from medalist.training.untrained import after_training, score_untrained
from medalist.workflows.board import read_entry
from medalist.workflows.score import score_run

COLUMNS = ("run", "OOF", "difference", "± folds", "± samples", "folds", "seconds", "state")

Enqueue = Callable[[Sequence[QueueJob]], Sequence[JobEnd]]


@dataclass(eq=False)
class Point:
    """One run of a sweep, with its state and its scores.

    settings: the config of the point. tried: whether it is no run of its own, but the base under these settings.
    seconds: the time that such a try took.
    """

    overrides: tuple[str, ...]
    request: TrainRequest
    setup: TrainSetup
    settings: Experiment
    state: str = "done"
    scores: dict[str, Any] = field(default_factory=dict)
    tried: bool = False
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name of the run, or the name that a run of its own would have."""
        return run_name(self.request.config, self.overrides) if self.tried else self.setup.run.name

    def part(self, folds: Sequence[int]) -> tuple[dict[str, float], dict[str, float]]:
        """Return the scores by fold and by sample of the given folds."""
        if not self.scores:
            return {}, {}
        by_fold = {str(k): self.scores["oof"]["folds"][str(k)] for k in folds if str(k) in self.scores["oof"]["folds"]}
        ids = {name for fold in folds for name in self.setup.folds.held_out(fold)}
        return by_fold, {name: value for name, value in self.scores["by_sample"].items() if name in ids}

    @property
    def value(self) -> float | None:
        """The mean score of the chosen folds, or None where a fold has no score."""
        found = self.part(self.setup.chosen)[0]
        return sum(found.values()) / len(found) if len(found) == len(self.setup.chosen) else None


@dataclass(eq=False)
class Sweep:
    """A base config and its points.

    fixed: overrides that all points have. enqueue: the function that trains jobs. prune: drop a config whose score on
    the first fold is clearly lower than the best one. keys: the swept keys. scratch: the folder in which the base is
    predicted and scored under other settings. points: by the text of the config.
    """

    config: Path
    fixed: tuple[str, ...]
    data: str | None
    folds: tuple[int, ...]
    root: Path
    enqueue: Enqueue
    reporter: Reporter
    prune: bool = False
    keys: tuple[str, ...] = ()
    scratch: Path = Path()
    points: dict[str, Point] = field(default_factory=dict)
    _shared: TrainSetup | None = field(default=None, init=False)

    @property
    def untrained(self) -> bool:
        """Whether the swept keys change no weights, so that only the base is trained."""
        return bool(self.keys) and all(map(after_training, self.keys))

    def point(self, overrides: Sequence[str]) -> Point:
        """Return the point of some overrides, which is an existing point where its config is the same."""
        whole = (*self.fixed, *overrides)
        settings = load_settings(self.config, whole)
        text = dump_config(settings)
        if text not in self.points:
            # Without a training all points share one run, which has none of the settings of `predict` and `decide`.
            words = tuple(word for word in whole if not (self.untrained and after_training(word)))
            trained = load_settings(self.config, words)
            request = TrainRequest(trained, self.config, words, self.data, self.folds, None, self.root)
            setup = self._shared or prepare(request)
            self._shared = setup if self.untrained else None
            self.points[text] = Point(whole, request, setup, settings, tried=settings != trained)
        return self.points[text]

    @property
    def base(self) -> Point:
        """The point that has only the fixed overrides."""
        return self.point(())

    def train(self, points: Sequence[Point]) -> None:
        """Train and score points. With `prune`, the first fold of all points is trained before the other folds."""
        todo = list(dict.fromkeys(points))
        chosen = self.base.setup.chosen
        if self.untrained:
            self._enqueue([self.base], chosen)
            for point in todo:
                self._try(point)
            return
        if self.prune and len(chosen) > 1:
            self._run(todo, chosen[:1])
            self._drop(todo, chosen[0])
            todo = [point for point in todo if point.state == "done"]
        self._run(todo, chosen)

    def _try(self, point: Point) -> None:
        """Score the base under the settings of a point; the scores of the base's run stay as they are."""
        if self.base.state.startswith("failed") and point is not self.base:
            point.state = f"failed: the base {self.base.name} failed"
        if point.scores or point.state.startswith("failed"):
            return
        started = time.perf_counter()
        try:
            point.scores = dict(score_untrained(point.setup, point.settings, self.scratch, self.reporter))
        except MedalistError as error:
            point.state = f"failed: {error}"
        point.seconds = time.perf_counter() - started

    def _run(self, points: Sequence[Point], folds: Sequence[int]) -> None:
        self._enqueue(points, folds)
        for point in points:
            if not point.state.startswith("failed"):
                try:
                    point.scores = score_run(point.setup.run, point.setup.contest, point.settings, self.reporter)
                except MedalistError as error:
                    point.state = f"failed: {error}"

    def _enqueue(self, points: Sequence[Point], folds: Sequence[int]) -> None:
        jobs: list[tuple[Point, QueueJob]] = []
        for point in points:
            found = jobs_of(point.setup, point.request)
            jobs += [(point, job) for job in found if job.fold in folds]
        # Sorted by fold, so that all points progress at about the same speed.
        jobs.sort(key=lambda pair: list(folds).index(pair[1].fold))
        for (point, job), end in zip(jobs, self.enqueue([job for _, job in jobs]), strict=True):
            if end.code:
                point.state = f"failed: fold {job.fold}: {end.line}"

    def _drop(self, points: Sequence[Point], fold: int) -> None:
        seen = [point for point in self.points.values() if str(fold) in point.part([fold])[0]]
        if not seen:
            return
        best = max(seen, key=lambda point: point.part([fold])[0][str(fold)])
        for point in points:
            if (
                point.state == "done"
                and point is not self.base
                and clearly_behind(point.part([fold])[1], best.part([fold])[1])
            ):
                point.state = f"dropped: on fold {fold} clearly behind {best.name}"

    def rows(self) -> list[list[Any]]:
        """Return the rows of the table: the best point first, points without a score last."""
        points = sorted(
            self.points.values(), key=lambda point: (point.value is None, -(point.value or 0.0), point.name)
        )
        return [self._row(point) for point in points]

    def _row(self, point: Point) -> list[Any]:
        base, folds = self.base, self.base.setup.chosen
        found = paired(*point.part(folds), *base.part(folds)) if point is not base else None
        difference = found or Paired(0.0, None, None, 0, 0)
        by_fold = point.part(folds)[0]
        mean = sum(by_fold.values()) / len(by_fold) if by_fold else None
        return [
            point.name,
            _figure(mean),
            f"{difference.difference:+.4f}" if found else "",
            _figure(difference.by_folds),
            _figure(difference.by_samples),
            f"{len(by_fold)}/{len(folds)}",
            f"{point.seconds if point.tried else read_entry(point.setup.run).seconds:.0f}",
            f"{point.state}, the base" if point is base else point.state,
        ]


def sweep_grid(sweep: Sweep, swept: Sequence[Axis]) -> None:
    """Train the base and every combination. All configs are checked before the first training starts."""
    combinations = grid(swept)
    for overrides in combinations:
        load_settings(sweep.config, (*sweep.fixed, *overrides))
    with sweep_of(sweep, swept):
        sweep.train([sweep.base, *(sweep.point(overrides) for overrides in combinations)])


@contextmanager
def sweep_of(sweep: Sweep, swept: Sequence[Axis]) -> Iterator[None]:
    """Note the swept keys, and give the sweep a folder for its tries, which is deleted at the end."""
    sweep.keys = tuple(axis.key for axis in swept)
    with tempfile.TemporaryDirectory(prefix="medalist-sweep-", ignore_cleanup_errors=True) as folder:
        sweep.scratch = Path(folder)
        yield


def sweep_trials(sweep: Sweep, swept: Sequence[Axis], trials: int, seed: int, journal: Path, at_once: int) -> None:
    """Train the base and `trials` points that Optuna's TPE samples, `at_once` jobs at a time.

    Points are kept in `journal`, so a sweep that was stopped continues with them. Each point depends only on (seed, its
    number, the results before it), so a stop does not change the points. Raises RunError where the journal is damaged.
    """
    with sweep_of(sweep, swept):
        sweep.train([sweep.base])
        folds = len(sweep.base.setup.chosen)
        batch = at_once if sweep.prune else -(-at_once // folds)
        journal.parent.mkdir(parents=True, exist_ok=True)
        space = {axis.key: distribution(axis) for axis in swept}
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            storage = JournalStorage(JournalFileBackend(str(journal)))
            study = optuna.create_study(storage=storage, study_name="sweep", direction="maximize", load_if_exists=True)
            ended = [trial.number for trial in study.trials if trial.state.is_finished()]
            sweep.train([point for _, point in _points(sweep, study, ended)])  # trained already; the table needs scores
            for numbers in _batches(study, space, trials, seed, batch):
                _try(sweep, study, numbers)
        except (OptunaError, ValueError, LookupError) as error:
            raise RunError(
                f"{journal} is damaged ({' '.join(str(error).split())[:100]}); delete it to start again"
            ) from error
        finally:
            optuna.logging.set_verbosity(before)


def _batches(
    study: optuna.Study, space: dict[str, BaseDistribution], trials: int, seed: int, batch: int
) -> Iterator[list[int]]:
    """Yield the numbers of the trials to run next: first those that a stopped sweep has left, then new ones."""
    left = [trial.number for trial in study.trials if trial.state == TrialState.RUNNING]
    while left or len(study.trials) < trials:
        while len(left) < batch and len(study.trials) < trials:
            study.sampler = optuna.samplers.TPESampler(seed=seed * 100_003 + len(study.trials), constant_liar=True)
            left.append(study.ask(space).number)
        yield left[:batch]
        left = left[batch:]


def _points(sweep: Sweep, study: optuna.Study, numbers: Sequence[int]) -> list[tuple[int, Point]]:
    """Return the point of each trial. A trial whose values do not fit together is reported and left out."""
    found: list[tuple[int, Point]] = []
    for number in numbers:
        overrides = [f"{key}={typed(value)}" for key, value in study.trials[number].params.items()]
        try:
            found.append((number, sweep.point(overrides)))
        except ConfigError as error:
            sweep.reporter.say(f"trial {number}: {error}")
    return found


def _try(sweep: Sweep, study: optuna.Study, numbers: Sequence[int]) -> None:
    points = dict(_points(sweep, study, numbers))
    sweep.train(list(points.values()))
    for number in numbers:
        point = points.get(number)
        if point is not None and point.value is not None:
            study.tell(number, point.value)
        else:
            dropped = point is not None and point.state.startswith("dropped")
            study.tell(number, state=TrialState.PRUNED if dropped else TrialState.FAIL)


def sweep_file(root: Path, competition: str, config: Path, words: Sequence[str], suffix: str) -> Path:
    """Return the path of a sweep's table or journal: beside the runs, with the swept keys in its name."""
    folder = root / competition / "sweeps"
    former = folder / f"{former_name(config, words)}{suffix}"
    return former if former.exists() else folder / f"{run_name(config, words)}{suffix}"


def write_table(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the table to a csv file, with the header COLUMNS."""
    with written(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
