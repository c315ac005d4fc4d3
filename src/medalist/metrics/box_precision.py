"""Average precision: the area under the curve of precision over recall, by the three rules that contests use."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Points = Literal["coco", "all", "eleven"]
"""Where precision is read: at 101 recalls (COCO), at every recall (Pascal VOC from 2010), or at 11 (VOC to 2009)."""

_COCO = np.linspace(0.0, 1.0, 101)
_ELEVEN = np.linspace(0.0, 1.0, 11)


def average_precision(hit: Bools, counted: Bools, positives: int, points: Points) -> Floats:
    """Return the average precision in 0..1, float64[T].

    hit: bool[T, N], whether each answer finds a truth at each of T thresholds, the surest answer first. counted:
    bool[T, N], false for answers that are neither right nor wrong. positives: the judged truths, at least 1.
    The precision at a recall is the largest at this recall or a higher one.
    Sources: pycocotools 2.0.11, `COCOeval.accumulate`; Everingham et al., The PASCAL Visual Object Classes Challenge,
    IJCV 2010, and its development kit of 2012.
    """
    assert positives > 0
    if not hit.shape[1]:
        return np.zeros(len(hit))
    right = np.cumsum(hit & counted, axis=1)
    wrong = np.cumsum(~hit & counted, axis=1)
    recall = right / positives
    precision = right / np.maximum(right + wrong, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    match points:
        case "coco":
            return np.array([_read_at(_COCO, *one) for one in zip(recall, envelope, strict=True)])
        case "eleven":
            # A recall of 3/10 must reach the point 0.3, however both are rounded.
            return np.array([_read_at(_ELEVEN - 1e-12, *one) for one in zip(recall, envelope, strict=True)])
        case "all":
            steps = np.diff(recall, axis=1, prepend=0.0)
            whole: Floats = (steps * envelope).sum(axis=1)
            return whole


def curve(hit: Bools, counted: Bools, positives: int) -> tuple[Floats, Floats]:
    """Return recall and precision, float64[N] each, after each of the answers that are sorted by score, falling.

    hit, counted: bool[N], as of `average_precision`.
    """
    right, wrong = np.cumsum(hit & counted), np.cumsum(~hit & counted)
    return right / max(positives, 1), right / np.maximum(right + wrong, 1)


def _read_at(points: Floats, recall: Floats, envelope: Floats) -> float:
    at = np.searchsorted(recall, points, side="left")
    return float(np.where(at < len(recall), envelope[np.minimum(at, len(recall) - 1)], 0.0).mean())
