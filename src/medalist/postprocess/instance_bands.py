"""Separate touching objects in large maps: piece by piece of the foreground, with the answer of the whole image.

Two pieces of the foreground never touch, so seeds and flood of one do not depend on the others. Holes and the order of
the numbers do: they are found over all bands. The numbers of the objects lie on disk.

With the seed rule `distance` the distance is smoothed, and its peaks are compared, within each piece alone. So the
answer differs from that of the whole image where other objects lie within `radius` or 4 x `smooth` pixels of a peak.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medalist.codecs.disk import BAND_PIXELS, bands, disk_array, release
from medalist.postprocess.bands import Pieces, pieces_of
from medalist.postprocess.settings import WatershedConfig
from medalist.postprocess.watershed import connected, largest_pieces, piece_labels

Plane = NDArray[np.uint8]
Labels = NDArray[np.int32]


def watershed_by_bands(
    body: Plane, border: Plane | None, config: WatershedConfig, pixels: int = BAND_PIXELS, folder: Path | None = None
) -> Labels:
    """Return the objects int32[H, W] of `watershed.watershed_labels` from maps uint8[H, W], as an array on disk.

    folder: where it lies; None takes the system's folder for temporary files.
    """
    size = body.shape[0], body.shape[1]
    above = np.arange(256, dtype=np.uint8).astype(np.float32) / 255 > config.body
    pieces = pieces_of(lambda rows: above[body[rows]], size, pixels)
    labels: Labels = disk_array(size, np.int32, folder or Path(tempfile.gettempdir()))
    count = 0
    for place, first in _places(pieces, body, above, config):
        box = slice(place[0], place[1]), slice(place[2], place[3])
        numbers, _ = connected(above[body[box]])
        own = numbers == numbers[first[0] - place[0], first[1] - place[2]]
        found = piece_labels(own, _floats(body[box]), None if border is None else _floats(border[box]), config)
        found = largest_pieces(found, config.min_size)
        objects = np.flatnonzero(np.bincount(found.ravel())[1:]) + 1
        renumbered = np.zeros(int(found.max(initial=0)) + 1, np.int32)
        renumbered[objects] = np.arange(count + 1, count + 1 + len(objects))
        inside = found > 0
        labels[box][inside] = renumbered[found[inside]]
        count += len(objects)
        release(labels)
        release(body)
    if config.fill_holes:
        fill_holes_by_bands(labels, pixels)
    renumber_by_bands(labels, count, pixels)
    return labels


def _floats(plane: Plane) -> NDArray[np.float32]:
    floats: NDArray[np.float32] = np.divide(plane, 255, dtype=np.float32)
    return floats


def _places(
    pieces: Pieces, body: Plane, above: NDArray[np.bool_], config: WatershedConfig
) -> list[tuple[tuple[int, int, int, int], tuple[int, int]]]:
    """Return the box (top, bottom, left, right) around each piece, and its first pixel (row, column)."""
    height, width = body.shape
    count = len(pieces.sizes)
    low = np.full((2, count), max(height, width), np.int64)
    high = np.zeros((2, count), np.int64)
    begins = np.full(count, height * width, np.int64)
    for rows, first in zip(pieces.rows, pieces.firsts, strict=True):
        numbers, own = connected(above[body[rows]])
        if not own:
            continue
        owner = pieces.owner[first + 1 : first + 1 + own]
        boxes = np.array([[[one.start, one.stop] for one in box] for box in ndimage.find_objects(numbers)], np.int64)
        for axis, shift in ((0, rows.start), (1, 0)):
            np.minimum.at(low[axis], owner, boxes[:, axis, 0] + shift)
            np.maximum.at(high[axis], owner, boxes[:, axis, 1] + shift)
        flat = numbers.ravel()
        marked = np.flatnonzero(flat)[::-1]  # written backwards, so that the first pixel overwrites the others
        at = np.zeros(own + 1, np.int64)
        at[flat[marked]] = marked
        np.minimum.at(begins, owner, at[1:] + rows.start * width)
    # One more pixel around a piece, from which distances are measured; more where distances are smoothed.
    room = 1 if config.seed_rule == "threshold" else 1 + config.radius + int(4 * config.smooth + 0.5)
    low, high = np.maximum(low - room, 0), np.minimum(high + room, np.array([[height], [width]]))
    first_pixels = np.stack(np.divmod(begins, width), axis=1)
    boxes_of = np.stack([low[0], high[0], low[1], high[1]], axis=1)
    return [
        ((int(box[0]), int(box[1]), int(box[2]), int(box[3])), (int(pixel[0]), int(pixel[1])))
        for box, pixel in zip(boxes_of[1:], first_pixels[1:], strict=True)
    ]


def fill_holes_by_bands(labels: Labels, pixels: int = BAND_PIXELS) -> None:
    """Fill the holes of objects int32[H, W], as `watershed.fill_holes` does."""
    size = labels.shape[0], labels.shape[1]
    holes = pieces_of(lambda rows: labels[rows] == 0, size, pixels)
    low = np.full(len(holes.sizes), np.iinfo(np.int32).max, np.int32)
    high = np.zeros(len(holes.sizes), np.int32)
    at_edge = np.zeros(len(holes.sizes), np.bool_)
    above: tuple[Labels, Labels] | None = None
    for number, rows in enumerate(holes.rows):
        own = np.array(labels[rows])
        found = holes.of_band(number, own == 0)
        if above is not None:  # the last row of the band before
            own, found = np.concatenate((above[0], own)), np.concatenate((above[1], found))
        for first, second in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
            for here, there in ((first, second), (second, first)):
                meets = (found[here] > 0) & (own[there] > 0)
                np.minimum.at(low, found[here][meets], own[there][meets])
                np.maximum.at(high, found[here][meets], own[there][meets])
        at_edge[found[:, 0]] = at_edge[found[:, -1]] = True
        if number == 0:
            at_edge[found[0]] = True
        if number == len(holes.rows) - 1:
            at_edge[found[-1]] = True
        above = own[-1:], found[-1:]
        release(labels)
    owner = np.where((low == high) & ~at_edge, low, 0).astype(np.int32)
    for number, rows in enumerate(holes.rows):
        found = holes.of_band(number, labels[rows] == 0)
        labels[rows] = np.where(found > 0, owner[found], labels[rows])
        release(labels)


def renumber_by_bands(labels: Labels, count: int, pixels: int = BAND_PIXELS) -> None:
    """Renumber objects 1..count by their first pixels, row by row, as `watershed.in_reading_order` does."""
    size = labels.shape[0], labels.shape[1]
    first = np.full(count + 1, size[0] * size[1], np.int64)
    for rows in bands(size, pixels):
        flat = labels[rows].ravel()
        filled = np.flatnonzero(flat)[::-1]
        at = np.full(count + 1, size[0] * size[1], np.int64)
        at[flat[filled]] = filled + rows.start * size[1]
        np.minimum(first, at, out=first)
    number = np.zeros(count + 1, np.int32)
    number[1 + np.argsort(first[1:], kind="stable")] = np.arange(1, count + 1)
    for rows in bands(size, pixels):
        labels[rows] = number[labels[rows]]
        release(labels)
