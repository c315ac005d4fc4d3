"""The networks of a run's folds, loaded so that they can embed images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from medalist.engine.checkpoint import load_weights
from medalist.engine.placement import Placement
from medalist.errors import RunError
from medalist.models.backbone import build_encoder
from medalist.models.weights import Resolved, encoder_weights
from medalist.runs.fold_weights import weights_hash
from medalist.runs.runs import Run
from medalist.tasks.embed.network import Embedder, Head
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.networks import placed

CRITERION = "criterion."
"""Part of the names that a loss's own tensors have in a checkpoint."""


@dataclass(frozen=True, eq=False)
class EmbedNetworks:
    """The networks of some folds, without their losses.

    models: one network for each fold. With a frozen encoder, this encoder is `shared`, and the models are heads on it.
    """

    models: tuple[nn.Module, ...]
    shared: nn.Module | None = None

    def placed(self, settings: EmbedSettings, place: Placement) -> EmbedNetworks:
        """Return them on a device, ready to embed."""
        last = settings.train.channels_last
        shared = None if self.shared is None else placed(self.shared, place, last)
        return EmbedNetworks(tuple(placed(model, place, last) for model in self.models), shared)


def load_networks(run: Run, settings: EmbedSettings, folds: Sequence[int]) -> EmbedNetworks:
    """Load the networks of these folds; RunError where a checkpoint is missing or does not fit."""
    models: list[nn.Module] = []
    weights, size = frozen_weights(run, settings), settings.image.size
    encoder = build_encoder(settings.model, size, weights)
    for fold in folds:
        if not settings.model.frozen and models:
            encoder = build_encoder(settings.model, size, weights)
        head = Head(settings.model, encoder)
        network = head if settings.model.frozen else Embedder(encoder, head)
        weights_hash(run, fold, settings.train.keep)  # RunError where they are not what the training wrote
        load_weights(network, run.checkpoint(fold, settings.train.keep), without=CRITERION)
        models.append(network)
    return EmbedNetworks(tuple(models), encoder if settings.model.frozen else None)


def frozen_weights(run: Run, settings: EmbedSettings) -> Resolved | None:
    """Return the weights of a frozen encoder, which are in no checkpoint; None where the encoder was trained.

    Raises RunError where they are not the weights that the run was trained with.
    """
    if not settings.model.frozen:
        return None
    weights = encoder_weights(settings.model.encoder, settings.model.weights)
    assert weights is not None
    if dict(run.lock().weights) != {weights.name: weights.sha256}:
        raise RunError(
            f"{weights.path} is not the file that {run.name} was trained on ({weights.sha256[:12]} now); put back the "
            "file that its lock.json names, or train a new run"
        )
    return weights
