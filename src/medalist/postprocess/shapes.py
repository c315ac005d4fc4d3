"""Geometry of objects in a label map int32[H, W] (0 is background, objects are 1..n): edges, hulls, moments, depth.

All functions return one value for each object, in the order of their numbers, and need no loop over pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]
Values = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Objects:
    """The pixels of all objects of a label map, object by object, each in reading order.

    labels: int32[H, W], 1..n without gaps. count: n.
    """

    labels: Labels
    count: int

    @classmethod
    def of(cls, labels: Labels) -> Objects:
        """Return the objects of a label map."""
        return cls(labels, int(labels.max(initial=0)))

    @cached_property
    def at(self) -> Places:
        """The places of the pixels in the flat image, int64[P]."""
        flat = self.labels.ravel()
        there = np.flatnonzero(flat)
        return there[np.argsort(flat[there], kind="stable")]

    @cached_property
    def owner(self) -> Places:
        """The object of each pixel of `at`, counted from 0."""
        return self.labels.ravel()[self.at].astype(np.int64) - 1

    @cached_property
    def area(self) -> Values:
        """The pixels of each object."""
        return np.bincount(self.owner, minlength=self.count).astype(np.float64)

    @cached_property
    def start(self) -> Places:
        """The position in `at` of the first pixel of each object."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.area.astype(np.int64))])[: self.count]

    @cached_property
    def rows(self) -> Places:
        """The row of each pixel of `at`."""
        rows: Places = self.at // self.labels.shape[1]
        return rows

    @cached_property
    def columns(self) -> Places:
        """The column of each pixel of `at`."""
        columns: Places = self.at % self.labels.shape[1]
        return columns

    def sums(self, values: NDArray[np.generic]) -> Values:
        """Return the sum over each object of one value for each pixel of `at`."""
        return np.asarray(np.bincount(self.owner, values.astype(np.float64), minlength=self.count), np.float64)

    def means(self, values: NDArray[np.generic]) -> Values:
        """Return the mean over each object of one value for each pixel of `at`."""
        return self.sums(values) / np.maximum(self.area, 1)


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges between a pixel of an object and a pixel of something else, beside or below each other.

    inner, outer: int64[E], the labels on both sides; inner is an object, outer another object or 0. inner_at, outer_at:
    the places of both pixels in the flat image. An edge between two objects is there twice, once from each side. The
    edge of the image is no edge.
    """

    inner: Places
    outer: Places
    inner_at: Places
    outer_at: Places


def edges_of(labels: Labels) -> Edges:
    """Return the edges of all objects."""
    flat, places = labels.ravel(), np.arange(labels.size).reshape(labels.shape)
    inner_at, outer_at = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first, second in ((places[:-1], places[1:]), (places[:, :-1], places[:, 1:])):
        here, there = first.ravel(), second.ravel()
        differs = flat[here] != flat[there]
        here, there = here[differs], there[differs]
        for one, other in ((here, there), (there, here)):
            inside = flat[one] > 0
            inner_at.append(one[inside])
            outer_at.append(other[inside])
    inner, outer = np.concatenate(inner_at), np.concatenate(outer_at)
    return Edges(flat[inner].astype(np.int64), flat[outer].astype(np.int64), inner, outer)


def convex_areas(objects: Objects) -> Values:
    """Return the area of the convex hull of each object, whose pixels are squares; a filled rectangle is its own."""
    height = objects.labels.shape[0]
    key = objects.owner * height + objects.rows
    first = np.flatnonzero(np.diff(key, prepend=-1))
    last = np.append(first[1:], len(key))[: len(first)] - 1
    # The first and the last pixel of each row have all corners of the hull.
    owner, row = objects.owner[first], objects.rows[first]
    left, right = objects.columns[first], objects.columns[last] + 1
    corners = np.stack([left, row, left, row + 1, right, row, right, row + 1], axis=1).reshape(-1, 2)
    ends = np.searchsorted(owner, np.arange(objects.count + 1)) * 4
    points = corners.astype(np.int32)
    return np.array(
        [cv2.contourArea(cv2.convexHull(points[begin:end])) for begin, end in pairwise(ends.tolist())],
        np.float64,
    )


def axes_of(objects: Objects) -> tuple[Values, Values]:
    """Return the longer and the shorter axis of the ellipse that has the second moments of each object."""
    rows, columns = objects.rows.astype(np.float64), objects.columns.astype(np.float64)
    rows = rows - objects.means(rows)[objects.owner]
    columns = columns - objects.means(columns)[objects.owner]
    # A pixel is a square of side 1, whose own second moment is 1/12.
    across, down, both = (
        objects.means(columns**2) + 1 / 12,
        objects.means(rows**2) + 1 / 12,
        objects.means(rows * columns),
    )
    spread = np.sqrt((across - down) ** 2 + 4 * both**2)
    return 4 * np.sqrt((across + down + spread) / 2), 4 * np.sqrt(np.maximum(across + down - spread, 0) / 2)


def boxes_of(objects: Objects) -> tuple[Values, Values]:
    """Return the height and the width of the box around each object."""
    if objects.count == 0:
        return np.zeros(0), np.zeros(0)
    sides = []
    for places in (objects.rows, objects.columns):
        low, high = np.minimum.reduceat(places, objects.start), np.maximum.reduceat(places, objects.start)
        sides.append((high - low + 1).astype(np.float64))
    return sides[0], sides[1]


def depths(labels: Labels, edges: Edges) -> NDArray[np.float32]:
    """Return for each pixel of an object its distance to the rim of the object, plus 1; 0 for background.

    The rim is every pixel that meets another object or background.
    """
    inside = (labels > 0).astype(np.uint8)
    inside.ravel()[edges.inner_at] = 0
    if not inside.any() or inside.all():
        return (labels > 0).astype(np.float32)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(labels > 0, distance + 1, 0).astype(np.float32)
