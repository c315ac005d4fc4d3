"""The gate of an export: the file must say what the run says, in logits, in predictions, and in the score.

A known exporter once gave a network of 0 % accuracy, and said nothing. So nothing is believed here but numbers: those
of the run's networks, as `medalist.open_run` computes them, beside those of the written file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medalist.contest import Contest
from medalist.data.items import prepared
from medalist.deploy.deployed import Deployed
from medalist.deploy.description import Described
from medalist.deploy.forms import padded_input
from medalist.deploy.sessions import Runner
from medalist.errors import ExportError, RunError
from medalist.experiment import Experiment
from medalist.exporting.differences import difference
from medalist.exporting.graphs import FoldsGraph, example_of, output_names
from medalist.formats.submission import suffix_of
from medalist.records import Answer, Prediction, Sample, VectorPrediction
from medalist.reporter import Progress
from medalist.tasks.exported import ExportPlan
from medalist.tasks.networks import batches_of_images
from medalist.tasks.scored import through_file

LOGITS_SEEN = 8
"""Held-out images of which logits are compared; predictions are compared of all of them."""


@dataclass(frozen=True)
class Limits:
    """What a file may differ by.

    outputs: the largest difference of an output, relative to the largest of its values (at least 1); None asks nothing.
    predictions: the largest difference of predictions, in 0..1; None asks nothing. score: by how much the score of the
    held-out samples may be lower.
    """

    outputs: float | None
    predictions: float | None
    score: float


LIMITS: Mapping[str, Limits] = {
    "fp32": Limits(3e-4, 2.5 / 255, 1e-3),
    "fp16": Limits(3e-2, 0.1, 3e-3),
    "int8": Limits(None, None, 1e-2),
}
"""The limits of each precision. Maps are rounded to steps of 1/255, so two equal networks may differ by one step."""


@dataclass(frozen=True)
class HeldOut:
    """A held-out sample, and the place of its fold among the exported folds."""

    sample: Sample
    at: int


@dataclass(frozen=True)
class Figures:
    """What the gate has measured, for `export.json` and the user.

    outputs, predictions: the largest differences, see `Limits`. worst: the sample of the largest difference. samples:
    how many held-out samples. score, run_score: the metric of the file's answers and of the run's, through the written
    rows; for vectors the share of samples whose nearest neighbour is the same, and 1. None where nothing is decided.
    """

    outputs: float
    predictions: float
    worst: str
    samples: int
    score: float | None
    run_score: float | None
    measure: str

    def as_json(self) -> dict[str, Any]:
        """Return the figures for a file."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Reference:
    """The run, as the gate compares with it.

    graph: the same networks as a module; its normalisation is not believed. read: sample -> its decoded image. decide:
    from a prediction to an answer; None where that cannot be done outside of the run.
    """

    plan: ExportPlan
    graph: FoldsGraph
    settings: Experiment
    contest: Contest
    folds: tuple[int, ...]
    samples: tuple[HeldOut, ...]
    decide: Callable[[Prediction], Answer] | None

    def predict(self, one: HeldOut, image: NDArray[np.uint8]) -> Prediction:
        """Return what the run's own network of the sample's fold predicts."""
        return self.plan.alone(one.at).predict([prepared(image, self.settings.image)])[0]

    @torch.no_grad()
    def outputs(self, at: int, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return the outputs of a fold's network for an image that the training's own code has normalised."""
        ready = prepared(image, self.settings.image)
        batch = next(batches_of_images([ready], 1, self.plan.item)).to(torch.device("cpu"), False)
        seen = batch.image if self.plan.shared is None else self.plan.shared(batch.image)
        return [one.float().numpy() for one in self.plan.said(self.plan.models[at](seen))]


def refuse_unlike(reference: Reference, deployed: Deployed, limits: Limits, bar: Progress) -> Figures:
    """Compare a written file with the run. Raises `UnlikeError` where it differs by more than the limits.

    deployed: the file, opened as a service opens it.
    """
    try:
        noise = _noise(reference, deployed.runner)
    except RunError as error:  # a size that the exporter has fixed, or an operator that only fails when it runs
        raise ExportError(str(error)) from error
    _refuse(noise, limits.outputs, "outputs on images of noise", "", None)
    largest, worst, seen = noise, "", 0.0
    answers: tuple[list[tuple[str, Answer]], list[tuple[str, Answer]]] = ([], [])
    vectors: tuple[list[VectorPrediction], list[VectorPrediction]] = ([], [])
    for number, one in enumerate(reference.samples):
        image = reference.contest.competition.image(one.sample.images[0])
        if number < LOGITS_SEEN:
            found = _outputs(reference, deployed, one, seen_at_once(image, deployed.described))
            _refuse(found, limits.outputs, "outputs", one.sample.id, None)
            largest = max(largest, found)
        both = reference.predict(one, image), deployed.predict(image, [reference.folds[one.at]])
        apart = difference(*both)
        _refuse(apart, limits.predictions, "predictions", one.sample.id, (image, *both))
        if apart >= seen:
            seen, worst = apart, one.sample.id
        for kept, decided, prediction in zip(vectors, answers, both, strict=True):
            if isinstance(prediction, VectorPrediction):
                kept.append(prediction)
            elif reference.decide is not None:
                decided.append((one.sample.id, reference.decide(prediction)))
        bar.advance()
    measure, score, run_score = _scores(reference, answers, vectors)
    if score is not None and run_score is not None and not score >= run_score - limits.score:
        raise UnlikeError(
            f"{measure} is {score:.4f} and that of the run {run_score:.4f}, on {len(reference.samples)} held-out "
            f"samples; the limit is {limits.score:g}",
            worst,
            None,
        )
    return Figures(largest, seen, worst, len(reference.samples), score, run_score, measure)


def seen_at_once(image: NDArray[np.uint8], described: Described) -> NDArray[np.uint8]:
    """Return the part of an image that a network sees at once: all of it, or a corner that is as large as a tile."""
    return image if described.tile is None else image[: described.tile.size, : described.tile.size]


class UnlikeError(ExportError):
    """A file says something else than the run. sample: where most; shown: its image and both predictions, if known."""

    def __init__(self, said: str, sample: str, shown: tuple[NDArray[np.uint8], Prediction, Prediction] | None) -> None:
        super().__init__(said)
        self.sample, self.shown = sample, shown


def _refuse(
    apart: float,
    limit: float | None,
    what: str,
    sample: str,
    shown: tuple[NDArray[np.uint8], Prediction, Prediction] | None,
) -> None:
    if limit is not None and not apart <= limit:  # also where it is no number
        of = f" of sample {sample}" if sample else ""
        raise UnlikeError(f"{what}{of} differ by {apart:.2g}, and the limit is {limit:.2g}", sample, shown)


def relative(found: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Return the largest difference of two arrays, relative to the largest right value (at least 1); inf if unlike."""
    if found.shape != right.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - right).max(initial=0.0) / max(1.0, float(np.abs(right).max(initial=0.0))))


