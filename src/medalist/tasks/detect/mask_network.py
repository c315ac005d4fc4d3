"""The second stage of Mask R-CNN, of torchvision's parts: it also says which pixels of a box belong to the object."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor  # type: ignore[import-untyped]
from torchvision.ops import MultiScaleRoIAlign  # type: ignore[import-untyped]

from medalist.tasks.detect.model_settings import MASK_SIDE, MaskRcnnConfig
from medalist.tasks.detect.two_stage_network import POINTS, SecondStage


class MaskStage(SecondStage):
    """A second stage with a branch for masks (arXiv 1703.06870)."""

    def __init__(self, config: MaskRcnnConfig, classes: int):
        """`classes`: the number of the contest's classes; the background has no mask."""
        super().__init__(config, classes)
        names = [str(stride) for stride in self.strides]
        # The predictor doubles the height and the width of its input.
        self.mask_pool = MultiScaleRoIAlign(names, MASK_SIDE // 2, POINTS)
        self.mask_head = MaskRCNNHeads(config.width, (config.mask_width,) * config.mask_depth, 1)
        self.mask_predictor = MaskRCNNPredictor(config.mask_width, config.mask_width, classes)

    def outlines(self, levels: Sequence[Tensor], boxes: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Return logits float[N, C, MASK_SIDE, MASK_SIDE] of the object in the cells of each box, for each class.

        The arguments are those of `forward`. A box without pixels of its own class has no meaning for other classes.
        """
        named = OrderedDict(zip(map(str, self.strides), levels, strict=False))
        content = self.mask_pool(named, list(boxes), [size] * len(boxes))
        found: Tensor = self.mask_predictor(self.mask_head(content))
        return found
