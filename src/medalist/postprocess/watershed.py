"""Separate touching objects in probability maps by a seeded watershed.

The `border` map separates the seeds of touching objects. The flood then gives the pixels of the border back to the
objects beside it. Here "connected" means connected by edges (4 neighbours), so that a diagonal border line that is one
pixel wide separates two objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as same_value_pieces
from skimage.segmentation import watershed

from medalist.postprocess.settings import WatershedConfig

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]


def watershed_labels(
    body: Floats,
    border: Floats | None,
    config: WatershedConfig,
    levels: Sequence[Floats] = (),
    distance: Floats | None = None,
) -> Labels:
    """Return objects int32[H, W], 1..n without gaps, from probabilities float32[H, W] in 0..1.

    levels: the maps `energy1`, `energy2`, … for the seed rule "energy". distance: the map `distance` for the seed rule
    "distance_map".

    1. The foreground is where body > config.body.
    2. Seeds are found in the foreground by config.seed_rule. A connected piece of the foreground without a seed is one
       object.
    3. A flood from the seeds fills the foreground. With the rule "threshold" it first fills pixels where
       body - border_weight x border is high; with the rule "distance", pixels far from the edge of the inside; with
       the rule "energy", pixels where the sum of body and all levels is high; with the rule "distance_map", pixels
       where the map `distance` is high.
    4. Only the largest connected piece of each object is kept; small objects are dropped, and holes may be filled.

    Objects are connected and do not overlap. They are numbered in the order of their first pixels, row by row.
    """
    pieces, count = connected(body > config.body)
    if count == 0:
        return pieces
    labels = largest_pieces(_flooded(pieces, count, body, border, config, levels, distance), config.min_size)
    if config.fill_holes:
        labels = fill_holes(labels)
    return in_reading_order(labels)


def piece_labels(piece: NDArray[np.bool_], body: Floats, border: Floats | None, config: WatershedConfig) -> Labels:
    """Return steps 2 and 3 of `watershed_labels` for one piece of the foreground, bool[h, w]: its objects int32[h, w].

    There may be gaps in their numbers.
    """
    return _flooded(piece.astype(np.int32), 1, body, border, config)


def _flooded(
    pieces: Labels,
    count: int,
    body: Floats,
    border: Floats | None,
    config: WatershedConfig,
    levels: Sequence[Floats] = (),
    distance: Floats | None = None,
) -> Labels:
    inside = body if border is None else body - np.float32(config.border_weight) * border
    kept = without_small((inside > config.seed) & (pieces > 0), config.min_seed)
    match config.seed_rule:
        case "threshold":
            height, seeds = inside, connected(kept)[0]
        case "distance":
            height = distance_to_edge(kept)
            seeds = distance_peaks(height, config.smooth, config.radius)
        case "energy":
            height = np.stack([body, *levels]).sum(axis=0)
            seeds = level_seeds([(level > config.seed) & (pieces > 0) for level in levels], config.min_seed)
        case "distance_map":
            assert distance is not None
            height = distance
            seeds = distance_peaks(distance, config.smooth, config.radius, (distance > config.seed) & (pieces > 0))
        case _:
            assert_never(config.seed_rule)
    return flood(pieces, count, seeds, height)


def connected(mask: NDArray[np.bool_]) -> tuple[Labels, int]:
    """Return the connected pieces of bool[H, W] as int32[H, W], numbered 1..n in reading order, and n."""
    labels = np.zeros(mask.shape, np.int32)
    count = ndimage.label(mask, output=labels)
    return labels, int(count)


def without_small(mask: NDArray[np.bool_], min_size: int) -> NDArray[np.bool_]:
    """Return the mask bool[H, W] without its connected pieces of fewer than `min_size` pixels."""
    if min_size <= 1:
        return mask
    labels, count = connected(mask)
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= min_size
    keep[0] = False
    kept: NDArray[np.bool_] = keep[labels]
    return kept


def distance_to_edge(mask: NDArray[np.bool_]) -> Floats:
    """Return the distance in pixels to the nearest pixel outside the mask: float32[H, W].

    All distances are 0 where the mask covers the whole image.
    """
    if mask.all():
        return np.zeros(mask.shape, np.float32)
    distance: Floats = ndimage.distance_transform_edt(mask).astype(np.float32)
    return distance


def distance_peaks(distance: Floats, smooth: float, radius: int, where: NDArray[np.bool_] | None = None) -> Labels:
    """Return the numbered peaks of a distance map float32[H, W] as int32[H, W], 0 elsewhere.

    A peak is where the map, after Gaussian smoothing by `smooth` pixels, is highest within `radius` rows and columns.
    where: bool[H, W], where peaks may be; None is where the map is above 0.
    """
    smoothed = ndimage.gaussian_filter(distance, smooth) if smooth > 0 else distance
    peaks = (smoothed == ndimage.maximum_filter(smoothed, size=2 * radius + 1)) & (
        distance > 0 if where is None else where
    )
    labels = np.zeros(peaks.shape, np.int32)
    ndimage.label(peaks, structure=np.ones((3, 3), bool), output=labels)  # neighbours of equal height are one peak
    return labels


def level_seeds(levels: Sequence[NDArray[np.bool_]], min_seed: int) -> Labels:
    """Return the numbered seeds int32[H, W] of nested levels bool[H, W], the largest level first.

    A seed is each connected piece of a level, of at least `min_seed` pixels, that has no seed of a deeper level in it.
    A pixel belongs to a level only where it belongs to all levels before.
    """
    nested: list[NDArray[np.bool_]] = []
    for level in levels:
        nested.append(level & nested[-1] if nested else level)
    seeds, count = np.zeros(levels[0].shape, np.int32), 0
    for level in reversed(nested):
        pieces, found = connected(without_small(level, min_seed))
        is_new = np.ones(found + 1, np.bool_)
        is_new[pieces[seeds > 0]] = False
        is_new[0] = False
        number = np.where(is_new, np.cumsum(is_new) + count, 0).astype(np.int32)
        seeds = np.where(seeds > 0, seeds, number[pieces])
        count += int(np.count_nonzero(is_new))
    return seeds


def flood(pieces: Labels, count: int, seeds: Labels, height: Floats) -> Labels:
    """Divide the foreground pieces int32[H, W] (1..count) among the seeds int32[H, W] (1..n) within them.

    A piece without a seed, or with one seed, is one object and needs no flood. Each other piece is flooded in its own
    box, from the greatest `height` down. Two pieces never touch, so the result is that of one flood of the whole image,
    except for pixels on a watershed line whose heights are exactly equal.
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
    """Return the labels int32[H, W] with only the largest connected piece of each object.

    Of pieces of equal size, the first is kept. An object is dropped where its largest piece has fewer than
    `min_size` pixels.
    """
    pieces: Labels = same_value_pieces(labels, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    size = np.bincount(pieces.ravel())
    owner = np.zeros(len(size), np.int32)
    owner[pieces] = labels  # every pixel of a piece has the same label
    size[0] = 0
    order = np.lexsort((-np.arange(len(size)), size))  # the last piece of an owner is kept: the largest, or the first
    best = np.zeros(int(owner.max(initial=0)) + 1, np.int64)
    best[owner[order]] = order
    keep = np.zeros(len(size), bool)
    keep[best[1:]] = True
    keep &= size >= max(min_size, 1)
    kept: Labels = np.where(keep, owner, 0).astype(np.int32)[pieces]
    return kept


def fill_holes(labels: Labels) -> Labels:
    """Return the labels int32[H, W] with filled holes.

    A hole is a connected piece of background that is enclosed by only one object; it becomes part of this object. A
    piece at the edge of the image, or between several objects, stays background.
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
    """Return the labels int32[H, W] renumbered 1..n without gaps, by the first pixel of each object, row by row."""
    flat = labels.ravel()
    filled = np.flatnonzero(flat)
    first = np.full(int(labels.max(initial=0)) + 1, flat.size, np.int64)
    first[flat[filled[::-1]]] = filled[::-1]  # written backwards, so that the first pixel overwrites the others
    first[0] = flat.size
    order = np.argsort(first, kind="stable")[: int((first < flat.size).sum())]
    number = np.zeros(len(first), np.int32)
    number[order] = np.arange(1, len(order) + 1)
    renumbered: Labels = number[labels]
    return renumbered
