"""Settings of the step from predicted boxes to answered boxes; torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Overlap = Annotated[float, Field(gt=0.0, lt=1.0)]
"""An overlap of two boxes strictly between 0 and 1: their intersection divided by their union (IoU)."""

Confidence = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A threshold of scores; a box counts where its score is greater."""


class SlicesConfig(ConfigModel):
    """Large images are predicted in slices that overlap, and the boxes of the slices are merged."""

    size: int = Field(default=1024, ge=32)
    """The height and width of a slice in pixels; an image that is smaller has one slice along this side."""

    overlap: int = Field(default=256, ge=0)
    """Neighbouring slices share at least this many pixels. Objects up to this size are whole in some slice."""

    cover: Overlap = 0.5
    """A box that a slice has cut is a part of a box of the next slice where this box covers more than this share of it,
    as far as both slices see."""

    iou: Overlap = 0.5
    """Boxes of one class that no slice has cut are doubles where their overlap is greater."""

    touch: float = Field(default=2.0, ge=0.0)
    """A box is cut where it comes so near, in pixels, to a border of its slice that is no border of the image."""

    @model_validator(mode="after")
    def _advances(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError("overlap must be smaller than size")
        return self


class BoxesConfig(ConfigModel):
    """What all ways to decide boxes have in common."""

    score: Confidence | dict[str, Confidence] = 0.05
    """A box is answered where its score is greater: one number, or `{car: 0.3}` by class (0.05 for those not named)."""

    max_boxes: int | None = Field(default=300, ge=1)
    """At most this many boxes of an image are answered, those with the highest scores; null answers all."""

    min_size: float = Field(default=0.0, ge=0.0)
    """Predicted boxes whose shorter side has fewer pixels are dropped first."""

    by_class: bool = True
    """Whether only boxes of one class are doubles of each other; otherwise those of different classes are too."""

    tuned: Literal["none", "one", "classes"] = "none"
    """Whether `score` is tuned by the contest's metric: `one` threshold of all classes, or one for each of the
    `classes`. Each fold is answered with the thresholds of the other folds. mAP needs none of them, F1 does."""


class NmsConfig(BoxesConfig):
    """Non-maximum suppression: a box is dropped where it overlaps a kept box with a higher score."""

    kind: Literal["nms"] = "nms"
    """`nms` selects this decision."""

    iou: Overlap = 0.5
    """Two boxes are doubles where their overlap is greater."""


class SoftNmsConfig(BoxesConfig):
    """Soft-NMS: a box gets a lower score, instead of being dropped, where it overlaps one with a higher score.

    Source: Bodla et al.: Soft-NMS, https://arxiv.org/abs/1704.04503
    """

    kind: Literal["soft_nms"] = "soft_nms"
    """`soft_nms` selects this decision."""

    decay: Literal["linear", "gaussian"] = "gaussian"
    """`linear`: the score is multiplied by 1 - overlap where the overlap is greater than `iou`. `gaussian`: by
    exp(-overlap² / sigma), for every overlap."""

    iou: Overlap = 0.3
    """Only for `linear`: a smaller overlap changes no score."""

    sigma: float = Field(default=0.5, gt=0.0, le=10.0)
    """Only for `gaussian`: a smaller number lowers scores more."""


class WbfConfig(BoxesConfig):
    """Weighted boxes fusion: doubles become one box, the mean of their corners, weighted by their scores.

    Source: Solovyev et al.: Weighted boxes fusion, https://arxiv.org/abs/1910.13302
    """

    kind: Literal["wbf"] = "wbf"
    """`wbf` selects this decision."""

    iou: Overlap = 0.55
    """A box joins the fused box that it overlaps most, where this overlap is greater."""

    doubles: Overlap | None = 0.55
    """First, boxes of one class, network and view are doubles where their overlap is greater, and the one with the
    lower score is dropped: it would be a second vote of one network on one object, and would lower the mean score.
    null keeps them, as the published code does."""

    skip_below: Confidence = 0.0
    """Predicted boxes are fused where their score is greater; `score` is asked of the fused boxes."""

    confidence: Literal["mean", "max"] = "mean"
    """The score of a fused box. `mean`: the mean score, lowered by the share of the networks and views that saw no such
    box, as published. `max`: the highest score."""


BoxDecideConfig = Annotated[NmsConfig | SoftNmsConfig | WbfConfig, Field(discriminator="kind")]
"""How predicted boxes become answered boxes; `kind` selects the model."""


class MasksConfig(BoxesConfig):
    """Boxes with masks become objects of pixels that do not overlap: where two meet, the one with the higher score
    gets the pixels."""

    kind: Literal["masks"]
    """`masks` selects this decision."""

    doubles: Literal["masks", "boxes"] = "masks"
    """What is compared to find doubles: `masks` their pixels, which tells crowded objects apart whose boxes overlap, or
    `boxes`."""

    iou: Overlap = 0.5
    """Of two objects the one with the lower score is dropped where their overlap is greater."""

    threshold: Confidence = 0.5
    """A pixel belongs to an object where its probability is greater."""

    least: float = Field(default=0.5, ge=0.0, le=1.0)
    """An object is dropped where objects with higher scores leave it a smaller share of its pixels."""

    min_area: int = Field(default=0, ge=0)
    """Objects that are left fewer pixels are dropped."""

    fill_holes: bool = False
    """Whether holes of an object are filled."""


ObjectDecideConfig = Annotated[NmsConfig | SoftNmsConfig | WbfConfig | MasksConfig, Field(discriminator="kind")]
"""How predicted boxes, with masks or without, become answers; `kind` selects the model."""
