"""Decide the objects of an image from boxes with masks: from what networks predict to a label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medalist.errors import DataError
from medalist.postprocess.box_overlaps import Corners, are_boxes, by_value
from medalist.postprocess.box_settings import MasksConfig
from medalist.postprocess.box_suppression import nms
from medalist.postprocess.boxes import score_cuts
from medalist.records import BoxPrediction, Instances

Size = tuple[int, int]
"""(height, width)."""


@dataclass(frozen=True, eq=False)
class Patch:
    """The pixels of an object: bool[h, w], and the row and the column of the first of them in the image."""

    inside: NDArray[np.bool_]
    top: int
    left: int

    @property
    def area(self) -> int:
        """The number of pixels."""
        return int(np.count_nonzero(self.inside))

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the image in which the pixels lie."""
        height, width = self.inside.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def common(self, other: Patch) -> int:
        """Return the number of pixels that both have."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.inside.shape[0], other.top + other.inside.shape[0])
        right = min(self.left + self.inside.shape[1], other.left + other.inside.shape[1])
        if top >= bottom or left >= right:
            return 0
        ours = self.inside[top - self.top : bottom - self.top, left - self.left : right - self.left]
        theirs = other.inside[top - other.top : bottom - other.top, left - other.left : right - other.left]
        return int(np.count_nonzero(ours & theirs))


@dataclass(frozen=True, eq=False)
class ScoredInstances:
    """Objects of an image, numbered from the highest score to the lowest, and their scores float32[n].

    A lower score changes no object with a higher one, so the objects above a threshold are those of the lowest numbers.
    """

    instances: Instances
    scores: NDArray[np.float32]

    @property
    def labels(self) -> NDArray[np.int32]:
        """int32[n], the classes of the objects: they have none, so each is 0."""
        return np.zeros(len(self.scores), np.int32)

    def above(self, cut: float, most: int | None = None) -> Instances:
        """Return the objects whose score is above `cut`, at most `most` of them."""
        count = int(np.count_nonzero(self.scores.astype(np.float64) > cut))
        count = count if most is None else min(count, most)
        labels = self.instances.labels
        return Instances(np.where(labels <= count, labels, 0).astype(np.int32))


def decide_instances(prediction: BoxPrediction, config: MasksConfig, classes: Sequence[str] = ()) -> Instances:
    """Return the objects of one image, numbered from the highest score to the lowest; see `scored_instances`."""
    return scored_instances(prediction, config, classes).instances


def scored_instances(prediction: BoxPrediction, config: MasksConfig, classes: Sequence[str] = ()) -> ScoredInstances:
    """Return the objects of one image with their scores.

    The same boxes give the same answer in any order: ties are broken by the corners, then by the class. Boxes without
    an area, or with corners that are not finite, are dropped, and so are objects without a pixel inside the image.

    Args:
        prediction: the boxes of all networks and views, with masks.
        config: the settings.
        classes: the names of the contest's classes; needed where `config.score` names classes.

    Raises ConfigError where `config.score` names no class, and DataError for boxes without masks.
    """
    masks, size = prediction.masks, prediction.size
    if masks is None or size is None:
        raise DataError("decide.kind = masks needs boxes with masks; train with model.kind=mask_rcnn")
    cuts = score_cuts(config, classes, int(prediction.labels.max(initial=-1)) + 1)
    own = are_boxes(prediction.xyxy) & (prediction.scores.astype(np.float64) > cuts[prediction.labels])
    if config.min_size:
        own &= (prediction.xyxy[:, 2:] - prediction.xyxy[:, :2]).min(axis=1, initial=np.inf) >= config.min_size
    rows = np.flatnonzero(own)
    rows = rows[by_value(prediction.scores[rows], prediction.xyxy[rows], prediction.labels[rows])]
    groups = prediction.labels[rows].astype(np.int64) if config.by_class else np.zeros(len(rows), np.int64)
    if config.doubles == "boxes":
        xyxy, scores = prediction.xyxy[rows].astype(np.float64), prediction.scores[rows].astype(np.float64)
        kept = nms(xyxy, scores, groups, config.iou)
        rows, groups = rows[kept], groups[kept]
    patches = [patch_of(masks[row], prediction.xyxy[row].astype(np.float64), size, config) for row in rows.tolist()]
    if config.doubles == "masks":
        single = _without_doubles(patches, groups.tolist(), config.iou)
        rows, patches = rows[single], [patches[place] for place in single]
    labels, drawn = _drawn(patches, size, config)
    return ScoredInstances(Instances(labels), prediction.scores[rows[drawn]].astype(np.float32))


def patch_of(mask: NDArray[np.uint8], box: Corners, size: Size, config: MasksConfig) -> Patch:
    """Return the pixels of an object inside the image of (height, width) `size`.

    mask: uint8[M, M], probabilities of the cells of the box float64[4]. Between the centres of cells they are
    interpolated linearly; nearer to the edge of the box than half a cell they stay as they are. A pixel has the
    probability at its centre, and belongs to no object where its centre is outside the box.
    """
    across = _pixels(box[0], box[2], size[1])
    down = _pixels(box[1], box[3], size[0])
    rows = _weights(down, box[1], box[3], mask.shape[0])
    columns = _weights(across, box[0], box[2], mask.shape[1])
    values = rows @ mask.astype(np.float64) @ columns.T
    inside: NDArray[np.bool_] = values > 255 * config.threshold
    if config.fill_holes:
        inside = np.asarray(ndimage.binary_fill_holes(inside), np.bool_)
    return Patch(inside, int(down[0]) if len(down) else 0, int(across[0]) if len(across) else 0)


def _pixels(low: float, high: float, length: int) -> NDArray[np.int64]:
    """Return the numbers of the pixels of a line whose centres lie in low..high."""
    first, last = max(0, int(np.ceil(low - 0.5))), min(length - 1, int(np.floor(high - 0.5)))
    return np.arange(first, max(first, last + 1))


def _weights(pixels: NDArray[np.int64], low: float, high: float, cells: int) -> NDArray[np.float64]:
    """Return float64[n, cells], how much each cell between low and high counts at the centre of each pixel."""
    place = np.clip((pixels + 0.5 - low) / (high - low) * cells - 0.5, 0, cells - 1)
    first = np.minimum(np.floor(place).astype(np.int64), cells - 1)
    second = np.minimum(first + 1, cells - 1)
    share, lines = place - first, np.arange(len(pixels))
    weights = np.zeros((len(pixels), cells))
    np.add.at(weights, (lines, first), 1 - share)
    np.add.at(weights, (lines, second), share)
    return weights


def _without_doubles(patches: Sequence[Patch], groups: Sequence[int], iou: float) -> list[int]:
    """Return the places of the objects that overlap no kept one before them, of their group, by more than `iou`."""
    kept: list[int] = []
    areas = [patch.area for patch in patches]
    spans = np.array([[one.left, one.top, *one.inside.shape[::-1]] for one in patches], np.int64).reshape(-1, 4)
    spans[:, 2:] += spans[:, :2]
    for place, patch in enumerate(patches):
        before = spans[kept]
        near = (np.maximum(before[:, :2], spans[place, :2]) < np.minimum(before[:, 2:], spans[place, 2:])).all(axis=1)
        for at in np.flatnonzero(near).tolist():
            other = kept[at]
            common = patch.common(patches[other]) if groups[other] == groups[place] else 0
            if common > iou * (areas[place] + areas[other] - common):
                break
        else:
            kept.append(place)
    return kept


def _drawn(patches: Sequence[Patch], size: Size, config: MasksConfig) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Draw objects into a label map, the first on top; return it with the places of those that are drawn."""
    labels = np.zeros(size, np.int32)
    drawn: list[int] = []
    for place, patch in enumerate(patches):
        if config.max_boxes is not None and len(drawn) == config.max_boxes:
            break
        part = labels[patch.window]
        free = patch.inside & (part == 0)
        left = int(np.count_nonzero(free))
        if left and left >= max(config.min_area, config.least * patch.area):
            drawn.append(place)
            part[free] = len(drawn)
    return labels, np.array(drawn, np.int64)
