"""What can be said of an object without its truth: its shape, the probabilities in and around it, its neighbours.

The features do not depend on where an object lies, or how it is turned by quarters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medalist.postprocess.shapes import (
    Edges,
    Labels,
    Objects,
    Places,
    Values,
    axes_of,
    boxes_of,
    convex_areas,
    depths,
    edges_of,
)
from medalist.records import MapPrediction

Features = dict[str, Values]
"""One value for each object, by the name of the feature."""

QUANTILES = (0.1, 0.5, 0.9)
FAR = 1e3
"""The distance to the next object where there is none, in diameters."""


def object_features(labels: Labels, prediction: MapPrediction) -> Features:
    """Return the features of all objects of an image, each float64[n].

    labels: int32[H, W], objects 1..n without gaps. prediction: the maps that the objects were made from.
    """
    objects, edges = Objects.of(labels), edges_of(labels)
    depth = depths(labels, edges)
    found = _shapes(objects, edges, depth)
    for name, values in zip(prediction.channels, prediction.maps, strict=True):
        found |= _probabilities(name, values, objects, edges, depth)
    return found | _neighbours(objects, edges, prediction) | _image(objects)


def _shapes(objects: Objects, edges: Edges, depth: NDArray[np.float32]) -> Features:
    area = objects.area
    height, width = boxes_of(objects)
    longer, shorter = axes_of(objects)
    convex = convex_areas(objects)
    perimeter = np.bincount(edges.inner - 1, minlength=objects.count).astype(np.float64)
    within = depth.ravel()[objects.at]
    deepest = _largest(objects, within)
    cut = _at_image_edge(objects)
    return {
        "area": area,
        "height": np.minimum(height, width),
        "width": np.maximum(height, width),
        "extent": area / np.maximum(height * width, 1),
        "perimeter": perimeter,
        "compactness": 4 * np.pi * area / np.maximum(perimeter + cut, 1) ** 2,
        "convex_area": convex,
        "solidity": area / np.maximum(convex, 1),
        "longer_axis": longer,
        "shorter_axis": shorter,
        "elongation": shorter / np.maximum(longer, 1e-9),
        "ellipse": area / np.maximum(np.pi / 4 * longer * shorter, 1e-9),
        "deepest": deepest,
        "depth": objects.means(within),
        "roundness": deepest / np.maximum(np.sqrt(area / np.pi), 1e-9),
        "at_image_edge": cut / np.maximum(perimeter + cut, 1),
    }


def _probabilities(
    name: str, values: NDArray[np.uint8], objects: Objects, edges: Edges, depth: NDArray[np.float32]
) -> Features:
    flat = values.ravel()
    inside = flat[objects.at].astype(np.float64) / 255
    mean = objects.means(inside)
    sides = np.maximum(np.bincount(edges.inner - 1, minlength=objects.count), 1)
    rim, beyond = (
        np.bincount(edges.inner - 1, flat[at] / 255, minlength=objects.count) / sides
        for at in (edges.inner_at, edges.outer_at)
    )
    within = depth.ravel()[objects.at]
    is_core = within * 2 > _largest(objects, within)[objects.owner]
    core = objects.sums(inside * is_core) / np.maximum(objects.sums(is_core), 1)
    found = {
        "mean": mean,
        "spread": np.sqrt(np.maximum(objects.means(inside**2) - mean**2, 0)),
        "rim": rim,
        "beyond": beyond,
        "step": rim - beyond,
        "core": core,
        "bent": core - rim,
    }
    # Sorting object and value together sorts the values of each object.
    ordered = np.sort(objects.owner * 256 + flat[objects.at]) & 255
    last = np.maximum(objects.area.astype(np.int64) - 1, 0)
    for quantile in QUANTILES:
        place = objects.start + np.rint(quantile * last).astype(np.int64)
        found[f"quantile{quantile:g}"] = ordered[place] / 255
    found["least"], found["most"] = ordered[objects.start] / 255, ordered[objects.start + last] / 255
    return {f"{name}_{what}": one for what, one in found.items()}


def _neighbours(objects: Objects, edges: Edges, prediction: MapPrediction) -> Features:
    count = objects.count
    shared = edges.outer > 0
    inner, outer = edges.inner[shared] - 1, edges.outer[shared] - 1
    length = np.bincount(inner, minlength=count).astype(np.float64)
    pairs = np.unique(inner * max(count, 1) + outer)
    perimeter = np.maximum(np.bincount(edges.inner - 1, minlength=count), 1)
    found = {
        "touching": np.bincount(pairs // max(count, 1), minlength=count).astype(np.float64),
        "touching_share": length / perimeter,
        "nearest": _nearest(objects),
    }
    for name, values in zip(prediction.channels, prediction.maps, strict=True):
        flat = values.ravel()
        line = np.maximum(flat[edges.inner_at[shared]], flat[edges.outer_at[shared]]) / 255
        found[f"{name}_line"] = np.bincount(inner, line, minlength=count) / np.maximum(length, 1)
        mean = objects.means(flat[objects.at]) / 255
        found[f"{name}_beside_others"] = mean - (np.median(mean) if count else 0.0)
    return found


def _image(objects: Objects) -> Features:
    """What all objects of an image share, and how an object differs from the others."""
    count = objects.count
    median = float(np.median(objects.area)) if count else 1.0
    return {
        "area_beside_others": objects.area / median,
        "median_area": np.full(count, median),
        "objects": np.full(count, float(count)),
        "covered": np.full(count, objects.area.sum() / max(objects.labels.size, 1)),
    }


def _largest(objects: Objects, values: NDArray[np.float32]) -> Values:
    if objects.count == 0:
        return np.zeros(0)
    return np.maximum.reduceat(values, objects.start).astype(np.float64)


def _at_image_edge(objects: Objects) -> Values:
    """Return how many sides of each object's pixels are sides of the image."""
    height, width = objects.labels.shape
    sides = (objects.rows == 0).astype(np.int64) + (objects.rows == height - 1)
    return objects.sums(sides + (objects.columns == 0) + (objects.columns == width - 1))


def _nearest(objects: Objects) -> Values:
    """Return the distance between the middles of each object and the nearest other one, in diameters of the object."""
    if objects.count < 2:
        return np.full(objects.count, FAR)
    middles = np.stack([objects.means(objects.rows), objects.means(objects.columns)], axis=1)
    distance = np.asarray(cKDTree(middles).query(middles, k=2)[0])
    return np.asarray(np.minimum(distance[:, 1] / (2 * np.sqrt(objects.area / np.pi)), FAR), np.float64)


def best_ious(labels: Labels, truth: Labels) -> Values:
    """Return for each object the IoU with the true object that overlaps it best, 0 where none does: float64[n]."""
    area, true_area = np.bincount(labels.ravel()), np.bincount(truth.ravel())
    both = (labels > 0) & (truth > 0)
    pairs, inter = np.unique(labels[both].astype(np.int64) * len(true_area) + truth[both], return_counts=True)
    own, other = pairs // len(true_area), pairs % len(true_area)
    best = np.zeros(int(labels.max(initial=0)) + 1)
    np.maximum.at(best, own, inter / (area[own] + true_area[other] - inter))
    return best[1:]


def as_rows(features: Features) -> NDArray[np.float32]:
    """Return features as float32[n, F], in their order."""
    return np.stack(list(features.values()), axis=1).astype(np.float32)


__all__ = ["Features", "Places", "as_rows", "best_ious", "object_features"]
