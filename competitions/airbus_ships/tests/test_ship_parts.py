"""The gate of images without ships: a lone faint answer on an empty image would cost its whole score."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from medalist.competition import load_competition
from medalist.records import Instances, MapPrediction

CONTEST = load_competition("airbus_ships", Path(__file__).parents[2])
parts: Any = importlib.import_module("competitions.airbus_ships.parts")


def prediction(body: int, presence: int | None = None) -> MapPrediction:
    """Two blocks of 80 pixels, the first as sure as `body`, the second a little less; in steps of 1/255."""
    maps = np.zeros((2 if presence is None else 3, 20, 40), np.uint8)
    maps[0, 5:13, 3:13], maps[0, 5:13, 20:30] = body, body - 10
    if presence is not None:
        maps[2] = presence
    return MapPrediction(maps, ("body", "border", "presence:body")[: len(maps)])


def test_ships_are_found_where_the_image_is_sure_to_show_one() -> None:
    found = parts.ships(prediction(220))
    assert isinstance(found, Instances) and found.count == 2


def test_a_faint_answer_is_no_ship() -> None:
    assert parts.ships(prediction(170), present=0.7).count == 0
    assert parts.ships(prediction(170), present=0.6).count == 2


def test_what_a_classification_head_says_counts_in_place_of_the_map() -> None:
    assert parts.ships(prediction(250, presence=40)).count == 0
    assert parts.ships(prediction(170, presence=240), present=0.7).count == 2


def test_the_gate_gives_an_empty_image_its_whole_score() -> None:
    truth = {"a": Instances(np.zeros((20, 40), np.int32))}
    assert CONTEST.score(truth, {"a": parts.ships(prediction(170), present=0.7)}).value == 1.0
    assert CONTEST.score(truth, {"a": parts.ships(prediction(170), present=0.3)}).value == 0.0
