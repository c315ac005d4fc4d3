"""Embedding of single images by the networks of a run: implements `tasks.protocols.Predicting` for this kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.competition import Competition
from medalist.data.fitted import middle_item
from medalist.data.items import Item, Normalisation
from medalist.engine.placement import Placement
from medalist.errors import RunError
from medalist.records import Answer, Prediction, Ranking, VectorPrediction
from medalist.runs.runs import Run
from medalist.search.embeddings import space_of
from medalist.search.gallery import Gallery
from medalist.tasks.embed.inference import embed
from medalist.tasks.embed.loaded import EmbedNetworks, load_networks
from medalist.tasks.embed.network import build_normalisation
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import made_by
from medalist.tasks.networks import batches_of_images

DEPTH = 10
"""Names in a ranking where the contest does not say how many an answer may have."""


@dataclass(frozen=True, eq=False)
class Embedders:
    """The networks of some folds on one device; their vectors stand side by side, as `embed` says."""

    settings: EmbedSettings
    place: Placement
    networks: EmbedNetworks
    normalisation: Normalisation

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[VectorPrediction]:
        """Return the unit vectors of images uint8[h, w, 3] that were fitted as the config says."""
        config, last = self.settings.predict, self.settings.train.channels_last
        loader = batches_of_images(images, config.batch, self.item)
        rows: dict[int, NDArray[np.float32]] = {}
        for indices, vectors in embed(self.place, self.networks.models, loader, config, last, self.networks.shared):
            rows |= dict(zip(indices, vectors, strict=True))
        return [VectorPrediction(rows[position]) for position in range(len(images))]

    def item(self, position: int, image: NDArray[np.uint8]) -> Item:
        """Return an image that was made ready by `data.items.prepared` as the networks get it."""
        settings = self.settings
        return middle_item(position, image, settings.image.size, self.normalisation, settings.model.in_channels)


def open_networks(
    run: Run, settings: EmbedSettings, competition: Competition, folds: Sequence[int], place: Placement
) -> Embedders:
    """Load the networks of these folds."""
    networks = load_networks(run, settings, folds).placed(settings, place)
    return Embedders(settings, place, networks, build_normalisation(settings))


def decider(
    run: Run, settings: EmbedSettings, competition: Competition, folds: Sequence[int]
) -> Callable[[Prediction], Answer]:
    """Return the function that ranks the ids of the run's gallery, nearest first, for a vector.

    The gallery is the one that `medalist index build RUN --gallery IMAGES` makes. Its confidence is the best cosine.
    Raises RunError where there is none, or where other weights have made it.
    """
    folder, name = run.folder / "gallery", f"{run.competition}/{run.name}"
    build = f"medalist index build {name} --gallery IMAGES"
    if not folder.is_dir():
        raise RunError(f"{run.folder} has no gallery to name images from; make one: {build}")
    gallery = Gallery.open(folder)
    if gallery.space != space_of(made_by(run, settings, folds)):
        raise RunError(f"{gallery.named} was made by other networks than these; make it again: {build}")
    depth = DEPTH if competition.retrieval is None else competition.retrieval.depth

    def decided(prediction: Prediction) -> Answer:
        assert isinstance(prediction, VectorPrediction)
        hits = gallery.search(prediction.vector[np.newaxis], k=depth)
        count = int(hits.counts[0])
        best = float(hits.scores[0, 0]) if count else None
        return Ranking(tuple(map(str, hits.ids[0, :count])), best)

    return decided
