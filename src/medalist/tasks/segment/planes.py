"""Planes that are made from instances: what a network may be taught of objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medalist.errors import ConfigError
from medalist.tasks.segment.channels import BACKGROUND, INSTANCE_PLANES, OFFSETS, REGRESSIONS, energy_level
from medalist.tasks.segment.settings import SegmentConfig

MOST_OBJECTS = np.iinfo(np.uint16).max - 1

Box = tuple[slice, slice]
"""Rows and columns."""


def planes(
    labels: NDArray[np.int32], channels: Sequence[str], config: SegmentConfig
) -> Mapping[str, NDArray[np.bool_] | NDArray[np.uint8]]:
    """Return the planes of these names [H, W], made from instances int32[H, W], where 0 is background.

    Planes of true and false:
    body: all objects.
    border: between touching objects, see `touching_border`.
    contour: the pixels of an object whose `edge_distance` is at most config.contour.
    energy1, energy2, …: those whose `edge_distance` is above 1, 2, … times config.energy_step.
    background: where none of the other planes of true and false is.
    Planes of numbers in 0..1, in steps of 1/255:
    distance: see `distance_plane`.
    offset_y, offset_x: empty here, see `data.offsets.Offsets`.
    Raises ConfigError for other names.
    """
    made: dict[str, NDArray[np.bool_] | NDArray[np.uint8]] = {}
    needing = ("contour", "distance")
    near_edge = any(name in needing or energy_level(name) is not None for name in channels)
    distance = edge_distance(labels) if near_edge else np.zeros(labels.shape, np.float32)
    for name in channels:
        level = energy_level(name)
        if level is not None:
            made[name] = distance > level * config.energy_step
        elif name == "body":
            made[name] = labels > 0
        elif name == "border":
            made[name] = touching_border(labels, config.border)
        elif name == "contour":
            made[name] = (distance > 0) & (distance <= config.contour)
        elif name == "distance":
            made[name] = distance_plane(labels, distance, config.distance_cap)
        elif name in OFFSETS:
            made[name] = np.zeros(labels.shape, np.uint8)
        elif name != BACKGROUND:
            known = ", ".join((*INSTANCE_PLANES, *REGRESSIONS, "energy1", "energy2"))
            raise ConfigError(f"model.channels: instances give {known} and so on, not {name}")
    if BACKGROUND in channels:
        others = [plane for name, plane in made.items() if name not in REGRESSIONS]
        made[BACKGROUND] = ~np.any(others, axis=0) if others else labels == 0
    return made


def numbered(labels: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Return the labels as uint16. Raises ConfigError for more than 65534 objects."""
    if labels.max(initial=0) > MOST_OBJECTS:
        raise ConfigError(f"an image with {labels.max()} objects; at most {MOST_OBJECTS} can be told apart")
    return labels.astype(np.uint16)


def touching_border(labels: NDArray[np.int32], radius: int) -> NDArray[np.bool_]:
    """Return bool[H, W], true for pixels whose square window of side 2*radius+1 contains two different objects.

    labels: int32[H, W], 0 = background. Raises ConfigError for more than 65534 objects.
    """
    numbers = numbered(labels)
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    highest = cv2.dilate(numbers, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    # Background becomes the largest number, so that it is never the minimum of a window that has an object.
    raised = np.where(numbers == 0, np.uint16(65535), numbers)
    lowest = cv2.erode(raised, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=65535)
    border: NDArray[np.bool_] = (highest > 0) & (highest != lowest)
    return border


def edge_distance(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return float32[H, W]: the distance in pixels from each object's pixel to the nearest pixel outside of its object.

    labels: int32[H, W], 0 = background, where the distance is 0. The edge of the image is no edge of an object. Where
    an object has no outside, its distance is infinite.
    """
    distance = np.zeros(labels.shape, np.float32)
    for number, box in _boxes(labels, 1):
        inside = labels[box] == number
        own = _distance_to_false(inside) if not inside.all() else np.full(inside.shape, np.inf, np.float32)
        np.copyto(distance[box], own, where=inside)
    return distance


def distance_plane(labels: NDArray[np.int32], distance: NDArray[np.float32], cap: float | None) -> NDArray[np.uint8]:
    """Return uint8[H, W]: 255 times the distance to the edge, as a share of the largest of its object or of `cap`.

    distance: as `edge_distance` gives it. An object without an edge has 255 everywhere.
    """
    largest = np.full(int(labels.max(initial=0)) + 1, 1 if cap is None else cap, np.float32)
    if cap is None:
        for number, box in _boxes(labels, 0):
            largest[number] = distance[box].max(where=labels[box] == number, initial=0)
    known = np.isfinite(distance)
    share = np.where(known, distance, 1) / np.where(known, largest[labels], 1)
    plane: NDArray[np.uint8] = np.rint(255 * np.minimum(share, 1)).astype(np.uint8)
    return plane


def nearness(labels: NDArray[np.int32], sigma: float) -> NDArray[np.uint8]:
    """Return uint8[H, W]: 255 times exp(-(d1 + d2)^2 / (2 sigma^2)), the weight map of arXiv 1505.04597.

    d1 and d2 are the distances in pixels to the nearest and the second nearest object; inside of an object d1 is 0.
    What would be below half a step is 0, so objects farther away are not looked at.
    """
    far = _nearness_reach(sigma)
    first, second = np.full(labels.shape, np.inf, np.float32), np.full(labels.shape, np.inf, np.float32)
    for number, box in _boxes(labels, far):
        own = _distance_to_false(labels[box] != number)
        nearest, next_one = first[box], second[box]
        np.minimum(next_one, np.maximum(nearest, own), out=next_one)
        np.minimum(nearest, own, out=nearest)
    near: NDArray[np.uint8] = np.rint(255 * np.exp(-((first + second) ** 2) / (2 * sigma**2))).astype(np.uint8)
    return near


def _nearness_reach(sigma: float) -> int:
    return int(np.ceil(sigma * np.sqrt(2 * np.log(2 * 255)))) + 1


def reach(config: SegmentConfig) -> int:
    """Return how many pixels around a pixel decide what it is in `border`, `contour` and `nearness`."""
    far = 0 if config.border_sigma is None else _nearness_reach(config.border_sigma)
    return max(config.border, config.contour, far)


def _distance_to_false(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)


def _boxes(labels: NDArray[np.int32], more: int) -> Iterator[tuple[int, Box]]:
    """Yield the number of each object and its bounding box, larger by `more` pixels on each side where the image is."""
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            rows, columns = (slice(max(side.start - more, 0), side.stop + more) for side in box)
            yield number, (rows, columns)
