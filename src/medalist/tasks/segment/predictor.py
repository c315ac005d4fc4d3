"""Prediction of single images by the networks of a run: implements `tasks.protocols.Predicting` for this kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import nn

from medalist.competition import Competition
from medalist.data.items import Item, Normalisation, make_item
from medalist.data.padding import pad_to_multiple
from medalist.engine.placement import Placement
from medalist.parts import parts_of
from medalist.records import Answer, MapPrediction, Prediction
from medalist.runs.runs import Run
from medalist.tasks.networks import batches_of_images, trained_networks
from medalist.tasks.own import parts_changed
from medalist.tasks.scored import scored_decide
from medalist.tasks.segment.conditions import condition_of, one_hot
from medalist.tasks.segment.deciding import decide_by
from medalist.tasks.segment.inference import predict
from medalist.tasks.segment.jobs import build_task
from medalist.tasks.segment.network import build_model, build_normalisation
from medalist.tasks.segment.settings import SegmentDecide, SegmentSettings
from medalist.tasks.segment.task import SegmentTask


@dataclass(frozen=True, eq=False)
class SegmentNetworks:
    """The networks of some folds on one device; their maps are averaged.

    A network with a condition is told nothing (zeros), because these images have no columns.
    """

    settings: SegmentSettings
    place: Placement
    models: tuple[nn.Module, ...]
    normalisation: Normalisation
    task: SegmentTask

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[MapPrediction]:
        """Return the maps of images uint8[H, W, 3] of any sizes, each at the size of its image."""
        config, stride = self.settings.predict, self.settings.model.stride
        loader = batches_of_images(images, config.batch, self._item)
        last = self.settings.train.channels_last
        found = dict(predict(self.place, self.task, self.models, loader, config, stride, last))
        return [found[position] for position in range(len(images))]

    def _item(self, position: int, image: NDArray[np.uint8]) -> Item:
        padded, padding = pad_to_multiple(image, self.settings.model.stride)
        item, told = make_item(position, padded, None, self.normalisation, padding), condition_of(self.settings.model)
        return item if told is None else replace(item, condition=one_hot(told, None))


def open_networks(
    run: Run, settings: SegmentSettings, competition: Competition, folds: Sequence[int], place: Placement
) -> SegmentNetworks:
    """Load the networks of these folds."""
    own = parts_of(competition)
    changed = parts_changed(run, settings.model, own)
    if changed:
        warnings.warn(changed, stacklevel=4)
    network = build_model(settings.model, own=own)
    models = trained_networks(network, run, settings, folds, place)
    return SegmentNetworks(settings, place, models, build_normalisation(settings), build_task(settings))


def decider(
    run: Run, settings: SegmentSettings, competition: Competition, folds: Sequence[int]
) -> Callable[[Prediction], Answer]:
    """Return the function that makes a mask or instances from maps, with the settings of the last score."""
    how: SegmentDecide = scored_decide(run, TypeAdapter(SegmentDecide), settings.decide)
    decide = decide_by(how, parts_of(competition))

    def decided(prediction: Prediction) -> Answer:
        assert isinstance(prediction, MapPrediction)
        return decide(prediction)

    return decided
