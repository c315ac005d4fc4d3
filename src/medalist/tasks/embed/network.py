"""From a config to a network of unit vectors: encoder, pooling, neck."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import normalize

from medalist.models.backbone import Encoder, build_encoder
from medalist.models.pooling import PooledHead
from medalist.models.weights import Resolved
from medalist.tasks.embed.model_settings import EmbedderConfig


class Head(PooledHead):
    """Feature maps [B, C, h, w], or features pooled before [B, C], become unit vectors float32[B, dim].

    `criterion` is the loss, kept here where it has weights of its own to be trained and saved; None in prediction.
    """

    def __init__(self, config: EmbedderConfig, encoder: Encoder, criterion: nn.Module | None = None):
        """`encoder` is what gives the features; only their shape is looked at."""
        super().__init__(config, encoder.width, encoder.cells)
        self.criterion = criterion

    def forward(self, features: Tensor) -> Tensor:
        """Unit vectors of a batch."""
        pooled = self.pooled(features).float()
        # A blank image may give zeros, which have no direction: the shift, lost in any other vector, gives it one.
        return normalize(pooled + 1e-12, dim=-1)


class Embedder(nn.Module):
    """An image becomes a unit vector: float32[B, in, h, w] -> float32[B, dim]."""

    def __init__(self, encoder: Encoder, head: Head):
        """Both parts as they are built below."""
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Unit vectors of a batch."""
        vectors: Tensor = self.head(self.encoder(image))
        return vectors


def build_embedder(
    config: EmbedderConfig, size: tuple[int, int], weights: Resolved | None, criterion: nn.Module | None = None
) -> Embedder:
    """The whole network, in training mode."""
    encoder = build_encoder(config, size, weights)
    return Embedder(encoder, Head(config, encoder, criterion))
