"""Boxes are drawn where they are, at every scale, and errors have their colours."""

import numpy as np
import pytest

from medalist.records import Boxes
from medalist.report.box_errors import outcome_of
from medalist.report.box_pictures import box_panels, box_picture, flaw_windows
from medalist.report.classes import COLOURS
from medalist.report.pictures import FALSE, FOUND, GAP, MISSED

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 80, 3), np.uint8)
CLASSES = ("cat", "")


def boxes(*rows: tuple[float, ...], ignored: list[bool] | None = None) -> Boxes:
    """Rows (label, score, x1, y1, x2, y2)."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    passed = None if ignored is None else np.array(ignored)
    corners = table[:, 2:].astype(np.float32)
    return Boxes(corners, table[:, 0].astype(np.int32), table[:, 1].astype(np.float32), passed)


def has(picture: np.ndarray, colour: tuple[int, int, int], row: int, column: int) -> bool:
    return tuple(picture[row, column].tolist()) == colour


def test_found_missed_and_false_boxes_have_their_colours() -> None:
    truth = boxes((1, 1, 0, 0, 20, 20), (1, 1, 30, 10, 50, 30), (1, 1, 60, 20, 70, 30), ignored=[False, False, True])
    answer = boxes((1, 0.9, 0, 0, 20, 20), (1, 0.8, 55, 2, 75, 15))
    panels = box_panels(IMAGE, truth, answer, outcome_of(truth, answer), CLASSES, side=160)
    assert {panel.shape for panel in panels} == {(80, 160, 3)}
    assert has(panels[1], FOUND, 39, 30) and has(panels[2], FOUND, 39, 30)  # the line before x2 or y2, twice as large
    assert has(panels[1], MISSED, 40, 60)
    assert has(panels[1], GAP, 59, 130)
    assert has(panels[2], FALSE, 29, 130)
    assert not (panels[0] == FOUND).all(axis=2).any()


@pytest.mark.parametrize("side", [40, 80, 400])
def test_a_window_shows_the_boxes_that_reach_into_it(side: int) -> None:
    truth = boxes((1, 1, 10, 10, 30, 30), (1, 1, 70, 35, 79, 39))  # of the class without a name: no words
    outcome = outcome_of(truth, boxes())
    part = (slice(5, 35), slice(5, 65))
    panels = box_panels(IMAGE, truth, boxes(), outcome, CLASSES, side=side, window=part)
    lines = (panels[1] == MISSED).all(axis=2)
    scale = side / 60
    assert lines[round(20 * scale), int(25 * scale - 0.01)]
    assert not lines[:, int(30 * scale) :].any()
    assert (panels[2] == panels[2][:, :, :1]).all()  # no box, so it is gray


def test_boxes_of_a_truth_have_the_colours_of_their_classes() -> None:
    picture = box_picture(IMAGE, boxes((1, 1, 0, 0, 80, 40), (0, 1, 20, 10, 21, 11)), CLASSES, side=80)
    assert has(picture, COLOURS[1], 39, 79)
    assert has(picture, COLOURS[0], 10, 20)  # a box of one pixel is seen
    assert picture.shape == IMAGE.shape
    assert box_picture(IMAGE, boxes(), CLASSES, side=64).shape == (32, 64, 3)


def test_small_missed_truths_are_enlarged_first_and_each_place_once() -> None:
    truth = boxes((0, 1, 100, 100, 130, 130), (0, 1, 300, 300, 304, 304), (0, 1, 306, 300, 312, 306))
    answer = boxes((0, 0.9, 10, 380, 30, 399), (0, 0.4, 200, 10, 210, 20))
    outcome = outcome_of(truth, answer)
    places = flaw_windows(truth, answer, outcome, (400, 400), most=9)
    assert [words for words, _ in places] == [
        "missed",
        "missed",
        "nothing there, score 0.90",
        "nothing there, score 0.40",
    ]
    assert places[0][1] == (slice(270, 334), slice(270, 334))
    assert places[2][1] == (slice(336, 400), slice(0, 64))
    assert len(flaw_windows(truth, answer, outcome, (400, 400))) == 2
    assert flaw_windows(truth, answer, outcome, (60, 60)) == []
