"""Where the slices of a large image lie, and how the boxes of slices become those of the image. Torch-free.

An object that a slice cuts is seen as parts: each part ends at the border of its slice. Two boxes are parts of one
object where they agree inside the area that both of their slices see. N is the number of boxes of all slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medalist.postprocess.box_overlaps import Corners, Floats, Places, are_boxes, areas_of, by_value, meeting
from medalist.postprocess.box_suppression import nms
from medalist.records import BoxPrediction

if TYPE_CHECKING:
    from medalist.postprocess.box_settings import SlicesConfig

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ImageSlice:
    """A part of an image: its first and last pixels, as (left, top, right, bottom); right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def rows(self) -> slice:
        """The rows of the image."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """The columns of the image."""
        return slice(self.left, self.right)


def slices_of(height: int, width: int, size: int, overlap: int) -> list[ImageSlice]:
    """Return the slices of an image, row by row; together they have all pixels.

    height, width: of the image, in pixels. size: of a slice along each side; a side that is shorter has one slice. The
    slices are spread evenly, so that neighbours share `overlap` pixels or more.
    """
    tops, lefts = _starts(height, size, overlap), _starts(width, size, overlap)
    return [ImageSlice(left, top, min(left + size, width), min(top + size, height)) for top in tops for left in lefts]


def _starts(length: int, size: int, overlap: int) -> list[int]:
    assert 0 <= overlap < size, (overlap, size)
    if length <= size:
        return [0]
    steps = -(-(length - size) // (size - overlap))
    return [step * (length - size) // steps for step in range(steps + 1)]


@dataclass(frozen=True, eq=False)
class _Sliced:
    """The boxes of all slices, in the order of their values.

    xyxy: float64[N, 4] in pixels of the image. scores: float64[N]. labels, source: int64[N]. groups: int64[N], numbers
    of pairs of a source and a class. at: int64[N], the number of the slice. cut: bool[N, 4], at which sides the slice
    cuts a box. windows: float64[S, 4], the corners of the slices.
    """

    xyxy: Corners
    scores: Floats
    labels: Places
    source: Places
    groups: Places
    at: Places
    cut: Bools
    windows: Corners

    def rows(self, kept: Places) -> _Sliced:
        """Return the boxes at these places."""
        names = ("xyxy", "scores", "labels", "source", "groups", "at", "cut")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def merge_slices(
    parts: Sequence[BoxPrediction], slices: Sequence[ImageSlice], size: tuple[int, int], config: SlicesConfig
) -> BoxPrediction:
    """Return what the networks predict for the whole image, from what they predict for its slices.

    In each slice doubles are removed. Then parts of an object become one box: the box of a slice that sees it whole, if
    there is one, else the box around its parts; its score is the highest of them. A part joins at most one box of each
    other slice. At last doubles of different slices are removed. Each source and each class is treated by itself. The
    order of the slices and of the boxes changes nothing.

    Args:
        parts: what was predicted for each slice, in pixels of the slice. All have the same number of sources.
        slices: where the slices lie, in pixels of the image.
        size: (height, width) of the image.
        config: the settings; `size` and `overlap` are not read.
    """
    assert len(parts) == len(slices) > 0, (len(parts), len(slices))
    sliced = _sliced(parts, slices, size, config.touch)
    in_slice = np.unique(np.stack([sliced.at, sliced.groups]), axis=1, return_inverse=True)[1]
    sliced = sliced.rows(np.sort(nms(sliced.xyxy, sliced.scores, in_slice, config.iou)))
    objects = _joined(sliced, config)
    xyxy, scores, first = _whole(sliced, objects)
    groups = sliced.groups[first]
    kept = nms(xyxy, scores, groups, config.iou)
    return BoxPrediction(
        xyxy[kept].astype(np.float32),
        sliced.labels[first][kept].astype(np.int32),
        scores[kept].astype(np.float32),
        sliced.source[first][kept].astype(np.int16),
        parts[0].sources,
    )


def _sliced(
    parts: Sequence[BoxPrediction], slices: Sequence[ImageSlice], size: tuple[int, int], touch: float
) -> _Sliced:
    windows = np.array([(one.left, one.top, one.right, one.bottom) for one in slices], np.float64)
    at = np.repeat(np.arange(len(parts)), [len(part.labels) for part in parts])
    xyxy = np.concatenate([part.xyxy for part in parts]).astype(np.float64)
    xyxy += np.tile(windows[at, :2], 2)
    scores = np.concatenate([part.scores for part in parts]).astype(np.float64)
    labels = np.concatenate([part.labels for part in parts]).astype(np.int64)
    source = np.concatenate([part.source for part in parts]).astype(np.int64)
    corner = windows[at]
    order = np.lexsort(corner.T)  # slices by where they lie, not by their numbers
    order = order[by_value(scores[order], xyxy[order], labels[order], source[order])]
    order = order[are_boxes(xyxy[order])]
    inner: Bools = windows != np.array([0, 0, size[1], size[0]])
    near = np.abs(xyxy - corner) <= touch
    # A box may reach beyond its slice where a network guesses what it does not see.
    near[:, :2] |= (xyxy < corner)[:, :2]
    near[:, 2:] |= (xyxy > corner)[:, 2:]
    groups = source * (int(labels.max(initial=0)) + 1) + labels
    cut: Bools = near & inner[at]
    return _Sliced(xyxy, scores, labels, source, groups, at, cut, windows).rows(order)


def _joined(sliced: _Sliced, config: SlicesConfig) -> Places:
    """Return int64[N], the number of the object of each box: the smallest place of its parts.

    Pairs of boxes are joined in the order of how well they agree; an object has at most one part in each slice.
    """
    one, two, agreement = _agreeing(sliced, config)
    order = np.lexsort((two, one, -agreement))
    objects = list(range(len(sliced.scores)))
    members = {number: [number] for number in objects}
    seen = {number: {slice_} for number, slice_ in enumerate(sliced.at.tolist())}
    for first, second in zip(one[order].tolist(), two[order].tolist(), strict=True):
        keep, lose = sorted((objects[first], objects[second]))
        if keep != lose and seen[keep].isdisjoint(seen[lose]):
            seen[keep] |= seen.pop(lose)
            for member in members[lose]:
                objects[member] = keep
            members[keep] += members.pop(lose)
    return np.array(objects, np.int64)


def _agreeing(sliced: _Sliced, config: SlicesConfig) -> tuple[Places, Places, Floats]:
    """Return the pairs of boxes that are parts of one object, and their IoU in the area that both slices see.

    In a pair the first place is smaller, and a slice has cut at least one of both.
    """
    # What a slice cuts goes on, so that parts of slices that only touch meet too.
    beyond = np.array([-1, -1, 1, 1]) * (config.touch + 1)
    reaching = np.where(sliced.cut, sliced.windows[sliced.at] + beyond, sliced.xyxy)
    cut = np.asarray(sliced.cut.any(axis=1), np.bool_)
    cut_places = np.flatnonzero(cut)
    found = []
    for one, two in meeting(reaching[cut_places], reaching):
        first, second = cut_places[one], two
        alike = (sliced.groups[first] == sliced.groups[second]) & (sliced.at[first] != sliced.at[second])
        once = ~cut[second] | (first < second)  # pairs of two cut boxes are met twice
        first, second = first[alike & once], second[alike & once]
        low = np.maximum(sliced.windows[sliced.at[first]], sliced.windows[sliced.at[second]])[:, :2] + beyond[:2]
        high = np.minimum(sliced.windows[sliced.at[first]], sliced.windows[sliced.at[second]])[:, 2:] + beyond[2:]
        ours, theirs = _clipped(reaching[first], low, high), _clipped(reaching[second], low, high)
        common = areas_of(_clipped(ours, theirs[:, :2], theirs[:, 2:]))
        area, other = areas_of(ours), areas_of(theirs)
        smaller = np.where(cut[second], np.minimum(area, other), area)  # what is not cut need not be covered
        good = common > config.cover * np.maximum(smaller, np.finfo(np.float64).tiny)
        shares = common[good] / (area + other - common)[good]
        found.append((np.minimum(first, second)[good], np.maximum(first, second)[good], shares))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    ones, twos, agreements = zip(*found, strict=True)
    return np.concatenate(ones), np.concatenate(twos), np.concatenate(agreements)


def _clipped(xyxy: Corners, low: Corners, high: Corners) -> Corners:
    """Return boxes inside other boxes; those that are outside have no area."""
    first = np.maximum(xyxy[:, :2], low)
    last = np.maximum(np.minimum(xyxy[:, 2:], high), first)
    return np.concatenate([first, last], axis=1)


def _whole(sliced: _Sliced, objects: Places) -> tuple[Corners, Floats, Places]:
    """Return the corners and the scores of the objects, and for each the place of a box of it.

    The places are in the order of values, so the first part of an object has its highest score.
    """
    first, number = np.unique(objects, return_inverse=True)
    count = len(first)
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, number, sliced.xyxy[:, :2])
    np.maximum.at(high, number, sliced.xyxy[:, 2:])
    xyxy = np.concatenate([low, high], axis=1)
    seen_whole = np.flatnonzero(~sliced.cut.any(axis=1))[::-1]
    xyxy[number[seen_whole]] = sliced.xyxy[seen_whole]  # of several the one with the highest score is written last
    return xyxy, sliced.scores[first], first
