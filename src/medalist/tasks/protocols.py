"""The protocols that each kind of contest provides to the commands: answers without torch, training, and embedding.

A kind is a package in the folder of this file. Its modules `answering` and `training` follow these protocols. Commands
use them only through `medalist.kinds`. A kind without gradients may have its own `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from lightning_fabric import Fabric
    from numpy.typing import NDArray

    from medalist.competition import Competition
    from medalist.contest import Contest
    from medalist.data.items import Normalisation
    from medalist.engine.job import TrainJob
    from medalist.engine.placement import Placement
    from medalist.formats.submission import AnyFormat
    from medalist.records import Answer, Prediction, Sample, Score
    from medalist.report.classes import Classes
    from medalist.report.page import RunReport
    from medalist.report.pictures import Picture
    from medalist.reporter import Progress, Reporter
    from medalist.runs.plans import Plan, PlanRequest
    from medalist.runs.runs import Run
    from medalist.runs.setup import TrainSetup
    from medalist.search.embeddings import Embeddings
    from medalist.tasks.exported import ExportPlan
    from medalist.tracking.tracking import Log


@dataclass(frozen=True, eq=False)
class Oof:
    """The OOF answers of a run and their score, read back from the rows that the run has written.

    details: further sections of `scores.json` about how the answers were made. by_stratum: whether the metric has a
    meaning within one stratum; kappa has none for images that all have one grade.
    """

    samples: tuple[Sample, ...]
    truths: Mapping[str, Answer]
    answers: Mapping[str, Answer]
    score: Score
    details: Mapping[str, Any] = field(default_factory=dict)
    by_stratum: bool = True


@dataclass(frozen=True, eq=False)
class TestAnswers:
    """Answers to the test part: (id, answer) in the order of the file, and the format in which they are written."""

    __test__ = False  # tells pytest that this class is not a test, although its name begins with "Test"

    form: AnyFormat
    answers: Iterable[tuple[str, Answer]]


@dataclass(frozen=True)
class Table:
    """A small table in the output of a command; `lines` are printed below it."""

    title: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class WorstSample:
    """A sample whose answer has a low score.

    truth, answer: in words; empty where the picture shows them. picture: uint8[H, W, 3]; for masks and instances it
    shows the image, the truth and the answer side by side.
    """

    id: str
    fold: int
    stratum: str
    score: float
    truth: str
    answer: str
    picture: Picture


class Answering(Protocol):
    """Makes answers from a run's predictions, without torch. `settings` have the kind's own type."""

    def oof(
        self,
        run: Run,
        contest: Contest,
        settings: Any,
        reporter: Reporter,
        figures: Sequence[str] = (),
        rows: Path | None = None,
    ) -> Oof:
        """Make answers from the OOF predictions of the trained folds, write them as rows to a csv, and score these.

        figures: names of further figures that the user asks for. rows: the csv; None is the run's `oof.csv`. Raises
        ConfigError for a figure that the kind does not have, and RunError where there are no predictions, or where they
        were made with other weights.
        """
        ...

    def test(self, runs: Sequence[tuple[Run, Any]], contest: Contest, reporter: Reporter) -> TestAnswers:
        """Blend the test predictions of runs (each with its settings), and decide as the first run was scored."""
        ...

    def made_by(self, run: Run, contest: Contest | None, part: str) -> Mapping[str, str] | None:
        """Return what the predictions of a part ("oof/fold0", "test") were made with; None where it is not complete.

        Keys `fold0`, `fold1`, ... have the hash of each fold's weights, `predict` has the settings of prediction as
        JSON. `contest` may be None for OOF parts; the test part needs it.
        """
        ...

    def blend_conflict(self, one: Any, other: Any) -> str | None:
        """Return why runs with these settings cannot be blended, and what to do; None where they can be blended."""
        ...

    def summary(self, scores: Mapping[str, Any]) -> Sequence[Table]:
        """Return the tables that `medalist score` prints below the score."""
        ...

    def worst(self, run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
        """Return the samples that the report shows as the worst, the worst first."""
        ...

    def write_page(self, path: Path, run: Run, contest: Contest, settings: Any, oof: Oof, page: RunReport) -> None:
        """Write the report to `path`. `page`: the parts that are the same for every run, without pictures."""
        ...


class FoldJob(Protocol):
    """The training of one fold, ready to start."""

    @property
    def fold(self) -> int:
        """The number of the fold."""
        ...

    @property
    def folder(self) -> Path:
        """The folder for the fold's files."""
        ...

    @property
    def steps(self) -> int:
        """The number of steps of the progress bar."""
        ...


