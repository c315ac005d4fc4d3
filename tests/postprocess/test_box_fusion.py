"""Weighted boxes fusion against the published loop, and what the published loop gets wrong."""

import numpy as np
import pytest
from box_cases import crowd, iou_by_hand, predictions
from hypothesis import given
from hypothesis import strategies as st

from medalist.postprocess.box_fusion import FusedBoxes, wbf
from medalist.records import BoxPrediction

Row = tuple[float, ...]


def fused(seen: BoxPrediction, weights: list[float], iou: float = 0.55, **options: object) -> FusedBoxes:
    return wbf(
        seen.xyxy.astype(np.float64),
        seen.scores.astype(np.float64),
        seen.labels.astype(np.int64),
        np.array(weights)[seen.source],
        sum(weights),
        iou,
        **options,  # type: ignore[arg-type]
    )


def slow_wbf(seen: BoxPrediction, weights: list[float], iou: float, by_class: bool) -> list[Row]:
    """The loop of the paper: every box against every fused box."""
    rows = []
    for box, label, score, source in zip(seen.xyxy, seen.labels, seen.scores, seen.source, strict=True):
        rows.append((-float(score) * weights[source], *box.tolist(), int(label), weights[source]))
    clusters: list[list[Row]] = []
    means: list[list[float]] = []
    for row in sorted(rows):
        best, at = iou, -1
        for number, mean in enumerate(means):
            share = iou_by_hand(mean, list(row[1:5]))
            if share > best and (not by_class or clusters[number][0][5] == row[5]):
                best, at = share, number
        if at < 0:
            clusters.append([])
            means.append([])
        clusters[at].append(row)
        total = sum(-one[0] for one in clusters[at])
        means[at] = [sum(-one[0] * one[k] for one in clusters[at]) / total for k in range(1, 5)]
    found = []
    for cluster, mean in zip(clusters, means, strict=True):
        total, of_sources = sum(-one[0] for one in cluster), sum(one[6] for one in cluster)
        by_label = {one[5]: sum(-other[0] for other in cluster if other[5] == one[5]) for one in cluster}
        label = min(by_label, key=lambda name: (-by_label[name], name))
        found.append((label, total / of_sources * min(1, of_sources / sum(weights)), *mean))
    return sorted(found)


def rows_of(boxes: FusedBoxes) -> list[Row]:
    rows = zip(boxes.labels.tolist(), boxes.scores.tolist(), boxes.xyxy.tolist(), strict=True)
    return sorted((label, score, *box) for label, score, box in rows)


@given(predictions(), st.sampled_from([[1.0, 1.0, 1.0], [1.0, 2.0, 0.5]]), st.sampled_from([0.2, 0.55]), st.booleans())
def test_fused_boxes_are_those_of_the_published_loop(
    seen: BoxPrediction, weights: list[float], iou: float, by_class: bool
) -> None:
    want = slow_wbf(seen, weights, iou, by_class)
    np.testing.assert_allclose(np.array(rows_of(fused(seen, weights, iou, by_class=by_class))), np.array(want))


def test_a_crowd_is_fused_as_by_the_published_loop() -> None:
    seen = crowd(60, 5)
    want = slow_wbf(seen, [1.0] * 5, 0.55, True)
    np.testing.assert_allclose(np.array(rows_of(fused(seen, [1.0] * 5))), np.array(want))


@given(predictions(most=8), st.sampled_from([[1.0, 1.0, 1.0], [0.1, 3.0, 0.7]]), st.sampled_from(["mean", "max"]))
def test_no_fused_score_is_above_one(seen: BoxPrediction, weights: list[float], confidence: str) -> None:
    scores = fused(seen, weights, confidence=confidence).scores
    assert ((scores > 0) & (scores <= 1)).all()
    assert np.all(np.diff(scores) <= 0)


def test_a_source_that_says_a_box_twice_is_no_reason_for_a_score_above_one() -> None:
    box = np.array([(0, 0, 10, 10)] * 4, np.float32)
    ones = np.ones(4, np.float32)
    seen = BoxPrediction(box, np.zeros(4, np.int32), ones, np.array([0, 0, 0, 1], np.int16), 2)
    assert fused(seen, [1.0, 3.0]).scores.tolist() == [1.0]


@pytest.mark.parametrize(("confidence", "score"), [("mean", (0.9 + 0.3) / 3), ("max", 0.9)])
def test_scores_worked_out_by_hand(confidence: str, score: float) -> None:
    """Two of three networks see the object: the mean of two scores, times 2 / 3."""
    xyxy = np.array([(0, 0, 10, 10), (0, 0, 14, 10)], np.float32)
    seen = BoxPrediction(xyxy, np.zeros(2, np.int32), np.array([0.9, 0.3]), np.array([0, 2], np.int16), 3)
    one = fused(seen, [1.0] * 3, confidence=confidence)
    assert one.scores.tolist() == pytest.approx([score])
    np.testing.assert_allclose(one.xyxy, [(0, 0, (0.9 * 10 + 0.3 * 14) / 1.2, 10)])


def test_the_class_that_weighs_most_is_that_of_the_fused_box() -> None:
    xyxy = np.array([(0, 0, 10, 10)] * 3, np.float32)
    labels = np.array([4, 1, 1], np.int32)
    seen = BoxPrediction(xyxy, labels, np.array([0.9, 0.5, 0.6]), np.array([0, 1, 2], np.int16), 3)
    assert fused(seen, [1.0] * 3, by_class=False).labels.tolist() == [1]
    assert fused(seen, [1.0] * 3).labels.tolist() == [1, 4]
