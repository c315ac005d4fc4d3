"""What a config may say of an embedder. Torch-free."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from medalist.models.settings import EncoderConfig, Neck


class EmbedderConfig(EncoderConfig):
    """An image becomes a unit vector: a timm encoder, pooling, a neck."""

    kind: Literal["embedder"] = "embedder"
    """`embedder` is the only kind."""

    neck: Neck = "linear_bn"

    frozen: bool = False
    """Whether the encoder is left untrained. Its features are then computed once and kept, and `augment` must be
    empty."""

    @model_validator(mode="after")
    def _weights_to_freeze(self) -> Self:
        if self.frozen and self.weights == "none":
            raise ValueError("frozen keeps the encoder as it is, and weights: none leaves it random; take weights")
        return self
