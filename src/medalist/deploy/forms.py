"""From a decoded image to a prediction, for each form of prediction but boxes. NumPy and OpenCV alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.data.fitting import middle_crop
from medalist.data.padding import pad_to_multiple
from medalist.data.placing import framed
from medalist.data.preparing import gray, made_ready
from medalist.data.tiling import line_of, mirrored_places, weight_sums, window_of
from medalist.deploy.description import Described, Tiled, Turned
from medalist.deploy.sessions import Runner
from medalist.records import MapPrediction, TablePrediction, VectorPrediction

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def seen(image: Pixels, view: Turned) -> Pixels:
    """Return an image [H, W, C] as it looks in a view; a quarter turn swaps its sides."""
    turned = np.rot90(image, view.turns) if view.turns else image
    return turned[:, ::-1] if view.mirror else turned


def unseen(maps: Floats, view: Turned) -> Floats:
    """Return the maps [C, h, w] of a view at the place of the image."""
    straight = maps[..., ::-1] if view.mirror else maps
    return np.rot90(straight, -view.turns, axes=(-2, -1)) if view.turns else straight


def ready(image: Pixels, described: Described) -> Pixels:
    """Return a decoded image uint8[H, W, 3] as the network gets it, before it is padded."""
    made = made_ready(image, described.prepare)
    if described.crop is not None:
        made = middle_crop(made, described.crop)
    return gray(made) if described.gray else made


def padded_input(image: Pixels, described: Described) -> Pixels:
    """Return a decoded image uint8[H, W, 3] as the network gets it, whole: uint8[h, w, C]."""
    if described.boxes is not None:
        made = made_ready(image, described.prepare)
        factor = described.boxes.factor((made.shape[0], made.shape[1]))
        made, _ = framed(made, described.boxes.frame, described.boxes.fill, factor)
        return np.ascontiguousarray(gray(made) if described.gray else made)
    padded, _ = pad_to_multiple(ready(image, described), described.multiple)
    return np.ascontiguousarray(padded)


def outputs(runner: Runner, described: Described, folds: Sequence[int], name: str, image: Pixels) -> list[list[Floats]]:
    """Return the output `name` of each of these folds in each view: a list of views for each fold, without batches."""
    names = [f"{name}{fold}" for fold in folds]
    by_view = [runner.run(names, np.ascontiguousarray(seen(image, view))[np.newaxis]) for view in described.views]
    return [[found[at][0] for found in by_view] for at in range(len(folds))]


def predict_maps(runner: Runner, described: Described, folds: Sequence[int], image: Pixels) -> MapPrediction:
    """Return the maps of an image at its size: the mean over folds and views."""
    made = ready(image, described)
    if described.tile is not None and max(made.shape[:2]) > described.tile.size:
        return MapPrediction(_tiled(runner, described, described.tile, folds, made), described.columns)
    padded, padding = pad_to_multiple(made, described.multiple)
    total = probabilities(runner, described, folds, padded)
    total *= np.float32(255)
    rounded = np.rint(total, out=total).astype(np.uint8)
    return MapPrediction(np.ascontiguousarray(padding.undo(rounded)), described.columns)


def probabilities(runner: Runner, described: Described, folds: Sequence[int], padded: Pixels) -> Floats:
    """Return float32[C, h, w] of a padded image: the mean over folds and views."""
    total: Floats | None = None
    for by_view in outputs(runner, described, folds, described.outputs[-1], padded):
        for view, found in zip(described.views, by_view, strict=True):
            maps = unseen(found, view)
            total = maps.copy() if total is None else np.add(total, maps, out=total)
    assert total is not None
    total /= np.float32(len(folds) * len(described.views))
    return total


def _tiled(runner: Runner, described: Described, rule: Tiled, folds: Sequence[int], image: Pixels) -> NDArray[np.uint8]:
    """Return the maps uint8[C, H, W] of a large image: the mean over the tiles of a pixel, weighted by the window."""
    size = (image.shape[0], image.shape[1])
    down, right = (line_of(length, rule, described.multiple) for length in size)
    windows = window_of(down, rule), window_of(right, rule)
    window = np.multiply.outer(*windows)
    total = np.zeros((len(described.columns), *size), np.float32)
    for top in down.starts:
        band = image[mirrored_places(range(top, top + down.tile), size[0])]
        rows, of_rows = down.inside(top)
        for left in right.starts:
            tile = band[:, mirrored_places(range(left, left + right.tile), size[1])]
            columns, of_columns = right.inside(left)
            maps = probabilities(runner, described, folds, tile) * window
            total[:, rows, columns] += maps[:, of_rows, of_columns]
    total *= 255 / (weight_sums(down, windows[0])[:, None] * weight_sums(right, windows[1]))
    return np.rint(total, out=total).astype(np.uint8)


def predict_table(runner: Runner, described: Described, folds: Sequence[int], image: Pixels) -> TablePrediction:
    """Return the probabilities, or the grade, of an image: the mean over folds and views."""
    found = outputs(runner, described, folds, described.outputs[-1], ready(image, described))
    rows = np.stack([one for by_view in found for one in by_view])
    return TablePrediction((rows.sum(axis=0, dtype=np.float32) / np.float32(len(rows))), described.columns)


def predict_vector(runner: Runner, described: Described, folds: Sequence[int], image: Pixels) -> VectorPrediction:
    """Return the unit vector of an image: the vectors of all folds side by side, each the mean over the views."""
    found = outputs(runner, described, folds, described.outputs[-1], ready(image, described))
    parts = [_unit(np.stack(by_view).sum(axis=0, dtype=np.float32) + np.float32(1e-12)) for by_view in found]
    return VectorPrediction(_unit(np.concatenate(parts)))


def _unit(vector: NDArray[Any]) -> Floats:
    length = np.float32(max(float(np.linalg.norm(vector)), 1e-12))
    return np.asarray(vector / length, np.float32)
