"""Small objects made visible: windows around a place, their frames on the whole image, and probabilities as colours."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.records import Answer
from medalist.report.labels import object_labels
from medalist.report.pictures import SIDE, Colour, Picture, Window, edges, fit_labels, fitted_size

FRAME: Colour = (255, 190, 11)
TRUTH: Colour = (64, 224, 255)
"""Colour of the truth's outline on probabilities: none of their colours is like it."""
LEAST = 64
"""The least side of a window in pixels of the image: a smaller one shows too little of what is around."""
AROUND = 3.0
"""The side of a window in lengths of the object in its middle."""
MOST_AREA = 0.4
"""A window with more than this share of the image is not worth a picture of its own."""


def window_around(box: Window, size: tuple[int, int]) -> Window | None:
    """Return the window with an object in its middle, moved to lie inside the image; None where it is most of it.

    Args:
        box: the rows and columns of the object.
        size: (height, width) of the image.
    """
    longest = max(part.stop - part.start for part in box)
    sides = [min(max(LEAST, round(AROUND * longest)), whole) for whole in size]
    if sides[0] * sides[1] > MOST_AREA * size[0] * size[1]:
        return None
    starts = [
        min(max(0, (part.start + part.stop - side) // 2), whole - side)
        for part, side, whole in zip(box, sides, size, strict=True)
    ]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return rows, columns


def holds(window: Window, box: Window) -> bool:
    """Return whether the middle of a box lies in a window."""
    middles = [(part.start + part.stop) // 2 for part in box]
    return all(part.start <= middle < part.stop for part, middle in zip(window, middles, strict=True))


def with_frames(picture: Picture, windows: Sequence[Window], size: tuple[int, int]) -> Picture:
    """Return the picture of a whole image of `size` with a frame around each window, and its letter from `LETTERS`."""
    framed = picture.copy()
    down, right = picture.shape[0] / size[0], picture.shape[1] / size[1]
    for letter, (rows, columns) in zip(LETTERS, windows, strict=False):
        top, left = int(rows.start * down), int(columns.start * right)
        bottom = min(int(rows.stop * down), picture.shape[0]) - 1
        end = min(int(columns.stop * right), picture.shape[1]) - 1
        cv2.rectangle(framed, (left, top), (end, bottom), FRAME, 2)
        corner = (left + 6, min(top + 18, picture.shape[0] - 3))
        cv2.putText(framed, letter, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.65, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.putText(framed, letter, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.65, FRAME, 2, cv2.LINE_AA)
    return framed


def heat(
    probability: NDArray[np.float32], truth: Answer | None = None, side: int = SIDE, window: Window | None = None
) -> Picture:
    """Draw probabilities as colours, from black at 0 over red to pale yellow at 1, with the outline of the truth.

    A picture that is smaller than the image shows the highest probability of the pixels that it takes together, so
    that a small peak does not vanish.

    Args:
        probability: float32[H, W] in 0..1.
        truth: an answer of the same size, or None for no outline.
        side: longer side of the picture, in pixels.
        window: the rows and columns that are drawn; None draws all.
    """
    part = window or (slice(None), slice(None))
    values = np.clip(np.rint(probability[part] * 255), 0, 255).astype(np.uint8)
    height, width = fitted_size(values.shape, side)
    step = max(-(-values.shape[0] // height), -(-values.shape[1] // width))
    if step > 1:
        values = cv2.dilate(values, np.ones((step | 1, step | 1), np.uint8)).astype(np.uint8)
    resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST)
    coloured = cv2.applyColorMap(resized, cv2.COLORMAP_INFERNO)[:, :, ::-1]  # which gives BGR
    picture: Picture = np.ascontiguousarray(coloured, dtype=np.uint8)
    if truth is not None:
        picture[edges(fit_labels(object_labels(truth)[part], side))] = TRUTH
    return picture


def heat_colours(count: int = 6) -> list[Colour]:
    """Return the colours of `count` probabilities from 0 to 1, evenly spaced."""
    values = np.linspace(0, 255, count).round().astype(np.uint8)[np.newaxis]
    blue, green, red = cv2.applyColorMap(values, cv2.COLORMAP_INFERNO)[0].T.tolist()
    return list(zip(red, green, blue, strict=True))


LETTERS = "abcdefgh"
"""The names of an image's windows, on its picture and in their captions."""
