"""Prediction of single images by the networks of a run: implements `tasks.protocols.Predicting` for this kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import nn

from medalist.competition import Competition
from medalist.data.items import Item, Normalisation
from medalist.engine.placement import Placement
from medalist.postprocess.box_settings import ObjectDecideConfig
from medalist.records import Answer, BoxPrediction, Prediction
from medalist.runs.runs import Run
from medalist.tasks.detect.classes import competition_classes
from medalist.tasks.detect.datasets import frame_item
from medalist.tasks.detect.deciding import decided
from medalist.tasks.detect.inference import in_slice, merged, predict, slices_in
from medalist.tasks.detect.jobs import build_task
from medalist.tasks.detect.network import build_model, build_normalisation
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.detect.task import DetectTask
from medalist.tasks.detect.tuning import with_scored_cuts
from medalist.tasks.kept_classes import refuse_other_classes
from medalist.tasks.networks import batches_of_images, trained_networks
from medalist.tasks.scored import scored_decide


@dataclass(frozen=True, eq=False)
class DetectNetworks:
    """The networks of some folds on one device; each of them is a source of boxes in each view."""

    settings: DetectSettings
    place: Placement
    models: tuple[nn.Module, ...]
    normalisation: Normalisation
    task: DetectTask

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[BoxPrediction]:
        """Return the boxes of images uint8[h, w, 3] in pixels of each image."""
        settings, config = self.settings, self.settings.predict
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        slices = slices_in(sizes, config)
        seen = [images[number][one.rows, one.columns] for number, one in slices]
        loader = batches_of_images(seen, config.batch, self.item)
        parts = dict(predict(self.place, self.task, self.models, loader, config, settings.train.channels_last))
        found = [in_slice(parts[at], one, settings.image) for at, (_, one) in enumerate(slices)]
        return merged(found, slices, sizes, config)

    def item(self, position: int, image: NDArray[np.uint8]) -> Item:
        """Return an image that was made ready by `data.items.prepared` as the networks get it."""
        settings = self.settings
        return frame_item(position, image, settings.image, self.normalisation, settings.model.in_channels)


def open_networks(
    run: Run, settings: DetectSettings, competition: Competition, folds: Sequence[int], place: Placement
) -> DetectNetworks:
    """Load the networks of these folds; RunError where the contest has other classes now than the run."""
    classes = competition_classes(competition)
    refuse_other_classes(run, classes)
    models = trained_networks(build_model(settings.model, len(classes)), run, settings, folds, place)
    task = build_task(settings, len(classes))
    return DetectNetworks(settings, place, models, build_normalisation(settings), task)


def decider(
    run: Run, settings: DetectSettings, competition: Competition, folds: Sequence[int]
) -> Callable[[Prediction], Answer]:
    """Return the function that makes an answer from predicted boxes, with the settings of the last score."""
    how: ObjectDecideConfig = scored_decide(run, TypeAdapter(ObjectDecideConfig), settings.decide)
    classes = competition_classes(competition)
    how = with_scored_cuts(run, how, classes)

    def answer(prediction: Prediction) -> Answer:
        assert isinstance(prediction, BoxPrediction)
        return decided(prediction, how, classes)

    return answer
