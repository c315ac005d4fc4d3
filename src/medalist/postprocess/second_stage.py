"""The second stage: objects and their alternative splits, of which a regressor of the IoU chooses.

For each object there are the object itself and, for each way to split that divides it, its parts. The regressor
predicts the IoU of each of them with the truth. An object is replaced by those parts whose mean predicted IoU is the
highest, where it is higher than its own; what is chosen is dropped where its predicted IoU is too small.
After winning recipes of the 2018 Data Science Bowl.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.postprocess.instances import inside_of, instance_labels
from medalist.postprocess.object_features import as_rows, best_ious, object_features
from medalist.postprocess.regressor import Regressor
from medalist.postprocess.settings import SecondStageConfig, SplitConfig, WatershedConfig
from medalist.postprocess.splitting import Parts, split_at_peaks, split_at_seeds, with_parts
from medalist.postprocess.watershed import Labels, in_reading_order
from medalist.records import MapPrediction

Rows = NDArray[np.float32]
Ious = NDArray[np.float64]


@dataclass(frozen=True)
class PackedLabels:
    """A label map int32[H, W], compressed, because those of a whole contest are kept in memory together."""

    size: tuple[int, int]
    data: bytes

    @classmethod
    def of(cls, labels: Labels) -> PackedLabels:
        """Compress a label map."""
        return cls((labels.shape[0], labels.shape[1]), zlib.compress(np.ascontiguousarray(labels, "<i4").tobytes(), 1))

    @property
    def labels(self) -> Labels:
        """The label map."""
        return np.frombuffer(zlib.decompress(self.data), "<i4").reshape(self.size).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The objects of one image and their alternative splits.

    layers: label maps. The first has the objects 1..n, each other one has the parts 1..m of the objects that one way to
    split divides. parents: for each layer, int64, the object of each of its parts; of the first, the objects
    themselves. names: of the features. rows: float32[N, F], the features of all objects and parts, layer by layer.
    """

    layers: tuple[PackedLabels, ...]
    parents: tuple[NDArray[np.int64], ...]
    names: tuple[str, ...]
    rows: Rows


def candidates_of(prediction: MapPrediction, config: WatershedConfig, stage: SecondStageConfig) -> Candidates:
    """Return the objects of an image and the ways to split them, with their features."""
    labels = instance_labels(prediction, config)
    count = int(labels.max(initial=0))
    layers, parents = [PackedLabels.of(labels)], [np.arange(1, count + 1)]
    features = object_features(labels, prediction)
    area = features["area"]
    names = (*features, "way", "siblings", "share")
    rows = [np.column_stack([as_rows(features), np.zeros(count), np.ones(count), np.ones(count)])]
    for way, split in enumerate(stage.splits, start=1):
        parts = _split(labels, prediction, config, split)
        if len(parts.parent) == 0:
            continue
        whole, place = _among_others(labels, parts)
        found = as_rows(object_features(whole, prediction))[place]
        siblings = np.bincount(parts.parent)[parts.parent]
        share = np.bincount(parts.labels.ravel())[1:] / area[parts.parent - 1]
        rows.append(np.column_stack([found, np.full(len(found), way), siblings, share]))
        layers.append(PackedLabels.of(parts.labels))
        parents.append(parts.parent)
    return Candidates(tuple(layers), tuple(parents), names, np.concatenate(rows).astype(np.float32))


def _split(labels: Labels, prediction: MapPrediction, config: WatershedConfig, split: SplitConfig) -> Parts:
    if split.radius is not None:
        return split_at_peaks(labels, split.smooth, split.radius, config.min_size)
    assert split.seed is not None
    inside = inside_of(prediction, config)
    return split_at_seeds(labels, inside > split.seed, inside, config.min_seed, config.min_size)


def _among_others(labels: Labels, parts: Parts) -> tuple[Labels, NDArray[np.int64]]:
    """Return the image with parts in place of split objects, and the place of each part among its objects, from 0."""
    whole = with_parts(labels, parts)
    place = np.zeros(len(parts.parent) + 1, np.int64)
    place[parts.labels] = whole  # a part is one object there
    return whole, place[1:] - 1


def true_ious(candidates: Candidates, truth: Labels) -> Ious:
    """Return the IoU of each row of `candidates.rows` with the true object that it overlaps best, float64[N]."""
    return np.concatenate([best_ious(layer.labels, truth) for layer in candidates.layers])


def chosen(candidates: Candidates, ious: Ious, stage: SecondStageConfig) -> Labels:
    """Return the objects int32[H, W], 1..n in reading order, that are chosen by the IoU of each row, float64[N]."""
    counts = [len(parent) for parent in candidates.parents]
    by_layer = np.split(ious, np.cumsum(counts)[:-1])
    count = counts[0]
    best, way = by_layer[0] + stage.split_gain, np.zeros(count, np.int64)
    for number, (parent, found) in enumerate(zip(candidates.parents[1:], by_layer[1:], strict=True), start=1):
        parts = np.bincount(parent - 1, minlength=count)
        mean = np.bincount(parent - 1, found, minlength=count) / np.maximum(parts, 1)
        is_better = (parts > 0) & (mean > best)
        best, way = np.where(is_better, mean, best), np.where(is_better, number, way)
    answer: Labels = np.zeros(candidates.layers[0].size, np.int32)
    used = 0
    for number, (layer, parent, found) in enumerate(zip(candidates.layers, candidates.parents, by_layer, strict=True)):
        keep = np.concatenate([[False], (way[parent - 1] == number) & (found >= stage.drop_below)])
        if keep.any():
            labels = layer.labels
            there = keep[labels]
            answer[there] = labels[there] + used
        used += len(parent)
    return in_reading_order(answer)


def refined_labels(
    prediction: MapPrediction, config: WatershedConfig, stage: SecondStageConfig, regressor: Regressor
) -> Labels:
    """Return the objects int32[H, W] of an image after the second stage."""
    candidates = candidates_of(prediction, config, stage)
    return chosen(candidates, regressor.predict(candidates.names, candidates.rows), stage)
