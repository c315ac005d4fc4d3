"""Split objects into parts, and merge touching objects.

Objects are a label map int32[H, W]: 0 is background, objects are 1..n without gaps, each connected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label as same_value_pieces

from medalist.postprocess.shapes import Labels, Objects, Places, convex_areas, edges_of
from medalist.postprocess.watershed import (
    Floats,
    distance_peaks,
    distance_to_edge,
    flood,
    in_reading_order,
    largest_pieces,
)


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts into which some objects of an image are split.

    labels: int32[H, W], parts 1..m, 0 elsewhere, also in objects that are not split. parent: int64[m], the object of
    each part; each object that is split has at least two parts.
    """

    labels: Labels
    parent: Places


def split_at_seeds(labels: Labels, inside: NDArray[np.bool_], height: Floats, min_seed: int, min_size: int) -> Parts:
    """Split objects at the connected pieces of `inside`, bool[H, W], that lie within one object.

    Pieces with fewer than `min_seed` pixels are no seeds; parts with fewer than `min_size` pixels are dropped. The
    flood from the seeds begins where `height` is greatest.
    """
    seeds: Labels = same_value_pieces(np.where(inside, labels, 0), background=0, connectivity=1)  # type: ignore[no-untyped-call]
    size = np.bincount(seeds.ravel())
    keep = size >= max(min_seed, 1)
    keep[0] = False
    number = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return _parts(labels, number[seeds], height, min_size)


def split_at_peaks(
    labels: Labels, smooth: float, radius: int, min_size: int, which: NDArray[np.bool_] | None = None
) -> Parts:
    """Split objects at the peaks of the smoothed distance to their own edge, see `distance_peaks`.

    which: bool[n], the objects that may be split; None for all.
    """
    seeds, height = np.zeros_like(labels), np.zeros(labels.shape, np.float32)
    count = 0
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or (which is not None and not which[number - 1]):
            continue
        mask = np.pad(labels[box] == number, 1)
        distance = distance_to_edge(mask)
        peaks = distance_peaks(distance, smooth, radius)[1:-1, 1:-1]
        own = mask[1:-1, 1:-1]
        height[box][own] = distance[1:-1, 1:-1][own]
        found = int(peaks.max())
        if found > 1:
            own &= peaks > 0
            seeds[box][own] = peaks[own] + count
            count += found
    return _parts(labels, seeds, height, min_size)


def _parts(labels: Labels, seeds: Labels, height: Floats, min_size: int) -> Parts:
    count = int(labels.max(initial=0))
    flooded = flood(labels, count, seeds, height)
    parts = largest_pieces(np.where(flooded > count, flooded - count, 0).astype(np.int32), min_size)
    parent = np.zeros(int(parts.max(initial=0)) + 1, np.int64)
    parent[parts] = labels  # the parts of an object have its pixels alone
    parent[0] = 0
    there = np.bincount(parts.ravel(), minlength=len(parent)) > 0
    siblings = np.bincount(parent[there & (parent > 0)], minlength=count + 1)
    kept = in_reading_order(np.where(siblings[parent][parts] > 1, parts, 0).astype(np.int32))
    parent_of = np.zeros(int(kept.max(initial=0)) + 1, np.int64)
    parent_of[kept] = labels
    return Parts(kept, parent_of[1:])


def with_parts(labels: Labels, parts: Parts) -> Labels:
    """Return the objects in which those that are split are replaced by their parts, numbered in reading order.

    The pixels of a split object that belong to no part become background.
    """
    is_split = np.zeros(int(labels.max(initial=0)) + 1, np.bool_)
    is_split[parts.parent] = True
    whole = np.where(is_split[labels], 0, labels)
    joined: Labels = np.where(parts.labels > 0, parts.labels + len(is_split), whole).astype(np.int32)
    return in_reading_order(joined)


def split_dented(labels: Labels, solidity: float, smooth: float, radius: int, min_size: int) -> Labels:
    """Split objects that fill less than `solidity` of their convex hull, at the peaks of the distance to their edge."""
    objects = Objects.of(labels)
    dented = objects.area < solidity * convex_areas(objects)
    if not dented.any():
        return labels
    return with_parts(labels, split_at_peaks(labels, smooth, radius, min_size, dented))


def merge_touching(labels: Labels, border: Floats, below: float) -> Labels:
    """Make one object of touching objects where the mean of `border` along their line is below a threshold.

    border: float32[H, W] in 0..1. The line consists of the pixels of each object that meet the other one, once for each
    side that they share. Objects that are merged in pairs become one together.
    """
    count = int(labels.max(initial=0))
    edges = edges_of(labels)
    shared = edges.outer > 0
    if not shared.any():
        return labels
    low, high = (np.minimum(edges.inner, edges.outer)[shared], np.maximum(edges.inner, edges.outer)[shared])
    pairs, inverse, length = np.unique(low * (count + 1) + high, return_inverse=True, return_counts=True)
    mean = np.bincount(inverse, border.ravel()[edges.inner_at[shared]]) / length
    pairs = pairs[mean < below]
    joined = coo_array((np.ones(len(pairs)), (pairs // (count + 1), pairs % (count + 1))), (count + 1, count + 1))
    _, group = connected_components(joined, directed=False)
    merged: Labels = np.where(labels > 0, group[labels] + 1, 0).astype(np.int32)
    return in_reading_order(merged)
