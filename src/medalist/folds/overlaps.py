"""Find images that show a common part of one scene: tiles that were cut at whole steps and overlap.

Tiles of satellite images are often cut with an offset smaller than their side. The common part is then in two images,
and a random split has it in training and in validation. `medalist.folds.mosaic` does not see it, because it compares
borders and whole images.

Each image is cut into square blocks with the step as their side. Two blocks are alike where their mean gray values
differ by little in each part of a 4x4 grid, and where what is left without the smooth part agrees in a 16x16 grid.
Blocks that show nothing (open water, cloud, black margins) say nothing. Two images are joined where all blocks that lie
on one another at one offset agree, and at least one of them shows something.

JPEG changes the mean of 8x8 pixels by less than one gray value, and tiles at whole steps of eight pixels have the same
blocks of JPEG, so the bounds are narrow. Brightness that was changed for one tile alone is not found.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.codecs.images import read_image
from medalist.records import Grouping, Sample

_COARSE, _FINE = 4, 16  # parts along a side of the grids by which blocks are found, and by which they are compared
_LEVEL = 1.0  # by how much the means of a coarse part may differ, in gray values
_SHOWS = 1.5  # the standard deviation, in gray values, that the fine means of a block must have without the smooth part
_AGREES = 0.95  # the correlation of the fine means without the smooth part
_AT_ONCE = 100_000
_NEAR = 2.0  # the mean absolute difference of the fine means, in gray values, of blocks that show nothing


@dataclass(frozen=True)
class Overlap:
    """Two images with a common part: the pixel (y, x) of `first` is the pixel (y - down, x - right) of `second`."""

    first: str
    second: str
    down: int
    right: int


@dataclass(frozen=True, eq=False)
class _Blocks:
    """The blocks of all images of one size.

    image, row, column: the place of each block, int64[n]. fine: its mean gray values, float16[n, 16, 16].
    shows: whether it shows something, bool[n].
    """

    image: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    fine: NDArray[np.float16]
    shows: NDArray[np.bool_]


def overlap_groups(
    samples: Sequence[Sample], step: int, read: Callable[[Path], NDArray[np.uint8]] = read_image
) -> Grouping:
    """Return the result of `find_overlaps` as a Grouping, for a competition's `groups`. A group has its smallest id."""
    from scipy.cluster.hierarchy import DisjointSet  # a third of a second, which few commands need

    overlaps = find_overlaps(samples, step, read)
    scenes = DisjointSet(sample.id for sample in samples)
    for one in overlaps:
        scenes.merge(one.first, one.second)
    group_of = {name: min(subset) for subset in scenes.subsets() for name in subset}
    joins = ((one.first, one.second, f"overlap offset {one.down} down, {one.right} right") for one in overlaps)
    return Grouping(dict(sorted(group_of.items())), tuple(joins))


def find_overlaps(
    samples: Sequence[Sample], step: int, read: Callable[[Path], NDArray[np.uint8]] = read_image
) -> tuple[Overlap, ...]:
    """Return the pairs of images that overlap at an offset of whole steps; copies have the offset 0.

    step: the pixels of a step, and of the side of a block, at least 16. Rows and columns past the last whole step are
    not looked at. read: called once for the first image of each sample, in several threads: path -> uint8[H, W, 3].
    Images of one size are compared. The result does not depend on the order of the samples. Memory is half a kilobyte
    for each block; time grows little more than in proportion to the number of images.
    """
    assert step >= _FINE, step
    ordered = sorted(samples, key=lambda sample: sample.id)
    by_size: defaultdict[tuple[int, int], list[Sample]] = defaultdict(list)
    for sample in ordered:
        by_size[sample.size].append(sample)
    found: list[Overlap] = []
    for (height, width), members in sorted(by_size.items()):
        if len(members) > 1 and min(height, width) >= step:
            blocks = _blocks([sample.images[0] for sample in members], step, read)
            names = [sample.id for sample in members]
            found += (
                Overlap(names[first], names[second], down * step, right * step)
                for first, second, down, right in _offsets(blocks)
            )
    return tuple(found)


