"""Touching objects from probability maps, by seeded watershed.

The `border` map keeps the seeds of touching objects apart; the flood then gives the border's pixels
back to the objects beside it. "Connected" means by edges (4 neighbours) here, so that a diagonal border
line of one pixel separates.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as same_value_pieces
from skimage.segmentation import watershed

from medalist.postprocess.settings import WatershedConfig

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]


def watershed_labels(body: Floats, border: Floats | None, config: WatershedConfig) -> Labels:
    """Objects int32[H, W], 1..n without gaps, from probabilities float32[H, W] in 0..1.

    1. Foreground: body > config.body.
    2. Seeds within it, by config.seed_rule. A connected piece of the foreground with no seed is one object.
    3. Flood from the seeds over the foreground: first where body - border_weight x border is high (rule
       "threshold"), or far from the edge of the inside (rule "distance").
    4. Of each object only the largest connected piece stays; small objects are dropped, holes filled.

    Objects are connected and do not overlap; their order is that of their first pixels, row by row.
    """
    pieces, count = connected(body > config.body)
    if count == 0:
        return pieces
    inside = body if border is None else body - np.float32(config.border_weight) * border
    kept = without_small((inside > config.seed) & (pieces > 0), config.min_seed)
    match config.seed_rule:
        case "threshold":
            height, seeds = inside, connected(kept)[0]
        case "distance":
            height = distance_to_edge(kept)
            seeds = distance_peaks(height, config.smooth, config.radius)
        case _:
            assert_never(config.seed_rule)
    labels = flood(pieces, count, seeds, height)
    labels = largest_pieces(labels, config.min_size)
    if config.fill_holes:
        labels = fill_holes(labels)
    return in_reading_order(labels)


def connected(mask: NDArray[np.bool_]) -> tuple[Labels, int]:
    """Connected pieces of bool[H, W]: int32[H, W], numbered 1..n in reading order, and n."""
    labels = np.zeros(mask.shape, np.int32)
    count = ndimage.label(mask, output=labels)
    return labels, int(count)


def without_small(mask: NDArray[np.bool_], min_size: int) -> NDArray[np.bool_]:
    """The mask bool[H, W] without its connected pieces of fewer than `min_size` pixels."""
    if min_size <= 1:
        return mask
    labels, count = connected(mask)
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= min_size
    keep[0] = False
    kept: NDArray[np.bool_] = keep[labels]
    return kept


def distance_to_edge(mask: NDArray[np.bool_]) -> Floats:
    """Distance in pixels to the nearest pixel outside the mask; all 0 where there is no outside."""
    if mask.all():
        return np.zeros(mask.shape, np.float32)
    distance: Floats = ndimage.distance_transform_edt(mask).astype(np.float32)
    return distance


def distance_peaks(distance: Floats, smooth: float, radius: int) -> Labels:
    """Numbered peaks of float32[H, W]: where, smoothed, it is highest within `radius` rows and columns."""
    smoothed = ndimage.gaussian_filter(distance, smooth) if smooth > 0 else distance
    peaks = (smoothed == ndimage.maximum_filter(smoothed, size=2 * radius + 1)) & (distance > 0)
    labels = np.zeros(peaks.shape, np.int32)
    ndimage.label(peaks, structure=np.ones((3, 3), bool), output=labels)  # equal heights side by side are one peak
    return labels


def flood(pieces: Labels, count: int, seeds: Labels, height: Floats) -> Labels:
    """Share out the foreground pieces int32[H, W] (1..count) among the seeds int32[H, W] (1..n) within them.

    A piece with no seed or with one is one object and needs no flood. Only the others are flooded, from the
    greatest `height` down, each in its own box: two pieces never meet, so this equals one flood of the image, but for
    pixels on a watershed whose heights are exactly equal.
    """
    owner = np.zeros(int(seeds.max()) + 1, np.int64)
    owner[seeds[seeds > 0]] = pieces[seeds > 0]
    seeds_in = np.bincount(owner[1:], minlength=count + 1)
    labels = pieces.copy()
    next_label = count + 1
    boxes = ndimage.find_objects(pieces)
    for piece in np.flatnonzero(seeds_in > 1):
        box = boxes[piece - 1]
        mask = pieces[box] == piece
        markers = np.where(mask, seeds[box], 0)
        flooded = watershed(-height[box], markers, mask=mask)  # type: ignore[no-untyped-call]
        numbers, inverse = np.unique(flooded[mask], return_inverse=True)
        labels[box][mask] = inverse + next_label
        next_label += len(numbers)
    return labels


def largest_pieces(labels: Labels, min_size: int) -> Labels:
    """Keep of each object of int32[H, W] its largest connected piece (first of equals), if not too small."""
    pieces: Labels = same_value_pieces(labels, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    size = np.bincount(pieces.ravel())
    owner = np.zeros(len(size), np.int32)
    owner[pieces] = labels  # every pixel of a piece has the same label
    size[0] = 0
    order = np.lexsort((-np.arange(len(size)), size))  # the last of an owner wins: the largest, then the first
    best = np.zeros(int(owner.max(initial=0)) + 1, np.int64)
    best[owner[order]] = order
    keep = np.zeros(len(size), bool)
    keep[best[1:]] = True
    keep &= size >= max(min_size, 1)
    kept: Labels = np.where(keep, owner, 0).astype(np.int32)[pieces]
    return kept


def fill_holes(labels: Labels) -> Labels:
    """Give each connected piece of background that only one object of int32[H, W] encloses to that object.

    A piece at the image's edge, or between several objects, stays background.
    """
    holes, count = connected(labels == 0)
    low = np.full(count + 1, np.iinfo(np.int32).max, np.int32)
    high = np.zeros(count + 1, np.int32)
    for first, second in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        for here, there in ((first, second), (second, first)):
            meets = (holes[here] > 0) & (labels[there] > 0)
            np.minimum.at(low, holes[here][meets], labels[there][meets])
            np.maximum.at(high, holes[here][meets], labels[there][meets])
    owner = np.where(low == high, low, 0).astype(np.int32)
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        owner[edge] = 0
    filled: Labels = np.where(holes > 0, owner[holes], labels)
    return filled


def in_reading_order(labels: Labels) -> Labels:
    """Renumber int32[H, W] 1..n without gaps, by the first pixel of each object, row by row."""
    flat = labels.ravel()
    filled = np.flatnonzero(flat)
    first = np.full(int(labels.max(initial=0)) + 1, flat.size, np.int64)
    first[flat[filled[::-1]]] = filled[::-1]  # written backwards, so that the first pixel stays
    first[0] = flat.size
    order = np.argsort(first, kind="stable")[: int((first < flat.size).sum())]
    number = np.zeros(len(first), np.int32)
    number[order] = np.arange(1, len(order) + 1)
    renumbered: Labels = number[labels]
    return renumbered
