"""What a config may say of the network. Torch-free: timm's names are looked up when the network is built."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from medalist.config import ConfigModel, OwnConfig

STRIDE = 32
"""Every network here halves its input five times: height and width must be multiples of this many pixels."""


class _Channels(ConfigModel):
    """What all networks share."""

    channels: tuple[str, ...] = Field(min_length=1)
    """The names of the output channels, in order, such as `[body, border]`."""

    in_channels: int = Field(default=3, ge=1, le=1024)
    """The number of input channels. A pretrained first convolution is adapted to numbers other than 3."""

    @field_validator("channels")
    @classmethod
    def _channels_are_names(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        for name in channels:
            if not name.strip():
                raise ValueError("a channel needs a name, such as body")
        twice = sorted({name for name in channels if channels.count(name) > 1})
        if twice:
            raise ValueError(f"channel '{twice[0]}' is there twice; each channel needs its own name")
        return channels


class _Network(_Channels):
    """What networks with an encoder share."""

    weights: str = Field(default="imagenet", min_length=1)
    """The weights that the encoder begins with: `imagenet` (found by the resolver of
    src/medalist/models/weights.py), `none`, or a file with the encoder's state."""

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this many pixels."""
        return STRIDE


class SmpConfig(_Network):
    """A decoder of segmentation-models-pytorch over any timm encoder with features at strides (2,) 4 … 32."""

    kind: Literal["unet", "unetplusplus", "fpn", "linknet"]
    """The decoder."""

    encoder: str = Field(min_length=1)
    """A name of timm, with or without the tag of its weights (`resnet34`, `resnet34.tv_in1k`)."""

    decoder_channels: tuple[PositiveInt, ...] | None = None
    """The widths of the five decoder blocks, deepest first; only for unet and unetplusplus. null means 256 … 16."""

    attention: Literal["scse"] | None = None
    """scSE gates in the decoder; only for unet and unetplusplus. The decoder blocks are then at least 16 wide."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """The probability of dropout for the merged pyramid; only for fpn. null means 0.2."""

    @property
    def encoder_name(self) -> str:
        """The encoder's name in timm."""
        return self.encoder

    @field_validator("decoder_channels")
    @classmethod
    def _five_blocks(cls, widths: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if widths is not None and len(widths) != 5:
            raise ValueError(f"the decoder has 5 blocks, deepest first, so 5 widths are needed, not {len(widths)}")
        return widths

    @model_validator(mode="after")
    def _options_fit_kind(self) -> Self:
        for option, kinds in (
            ("decoder_channels", ("unet", "unetplusplus")),
            ("attention", ("unet", "unetplusplus")),
            ("dropout", ("fpn",)),
        ):
            if getattr(self, option) is not None and self.kind not in kinds:
                raise ValueError(f"'{option}' is for {' and '.join(kinds)}, not for {self.kind}; leave it out")
        if self.attention and self.decoder_channels and min(self.decoder_channels) < 16:
            narrow = min(self.decoder_channels)
            raise ValueError(f"'attention: scse' needs decoder_channels of at least 16, not {narrow}")
        return self


class TernausConfig(_Network):
    """TernausNet as published (arXiv 1801.05746): a U-Net over VGG11 or VGG16 without batch normalisation."""

    kind: Literal["ternausnet11", "ternausnet16"]
    """`ternausnet11` has the encoder VGG11, `ternausnet16` has VGG16."""

    filters: int = Field(default=32, ge=1, le=256)
    """The width of the decoder's last block. The widths of the deeper blocks are multiples of it."""

    @property
    def encoder_name(self) -> str:
        """The encoder's name in timm."""
        return "vgg" + self.kind.removeprefix("ternausnet")


class OwnNetworkConfig(OwnConfig, _Channels):
    """A network of the contest's own `parts.py` (see docs/own_parts.md)."""

    stride: int = Field(default=STRIDE, ge=1, le=1024)
    """Height and width of the network's input must be multiples of this many pixels."""


ModelConfig = Annotated[SmpConfig | TernausConfig | OwnNetworkConfig, Field(discriminator="kind")]
