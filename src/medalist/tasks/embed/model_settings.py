"""What a config may say of an embedder. Torch-free."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from medalist.models.settings import EncoderConfig, Neck


class EmbedderConfig(EncoderConfig):
    """An image becomes a unit vector: a timm encoder, pooling, a neck.

    frozen: the encoder is not trained, and its features are computed once and kept; augmentation must be empty.
    """

    kind: Literal["embedder"] = "embedder"
    neck: Neck = "linear_bn"
    frozen: bool = False

    @model_validator(mode="after")
    def _weights_to_freeze(self) -> Self:
        if self.frozen and self.weights == "none":
            raise ValueError("frozen keeps the encoder as it is, and weights: none leaves it random; take weights")
        return self
