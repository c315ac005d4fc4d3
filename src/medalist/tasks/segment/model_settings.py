"""What a config may say of the network. Torch-free: timm's names are looked up when the network is built."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from medalist.config import OwnConfig
from medalist.tasks.segment.network_settings import STRIDE, Channels, Network

_FIVE = ("unet", "unetplusplus", "manet")
_ONE = ("fpn", "linknet", "pan", "pspnet", "deeplabv3", "deeplabv3plus", "upernet", "segformer", "dpt")
_PAN_STRIDE = 128
_DILATED = ("deeplabv3", "deeplabv3plus")
_LEVELS = ("unet", "manet", "linknet")
_BILINEAR = ("unet", "unetplusplus", "manet", "fpn", "pan")

_KINDS: dict[str, tuple[str, ...]] = {
    "decoder_channels": _FIVE,
    "width": _ONE,
    "attention": ("unet", "unetplusplus"),
    "dropout": ("fpn", "pspnet", "deeplabv3", "deeplabv3plus"),
    "output_stride": _DILATED,
    "hypercolumn": _LEVELS,
    "deep_supervision": _LEVELS,
    "condition": (*_FIVE, *(kind for kind in _ONE if kind not in ("pspnet", "dpt"))),
}
"""For each option that not every decoder has: the kinds that have it."""

_UPSAMPLE: dict[str, tuple[str, ...]] = {"nearest": _BILINEAR, "bilinear": _BILINEAR, "pixel_shuffle": ("unet",)}


class SmpConfig(Network):
    """A decoder of segmentation-models-pytorch over a timm encoder."""

    kind: Literal[
        "unet",
        "unetplusplus",
        "fpn",
        "linknet",
        "manet",
        "pan",
        "pspnet",
        "deeplabv3",
        "deeplabv3plus",
        "upernet",
        "segformer",
        "dpt",
    ]
    """The decoder. `dpt` is for plain vision transformers; the others take every encoder that gives feature maps."""

    encoder: str = Field(min_length=1)
    """A name of timm, with or without the tag of its weights (`resnet34`, `resnet34.tv_in1k`). Features that do not
    come at strides (2,) 4, 8, 16, 32 are resized to these."""

    decoder_channels: tuple[PositiveInt, ...] | None = None
    """The widths of the five decoder blocks, deepest first; only for unet, unetplusplus and manet. null means 256 …
    16."""

    width: PositiveInt | None = None
    """The width of the decoder, for the kinds without decoder_channels. null means 32 for linknet and pan, 512 for
    pspnet and 256 for the others."""

    attention: Literal["scse"] | None = None
    """scSE gates in the decoder; only for unet and unetplusplus. The decoder blocks are then at least 16 wide."""

    upsample: Literal["nearest", "bilinear", "pixel_shuffle"] | None = None
    """How the decoder doubles its maps; for unet, unetplusplus, manet, fpn and pan. null means bilinear for pan and
    nearest for the others. `pixel_shuffle`: a 1×1 convolution to four times the channels, which become 2×2 pixels
    (arXiv 1609.05158), begun as nearest (arXiv 1707.02937); only for unet."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """The probability of dropout before the head; for fpn and pspnet, where null means 0.2, and for deeplabv3 and
    deeplabv3plus, where null means 0.5."""

    output_stride: Literal[8, 16] | None = None
    """The stride of the encoder's last features; for deeplabv3, where null means 8, and deeplabv3plus, where null means
    16. The encoder's last stages are dilated. The features of an encoder that has no dilation are resized."""

    multiple: int | None = Field(default=None, ge=STRIDE, le=1024)
    """Height and width of the input must be multiples of this many pixels, and this of 32. null means 128 for pan,
    which pools seven times, and 32 for the others. A few encoders need 64."""

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this many pixels."""
        return self.multiple or (_PAN_STRIDE if self.kind == "pan" else STRIDE)

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
        for option, kinds in _KINDS.items():
            if getattr(self, option) not in (None, False) and self.kind not in kinds:
                raise ValueError(f"'{option}' is for {_listed(kinds)}, not for {self.kind}; leave it out")
        if self.upsample is not None and self.kind not in _UPSAMPLE[self.upsample]:
            kinds = _UPSAMPLE[self.upsample]
            raise ValueError(f"'upsample: {self.upsample}' is for {_listed(kinds)}, not for {self.kind}; leave it out")
        if self.attention and self.decoder_channels and min(self.decoder_channels) < 16:
            narrow = min(self.decoder_channels)
            raise ValueError(f"'attention: scse' needs decoder_channels of at least 16, not {narrow}")
        return self

    @model_validator(mode="after")
    def _width_and_stride_fit_kind(self) -> Self:
        if self.stride % STRIDE:
            raise ValueError(f"'multiple' is a multiple of {STRIDE}: decoders halve five times; not {self.stride}")
        if self.kind == "pan" and self.stride % _PAN_STRIDE:
            raise ValueError(f"'multiple' of pan is one of {_PAN_STRIDE}, because it pools seven times; leave it out")
        if self.kind == "fpn" and self.width is not None and self.width % 64:
            raise ValueError(
                f"'width' of fpn is a multiple of 64, because it has 32 groups of half of it, not {self.width}"
            )
        return self


class TernausConfig(Network):
    """A published U-Net of TernausNet's authors, with the published names of its weights."""

    kind: Literal["ternausnet11", "ternausnet16", "unet11", "unet16", "albunet34"]
    """`ternausnet11` and `ternausnet16` are of arXiv 1801.05746, with the encoders VGG11 and VGG16. `unet11` and
    `unet16` are the same networks in robot-surgery-segmentation, whose decoders have other widths and up-sampling.
    `albunet34` is of robot-surgery-segmentation too, with the encoder ResNet-34; its stride is 64."""

    filters: int = Field(default=32, ge=1, le=256)
    """The width of the decoder's last block. The widths of the deeper blocks are multiples of it."""

    @property
    def encoder_name(self) -> str:
        """The encoder's name in timm."""
        return "resnet34" if self.kind == "albunet34" else f"vgg{self.kind[-2:]}"

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this many pixels."""
        return 2 * STRIDE if self.kind == "albunet34" else STRIDE


class LinkNetConfig(Network):
    """LinkNet-34 as published in robot-surgery-segmentation, with the published names of its weights."""

    kind: Literal["linknet34"]
    """`linknet34`: the encoder is ResNet-34 (arXiv 1707.03718)."""

    @property
    def encoder_name(self) -> str:
        """The encoder's name in timm."""
        return "resnet34"

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this many pixels."""
        return STRIDE

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.hypercolumn:
            raise ValueError(f"'hypercolumn' is for {_listed(_LEVELS)}, not for linknet34; leave it out")
        return self


class TernausV2Config(Network):
    """The shape of TernausNetV2 (arXiv 1806.00844): WideResNet-38 as encoder, several bands, body and border."""

    kind: Literal["ternausnetv2"]
    """`ternausnetv2`: made for satellite images of 11 bands."""

    in_channels: int = Field(default=11, ge=1, le=1024)
    """The number of input channels: 11 in the publication, RGB and 8 bands of WorldView-3."""

    filters: int = Field(default=32, ge=1, le=256)
    """The width of the decoder's last block. The widths of the deeper blocks are multiples of it."""

    weights: str = Field(default="none", min_length=1)
    """`none`, or a file with the weights of a whole network. There are no ImageNet weights for this encoder."""

    @property
    def encoder_name(self) -> str:
        """The encoder's name; timm has no such network."""
        return "wide_resnet38"

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this many pixels."""
        return STRIDE

    @field_validator("weights")
    @classmethod
    def _no_imagenet(cls, weights: str) -> str:
        if weights == "imagenet":
            raise ValueError("timm has no WideResNet-38, so there are no weights 'imagenet'; take none, or a file")
        return weights


class OwnNetworkConfig(OwnConfig, Channels):
    """A network of the contest's own `parts.py` (see docs/own_parts.md)."""

    stride: int = Field(default=STRIDE, ge=1, le=1024)
    """Height and width of the network's input must be multiples of this many pixels."""


def _listed(kinds: tuple[str, ...]) -> str:
    return " and ".join((", ".join(kinds[:-1]), kinds[-1])) if len(kinds) > 1 else kinds[0]


ModelConfig = Annotated[
    SmpConfig | TernausConfig | LinkNetConfig | TernausV2Config | OwnNetworkConfig, Field(discriminator="kind")
]
