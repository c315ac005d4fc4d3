"""The metric of middles, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from medalist.errors import ConfigError
from medalist.metrics.box_points import point_jaccard
from medalist.records import Boxes

METRIC = point_jaccard(("A", "B"), (2, 10))


def points(*rows: tuple[int, float, float], ignored: tuple[bool, ...] | None = None) -> Boxes:
    """Each row is label, x, y of the middle."""
    table = np.array(rows, np.float32).reshape(-1, 3)
    xyxy = np.concatenate([table[:, 1:] - 3, table[:, 1:] + 3], axis=1)
    passed = None if ignored is None else np.array(ignored, np.bool_)
    return Boxes(xyxy, table[:, 0].astype(np.int32), np.ones(len(table), np.float32), passed)


@pytest.mark.parametrize(
    ("truth", "answer", "value"),
    [
        (points((0, 5, 5)), points((0, 7, 5)), 1.0),  # at the radius
        (points((0, 5, 5)), points((0, 7.5, 5)), 0.0),
        (points((1, 5, 5)), points((0, 5, 5)), 0.0),
        (points((1, 5, 5)), points((1, 5, 5), (1, 6, 5)), 0.5),
        (points((1, 0, 0), (1, 8, 0)), points((1, 7, 0), (1, 9, 0)), 1.0),  # 9 takes 8, and 7 is left for 0
        (points(), points(), 1.0),
        (points(), points((0, 1, 1)), 0.0),
        (points((1, 5, 5), ignored=(True,)), points((1, 6, 5)), 1.0),
        (points((1, 5, 5), (1, 9, 5), ignored=(True, False)), points((1, 6, 5)), 1.0),  # the judged one first
    ],
)
def test_jaccard_by_hand(truth: Boxes, answer: Boxes, value: float) -> None:
    score = METRIC({"i": truth}, {"i": answer})
    assert score.value == score.by_sample["i"] == value


def test_all_images_count_together() -> None:
    truths = {"a": points((0, 5, 5), (1, 50, 50)), "b": points()}
    score = METRIC(truths, {"a": points((0, 5, 5)), "b": points((1, 1, 1))})
    assert (score.value, score.parts["tp"], score.parts["fp"], score.parts["fn"]) == (1 / 3, 1, 1, 1)
    assert score.parts["jaccard A"] == 1.0 and score.parts["jaccard B"] == 0.0
    assert dict(score.by_sample) == {"a": 0.5, "b": 0.0}


def test_radii_that_do_not_fit_are_refused() -> None:
    assert "1 radii for 2 classes" in one_line(ConfigError, lambda: point_jaccard(("A", "B"), (1,)))
