"""What a config may say of a detection network. Torch-free: timm's names are looked up when the network is built."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

MASK_SIDE = 28
"""The rows and columns of the cells in which Mask R-CNN says where in its box an object is."""

Ratio = Annotated[float, Field(ge=0.05, le=20)]


class PyramidConfig(ConfigModel):
    """A timm encoder and the pyramid of its feature maps. Each level of the pyramid has half the resolution of the
    level before it."""

    encoder: str = Field(min_length=1)
    """A name of timm, with or without the tag of its weights (`resnet34`, `resnet34.tv_in1k`). The encoder must have
    feature maps at the strides 4 or 8, 16 and 32."""

    weights: str = Field(default="imagenet", min_length=1)
    """The weights that the encoder begins with: `imagenet` (found by the resolver of
    src/medalist/models/weights.py), `none`, or a file with the encoder's state."""

    norm: Literal["batch", "frozen"] = "batch"
    """The batch norms of the encoder: `batch` learns them, and `frozen` keeps the statistics and the weights that they
    were pretrained with, which is better where a batch has few images."""

    in_channels: Literal[1, 3] = 3
    """The channels of an input image: 3, or 1 for gray images."""

    finest: Literal[4, 8, 16] = 8
    """The stride of the finest level in pixels. 4 finds smaller objects, and takes about three times the memory."""

    coarsest: Literal[32, 64, 128] = 32
    """The stride of the coarsest level in pixels."""

    width: int = Field(default=128, ge=8, le=1024, multiple_of=8)
    """The number of channels of each level."""

    depth: int = Field(default=2, ge=0, le=8)
    """The number of convolutions of the head before its outputs, in each of its branches."""

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of the levels, the finest first."""
        return tuple(2**power for power in range(2, 8) if self.finest <= 2**power <= self.coarsest)

    @model_validator(mode="after")
    def _frozen_norms_are_pretrained(self) -> Self:
        if self.norm == "frozen" and self.weights == "none":
            raise ValueError("norm: frozen keeps pretrained batch norms, and weights: none has none; set norm: batch")
        return self


class AlignedConfig(PyramidConfig):
    """A one-stage network without anchors. Classes and boxes have branches of their own, and each object is learned
    where both agree best (TOOD, arXiv 2108.07755). A side of a box is a distribution over distances (arXiv
    2006.04388). A class score says how well its box lies, too, so there is no background and no third branch."""

    kind: Literal["aligned"]
    """`aligned` selects this network."""

    neck: Literal["pan", "fpn"] = "pan"
    """How levels are joined: `fpn` from coarse to fine (arXiv 1612.03144), `pan` and then back (arXiv 1803.01534)."""

    bins: int = Field(default=16, ge=4, le=64)
    """The longest distance from a point to a side of its box, in strides of its level. With 16 bins a level of stride
    32 reaches boxes of 1,024 pixels."""


class FcosConfig(PyramidConfig):
    """FCOS (arXiv 1904.01355) with the head of torchvision: a box for each point, and how central the point is."""

    kind: Literal["fcos"]
    """`fcos` selects this network."""

    coarsest: Literal[32, 64, 128] = 128
    width: int = Field(default=256, ge=32, le=1024, multiple_of=32)
    depth: int = Field(default=4, ge=1, le=8)


class AnchoredConfig(PyramidConfig):
    """Networks with anchors: boxes of given shapes at each point, from which others are computed."""

    scales: tuple[Ratio, ...] = Field(default=(4.0, 5.04, 6.35), min_length=1)
    """The sides of the square anchors of a level, in strides of the level."""

    ratios: tuple[Ratio, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """The shapes of anchors: height divided by width. Each shape comes in each scale."""

    anchors: Literal["listed", "fitted"] = "listed"
    """Where shapes come from: `listed` takes `scales` and `ratios`; `fitted` finds as many shapes in the boxes of the
    training part by k-means (arXiv 1612.08242), and each level gets its share of them, the smallest first."""


class RetinaConfig(AnchoredConfig):
    """RetinaNet (arXiv 1708.02002) with the head of torchvision."""

    kind: Literal["retinanet"]
    """`retinanet` selects this network."""

    coarsest: Literal[32, 64, 128] = 128
    width: int = Field(default=256, ge=32, le=1024, multiple_of=32)
    depth: Literal[4] = 4
    """The number of convolutions of the head before its outputs; torchvision's head has four."""


