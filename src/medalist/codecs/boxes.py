"""How contests write the coordinates of boxes, and how these become corners in continuous pixels.

The corners of `medalist.records.Boxes` are continuous: the first pixel reaches from 0 to 1. Contests differ in the
order of the numbers, in whether the first pixel is 0 or 1, and in whether the last pixel belongs to the box.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.records import Boxes

Numbers = NDArray[np.float64]

NUMBER = re.compile(r"[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?", re.ASCII)
"""A decimal number as contests write it: no `nan`, no `inf`, and no signs between digits."""

_MOST_DECIMALS = {False: 3, True: 6}  # of pixels and of shares; float32 tells these apart in images up to 8192 pixels


@dataclass(frozen=True)
class BoxCoordinates:
    """What the four numbers of a box mean.

    form: "xyxy" two corners, "xywh" the upper left corner with width and height, "cxcywh" the middle with them.
    one_based: whether the first pixel is 1 and not 0, as in Pascal VOC.
    inclusive: whether the second corner is the last pixel of the box and not the end of it, as in Pascal VOC.
    normalised: whether the numbers are shares of the image's width and height, as in YOLO.
    """

    form: Literal["xyxy", "xywh", "cxcywh"] = "xyxy"
    one_based: bool = False
    inclusive: bool = False
    normalised: bool = False

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        assert not self.inclusive or self.form == "xyxy", "only a second corner can be inclusive"
        assert not self.normalised or not (self.one_based or self.inclusive), "shares of an image do not count pixels"

    @property
    def names(self) -> tuple[str, str, str, str]:
        """The names of the four numbers."""
        match self.form:
            case "xyxy":
                return ("x1", "y1", "x2", "y2")
            case "xywh":
                return ("x", "y", "w", "h")
            case "cxcywh":
                return ("cx", "cy", "w", "h")

    def corners(self, numbers: Numbers, size: tuple[int, int] | None) -> Numbers:
        """Return the corners float64[N, 4] in continuous pixels of numbers float64[N, 4] as the contest writes them.

        size: (height, width) of the image; it is needed where the numbers are normalised.
        """
        found = numbers.astype(np.float64)
        if self.normalised:
            found *= _sides(size)
        if self.form == "cxcywh":
            found[:, :2] -= found[:, 2:] / 2
        if self.form != "xyxy":
            found[:, 2:] += found[:, :2]
        if self.one_based:
            found -= 1
        if self.inclusive:
            found[:, 2:] += 1
        return found

    def numbers(self, corners: Numbers, size: tuple[int, int] | None) -> Numbers:
        """Return the numbers of corners float64[N, 4], the inverse of `corners`."""
        found = corners.astype(np.float64)
        if self.inclusive:
            found[:, 2:] -= 1
        if self.one_based:
            found += 1
        if self.form != "xyxy":
            found[:, 2:] -= found[:, :2]
        if self.form == "cxcywh":
            found[:, :2] += found[:, 2:] / 2
        if self.normalised:
            found /= _sides(size)
        return found

    def texts(self, xyxy: NDArray[np.float32], size: tuple[int, int] | None, decimals: int | None) -> list[list[str]]:
        """Return four texts for each box of float32[N, 4].

        decimals: None for the shortest texts that are read back as the same float32 corners, where these are 0 or not
        below a millionth of a pixel. Else corners are rounded
        to so many decimals, 3 at most (6 where normalised), and a box that would lose its area gets one unit of it;
        what was read back is then written as the same text.
        """
        corners = xyxy.astype(np.float64)
        if decimals is None:
            return self._shortest(corners, xyxy, size)
        most = _MOST_DECIMALS[self.normalised]
        assert 0 <= decimals <= most, f"decimals={decimals}; there may be 0 to {most}, or None for what is exact"
        if self.form == "cxcywh":
            found = np.round(self.numbers(corners, size), decimals)
            found[:, 2:] = np.maximum(found[:, 2:], 10.0**-decimals)
        else:  # corners are rounded, so that a width does not depend on where the box begins
            plain = BoxCoordinates("xyxy", self.one_based, self.inclusive, self.normalised)
            found = np.round(plain.numbers(corners, size), decimals)
            unit = 0.0 if self.inclusive else 10.0**-decimals
            found[:, 2:] = np.maximum(found[:, 2:], np.round(found[:, :2] + unit, decimals))
            if self.form == "xywh":
                found[:, 2:] -= found[:, :2]
        found = np.round(found, decimals) + 0.0  # no "-0"
        return [[f"{value:.{decimals}f}" for value in row] for row in found.tolist()]

    def _shortest(self, corners: Numbers, xyxy: NDArray[np.float32], size: tuple[int, int] | None) -> list[list[str]]:
        exact = self.numbers(corners, size)
        texts = [[shortest(value) for value in row] for row in exact.astype(np.float32)]
        read = np.array([[float(text) for text in row] for row in texts], np.float64).reshape(-1, 4)
        same = (self.corners(read, size).astype(np.float32) == xyxy).all(axis=1)
        for row in np.flatnonzero(~same):
            texts[row] = [shortest(value) for value in exact[row]]
        return texts


PIXELS = BoxCoordinates()
"""Corners in continuous pixels, as `Boxes` has them."""

XYWH = BoxCoordinates("xywh")
"""The upper left corner, width and height in continuous pixels, as COCO writes them."""

VOC = BoxCoordinates(one_based=True, inclusive=True)
"""Corners as Pascal VOC writes them: the first and the last pixel, counted from 1."""

YOLO = BoxCoordinates("cxcywh", normalised=True)
"""The middle, width and height as shares of the image."""


def shortest(value: np.float32 | np.float64) -> str:
    """Return the shortest decimal text that is read back as the same value, without an exponent."""
    text = np.format_float_positional(value, unique=True, trim="-")
    return "0" if text == "-0" else text


def clipped(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    """Return the boxes as far as they lie inside the image of `size` (height, width), without those that do not.

    Networks are trained on them, because what is outside cannot be seen.
    """
    high = np.tile(np.array(size[::-1], np.float32), 2)
    inside = np.clip(boxes.xyxy, 0, high)
    kept = (inside[:, :2] < inside[:, 2:]).all(axis=1)
    ignored = None if boxes.ignored is None else boxes.ignored[kept]
    return Boxes(inside[kept], boxes.labels[kept], boxes.scores[kept], ignored)


def with_area(corners: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return for each box of corners [N, 4] whether it has an area inside the image of `size` (height, width)."""
    sides = np.array(size[::-1], np.float64)
    low, high = np.maximum(corners[:, :2], 0), np.minimum(corners[:, 2:], sides)
    found: NDArray[np.bool_] = (low < high).all(axis=1)
    return found


def all_numbers(words: Sequence[str]) -> bool:
    """Return whether each word is a number as NUMBER says."""
    return all(map(NUMBER.fullmatch, words))


def _sides(size: tuple[int, int] | None) -> Numbers:
    assert size is not None, "normalised coordinates need the size of the image"
    return np.array([size[1], size[0]] * 2, np.float64)
