"""Counts of boxes: by hand, box by box, and every edge."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from medalist.errors import ConfigError
from medalist.metrics.box_counts import box_f_beta, box_precision_over_iou
from medalist.records import Boxes

WHEAT = ("wheat",)


def boxes(*rows: tuple[float, ...], ignored: tuple[bool, ...] | None = None) -> Boxes:
    """Each row is score, x1, y1, x2, y2, and perhaps a label behind."""
    table = np.array([(*row, 0)[:6] for row in rows], np.float64).reshape(-1, 6)
    passed = None if ignored is None else np.array(ignored, np.bool_)
    return Boxes(table[:, 1:5].astype(np.float32), table[:, 5].astype(np.int32), table[:, 0].astype(np.float32), passed)


ONE, OTHER, FALSE = (1, 0, 0, 10, 10), (1, 20, 0, 30, 10), (0.5, 50, 50, 60, 60)


@pytest.mark.parametrize(
    ("truth", "answer", "value"),
    [
        (boxes(ONE, OTHER), boxes(ONE, OTHER), 1.0),
        (boxes(ONE, OTHER), boxes(ONE), 0.5),
        (boxes(ONE, OTHER), boxes(ONE, FALSE), 1 / 3),
        (boxes(ONE), boxes(ONE, ONE), 0.5),  # a double is wrong
        (boxes(), boxes(), 1.0),
        (boxes(), boxes(FALSE), 0.0),
        (boxes(ONE), boxes(), 0.0),
        (boxes(ONE), boxes((1, 0, 0, 10, 6)), 2 / 6),  # an IoU of 0.6 is above 0.5 and 0.55
        (boxes(ONE, ignored=(True,)), boxes(ONE, FALSE), 0.0),
        (boxes(ONE, OTHER, ignored=(False, True)), boxes(ONE, OTHER), 1.0),
    ],
)
def test_the_share_of_right_boxes_by_hand(truth: Boxes, answer: Boxes, value: float) -> None:
    assert box_precision_over_iou(WHEAT)({"i": truth}, {"i": answer}).value == pytest.approx(value)


def test_surer_answers_choose_first() -> None:
    """The less sure answer lies better, and the surer one takes the truth at 0.5 all the same."""
    truth = {"i": boxes(ONE)}
    answer = {"i": boxes((0.5, 0, 0, 10, 10), (0.9, 0, 0, 10, 6))}
    score = box_precision_over_iou(WHEAT, (0.5, 0.7))(truth, answer)
    assert score.parts["tp"] == score.parts["fp"] == 1 and score.parts["fn"] == 0
    assert score.value == 0.5


def test_edges_are_switches() -> None:
    nothing = {"i": boxes()}
    assert box_precision_over_iou(WHEAT, empty=0.0)(nothing, nothing).value == 0.0
    half = {"i": boxes((1, 0, 0, 10, 5))}
    assert box_precision_over_iou(WHEAT, (0.5,))({"i": boxes(ONE)}, half).value == 0.0
    assert box_precision_over_iou(WHEAT, (0.5,), strict=False)({"i": boxes(ONE)}, half).value == 1.0
    unsure = {"i": boxes(ONE, FALSE)}
    assert box_f_beta(WHEAT, lowest=0.6)({"i": boxes(ONE)}, unsure).value == 1.0
    assert box_f_beta(WHEAT, lowest=0.5)({"i": boxes(ONE)}, unsure).value == pytest.approx(2 / 3)


def test_f_beta_over_all_images_and_over_each() -> None:
    truths = {"a": boxes(ONE, OTHER), "b": boxes(), "c": boxes(ONE)}
    answers = {"a": boxes(ONE), "b": boxes(FALSE), "c": boxes(ONE)}  # TP 2, FP 1, FN 1
    assert box_f_beta(WHEAT, 2)(truths, answers).value == pytest.approx(10 / (10 + 4 + 1))
    found = box_f_beta(WHEAT, 2, over="images")(truths, answers)
    assert found.value == pytest.approx((5 / 9 + 0 + 1) / 3)
    assert dict(found.by_sample) == {"a": pytest.approx(5 / 9), "b": 0.0, "c": 1.0}
    assert found.parts["recall small"] == pytest.approx(2 / 3)


def test_classes_match_only_their_own() -> None:
    truths, answers = {"i": boxes((*ONE, 0), (*OTHER, 1))}, {"i": boxes((*ONE, 1), (*OTHER, 1))}
    score = box_f_beta(("a", "b", "c"))(truths, answers)
    assert score.value == 0.5
    assert score.parts["f a"] == 0.0 and score.parts["f b"] == pytest.approx(2 / 3) and "f c" not in score.parts


def greedy(truth: Boxes, answer: Boxes, threshold: float) -> tuple[int, int, int]:
    """Box by box: each answer, the surest first, takes the best truth that is left."""
    left, right = list(range(truth.count)), 0
    for row in np.argsort(-answer.scores, kind="stable").tolist():
        overlaps = {}
        for other in left:
            a, b = answer.xyxy[row].astype(float), truth.xyxy[other].astype(float)
            w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            inter = w * h if w > 0 and h > 0 else 0.0
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
            if inter / union > threshold:
                overlaps[other] = inter / union
        if overlaps:
            left.remove(max(overlaps, key=lambda other: (overlaps[other], other)))
            right += 1
    return right, answer.count - right, len(left)


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_matching_box_by_box(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(count: int) -> Boxes:
        low = rng.uniform(0, 30, (count, 2)).round()
        xyxy = np.concatenate([low, low + rng.uniform(5, 25, (count, 2)).round()], axis=1).astype(np.float32)
        return Boxes(xyxy, np.zeros(count, np.int32), rng.uniform(0, 1, count).round(1).astype(np.float32))

    truths = {f"{number}": some(int(rng.integers(0, 12))) for number in range(8)}
    answers = {name: some(int(rng.integers(0, 20))) for name in truths}
    for threshold in (0.3, 0.5):
        score = box_precision_over_iou(WHEAT, (threshold,))(truths, answers)
        known = {name: greedy(truth, answers[name], threshold) for name, truth in truths.items()}
        assert [score.parts[name] for name in ("tp", "fp", "fn")] == np.sum(list(known.values()), axis=0).tolist()
        for name, (tp, fp, fn) in known.items():
            assert score.by_sample[name] == pytest.approx(tp / (tp + fp + fn) if tp + fp + fn else 1.0)


def test_rules_that_are_not_possible_are_refused() -> None:
    assert "beta = 0" in one_line(ConfigError, lambda: box_f_beta(WHEAT, 0))
    assert "above 0, 1 at most" in one_line(ConfigError, lambda: box_f_beta(WHEAT, 1, (1.5,)))
    assert "each once" in one_line(ConfigError, lambda: box_precision_over_iou(()))