class TwoStageConfig(AnchoredConfig):
    """Networks of two stages (arXiv 1506.01497): the first one proposes boxes that may show an object, whatever its
    class, and the second one looks at the content of each proposal."""

    finest: Literal[4, 8, 16] = 4
    coarsest: Literal[32, 64, 128] = 64
    width: int = Field(default=256, ge=8, le=1024, multiple_of=8)
    depth: int = Field(default=1, ge=1, le=8)
    """The number of convolutions of the first stage before its outputs."""

    scales: tuple[Ratio, ...] = Field(default=(8.0,), min_length=1)

    hidden: int = Field(default=1024, ge=8, le=8192)
    """The width of the two layers that see the content of a proposal."""

    pooled: int = Field(default=7, ge=2, le=32)
    """The number of cells, along each side, of the grid that the content of a proposal is sampled on."""

    proposals: int = Field(default=1000, ge=1, le=10_000)
    """The number of boxes of an image that the first stage proposes at most. As many are taken from each level before
    doubles are dropped."""

    anchors_learned: int = Field(default=256, ge=2, le=100_000)
    """The number of anchors of an image, drawn anew in each epoch, from which the first stage learns; up to a half of
    them show an object."""

    boxes_learned: int = Field(default=512, ge=4, le=100_000)
    """The number of proposals of an image, drawn anew in each epoch, from which the second stage learns; up to a
    quarter of them show an object."""


class FasterRcnnConfig(TwoStageConfig):
    """Faster R-CNN (arXiv 1506.01497) over a pyramid (arXiv 1612.03144), with the heads of torchvision."""

    kind: Literal["faster_rcnn"]
    """`faster_rcnn` selects this network."""


class MaskRcnnConfig(TwoStageConfig):
    """Mask R-CNN (arXiv 1703.06870): Faster R-CNN that also says which pixels of a box belong to its object, with the
    heads of torchvision. The answers are objects with all their pixels, one class of them."""

    kind: Literal["mask_rcnn"]
    """`mask_rcnn` selects this network."""

    mask_width: int = Field(default=256, ge=8, le=1024, multiple_of=8)
    """The number of channels of the branch for masks."""

    mask_depth: int = Field(default=4, ge=1, le=8)
    """The number of convolutions of the branch for masks before it is enlarged."""


OWN_ENCODERS = ("rtdetr_resnet18", "rtdetr_resnet34", "rtdetr_resnet50", "rtdetr_resnet101")
"""The encoders of transformers' RT-DETR, which are in no list of timm. Only weights of whole networks have theirs."""


class DetrConfig(PyramidConfig):
    """RT-DETRv2 (arXiv 2407.17140) of the package transformers: a transformer finds a set of boxes, each object once.

    It has no anchors, and its answers have no doubles. The keys are those of the published networks, so that their
    weights fit; it learns without added noise (`num_denoising` is 0).
    """

    kind: Literal["detr"]
    """`detr` selects this network. It needs the package: pip install 'medalist[detr]'."""

    weights: str = Field(default="imagenet", min_length=1)
    """The weights that the network begins with. `imagenet` or a file with its state are for an encoder of timm, and all
    else is then random. A folder with `model.safetensors` (the layout of Hugging Face), this file itself, or the id of
    such a folder on the hub (`owner/name`) has a whole RT-DETRv2; its classes are replaced. `none` is random."""

    finest: Literal[8] = 8
    coarsest: Literal[32] = 32
    width: int = Field(default=256, ge=32, le=1024, multiple_of=32)
    depth: int = Field(default=6, ge=1, le=12)
    """The number of layers of the decoder."""

    queries: int = Field(default=300, ge=1, le=5000)
    """The number of boxes that are found in each image."""

    hidden: int = Field(default=1024, ge=8, le=8192)
    """The width inside of each layer of the transformer."""

    expansion: float = Field(default=1.0, ge=0.125, le=4)
    """The width of the blocks that join levels, as a share of `width`."""

    @property
    def own_encoder(self) -> bool:
        """Whether the encoder is that of transformers' RT-DETR, and not of timm."""
        return self.encoder in OWN_ENCODERS

    @property
    def whole(self) -> bool:
        """Whether `weights` are those of a whole network."""
        return self.own_encoder and self.weights != "none"

    @model_validator(mode="after")
    def _encoder_has_weights(self) -> Self:
        if self.own_encoder and self.weights == "imagenet":
            raise ValueError(
                f"encoder {self.encoder} has no ImageNet weights of its own; set weights to the folder or the id of a "
                "whole RT-DETRv2, or take an encoder of timm"
            )
        if self.own_encoder and self.in_channels != 3:
            raise ValueError(f"encoder {self.encoder} sees 3 channels; set in_channels: 3")
        return self


ModelConfig = Annotated[
    AlignedConfig | FcosConfig | RetinaConfig | FasterRcnnConfig | MaskRcnnConfig | DetrConfig,
    Field(discriminator="kind"),
]
