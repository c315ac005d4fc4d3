"""What each kind of contest provides to the commands: answers without torch, training, and vectors where it has some.

A kind is a package beside this file. Its modules `answering` and `training` are what these protocols say; commands
reach them through `medalist.kinds` alone. A kind without gradients may bring a `fit` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from medalist.contest import Contest
    from medalist.data.dataset import Normalisation
    from medalist.engine.job import TrainJob
    from medalist.formats.submission import SubmissionFormat
    from medalist.records import Answer, Sample, Score
    from medalist.report.page import RunReport
    from medalist.report.pictures import Picture
    from medalist.reporter import Progress, Reporter
    from medalist.runs.plans import Plan, PlanRequest
    from medalist.runs.runs import Run
    from medalist.runs.setup import TrainSetup
    from medalist.search.embeddings import Embeddings
    from medalist.tracking.tracking import Log


@dataclass(frozen=True, eq=False)
class Oof:
    """What a run answers to training samples it did not see, read back from the rows it wrote.

    details: further sections of `scores.json` on how the answers were made. by_stratum: whether the metric
    says something of one stratum alone; kappa of images that all have one grade does not.
    """

    samples: tuple[Sample, ...]
    truths: Mapping[str, Answer]
    answers: Mapping[str, Answer]
    score: Score
    details: Mapping[str, Any] = field(default_factory=dict)
    by_stratum: bool = True


@dataclass(frozen=True, eq=False)
class TestAnswers:
    """Answers to the test part: (id, answer) in the order of the file, and the format that they are written in."""

    __test__ = False  # no test, whatever pytest thinks of its name

    form: SubmissionFormat
    answers: Iterable[tuple[str, Answer]]


@dataclass(frozen=True)
class Table:
    """A small table of a command's output; `lines` stand below it."""

    title: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class WorstSample:
    """A sample whose answer scored low. truth, answer: in words, empty for pictures.

    picture: uint8[H, W, 3]; of masks and instances the image, the truth and the answer side by side.
    """

    id: str
    fold: int
    stratum: str
    score: float
    truth: str
    answer: str
    picture: Picture


class Answering(Protocol):
    """From a run's predictions to answers, without torch. `settings` are of the kind's own type."""

    def oof(self, run: Run, contest: Contest, settings: Any, reporter: Reporter, figures: Sequence[str] = ()) -> Oof:
        """Decide the out-of-fold predictions of the trained folds, write them as rows to `oof.csv`, score these.

        figures: further figures that the user has asked for by name; ConfigError for those that the kind has not.
        Raises RunError where there are no predictions, or other weights have made them.
        """
        ...

    def test(self, runs: Sequence[tuple[Run, Any]], contest: Contest, reporter: Reporter) -> TestAnswers:
        """Blend the test predictions of runs with their settings, and decide as the first one was scored."""
        ...

    def made_by(self, run: Run, contest: Contest | None, part: str) -> Mapping[str, str] | None:
        """What made the predictions of a part, "oof/fold0" or "test"; None where it is not whole.

        Keys `fold0`, ... hold the hash of each fold's weights, `predict` its settings as JSON. Without the contest
        parts of the test part cannot be told.
        """
        ...

    def blend_conflict(self, one: Any, other: Any) -> str | None:
        """Why runs with these settings cannot be blended, with the remedy; None where they can."""
        ...

    def summary(self, scores: Mapping[str, Any]) -> Sequence[Table]:
        """Tables that `medalist score` prints below the score."""
        ...

    def worst(self, run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
        """The samples that the report shows as the worst, worst first."""
        ...

    def write_page(self, path: Path, run: Run, contest: Contest, settings: Any, oof: Oof, page: RunReport) -> None:
        """Write the report: `page` is what every run shows, without pictures."""
        ...


class FoldJob(Protocol):
    """The training of one fold, ready to go."""

    @property
    def fold(self) -> int:
        """Its number."""
        ...

    @property
    def folder(self) -> Path:
        """Where its files go."""
        ...

    @property
    def steps(self) -> int:
        """Steps of its progress."""
        ...


@dataclass(frozen=True, eq=False)
class DebugSubject:
    """A fold's training for `medalist debug`, and how its batches are drawn.

    positions: of each sample id the first position in the training dataset. channels: names of target maps. classes:
    what each class of a label is called; empty where there are none.
    """

    job: TrainJob
    positions: Mapping[str, int]
    normalisation: Normalisation
    channels: Sequence[str] = ()
    classes: Sequence[str] = ()


class Training(Protocol):
    """From data to trained folds and their predictions. `setup.settings` are of the kind's own type."""

    def rehearse(self, setup: TrainSetup) -> None:
        """Check all that can be checked before a pixel is kept; ConfigError, FoldError, DataError."""
        ...

    def open_data(self, setup: TrainSetup, fabric: Fabric, reporter: Reporter) -> Callable[[int], FoldJob]:
        """Read what all folds share, once; gives what makes the training of a fold."""
        ...

    def fit(self, job: Any, log: Log, progress: Progress) -> None:
        """Train a fold to its end: `last.safetensors` and metrics.jsonl are then in its folder.

        Goes on where it was stopped. Kinds with gradients have `engine.memory.fit_in_memory`, the one loop.
        """
        ...

    def predict(self, run: Run, settings: Any, contest: Contest, fold: int | None, reporter: Reporter) -> None:
        """Predict what a fold has held out, by its own network; of None the test part, by all trained folds.

        Nothing where that is done with the weights that are there. Raises RunError where nothing was trained.
        """
        ...

    def forecast(self, setup: TrainSetup, request: PlanRequest, started: float, reporter: Reporter) -> Plan:
        """What the whole training will cost, within `wish.seconds` since `started` (of `perf_counter`)."""
        ...

    def debug_subject(self, setup: TrainSetup, fold: int) -> DebugSubject:
        """The fold's training on pixels; ConfigError where the kind trains no network."""
        ...


class Embedding(Protocol):
    """A kind whose networks turn images into vectors that are compared: what galleries are made of."""

    def embed_files(
        self,
        run: Run,
        settings: Any,
        files: Sequence[tuple[str, Path]],
        reporter: Reporter,
        fold: int | None = None,
        skip_bad: bool = False,
    ) -> tuple[Embeddings, list[str]]:
        """Vectors of image files (id, path), and a line for each file that was left out."""
        ...

    def made_of(self, run: Run, settings: Any, folds: Sequence[int]) -> Mapping[str, str]:
        """What decides the vectors of these folds' networks."""
        ...