@torch.no_grad()
def _noise(reference: Reference, runner: Runner) -> float:
    """Return the largest difference on images of noise, of other numbers and sizes than the exporter saw."""
    names, apart = output_names(reference.plan, reference.folds), 0.0
    for batch, grown in ((1, 1), (3, 0)):
        image = example_of(reference.plan, seed=batch, batch=batch, grown=grown)
        right, found = reference.graph(image), runner.run(names, image.numpy())
        pairs = zip(found, right, strict=True)
        apart = max(apart, *(relative(one, other.float().numpy()) for one, other in pairs))
    return apart


def _outputs(reference: Reference, deployed: Deployed, one: HeldOut, image: NDArray[np.uint8]) -> float:
    """Return the largest difference of the outputs of an image, each side with its own preparation of it."""
    fold = reference.folds[one.at]
    names = [f"{name}{fold}" for name in reference.plan.names]
    found = deployed.runner.run(names, padded_input(image, deployed.described)[np.newaxis])
    return max(relative(mine, right) for mine, right in zip(found, reference.outputs(one.at, image), strict=True))


def _scores(
    reference: Reference,
    answers: tuple[list[tuple[str, Answer]], list[tuple[str, Answer]]],
    vectors: tuple[list[VectorPrediction], list[VectorPrediction]],
) -> tuple[str, float | None, float | None]:
    """Return what was measured, its value for the file, and its value for the run."""
    if vectors[0]:
        if len(vectors[0]) < 3:
            return "neighbours", None, None
        near = [list(_nearest(reference.samples, part)) for part in vectors]
        same = float(np.mean([one == other for one, other in zip(*near, strict=True)]))
        return "the share of equal nearest neighbours", same, 1.0
    if not answers[0]:
        return "score", None, None
    form, samples = reference.contest.competition.submission, [one.sample for one in reference.samples]
    truths = reference.contest.truths(samples)
    values = []
    with TemporaryDirectory() as folder:
        for number, rows in enumerate(answers):
            path = Path(folder) / f"rows{number}{suffix_of(form)}"
            values.append(through_file(path, reference.contest, form, samples, truths, rows).score.value)
    return "the score of the held-out samples", values[1], values[0]


def _nearest(samples: Sequence[HeldOut], vectors: Sequence[VectorPrediction]) -> Iterator[int]:
    """Yield for each sample the place of the nearest other sample of its fold; -1 where it is alone."""
    folds = np.array([one.at for one in samples])
    found = np.stack([one.vector for one in vectors])
    for at in range(len(samples)):
        likeness = np.where(folds == folds[at], found @ found[at], -np.inf)
        likeness[at] = -np.inf
        yield int(likeness.argmax()) if np.isfinite(likeness).any() else -1
