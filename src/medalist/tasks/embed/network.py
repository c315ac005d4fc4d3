"""Build the embedding network of a config: encoder, pooling, neck; its outputs are unit vectors."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import normalize

from medalist.data.items import Normalisation
from medalist.models.backbone import Encoder, build_encoder, encoder_statistics
from medalist.models.pooling import PooledHead
from medalist.models.weights import Resolved
from medalist.tasks.embed.model_settings import EmbedderConfig
from medalist.tasks.embed.settings import EmbedSettings


class Head(PooledHead):
    """Feature maps [B, C, h, w], or already pooled features [B, C], -> unit vectors float32[B, dim].

    `criterion` is the loss. It is kept here, so that its weights are trained and saved; None in prediction.
    """

    def __init__(self, config: EmbedderConfig, encoder: Encoder, criterion: nn.Module | None = None):
        """`encoder`: computes the features; only their shape is used here."""
        super().__init__(config, encoder.width, encoder.cells)
        self.criterion = criterion

    def forward(self, features: Tensor) -> Tensor:
        """Return the unit vectors of a batch of features."""
        pooled = self.pooled(features).float()
        # A blank image may give a vector of zeros, which has no direction. The small shift gives it one; in all other
        # vectors it is lost by rounding.
        return normalize(pooled + 1e-12, dim=-1)


class Embedder(nn.Module):
    """An encoder and a head: images float32[B, in, h, w] -> unit vectors float32[B, dim]."""

    def __init__(self, encoder: Encoder, head: Head):
        """`encoder` and `head` as `build_embedder` makes them."""
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Return the unit vectors of a batch of images."""
        vectors: Tensor = self.head(self.encoder(image))
        return vectors


def build_embedder(
    config: EmbedderConfig, size: tuple[int, int], weights: Resolved | None, criterion: nn.Module | None = None
) -> Embedder:
    """Return the whole network, in training mode. Raises as `build_encoder` does."""
    encoder = build_encoder(config, size, weights)
    return Embedder(encoder, Head(config, encoder, criterion))


def build_normalisation(settings: EmbedSettings) -> Normalisation:
    """Return the mean and std that the encoder was pretrained with."""
    mean, std = encoder_statistics(settings.model)
    return Normalisation(tuple(mean), tuple(std))
