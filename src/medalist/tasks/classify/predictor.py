"""Prediction of single images by the networks of a run: implements `tasks.protocols.Predicting` for this kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import nn

from medalist.competition import Competition
from medalist.data.fitted import middle_item
from medalist.data.items import Item, Normalisation
from medalist.engine.placement import Placement
from medalist.parts import parts_of
from medalist.records import Answer, Prediction, TablePrediction
from medalist.runs.runs import Run
from medalist.tasks.classify.answering import scored_thresholds
from medalist.tasks.classify.classes import columns_of, competition_classes
from medalist.tasks.classify.decide import decide, own_decide
from medalist.tasks.classify.decide_settings import DecideConfig
from medalist.tasks.classify.inference import predict
from medalist.tasks.classify.losses import LabelLoss
from medalist.tasks.classify.network import build_model, build_normalisation
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.classify.task import ClassifyTask
from medalist.tasks.kept_classes import refuse_other_classes
from medalist.tasks.networks import batches_of_images, trained_networks
from medalist.tasks.own import parts_changed
from medalist.tasks.scored import scored_decide


@dataclass(frozen=True, eq=False)
class ClassifyNetworks:
    """The networks of some folds on one device; their probabilities or grades are averaged."""

    settings: ClassifySettings
    place: Placement
    models: tuple[nn.Module, ...]
    normalisation: Normalisation
    task: ClassifyTask
    columns: tuple[str, ...]

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[TablePrediction]:
        """Return the probabilities or the grade of images uint8[h, w, 3] that were fitted as the config says."""
        config, last = self.settings.predict, self.settings.train.channels_last
        rows: dict[int, NDArray[np.float32]] = {}
        loader = batches_of_images(images, config.batch, self.item)
        for indices, values in predict(self.place, self.task, self.models, loader, config, last):
            rows |= dict(zip(indices, values, strict=True))
        return [TablePrediction(rows[position], self.columns) for position in range(len(images))]

    def item(self, position: int, image: NDArray[np.uint8]) -> Item:
        """Return an image that was made ready by `data.items.prepared` as the networks get it."""
        settings = self.settings
        return middle_item(position, image, settings.image.size, self.normalisation, settings.model.in_channels)


def open_networks(
    run: Run, settings: ClassifySettings, competition: Competition, folds: Sequence[int], place: Placement
) -> ClassifyNetworks:
    """Load the networks of these folds; RunError where the contest has other classes now than the run."""
    classes = competition_classes(competition)
    refuse_other_classes(run, classes)
    loss = LabelLoss(settings.loss, classes, [1] * len(classes))  # prediction needs its kind, and no weights
    task = ClassifyTask(loss, settings.task.mode, len(classes))
    own = parts_of(competition)
    changed = parts_changed(run, settings.model, own)
    if changed:
        warnings.warn(changed, stacklevel=4)
    network = build_model(settings, len(classes), own=own)
    models = trained_networks(network, run, settings, folds, place)
    return ClassifyNetworks(settings, place, models, build_normalisation(settings), task, columns_of(settings, classes))


def decider(
    run: Run, settings: ClassifySettings, competition: Competition, folds: Sequence[int]
) -> Callable[[Prediction], Answer]:
    """Return the function that makes labels from probabilities or grades, with the settings of the last score.

    Raises RunError where thresholds are to be tuned, and the run has not been scored.
    """
    how: DecideConfig = scored_decide(run, TypeAdapter(DecideConfig), settings.decide)
    classes = competition_classes(competition)
    numbers, part = scored_thresholds(run, how, classes), own_decide(how, parts_of(competition))

    def decided(prediction: Prediction) -> Answer:
        assert isinstance(prediction, TablePrediction)
        return decide(prediction.values[np.newaxis].astype(np.float64), how, numbers, classes, part)[0]

    return decided
