"""Find the order and the base of run-length codes by trying: in the true order, the borders of objects are short.

A code that is read in the wrong order falls apart into stripes, or runs out of its image. In square images the wrong
order only exchanges rows and columns, so both readings have the same borders: there, the reading is taken at whose
borders the pictures have the larger steps of brightness.

The base shows where a first pixel is 0, where a code ends behind the last pixel, and where objects touch the end of
their lines: in the true base, runs begin and end with the lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.rle import Order, RleError, decode_mask, decode_runs
from medalist.discovery.outlines import brightness_steps, contrast, fitted, reduced
from medalist.errors import DataError

LOOKED = 60
"""The most codes that are decoded."""

_ORDERS: tuple[Order, Order] = ("column", "row")
_SHORTER = 0.9  # borders must be shorter than this share of the others, so that they tell the order
_STEEPER = 1.1  # the steps of brightness must be larger by this factor


class Coded(NamedTuple):
    """A code with the size (height, width) of its image, and the path of the image inside the contest's folder."""

    text: str
    size: tuple[int, int]
    image: str


@dataclass(frozen=True)
class Reading:
    """How codes are read. evidence, doubts: lines for the user."""

    order: Order
    base: int
    evidence: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def border_length(mask: NDArray[np.bool_]) -> int:
    """Return the number of pairs of neighbouring pixels of bool[H, W] of which one is in the mask."""
    return int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))


def reading_of(codes: Sequence[Coded], picture: Callable[[str], NDArray[np.uint8]]) -> Reading:
    """Return how codes are probably read.

    picture: the path of an image -> its pixels uint8[H, W, 3]; it is called only where the borders say nothing.
    Raises DataError where no order and base can decode all of some codes.
    """
    some = list(codes[:: max(1, -(-len(codes) // LOOKED))])
    base, base_evidence, base_doubts = _base(some)
    lengths = {order: _borders(some, order, base) for order in _ORDERS}
    if lengths["column"] is None and lengths["row"] is None:
        raise DataError(f"no order of pixels decodes the code '{_short(some[0].text)}' for {some[0].image}")
    order, evidence, doubts = _by_borders(lengths)
    if order is None:
        order, evidence, doubts = _by_pictures(some, base, picture)
    return Reading(order, base, (*evidence, *base_evidence), (*doubts, *base_doubts))


def _borders(codes: Sequence[Coded], order: Order, base: int) -> float | None:
    """The mean length of the borders of codes of images that are not square; None where a code cannot be decoded."""
    found = []
    for code in codes:
        try:
            mask = decode_mask(code.text, code.size, order, base)
        except RleError:
            return None
        if code.size[0] != code.size[1]:
            found.append(border_length(mask))
    return float(np.mean(found)) if found else -1.0


def _by_borders(lengths: dict[Order, float | None]) -> tuple[Order | None, tuple[str, ...], tuple[str, ...]]:
    down, along = lengths["column"], lengths["row"]
    if down is None or along is None or down < 0 or along < 0:
        return None, (), ()
    order: Order = "column" if down <= along else "row"
    short, long = min(down, along), max(down, along)
    if short > _SHORTER * long:
        return None, (), ()
    other = "row" if order == "column" else "column"
    line = (
        f"run-length codes count by {order}: borders are {short:,.0f} pixels long on average; in {other} order the "
        f"codes decode too, and borders are {long:,.0f} long"
    )
    return order, (line,), ()


def _by_pictures(
    codes: Sequence[Coded], base: int, picture: Callable[[str], NDArray[np.uint8]]
) -> tuple[Order, tuple[str, ...], tuple[str, ...]]:
    """The order whose borders lie where the pictures have steps of brightness."""
    found: list[tuple[float, float]] = []
    for code in codes:
        masks = [decode_mask(code.text, code.size, order, base) for order in _ORDERS]
        if np.array_equal(masks[0], masks[1]) or masks[0].all():
            continue
        steps = brightness_steps(reduced(picture(code.image)))
        found.append(cast(tuple[float, float], tuple(contrast(steps, fitted(mask, steps)) for mask in masks)))
    down, along = np.mean(found, axis=0).tolist() if found else (1.0, 1.0)
    order: Order = "column" if down >= along else "row"
    larger, smaller = max(down, along), min(down, along)
    wins = sum((a > b) == (order == "column") for a, b in found)
    line = (
        f"images are square, where both orders give borders of the same length; in {order} order the pictures have "
        f"steps of brightness of {larger:.0f} at the borders, in the other order of {smaller:.0f}"
    )
    if larger < _STEEPER * smaller or wins < 0.6 * len(found) or not found:
        other = "row" if order == "column" else "column"
        doubt = f"the order of the run-length codes is not sure; {other} order decodes as well: order='{other}'"
        return "column", (), (doubt,)
    return order, (line,), ()


def _base(codes: Sequence[Coded]) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """The number of the first pixel, with the evidence and the doubts."""
    begun = {0: 0, 1: 0}
    for code in codes:
        runs = np.array(code.text.split(), np.int64).reshape(-1, 2)
        pixels = code.size[0] * code.size[1]
        if (runs[:, 0] == 0).any():
            return 0, ("run-length codes count from 0: a code begins at pixel 0",), ()
        if (runs.sum(axis=1) == pixels + 1).any():
            return 1, ("run-length codes count from 1: a code ends at the last pixel",), ()
        for base in begun:
            try:
                found = decode_runs(code.text, code.size, "column", base)
            except RleError:
                continue
            for side in set(code.size):
                begun[base] += int(np.count_nonzero(found[:, 0] % side == 0))
                begun[base] += int(np.count_nonzero(found.sum(axis=1) % side == 0))
    low, high = sorted(begun, key=lambda base: (begun[base], base))
    if begun[high] > 2 * begun[low] + 4:
        line = (
            f"run-length codes count from {high}: {begun[high]} runs begin or end with a line, {begun[low]} from {low}"
        )
        return high, (line,), ()
    return 1, (), ("codes that count from 1 and from 0 cannot be told apart here; 1 is usual, else base=0",)


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
