"""What a config may say of the loss on boxes. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medalist.config import ConfigModel


class LossConfig(ConfigModel):
    """The loss of a detection network: the weights of its parts, and the rules by which points learn objects.

    Each part is a sum over the points of a batch, divided by the number of points that learn an object (for `aligned`
    by the sum of their targets, for `faster_rcnn` by the number of boxes that were drawn), counted over all processes.
    """

    classes: float = Field(default=1.0, ge=0, le=100)
    """The weight of the loss on class scores."""

    boxes: float = Field(default=2.0, ge=0, le=100)
    """The weight of the loss on boxes: on their overlap, or, for `faster_rcnn`, the smooth distance of their offsets
    (arXiv 1504.08083)."""

    overlap: Literal["giou", "ciou", "diou"] = "giou"
    """How networks of one stage measure the overlap of two boxes: `giou` (arXiv 1902.09630), `diou` or `ciou` (arXiv
    1911.08287)."""

    third: float = Field(default=0.5, ge=0, le=100)
    """The weight of the third part: for `aligned` the distributions over distances, for `fcos` how central a point is.
    `retinanet` has none."""

    proposals: float = Field(default=1.0, ge=0, le=100)
    """For `faster_rcnn`: the weight of both losses of the first stage, on whether an anchor shows an object and on its
    box."""

    masks: float = Field(default=1.0, ge=0, le=100)
    """For `mask_rcnn`: the weight of the loss on masks, the mean over the boxes that show an object."""

    distances: float = Field(default=5.0, ge=0, le=100)
    """For `detr`: the weight of the distance between the sides of boxes, as shares of the image."""

    scores: Literal["varifocal", "quality_focal", "bce"] = "varifocal"
    """How `aligned` learns scores, whose targets are between 0 and 1: `varifocal` (arXiv 2008.13367), `quality_focal`
    (arXiv 2006.04388), or plain cross-entropy. The two others use the focal loss (arXiv 1708.02002)."""

    candidates: int = Field(default=13, ge=1, le=100)
    """For `aligned`: the number of points that learn an object, those whose score and box agree best with it."""
