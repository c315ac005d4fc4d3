"""What a config may say of an encoder of whole images. Torch-free: timm's names are looked up when it is built."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Pooling = Literal["gem", "avg", "max", "attention", "flat"]
Neck = Literal["none", "linear", "bn", "linear_bn"]


class EncoderConfig(ConfigModel):
    """A timm encoder, how its features are pooled, and the neck behind it.

    encoder: a timm name, with or without the tag of its weights. options: arguments of timm's constructor, for
    encoders of one's own shape (`{channels: [32, 64, 128, 256]}`), with weights: none only.
    weights: "imagenet" (found by the resolver of weights.py), "none", or a file with the encoder's state.
    in_channels: 3, or 1 for images that are gray.
    pooling: `gem` with a learned power that begins at `gem` (arXiv 1711.02512), `avg`, `max`, `attention`, a
    softmax over positions by a learned query, or `flat`: positions side by side, where parts have their places.
    neck: `none` (the pooled features, dim is theirs), `linear`, `bn` (batch norm
    alone), `linear_bn` (arXiv 1903.07071).
    dim: components of the vector, for necks with a linear layer. dropout: before the neck.
    """

    encoder: str = Field(min_length=1)
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str = Field(default="imagenet", min_length=1)
    in_channels: Literal[1, 3] = 3
    pooling: Pooling = "gem"
    gem: float = Field(default=3.0, ge=1, le=20)
    neck: Neck = "none"
    dim: int | None = Field(default=None, ge=2, le=8192)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _encoder_fits(self) -> Self:
        linear = self.neck.startswith("linear")
        if linear and self.dim is None:
            raise ValueError(f"neck '{self.neck}' needs the number of components; type for instance model.dim=256")
        if not linear and self.dim is not None:
            raise ValueError(f"neck '{self.neck}' keeps the encoder's width; leave out dim, or take neck: linear_bn")
        if self.options and self.weights != "none":
            raise ValueError("options change the encoder's shape, so no pretrained weights fit; say weights: none")
        return self
