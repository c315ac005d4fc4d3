"""Measure how well masks hang together, and how well their outlines fit the pixels of an image.

coherence: how well neighbouring rows, and neighbouring columns, of a mask agree: shared pixels divided by pixels in one
  of the two; the smaller of both numbers. A run-length code that is read in the wrong order falls apart into stripes.
contrast: the mean step of brightness at a mask's outline. Its rank is the share of SHIFTS other places of the same
  picture at which the same outline has a smaller mean step: 0.5 is chance.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 1_000_000
"""Larger images are reduced to this many pixels."""
SHIFTS = 8
"""Other places of the picture with which an outline is compared."""

Bools = NDArray[np.bool_]


def coherence(mask: Bools) -> float:
    """How well neighbouring lines of bool[H, W] agree, 0..1: the smaller number of rows and of columns.

    It is the number of pixels that are in both of two neighbouring lines, divided by those that are in one of them.
    """
    found = []
    for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        either = np.count_nonzero(one | other)
        found.append(np.count_nonzero(one & other) / either if either else 1.0)
    return min(found)


def brightness_steps(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The step of brightness at each pixel of uint8[H, W, 3], float32[H, W]: the gradients of gray along both sides."""
    smooth = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    steps: NDArray[np.float32] = np.abs(across) + np.abs(down)
    return steps


def contrast(steps: NDArray[np.float32], mask: Bools) -> float:
    """The mean step of brightness at the outline of a mask, on both of its sides; 0 where it has no outline."""
    return float(cv2.mean(steps, mask=_outline(mask).view(np.uint8))[0])


def contrast_rank(steps: NDArray[np.float32], mask: Bools) -> float:
    """The share, 0..1, of SHIFTS other places in the picture where the outline has a smaller mean step."""
    rows, columns = np.nonzero(_outline(mask))
    if not rows.size:
        return 0.5
    here = steps[rows, columns].mean()
    height, width = steps.shape
    below = 0.0
    for number in range(1, SHIFTS + 1):
        # Steps along both sides that share no divisor, so that no two places are the same.
        down, right = number * height * 3 // (SHIFTS * 4 + 1), number * width * 5 // (SHIFTS * 4 + 1)
        there = steps[(rows + down) % height, (columns + right) % width].mean()
        below += 1.0 if there < here else 0.5 if there == here else 0.0
    return below / SHIFTS


def _outline(mask: Bools) -> Bools:
    """The pixels on both sides of the outline; the picture's border is none."""
    edge = np.zeros(mask.shape, np.bool_)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image uint8[H, W, 3] with at most MOST_PIXELS."""
    height, width = image.shape[:2]
    scale = math.sqrt(MOST_PIXELS / (height * width))
    if scale >= 1:
        return image
    small = cv2.resize(image, (max(1, int(width * scale)), max(1, int(height * scale))), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def fitted(mask: Bools, steps: NDArray[np.float32]) -> Bools:
    """Return a mask in the size of the steps."""
    if mask.shape == steps.shape:
        return mask
    size = (steps.shape[1], steps.shape[0])
    return cv2.resize(np.ascontiguousarray(mask).view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
