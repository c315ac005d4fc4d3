"""The score by the threshold of the decision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from medalist.metrics.classes import mean_class_dice
from medalist.metrics.masks import global_dice, mean_dice
from medalist.postprocess.classes import ClassRoles
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import ClassesConfig, ThresholdConfig, WatershedConfig
from medalist.records import Answer, MapPrediction, Mask, Sample, Score
from medalist.tasks.segment import thresholds
from medalist.tasks.segment.thresholds import affordable, decided_channel, swept

SAMPLES = [Sample(f"s{place}", (Path("none"),), (20, 30)) for place in range(8)]
TRUTH = np.zeros((20, 30), np.uint8)
TRUTH[5:10, 5:10] = 1


def fold_of(name: str) -> int:
    return int(name[1:]) % 2


def maps_of(name: str) -> MapPrediction:
    """The truth has 0.35, and a false place has 0.25; in fold 1 the truth has 0.75."""
    maps = np.zeros((1, 20, 30), np.uint8)
    maps[0, 15:18, 20:25] = 64
    maps[0][TRUTH > 0] = (89, 191)[fold_of(name)]
    return MapPrediction(maps, ("damage",))


def test_a_threshold_that_is_too_high_is_seen() -> None:
    truths: dict[str, Answer] = {sample.id: Mask(TRUTH) for sample in SAMPLES}
    (sweep,) = swept(ThresholdConfig(threshold=0.45), SAMPLES, truths, fold_of, maps_of, dice)
    assert sweep.name == "threshold" and sweep.used == 0.45 and 0.45 in sweep.thresholds
    assert sweep.now == pytest.approx(0.5) and sweep.best == 0.3 and max(sweep.scores) == 1.0
    assert sweep.folds[0][sweep.thresholds.index(0.45)] == 0 and sweep.folds[1][sweep.thresholds.index(0.45)] == 1
    # Fold 1 knows nothing better than 0.45, so fold 0 is decided by it; fold 1 is decided by 0.3, the best of fold 0.
    assert sweep.honest == pytest.approx(0.5)
    assert sweep.samples == sweep.of == 8


def test_a_score_that_is_no_mean_has_no_honest_gain() -> None:
    truths: dict[str, Answer] = {sample.id: Mask(TRUTH) for sample in SAMPLES}
    (sweep,) = swept(ThresholdConfig(), SAMPLES, truths, fold_of, maps_of, pooled)
    assert sweep.folds == {} and sweep.honest is None and sweep.best == 0.3


def test_of_equal_thresholds_the_one_in_use_is_the_best() -> None:
    truths: dict[str, Answer] = {sample.id: Mask(TRUTH) for sample in SAMPLES if fold_of(sample.id)}
    samples = [sample for sample in SAMPLES if fold_of(sample.id)]
    (sweep,) = swept(ThresholdConfig(threshold=0.62), samples, truths, fold_of, maps_of, dice)
    assert sweep.best == sweep.used and sweep.folds == {}


ROLES = ClassRoles({"pit": 1, "stain": 2})


def maps_of_classes(name: str) -> MapPrediction:
    """The truth of the first class has 0.35, and a false place of it has 0.25; the second class is right at 0.5."""
    maps = np.zeros((2, 20, 30), np.uint8)
    maps[0, 15:18, 20:25] = 64
    maps[0][TRUTH > 0] = 89
    maps[1, 12:14, 2:9] = 140
    return MapPrediction(maps, ("pit", "stain"))


def class_truths() -> dict[str, Answer]:
    classes = TRUTH.copy()
    classes[12:14, 2:9] = 2
    return {sample.id: Mask(classes) for sample in SAMPLES}


def class_dice(truths: Mapping[str, Answer], answers: Mapping[str, Answer]) -> Score:
    return mean_class_dice(("background", "pit", "stain"), over="images")(_masks(truths), _masks(answers))


def test_each_class_has_a_threshold_of_its_own() -> None:
    how = ClassesConfig(rule="thresholds")
    whole, pit, stain = swept(how, SAMPLES, class_truths(), fold_of, maps_of_classes, class_dice, ROLES)
    assert (whole.channel, pit.channel, stain.channel) == ("", "pit", "stain")
    assert pit.now == pytest.approx(0.5) and pit.best == 0.3 and max(pit.scores) == pytest.approx(1.0)
    assert pit.honest == pytest.approx(1.0) and pit.setting == {"pit": 0.5, "stain": 0.5}
    assert stain.best == stain.used == 0.5 and stain.scores[stain.thresholds.index(0.6)] == pytest.approx(0.0)
    for step, value in zip(pit.thresholds, pit.scores, strict=True):
        alone = how.model_copy(update={"threshold": {"pit": step}})  # stain is not named, so it keeps 0.5
        answers: dict[str, Answer] = {one.id: decide(maps_of_classes(one.id), alone, roles=ROLES) for one in SAMPLES}
        assert value == class_dice(class_truths(), answers).value


def test_given_thresholds_of_classes_are_the_ones_in_use() -> None:
    how = ClassesConfig(rule="thresholds", threshold={"pit": 0.35}, present={"stain": 0.4})
    found = swept(how, SAMPLES, class_truths(), fold_of, maps_of_classes, class_dice, ROLES)
    told = [(one.name, one.channel, one.used, dict(one.setting)) for one in found]
    both = {"pit": 0.35, "stain": 0.5}
    assert told == [
        ("threshold", "pit", 0.35, both),
        ("threshold", "stain", 0.5, both),
        ("present", "stain", 0.4, {"stain": 0.4}),
    ]


def test_argmax_has_no_threshold_but_its_gate() -> None:
    roles = ClassRoles({"none": 0, "pit": 1, "stain": 2})

    def maps(name: str) -> MapPrediction:
        planes = maps_of_classes(name).maps
        return MapPrediction(np.concatenate([np.full((1, 20, 30), 30, np.uint8), planes]), ("none", "pit", "stain"))

    assert swept(ClassesConfig(), SAMPLES, class_truths(), fold_of, maps, class_dice, roles) == []
    gate = ClassesConfig(present=0.5)
    found = swept(gate, SAMPLES, class_truths(), fold_of, maps, class_dice, roles)
    assert [(one.name, one.channel) for one in found] == [("present", ""), ("present", "pit"), ("present", "stain")]


def test_one_class_has_one_threshold() -> None:
    single = ClassRoles({"pit": 1})
    how = ClassesConfig(rule="thresholds")
    found = swept(how, SAMPLES, class_truths(), fold_of, maps_of_classes, class_dice, single)
    assert [one.channel for one in found] == [""]
    named = ClassesConfig(rule="thresholds", threshold={"pit": 0.4})
    found = swept(named, SAMPLES, class_truths(), fold_of, maps_of_classes, class_dice, single)
    assert [(one.channel, one.used) for one in found] == [("pit", 0.4)]


def test_many_classes_are_tried_on_fewer_pixels_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "FAST", 20 * 30 * 8)
    assert len(affordable(SAMPLES, ClassesConfig(), 4)) == 8 and len(affordable(SAMPLES, ClassesConfig(), 16)) == 2
    monkeypatch.setattr(thresholds, "MANY", 1)
    how = ClassesConfig(rule="thresholds")
    _, pit, _ = swept(how, SAMPLES, class_truths(), fold_of, maps_of_classes, class_dice, ROLES)
    assert pit.thresholds == (0.1, 0.3, 0.5, 0.7, 0.9)


def test_many_pixels_are_tried_on_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "SLOW", 20 * 30 * 3 + 5)
    taken = affordable(SAMPLES, WatershedConfig())
    assert len(taken) == 3 and affordable(SAMPLES[::-1], WatershedConfig()) == taken
    assert len(affordable(SAMPLES, ThresholdConfig())) == 8
    monkeypatch.setattr(thresholds, "SLOW", 1)
    assert len(affordable(SAMPLES, WatershedConfig())) == 1


def test_the_map_that_is_compared_with_the_threshold() -> None:
    assert decided_channel(WatershedConfig(), ("border", "body")) == "body"
    assert decided_channel(ThresholdConfig(), ("a", "b")) == "a"
    assert decided_channel(ThresholdConfig(channel="b"), ("a", "b")) == "b"


def dice(truths: Mapping[str, Answer], answers: Mapping[str, Answer]) -> Score:
    return mean_dice(_masks(truths), _masks(answers))


def pooled(truths: Mapping[str, Answer], answers: Mapping[str, Answer]) -> Score:
    return global_dice(_masks(truths), _masks(answers))


def _masks(answers: Mapping[str, Answer]) -> dict[str, Mask]:
    return {name: one for name, one in answers.items() if isinstance(one, Mask)}
