"""Metrics of objects that do not overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.metrics.masks import IOU_STEPS, require_pairs
from medalist.records import Instances, Score

Objects = Mapping[str, Instances]
Counts = NDArray[np.int64]


def nuclei_map(truths: Objects, answers: Objects, empty: float = 1.0) -> Score:
    """Return the score of the 2018 Data Science Bowl: TP / (TP + FP + FN), mean over IoU thresholds and images.

    truths, answers: label maps by sample id, with the same ids and sizes. An answered object matches a true object
    where their IoU is above the threshold, not equal to it. IoUs are compared as whole numbers, so 0.6 is not above
    0.6. Because objects do not overlap and thresholds are at least 0.5, no object matches two others.

    empty: the score in 0..1 of an image without objects in truth and answer. The contest's text does not define it
    (0/0), and its data has no such image. The code of its winners gives 0, which is `empty=0.0` here. Where only one
    side has objects, the formula gives 0.

    parts: `precision@0.50` ... `precision@0.95`, the mean over images at one threshold; and `tp@0.50`, `fp@0.50`,
    `fn@0.50`, the counts over all images. Raises DataError where ids or sizes differ, or where there are no images.
    Source: https://www.kaggle.com/competitions/data-science-bowl-2018/overview/evaluation
    """
    hits, there, found = _counts(truths, answers)
    total = (there + found)[:, np.newaxis] - hits  # TP + FP + FN: the objects of both sides, matches counted once
    precision = np.where(total > 0, hits / np.maximum(total, 1), empty)
    return _over_iou(truths, precision, "precision", hits, there, found)


def f_beta_over_iou(beta: float, empty: float = 1.0) -> Callable[[Objects, Objects], Score]:
    """Return the metric F-beta of objects, mean over the IoU thresholds 0.50, 0.55 ... 0.95 and over images.

    F = (1 + b²) TP / ((1 + b²) TP + b² FN + FP) with b = beta; Airbus Ship Detection has beta = 2. Objects match as in
    `nuclei_map`: where their IoU is above the threshold, not equal to it.

    empty: the score in 0..1 of an image without objects in truth and answer, where the formula is 0/0; it is 1 in
    Airbus, so that empty images decide most of its score. Where only one side has objects, the formula gives 0.

    parts: `f@0.50` ... `f@0.95`, the mean over images at one threshold; and `tp@0.50`, `fp@0.50`, `fn@0.50`, the counts
    over all images. The metric raises DataError as `nuclei_map` does. Raises ConfigError for a beta or an `empty` that
    is not possible. Source: https://www.kaggle.com/competitions/airbus-ship-detection/overview/evaluation
    """
    if not 0 < beta < 100 or not 0 <= empty <= 1:
        raise ConfigError(f"f_beta_over_iou: beta = {beta}, empty = {empty}; give beta above 0, and empty within 0..1")
    return partial(_f_over_iou, beta=float(beta), empty=float(empty))


def _f_over_iou(truths: Objects, answers: Objects, beta: float, empty: float) -> Score:
    hits, there, found = _counts(truths, answers)
    missed, false = there[:, np.newaxis] - hits, found[:, np.newaxis] - hits
    above = (1 + beta**2) * hits
    below = above + beta**2 * missed + false
    shares = np.where(below > 0, above / np.maximum(below, 1e-9), empty)
    return _over_iou(truths, shares, "f", hits, there, found)


def _counts(truths: Objects, answers: Objects) -> tuple[Counts, Counts, Counts]:
    """Matches int64[N, 10] of each image at each threshold, and its objects in truth and answer, int64[N]."""
    require_pairs(
        {name: truth.labels.shape for name, truth in truths.items()},
        {name: answer.labels.shape for name, answer in answers.items()},
    )
    counted = [_counted(truth.labels, answers[name].labels) for name, truth in truths.items()]
    hits = np.stack([image_hits for image_hits, _, _ in counted])
    return hits, np.array([objects for _, objects, _ in counted]), np.array([objects for _, _, objects in counted])


def _over_iou(
    truths: Objects, shares: NDArray[np.float64], name: str, hits: Counts, there: Counts, found: Counts
) -> Score:
    """The score of shares float64[N, 10], with its parts by threshold."""
    by_sample = shares.mean(axis=1)
    by_step = shares.mean(axis=0).tolist()
    parts = {f"{name}@{step / 20:.2f}": value for step, value in zip(IOU_STEPS, by_step, strict=True)}
    hit = float(hits[:, 0].sum())
    parts |= {"tp@0.50": hit, "fp@0.50": float(found.sum()) - hit, "fn@0.50": float(there.sum()) - hit}
    return Score(float(by_sample.mean()), parts, dict(zip(truths, by_sample.tolist(), strict=True)))


def _counted(truth: NDArray[np.int32], answer: NDArray[np.int32]) -> tuple[NDArray[np.int64], int, int]:
    """The matches of one image at each threshold, int64[10], and the numbers of objects in truth and in answer."""
    truth_areas, answer_areas = np.bincount(truth.ravel()), np.bincount(answer.ravel())
    truth_areas[:1] = answer_areas[:1] = 0  # the background; slices, because an image of 0 pixels has empty areas
    # Each overlapping pair of objects becomes one number. It is computed only at pixels that are an object on both
    # sides, so that the result is also right for an image without background.
    both = (truth > 0) & (answer > 0)
    width = len(answer_areas)
    pairs, inter = np.unique(truth[both].astype(np.int64) * width + answer[both], return_counts=True)
    union = truth_areas[pairs // width] + answer_areas[pairs % width] - inter
    hits = [np.count_nonzero(20 * inter > step * union) for step in IOU_STEPS]
    return np.array(hits), int(np.count_nonzero(truth_areas)), int(np.count_nonzero(answer_areas))
