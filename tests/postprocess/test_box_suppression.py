"""Suppression by cells and slices against the comparison of each box with all others."""

from math import exp

import numpy as np
import pytest
from box_cases import crowd, iou_by_hand, predictions
from hypothesis import given
from hypothesis import strategies as st

from medalist.postprocess.box_settings import SoftNmsConfig
from medalist.postprocess.box_suppression import nms, soft_nms
from medalist.records import BoxPrediction

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def arrays(seen: BoxPrediction) -> Arrays:
    return seen.xyxy.astype(np.float64), seen.scores.astype(np.float64), seen.labels.astype(np.int64)


def slow_nms(xyxy: np.ndarray, scores: np.ndarray, groups: np.ndarray, iou: float) -> list[int]:
    order = sorted(range(len(scores)), key=lambda at: (-scores[at], *xyxy[at].tolist(), groups[at]))
    kept: list[int] = []
    for at in order:
        others = [other for other in kept if groups[other] == groups[at]]
        if all(iou_by_hand(xyxy[other].tolist(), xyxy[at].tolist()) <= iou for other in others):
            kept.append(at)
    return kept


def slow_soft_nms(
    xyxy: np.ndarray, scores: np.ndarray, groups: np.ndarray, config: SoftNmsConfig, least: float
) -> dict[int, float]:
    current = {at: float(score) for at, score in enumerate(scores) if score > least}
    taken = {}
    while current:
        best = min(current, key=lambda at: (-current[at], -scores[at], *xyxy[at].tolist()))
        taken[best] = current.pop(best)
        for at in [other for other in current if groups[other] == groups[best]]:
            shared = iou_by_hand(xyxy[best].tolist(), xyxy[at].tolist())
            if config.decay == "gaussian":
                current[at] *= exp(-(shared**2) / config.sigma)
            elif shared > config.iou:
                current[at] *= 1 - shared
        current = {at: score for at, score in current.items() if score > least}
    return taken


@given(predictions(), st.sampled_from([0.2, 0.5, 0.7]))
def test_nms_is_that_of_all_pairs(seen: BoxPrediction, iou: float) -> None:
    xyxy, scores, groups = arrays(seen)
    kept = nms(xyxy, scores, groups, iou)
    want = slow_nms(xyxy, scores, groups, iou)
    rows = [(*xyxy[at].tolist(), scores[at], groups[at]) for at in kept.tolist()]
    assert rows == [(*xyxy[at].tolist(), scores[at], groups[at]) for at in want]


@pytest.mark.parametrize("iou", [0.1, 0.5])
def test_nms_of_a_crowd_is_that_of_all_pairs(iou: float) -> None:
    parts = arrays(crowd(60, 4))
    assert nms(*parts, iou).tolist() == slow_nms(*parts, iou)


def test_an_overlap_of_exactly_the_threshold_is_no_double() -> None:
    xyxy = np.array([(0, 0, 4, 2), (0, 0, 4, 4)], np.float64)
    assert nms(xyxy, np.array([0.9, 0.8]), np.zeros(2, np.int64), 0.5).tolist() == [0, 1]


@given(predictions(most=9), st.sampled_from([SoftNmsConfig(), SoftNmsConfig(decay="linear", iou=0.4)]))
def test_soft_nms_is_that_of_all_pairs(seen: BoxPrediction, config: SoftNmsConfig) -> None:
    xyxy, scores, groups = arrays(seen)
    places, lowered = soft_nms(xyxy, scores, groups, config, np.full(len(scores), 0.15))
    want = slow_soft_nms(xyxy, scores, groups, config, 0.15)
    rows = sorted((groups[at], *xyxy[at], round(score, 9)) for at, score in zip(places, lowered, strict=True))
    assert rows == sorted((groups[at], *xyxy[at], round(score, 9)) for at, score in want.items())


def test_soft_nms_of_a_crowd_is_that_of_all_pairs() -> None:
    parts, config = arrays(crowd(25, 4)), SoftNmsConfig()
    places, lowered = soft_nms(*parts, config, np.full(100, 0.05))
    want = slow_soft_nms(*parts, config, 0.05)
    assert dict(zip(places.tolist(), lowered.round(9).tolist(), strict=True)) == {
        at: round(score, 9) for at, score in want.items()
    }


def test_soft_nms_worked_out_by_hand() -> None:
    xyxy = np.array([(0, 0, 10, 10), (0, 0, 10, 5), (0, 0, 10, 2)], np.float64)
    scores, groups = np.array([0.9, 0.8, 0.6]), np.zeros(3, np.int64)
    places, lowered = soft_nms(xyxy, scores, groups, SoftNmsConfig(decay="linear", iou=0.3), np.zeros(3))
    # the third overlaps the first by 0.2, so it is taken with 0.6; the second falls to 0.4, then to 0.4 x 0.6
    assert places.tolist() == [0, 2, 1]
    assert lowered.round(6).tolist() == [0.9, 0.6, 0.24]