def _blocks(paths: Sequence[Path], step: int, read: Callable[[Path], NDArray[np.uint8]]) -> _Blocks:
    def fine_means(path: Path) -> NDArray[np.float16]:
        gray = cv2.cvtColor(read(path), cv2.COLOR_RGB2GRAY)
        rows, columns = gray.shape[0] // step, gray.shape[1] // step
        size = (columns * _FINE, rows * _FINE)
        means = cv2.resize(gray[: rows * step, : columns * step].astype(np.float32), size, interpolation=cv2.INTER_AREA)
        cut = means.reshape(rows, _FINE, columns, _FINE).swapaxes(1, 2)
        return np.ascontiguousarray(cut, dtype=np.float16)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        fine = np.stack(list(pool.map(fine_means, paths)))
    image, row, column = (place.ravel() for place in np.indices(fine.shape[:3]))
    fine = fine.reshape(-1, _FINE, _FINE)
    # In parts, because the detail takes twice the memory of the blocks.
    spread = [_detail(fine[start : start + _AT_ONCE]).std(axis=1) for start in range(0, len(fine), _AT_ONCE)]
    return _Blocks(image, row, column, fine, np.concatenate(spread) > _SHOWS)


def _detail(fine: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return blocks without the plane that fits each best, float32[n, 256]."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-1, 1, _FINE), np.linspace(-1, 1, _FINE)))
    smooth = np.linalg.qr(np.stack([np.ones_like(x), x, y], axis=1))[0].astype(np.float32)
    flat = fine.reshape(-1, _FINE * _FINE).astype(np.float32)
    return np.asarray(flat - (flat @ smooth) @ smooth.T, np.float32)


def _offsets(blocks: _Blocks) -> Iterator[tuple[int, int, int, int]]:
    """Yield (first image, second image, steps down, steps right) of each pair of images that overlaps, sorted."""
    from scipy.spatial import cKDTree  # a third of a second, which few commands need

    showing = np.flatnonzero(blocks.shows)
    if len(showing) < 2:
        return
    side = _FINE // _COARSE
    fine = blocks.fine[showing]
    coarse = fine.reshape(-1, _COARSE, side, _COARSE, side).mean(axis=(2, 4), dtype=np.float32)
    tree = cKDTree(coarse.reshape(len(showing), -1))
    pairs = showing[tree.query_pairs(_LEVEL, p=np.inf, output_type="ndarray")]
    pairs = pairs[blocks.image[pairs[:, 0]] != blocks.image[pairs[:, 1]]]
    first, second = np.sort(pairs, axis=1).T  # blocks are sorted by image
    down = blocks.row[first] - blocks.row[second]
    right = blocks.column[first] - blocks.column[second]
    offsets = np.unique(np.stack([blocks.image[first], blocks.image[second], down, right], axis=1), axis=0)
    rows, columns = int(blocks.row[-1]) + 1, int(blocks.column[-1]) + 1
    grid = np.arange(len(blocks.image)).reshape(-1, rows, columns)
    for one, other, steps_down, steps_right in offsets.tolist():
        below, beside = max(0, steps_down), max(0, steps_right)
        height, width = rows - abs(steps_down), columns - abs(steps_right)
        here = grid[one, below : below + height, beside : beside + width].ravel()
        above, before = below - steps_down, beside - steps_right
        there = grid[other, above : above + height, before : before + width].ravel()
        if _agree(blocks, here, there):
            yield one, other, steps_down, steps_right


def _agree(blocks: _Blocks, here: NDArray[np.int64], there: NDArray[np.int64]) -> bool:
    """Whether blocks agree one by one: those that show something by their detail, the others by their brightness."""
    difference = blocks.fine[here].astype(np.float32) - blocks.fine[there]
    if (np.abs(difference).mean(axis=(1, 2)) > _NEAR).any():
        return False
    shows = blocks.shows[here] | blocks.shows[there]
    one, other = _detail(blocks.fine[here[shows]]), _detail(blocks.fine[there[shows]])
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    correlation = (one * other).sum(axis=1) / np.maximum(norms, 1e-6)
    return bool((correlation > _AGREES).all())
