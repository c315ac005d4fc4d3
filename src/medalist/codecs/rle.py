"""Run-length encoding (RLE) of masks: "1 3 10 5" means the pixels 1 to 3 and 10 to 14.

Pixels are counted down the columns ("column": DSB2018, TGS, Airbus, HuBMAP) or along the rows ("row": Carvana,
Vesuvius). The first pixel has the number `base`, which is 1 in all these contests. Runs are sorted, have a length of
at least 1, and do not overlap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.codecs.disk import release
from medalist.errors import DataError

Order = Literal["column", "row"]

BLOCK_PIXELS = 1 << 24
"""The pixels of a block of a large image: whole columns where runs go down the columns, else whole rows."""

_MAX_NUMBER = 10**18  # so that the sum of a start and a length fits in int64


class RleError(DataError, ValueError):
    """A text is no valid RLE of its image. The message is part of a sentence; it names the rule and the value."""


def encode_mask(mask: NDArray[np.bool_] | NDArray[np.uint8], order: Order = "column", base: int = 1) -> str:
    """Return the RLE of the true pixels of [H, W], all above 0; "" where no pixel is true.

    A large mask is read block by block, so that no other array of its size is made.
    """
    _refuse_form(mask, order)
    found: list[NDArray[np.int64]] = []
    before = False  # the pixel before the block
    for place, start in _blocks((mask.shape[0], mask.shape[1]), order):
        block = mask[place].astype(np.bool_, copy=False)
        edges = _edges(block, order)
        if before:
            edges = edges[1:] if edges.size and edges[0] == 0 else np.concatenate(([0], edges))
        found.append(edges + start)
        before = bool(block[-1, -1]) if block.size else before
    edges = found[0] if len(found) == 1 else np.concatenate(found)
    if len(edges) % 2:
        edges = np.append(edges, mask.size)
    starts, ends = edges[::2], edges[1::2]
    return _joined(np.stack((starts + base, ends - starts), axis=1).ravel())[0]


def encode_labels(labels: NDArray[np.int32], order: Order = "column", base: int = 1) -> list[str]:
    """Return the RLE of each object of int32[H, W] (0 is background), in the order of their numbers.

    It passes over the pixels once, for any number of objects. A number that no pixel has is no object. Raises RleError
    for negative labels.
    """
    if labels.size == 0:
        return []
    _refuse_form(labels, order)
    parts = []
    for place, start in _blocks((labels.shape[0], labels.shape[1]), order):
        flat = _scan(labels[place], order)
        if flat.min() < 0:
            raise RleError(f"label {flat.min()} is negative")
        release(labels)
        begins = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
        parts.append((begins + start, flat[begins]))
    starts, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    goes_on = np.concatenate(([False], values[1:] == values[:-1]))  # over the edge of a block
    starts, values = starts[~goes_on], values[~goes_on]
    lengths = np.diff(starts, append=labels.size)
    by_object = np.argsort(values, kind="stable")
    by_object = by_object[np.count_nonzero(values == 0) :]
    if by_object.size == 0:
        return []
    values = values[by_object]
    runs = np.stack((starts[by_object] + base, lengths[by_object]), axis=1)
    text, ends = _joined(runs.ravel())
    cuts = ends[2 * np.flatnonzero(values[1:] != values[:-1]) + 1].tolist()
    return [text[a:b] for a, b in zip([0, *(cut + 1 for cut in cuts)], [*cuts, len(text)], strict=True)]


def decode_runs(text: str, size: tuple[int, int], order: Order = "column", base: int = 1) -> NDArray[np.int64]:
    """Return the runs int64[n, 2] of an RLE for an image of (height, width): first pixel, counted from 0, and length.

    `order` does not change the runs. Raises RleError where the text has other characters than digits and spaces, where
    a start has no length, or where runs are empty, unsorted, overlapping or outside the image.
    """
    del order  # it is an argument only so that all these functions have the same arguments
    if not text.isascii() or text.encode().translate(None, b"0123456789 "):
        word = next(word for word in text.split(" ") if re.fullmatch("[0-9]*", word) is None)
        raise RleError(f"{_quoted(word)} is not a whole number; only digits and spaces may stand there")
    if not text.strip():
        return np.empty((0, 2), np.int64)
    numbers = np.fromstring(text, np.int64, sep=" ")  # a number above int64 becomes the largest int64
    if numbers.max() > _MAX_NUMBER:
        longest = max(text.split(), key=lambda word: len(word.lstrip("0")))
        raise RleError(f"{_quoted(longest)} is past the last pixel {size[0] * size[1] - 1 + base}")
    if numbers.size % 2:
        raise RleError(f"{numbers.size} numbers are no pairs; the last start, {numbers[-1]}, has no length")
    runs = numbers.reshape(-1, 2)
    runs[:, 0] -= base
    _check_runs(runs, size[0] * size[1], base)
    return runs


def decode_mask(text: str, size: tuple[int, int], order: Order = "column", base: int = 1) -> NDArray[np.bool_]:
    """Return the mask bool[H, W] of an RLE for an image of (height, width). Raises RleError as decode_runs does."""
    runs = decode_runs(text, size, order, base)
    if size[0] * size[1] <= BLOCK_PIXELS:
        flat = _painted(runs, np.ones(len(runs), np.uint8), size[0] * size[1])
        return _unscan(flat, size, order).view(np.bool_)
    mask = np.empty(size, np.bool_)
    paint_runs(mask, runs, order)
    return mask


def paint_runs(mask: NDArray[np.bool_], runs: NDArray[np.int64], order: Order = "column") -> None:
    """Write the runs int64[n, 2] of `decode_runs` to a mask bool[H, W], block by block; all other pixels become False.

    The mask may be an array on disk.
    """
    height, width = mask.shape
    starts, ends = runs[:, 0], runs[:, 0] + runs[:, 1]
    for place, first in _blocks((height, width), order):
        shape = mask[place].shape
        last = first + shape[0] * shape[1]
        some = slice(int(np.searchsorted(ends, first, "right")), int(np.searchsorted(starts, last)))
        begins = np.maximum(starts[some], first) - first
        own = np.stack((begins, np.minimum(ends[some], last) - first - begins), axis=1)
        flat = _painted(own, np.ones(len(own), np.uint8), last - first)
        mask[place] = _unscan(flat, (shape[0], shape[1]), order).view(np.bool_)
        release(mask)


def decode_labels(
    texts: Sequence[str], size: tuple[int, int], order: Order = "column", base: int = 1
) -> NDArray[np.int32]:
    """Return the label map int32[H, W] of objects: 1..n in the order of `texts`, 0 for background.

    Raises RleError, which names the object (1..n), where its text is empty or not valid, or where it overlaps another.
    """
    objects = [np.empty((0, 2), np.int64)]
    for number, text in enumerate(texts, start=1):
        try:
            runs = decode_runs(text, size, order, base)
        except RleError as error:
            raise RleError(f"object {number}: {error}") from error
        if len(runs) == 0:
            raise RleError(f"object {number} has no pixels")
        objects.append(runs)
    runs = np.concatenate(objects)
    numbers = np.repeat(np.arange(len(objects), dtype=np.int32), [len(runs) for runs in objects])
    by_start = np.argsort(runs[:, 0], kind="stable")
    runs, numbers = runs[by_start], numbers[by_start]
    shared = np.flatnonzero(runs[1:, 0] < runs[:-1].sum(axis=1))
    if shared.size:
        at = int(shared[0])
        first, second = sorted((int(numbers[at]), int(numbers[at + 1])))
        raise RleError(f"object {second} overlaps object {first} at pixel {int(runs[at + 1, 0]) + base}")
    return _unscan(_painted(runs, numbers, size[0] * size[1]), size, order)


def _check_runs(runs: NDArray[np.int64], pixels: int, base: int) -> None:
    """Raise RleError for the first run that is empty, outside the image, or not after the run before it."""
    starts, lengths = runs[:, 0], runs[:, 1]
    ends = starts + lengths
    bad = (lengths < 1) | (starts < 0) | (ends > pixels)
    bad[1:] |= starts[1:] < ends[:-1]
    if not bad.any():
        return
    at = int(bad.argmax())
    start, length, end = int(starts[at]), int(lengths[at]), int(ends[at])
    run = f"run {start + base} {length}"
    if length < 1:
        raise RleError(f"{run} is empty; lengths are at least 1")
    if start < 0:
        raise RleError(f"{run} starts before the first pixel {base}")
    if end > pixels:
        raise RleError(f"{run} ends at {end - 1 + base}, past the last pixel {pixels - 1 + base}")
    previous = f"run {int(starts[at - 1]) + base} {int(lengths[at - 1])}"
    if start < starts[at - 1]:
        raise RleError(f"{run} stands after {previous}; runs must be sorted")
    raise RleError(f"{run} overlaps {previous}")


def _blocks(size: tuple[int, int], order: Order) -> Iterator[tuple[tuple[slice, slice], int]]:
    """Yield blocks of an image in the order in which its pixels are counted, and the number of the first pixel of each.

    Each block has about BLOCK_PIXELS pixels; there is at least one block.
    """
    height, width = size
    line, lines = (width, height) if order == "row" else (height, width)
    step = max(1, BLOCK_PIXELS // max(1, line))
    for first in range(0, max(1, lines), step):
        some, every = slice(first, min(lines, first + step)), slice(0, line)
        yield ((some, every) if order == "row" else (every, some)), first * line


def _painted(runs: NDArray[np.int64], values: NDArray[Any], pixels: int) -> NDArray[Any]:
    """The flat image with the value of each run at its pixels, and 0 between runs. Runs are sorted, without overlap."""
    edges = runs.ravel().copy()
    edges[1::2] += edges[::2]
    stretches = np.diff(edges, prepend=0, append=pixels)  # gap, run, gap, run, ..., gap
    painted = np.zeros(stretches.size, values.dtype)
    painted[1::2] = values
    return np.repeat(painted, stretches)


def _joined(numbers: NDArray[np.int64]) -> tuple[str, NDArray[np.int64]]:
    """The numbers (0 or more) as one text with spaces between them, and where each number ends in this text.

    One digit of all numbers is computed at a time, which is many times as fast as str() of each number.
    """
    if numbers.size == 0:
        return "", numbers
    width = len(str(numbers.max()))
    rest: NDArray[Any] = numbers.astype(np.uint32 if width < 10 else np.uint64)
    letters = np.full((width + 1, numbers.size), ord(" "), np.uint8)
    for place in reversed(range(width)):
        left = rest // 10
        letters[place] = (rest - 10 * left).astype(np.uint8) + ord("0")
        if place < width - 1:
            letters[place] *= rest > 0  # leading zeros become byte 0, which is removed below
        rest = left
    ends = np.cumsum(np.count_nonzero(letters, axis=0)) - 1
    return cv2.transpose(letters).tobytes().translate(None, b"\0")[:-1].decode("ascii"), ends


def _edges(mask: NDArray[np.bool_], order: Order) -> NDArray[np.int64]:
    """The sorted positions (from 0) of pixels that differ from the pixel before; before the first pixel is False."""
    _refuse_form(mask, order)
    lines = mask if order == "row" else mask.T
    if lines.size == 0:
        return np.empty(0, np.int64)
    if lines.flags.c_contiguous:
        flat = lines.ravel()
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        return np.concatenate(([0], edges)) if flat[0] else edges
    # The pixels are in the other order in memory. Sorting the few edges is faster than transposing the whole image.
    across = np.ascontiguousarray(lines.T)
    length, count = across.shape
    at, line = np.divmod(np.flatnonzero(across[1:] != across[:-1]), count)
    line_starts = np.flatnonzero(across[0] != np.concatenate(([False], across[-1, :-1])))
    edges = np.concatenate((line_starts * length, line * length + at + 1))
    edges.sort()
    return edges


def _scan(image: NDArray[Any], order: Order) -> NDArray[Any]:
    """The pixels of [H, W] as a flat array, in the order in which runs are counted."""
    _refuse_form(image, order)
    turned = image if order == "row" else image.T
    if turned.flags.c_contiguous or turned.size == 0:
        return turned.ravel()
    return cv2.transpose(np.ascontiguousarray(turned.T)).ravel()  # many times as fast as a transposing copy of NumPy


def _unscan(flat: NDArray[Any], size: tuple[int, int], order: Order) -> NDArray[Any]:
    """Undo _scan: the image [H, W], contiguous in memory."""
    _refuse_form(flat.reshape(size), order)
    if order == "row" or flat.size == 0:
        return flat.reshape(size)
    turned = flat.reshape(size[::-1])
    return cv2.transpose(turned)


def _refuse_form(image: NDArray[Any], order: str) -> None:
    """Raise RleError for another word than the two orders, which would silently mean one of them, and for no [H, W]."""
    if order not in ("column", "row"):
        raise RleError(f"order = {order!r}; allowed: 'column', 'row'")
    if image.ndim != 2:
        raise RleError(f"a mask is [H, W], and this array is {list(image.shape)}")


def _quoted(word: str) -> str:
    return repr(word if len(word) <= 24 else word[:23] + "…")
