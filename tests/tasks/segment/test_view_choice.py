"""Which views help, by maps whose errors are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from pydantic import TypeAdapter

from medalist.engine.view_settings import VIEWS, Tta, View, ViewConfig, views_of
from medalist.metrics.masks import mean_dice
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import ThresholdConfig
from medalist.records import Answer, MapPrediction, Mask, Score
from medalist.tasks.segment.view_choice import CANDIDATES, Trial, named, single_views, tables, typed

IDS = tuple(f"s{number:02}" for number in range(40))
TRUTH = np.zeros((16, 16), np.uint8)
TRUTH[4:12, 4:12] = 1
NOISE = (0.25, 0.25, 0.25, 1.2)
"""Of the image as it is, of two views that are as good, and of one that is bad."""


def read(view: int, name: str) -> MapPrediction:
    random = np.random.default_rng([view, int(name[1:])])
    maps = np.clip(0.3 + 0.4 * TRUTH + random.normal(0, NOISE[view], TRUTH.shape), 0, 1)
    return MapPrediction(np.round(255 * maps[None]).astype(np.uint8), ("damage",))


def score(answers: Mapping[str, Answer]) -> Score:
    return mean_dice({name: Mask(TRUTH) for name in answers}, answers)  # type: ignore[arg-type]


def trial() -> Trial:
    views = (View(0, True), View(2, True), View(scale=0.1))
    parts = np.arange(len(IDS)) % 4
    return Trial(IDS, parts, views, (2.0, 2.0, 2.5, 0.5), read, lambda maps: decide(maps, ThresholdConfig()), score)


def test_views_that_help_are_proposed_with_gain_and_cost() -> None:
    one = trial()
    singles, sets = tables(one, [View(0, True)], "toy/run", (1.0,))
    by_name = {row[0]: row for row in (*singles.rows, *sets.rows)}
    assert list(by_name) == ["none", "[hflip]", "[vflip]", "[{scale: 0.1}]", "proposed", "the config's"]
    # By hand: the mean difference over samples, and its standard error.
    base, both = one.by_sample(()), one.by_sample((0, 1))
    difference = both - base
    gain, error = difference.mean(), difference.std(ddof=1) / np.sqrt(len(IDS))
    assert by_name["proposed"] == ("proposed", f"{both.mean():.4f}", f"{gain:+.4f}", f"{error:.4f}", "6.5", "3.2")
    assert gain > 5 * error > 0
    assert float(by_name["[hflip]"][2]) > 0 and by_name["[hflip]"][4:] == ("4.0", "2.0")
    assert float(by_name["[{scale: 0.1}]"][2]) < 0
    assert sets.lines[0].endswith(": [hflip, vflip]") and "honest gain, each of 4 parts" in sets.lines[1]
    assert sets.lines[2] == "config line: predict: {tta: [hflip, vflip]}"
    assert sets.lines[3] == "to predict with it: medalist predict toy/run --split oof 'predict.tta=[hflip, vflip]'"


def test_the_mean_of_views_is_the_mean_of_their_maps() -> None:
    one = trial()
    answers = {}
    for name in IDS:
        mean = np.mean([read(view, name).maps.astype(float) for view in (0, 2)], axis=0)
        answers[name] = Mask((np.floor(mean[0] + 0.5) > 127.5).astype(np.uint8))
    assert one.scored((1,)).value == pytest.approx(score(answers).value)


def test_a_metric_that_is_no_mean_and_a_single_part_say_that_they_flatter() -> None:
    one = trial()
    one.parts = np.zeros(len(IDS), np.int64)
    assert "all are one group" in tables(one, [], "toy/run", (1.0,))[1].lines[1]

    def pooled(answers: Mapping[str, Answer]) -> Score:
        found = score(answers)
        return Score(found.value**2, found.parts, found.by_sample)

    other = trial()
    other.score = pooled
    shown = tables(other, [], "toy/run", (1.0, 1.5))
    assert "its gain is too good" in shown[1].lines[1] and "scales: [1.0, 1.5]}" in shown[1].lines[2]


def test_where_nothing_helps_nothing_is_proposed() -> None:
    one = trial()
    one.views, one.seconds = one.views[2:], (2.0, 0.5)
    one.read = lambda view, name: read(3 if view else 0, name)
    lines = tables(one, [], "toy/run", (1.0,))[1].lines
    assert lines[0] == (
        "proposed, no view gains more than its standard error: the image as it is suffices: none"
    ) and lines[3].endswith("predict.tta=none")


def test_what_is_typed_is_read_back_as_the_same_views() -> None:
    tta: TypeAdapter[object] = TypeAdapter(Tta)
    for views in (single_views(CANDIDATES), [View(1)], [View(3, True, 1.25, 8, 2.0)], [View(clahe=1.5), View(2)]):
        listed = [named(view) for view in views]
        read_back = tta.validate_python(listed)
        assert views_of(read_back) == (View(), *views)  # type: ignore[arg-type]
    assert typed([]) == "none" and typed([View(2), View(0, True), View(2, True)]) == "flips"
    assert typed(VIEWS["d4"][1:]) == "d4" and typed([View(1, scale=1.25)]) == "[{scale: 1.25, turn: rot90}]"
    assert single_views(("d4", "hflip", ViewConfig(shift=16))) == [*VIEWS["d4"][1:], View(shift=16)]
