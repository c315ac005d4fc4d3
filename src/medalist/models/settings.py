"""What a config may say of an encoder of whole images. Torch-free: timm's names are looked up when it is built."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Pooling = Literal["gem", "avg", "max", "attention", "flat"]
Neck = Literal["none", "linear", "bn", "linear_bn"]


class EncoderConfig(ConfigModel):
    """A timm encoder, the pooling of its features, and the neck behind the pooling."""

    encoder: str = Field(min_length=1)
    """A name of timm, with or without the tag of its weights (`resnet34`, `resnet34.tv_in1k`)."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of timm's constructor, for an encoder of your own shape (`{channels: [32, 64, 128, 256]}`). They need
    weights: none."""

    weights: str = Field(default="imagenet", min_length=1)
    """The weights that the encoder begins with: `imagenet` (found by the resolver of
    src/medalist/models/weights.py), `none`, or a file with the encoder's state."""

    in_channels: Literal[1, 3] = 3
    """The channels of an input image: 3, or 1 for gray images."""

    pooling: Pooling = "gem"
    """How feature maps become one vector. `gem`: the generalised mean with a learned power (arXiv 1711.02512). `avg`:
    the mean. `max`: the maximum. `attention`: a mean weighted by a softmax over positions by a learned query.
    `flat`: all positions side by side, for images whose parts have fixed places."""

    gem: float = Field(default=3.0, ge=1, le=20)
    """The power at which the pooling `gem` begins."""

    neck: Neck = "none"
    """What follows the pooling. `none`: nothing, so the vector has the width of the pooled features. `linear`: a linear
    layer. `bn`: a batch norm. `linear_bn`: a linear layer, then a batch norm (arXiv 1903.07071)."""

    dim: int | None = Field(default=None, ge=2, le=8192)
    """The number of components of the vector. A neck with a linear layer needs it, and the others take null."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The probability of dropout before the neck."""

    @model_validator(mode="after")
    def _encoder_fits(self) -> Self:
        linear = self.neck.startswith("linear")
        if linear and self.dim is None:
            raise ValueError(f"neck '{self.neck}' needs the number of components; type for instance model.dim=256")
        if not linear and self.dim is not None:
            raise ValueError(f"neck '{self.neck}' keeps the encoder's width; leave out dim, or take neck: linear_bn")
        if self.options and self.weights != "none":
            raise ValueError("options change the encoder's shape, so no pretrained weights fit; set weights: none")
        return self
