"""Metrics of objects that do not overlap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medalist.metrics.masks import IOU_STEPS, require_pairs
from medalist.records import Instances, Score


def nuclei_map(truths: Mapping[str, Instances], answers: Mapping[str, Instances], empty: float = 1.0) -> Score:
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
    require_pairs(
        {name: truth.labels.shape for name, truth in truths.items()},
        {name: answer.labels.shape for name, answer in answers.items()},
    )
    counted = [_counted(truth.labels, answers[name].labels) for name, truth in truths.items()]
    hits = np.stack([image_hits for image_hits, _, _ in counted])
    there = np.array([objects for _, objects, _ in counted])
    found = np.array([objects for _, _, objects in counted])
    total = (there + found)[:, np.newaxis] - hits  # TP + FP + FN: the objects of both sides, matches counted once
    precision = np.where(total > 0, hits / np.maximum(total, 1), empty)
    by_sample = precision.mean(axis=1)
    by_step = precision.mean(axis=0).tolist()
    parts = {f"precision@{step / 20:.2f}": value for step, value in zip(IOU_STEPS, by_step, strict=True)}
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
