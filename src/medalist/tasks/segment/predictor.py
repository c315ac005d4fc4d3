"""Prediction of single images by the networks of a run: implements `tasks.protocols.Predicting` for this kind."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import nn

from medalist.codecs.windows import DecodedPicture
from medalist.competition import Competition
from medalist.data.items import Item, Normalisation, make_item
from medalist.data.padding import pad_to_multiple
from medalist.data.windows import WindowedImage
from medalist.engine.placement import Placement
from medalist.parts import parts_of
from medalist.records import Answer, MapPrediction, Prediction
from medalist.runs.runs import Run
from medalist.tasks.networks import batches_of_images, trained_networks
from medalist.tasks.own import parts_changed
from medalist.tasks.scored import scored_decide
from medalist.tasks.segment.answering import regressor_of
from medalist.tasks.segment.conditions import condition_of, with_condition
from medalist.tasks.segment.deciding import decide_by, roles_of
from medalist.tasks.segment.inference import predict
from medalist.tasks.segment.jobs import build_task
from medalist.tasks.segment.network import build_model, build_normalisation
from medalist.tasks.segment.settings import SegmentDecide, SegmentSettings
from medalist.tasks.segment.task import SegmentTask
from medalist.tasks.segment.tiled import TilePredictor


@dataclass(frozen=True, eq=False)
class SegmentNetworks:
    """The networks of some folds on one device; their maps are averaged.

    A network with a condition gets zeros for it, because these images have no columns.
    """

    settings: SegmentSettings
    place: Placement
    models: tuple[nn.Module, ...]
    normalisation: Normalisation
    task: SegmentTask

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[MapPrediction]:
        """Return the maps of images uint8[H, W, 3] of any sizes, each at the size of its image.

        Images that are larger than `predict.tile` are predicted tile by tile.
        """
        config, stride, tile = self.settings.predict, self.settings.model.stride, self.settings.predict.tile
        last, folder = self.settings.train.channels_last, Path(tempfile.gettempdir())
        told = condition_of(self.settings.model)
        tiles = TilePredictor(
            self.place, self.task, self.models, self.normalisation, config, stride, last, folder, told
        )
        large = [number for number, one in enumerate(images) if tile is not None and max(one.shape[:2]) > tile.size]
        whole = sorted(set(range(len(images))) - set(large))
        loader = batches_of_images([images[number] for number in whole], config.batch, self.item)
        made = predict(self.place, self.task, self.models, loader, config, stride, last, self.normalisation)
        found = {whole[position]: one for position, one in made}
        found |= {number: tiles.predict(WindowedImage(DecodedPicture(images[number]))).prediction for number in large}
        return [found[position] for position in range(len(images))]

    def item(self, position: int, image: NDArray[np.uint8]) -> Item:
        """Return an image that was made ready by `data.items.prepared` as the networks get it."""
        padded, padding = pad_to_multiple(image, self.settings.model.stride)
        item = make_item(position, padded, None, self.normalisation, padding)
        return with_condition(item, condition_of(self.settings.model))


def open_networks(
    run: Run, settings: SegmentSettings, competition: Competition, folds: Sequence[int], place: Placement
) -> SegmentNetworks:
    """Load the networks of these folds."""
    own = parts_of(competition)
    changed = parts_changed(run, settings.model, own)
    if changed:
        warnings.warn(changed, stacklevel=4)
    if settings.predict.memory is not None and settings.predict.tile is None:
        warnings.warn(
            "predict.memory chooses no tiles here: images are predicted whole; set predict.tile", stacklevel=4
        )
    network = build_model(settings.model, own=own)
    models = trained_networks(network, run, settings, folds, place)
    return SegmentNetworks(settings, place, models, build_normalisation(settings), build_task(settings))


def decider(
    run: Run, settings: SegmentSettings, competition: Competition, folds: Sequence[int]
) -> Callable[[Prediction], Answer]:
    """Return the function that makes a mask or instances from maps, with the settings of the last score."""
    how: SegmentDecide = scored_decide(run, TypeAdapter(SegmentDecide), settings.decide)
    decide = decide_by(
        how, parts_of(competition), roles=roles_of(how, settings, competition), regressor=regressor_of(run, how)
    )

    def decided(prediction: Prediction) -> Answer:
        assert isinstance(prediction, MapPrediction)
        return decide(prediction)

    return decided
