"""Labels from Python: the same probabilities and answers as the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medalist.errors import RunError
from medalist.predictor import open_run
from medalist.records import Labels, TablePrediction
from medalist.stores.tables import TableStore

from .conftest import CLASSES, CONFIGS, Bodies


@pytest.mark.parametrize("name", CONFIGS)
def test_the_test_part_is_predicted_and_answered_as_the_commands_do(
    name: str, bodies: Bodies, medalist: Callable[..., Any]
) -> None:
    for words in (("score", f"{name}/tiny"), ("submit", f"{name}/tiny", "-o", "out.csv")):
        assert medalist(*words, "--data", "data").code == 0
    part, values = TableStore(bodies.run(name).folder / "test").read("test")
    predictor = open_run(f"{name}/tiny", device="cpu")
    paths = [bodies.data / f"{sample}.png" for sample in part.ids]
    for row, found in zip(values, predictor.predict(paths), strict=True):
        assert isinstance(found, TablePrediction) and found.columns == part.columns
        assert np.abs(found.values - row).max() < 1e-5
    answers = predictor.answer(paths)
    assert all(isinstance(answer, Labels) and set(answer.names) <= set(CLASSES) for answer in answers)
    form = bodies.contest(name).competition.submission
    rows = [
        ",".join(map(str, row)) for sample, one in zip(part.ids, answers, strict=True) for row in form.rows(sample, one)
    ]
    if name != "bodies":  # probabilities differ in their last digits
        assert rows == (bodies.home / "out.csv").read_text().splitlines()[1:]


def test_tuned_thresholds_need_a_score(bodies: Bodies) -> None:
    predictor = open_run("bodies.several/tiny", device="cpu")
    with pytest.raises(RunError, match=r"nothing was tuned .*; run medalist score bodies\.several/tiny first"):
        predictor.answer(np.zeros((32, 32, 3), np.uint8))


def test_other_classes_than_the_run_has_are_refused(bodies: Bodies) -> None:
    (bodies.run("bodies").folder / "classes.json").write_text(json.dumps(["ant", "bee", "dog", "cat"]))
    with pytest.raises(RunError, match="was trained on another list of classes"):
        open_run("bodies/tiny", device="cpu")
