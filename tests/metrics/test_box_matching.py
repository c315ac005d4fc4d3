"""Matching of boxes: many pairs at once, and which answer takes which truth, by hand."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from medalist.metrics import box_matching
from medalist.metrics.box_matching import facing, matches
from medalist.records import Boxes


def boxes(*rows: tuple[float, ...], ignored: tuple[bool, ...] | None = None) -> Boxes:
    """Each row is label, score, x1, x2; all boxes are 10 high."""
    table = np.array(rows, np.float32).reshape(-1, 4)
    flat = np.zeros(len(table), np.float32)
    xyxy = np.stack([table[:, 2], flat, table[:, 3], flat + 10], axis=1)
    passed = None if ignored is None else np.array(ignored, np.bool_)
    return Boxes(xyxy, table[:, 0].astype(np.int32), table[:, 1], passed)


def test_pairs_do_not_depend_on_how_many_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def some(count: int) -> Boxes:
        low = rng.uniform(0, 40, (count, 2))
        xyxy = np.concatenate([low, low + rng.uniform(1, 30, (count, 2))], axis=1).astype(np.float32)
        return Boxes(xyxy, rng.integers(0, 2, count).astype(np.int32), rng.random(count).astype(np.float32))

    truths, answers = {"a": some(9), "b": some(0), "c": some(7)}, {"a": some(20), "b": some(5), "c": some(0)}
    whole = facing(truths, answers, 2)
    for at_once in (1, 7):
        monkeypatch.setattr(box_matching, "_PAIRS", at_once)
        parts = facing(truths, answers, 2)
        np.testing.assert_array_equal(parts.pair_answer, whole.pair_answer)
        np.testing.assert_array_equal(parts.pair_truth, whole.pair_truth)
        np.testing.assert_array_equal(parts.iou, whole.iou)
    assert len(whole.iou) > 20


def found(truth: Boxes, answer: Boxes, assign: Literal["free", "best"] = "free") -> list[int]:
    return matches(facing({"i": truth}, {"i": answer}, 2), 0.5, assign=assign).tolist()


def test_surer_answers_choose_first_and_keep_their_class() -> None:
    truth = boxes((0, 1, 0, 10), (1, 1, 0, 10))
    # answers are sorted by class, then by score
    assert found(truth, boxes((0, 0.2, 0, 10), (0, 0.9, 0, 8), (1, 0.5, 0, 10))) == [0, -1, 1]


def test_an_answer_takes_the_best_free_truth_or_only_the_best() -> None:
    truth = boxes((0, 1, 0, 10), (0, 1, 2, 12))
    answer = boxes((0, 0.9, 0, 10), (0, 0.8, 0, 11))
    assert found(truth, answer) == [0, 1]
    assert found(truth, answer, "best") == [0, -1]


def test_of_equal_overlaps_the_later_truth_counts_or_the_first() -> None:
    truth = boxes((0, 1, 0, 10), (0, 1, 2, 12))
    middle = boxes((0, 1, 1, 11))
    assert found(truth, middle) == [1]  # as pycocotools
    assert found(truth, middle, "best") == [0]  # as the development kit of Pascal VOC


def test_judged_truths_come_before_ignored_ones_and_crowds_are_found_again() -> None:
    truth = boxes((0, 1, 0, 10), (0, 1, 0, 12), ignored=(True, False))
    assert found(truth, boxes((0, 0.9, 0, 10), (0, 0.8, 0, 10), (0, 0.7, 0, 10))) == [1, 0, 0]


def test_only_the_surest_answers_of_a_class_are_kept() -> None:
    both = facing(
        {"i": boxes()}, {"i": boxes((0, 0.1, 0, 9), (0, 0.3, 0, 8), (1, 0.2, 0, 7), (0, 0.2, 0, 6))}, 2, most=2
    )
    assert both.answer.xyxy[:, 2].tolist() == [8, 6, 7]