@dataclass(frozen=True, eq=False)
class DebugSubject:
    """The training of a fold for `medalist debug`, and what is needed to show its batches.

    positions: sample id -> its first position in the training dataset. normalisation: of the images. channels: names of
    the target maps. classes: the name of each label class. Both are empty where the kind has none. mask_classes: the
    classes of masks, where the contest names them; numbers: the class of each target map, in masks.
    """

    job: TrainJob
    positions: Mapping[str, int]
    normalisation: Normalisation
    channels: Sequence[str] = ()
    classes: Sequence[str] = ()
    mask_classes: Classes | None = None
    numbers: Sequence[int] = ()


class Training(Protocol):
    """Trains folds and predicts with them. `setup.settings` have the kind's own type."""

    def rehearse(self, setup: TrainSetup) -> None:
        """Check everything that can be checked before images are read. Raises ConfigError, FoldError, DataError."""
        ...

    def open_data(self, setup: TrainSetup, fabric: Fabric, reporter: Reporter) -> Callable[[int], FoldJob]:
        """Read the data of all folds once; return a function from the number of a fold to its training."""
        ...

    def fit(self, job: Any, log: Log, progress: Progress) -> None:
        """Train a fold to its end: `last.safetensors` and metrics.jsonl are then in its folder.

        A stopped training is resumed. Kinds with gradients use `engine.memory.fit_in_memory`, the one loop.
        """
        ...

    def predict(self, run: Run, settings: Any, contest: Contest, fold: int | None, reporter: Reporter) -> None:
        """Predict a fold's held-out samples by its own network, or for None the test part by all trained folds.

        Does nothing where these predictions exist already and were made with the present weights. Raises RunError where
        no fold was trained.
        """
        ...

    def forecast(self, setup: TrainSetup, request: PlanRequest, started: float, reporter: Reporter) -> Plan:
        """Return the expected cost of the whole training.

        Measuring ends `request.seconds` after `started`, a moment of `perf_counter`.
        """
        ...

    def debug_subject(self, setup: TrainSetup, fold: int) -> DebugSubject:
        """Return the fold's training on pixels. Raises ConfigError where the kind trains no network."""
        ...


class Embedding(Protocol):
    """A kind whose networks turn images into vectors that can be compared; galleries consist of such vectors."""

    def embed_files(
        self,
        run: Run,
        settings: Any,
        files: Sequence[tuple[str, Path]],
        reporter: Reporter,
        fold: int | None = None,
        skip_bad: bool = False,
    ) -> tuple[Embeddings, list[str]]:
        """Return the vectors of image files (id, path), and a line for each file that was left out.

        fold: the fold whose network is used; None for all trained folds. skip_bad: whether files that cannot be read
        are left out. Raises DataError for such files without `skip_bad`, and RunError where no fold was trained.
        """
        ...

    def made_of(self, run: Run, settings: Any, folds: Sequence[int]) -> Mapping[str, str]:
        """Return everything that the vectors of these folds' networks depend on, by name."""
        ...


class Viewing(Protocol):
    """A kind whose predictions are averaged over views of an image, each of which can be measured."""

    def measure_views(
        self,
        run: Run,
        settings: Any,
        contest: Contest,
        only: bool,
        folds: Sequence[int],
        most: int | None,
        reporter: Reporter,
    ) -> Sequence[Table]:
        """Measure on held-out samples what each view gains and costs, and propose a set of them.

        only: whether just the views that `settings.predict.tta` names are tried. folds: empty for all that are trained.
        most: the most samples. Nothing of the run changes.
        """
        ...


class Exporting(Protocol):
    """A kind whose networks can be written in other formats."""

    def plan(self, networks: Any, run: Run, settings: Any, competition: Competition) -> ExportPlan:
        """Return how these networks are exported. networks: what the kind's `Predicting.open_networks` returned.

        Raises ExportError where the settings ask for what a format cannot hold, and says what to type.
        """
        ...


class Deploying(Protocol):
    """A kind that decides what exported networks predict: NumPy, SciPy and pydantic, no torch and no pandas."""

    def decider_from(self, decide: Mapping[str, Any]) -> Callable[[Prediction], Answer]:
        """Return the function that makes an answer from a prediction.

        decide: what the kind's `Exporting.plan` wrote. Raises RunError where it is damaged.
        """
        ...


class Networks(Protocol):
    """Networks of a run, loaded on one device. Several threads may call them at the same time."""

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Prediction]:
        """Return the predictions of images uint8[H, W, 3] that were made ready by `data.items.prepared`."""
        ...


class Predicting(Protocol):
    """A kind whose networks predict single images from Python, without the contest's data."""

    def open_networks(
        self, run: Run, settings: Any, competition: Competition, folds: Sequence[int], place: Placement
    ) -> Networks:
        """Load the networks of these folds. Raises RunError where a checkpoint is missing or does not fit."""
        ...

    def decider(
        self, run: Run, settings: Any, competition: Competition, folds: Sequence[int]
    ) -> Callable[[Prediction], Answer]:
        """Return the function that makes an answer from a prediction, as the run's last score did.

        Raises RunError where this needs something that is not there, as a score or a gallery.
        """
        ...
