"""Decisions are refused before a training where the contest could not take their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.errors import ConfigError
from medalist.formats.class_rle import ClassRleFormat
from medalist.formats.label_pictures import LabelPictureFormat
from medalist.formats.rle import RleFormat
from medalist.parts import NO_PARTS
from medalist.records import MapPrediction, Mask, Sample, Score, Split
from medalist.tasks.segment.deciding import decide_by, rehearse_decision, roles_of
from medalist.tasks.segment.settings import SegmentConfig, SegmentSettings

CLASSES = ("background", "crack", "dent")
STREET = ("road", "car")
ONE = RleFormat(row_per="image")
OBJECTS = RleFormat()
SEVERAL = ClassRleFormat(CLASSES)
PICTURES = LabelPictureFormat(STREET)


def settings_of(
    channels: tuple[str, ...], decide: dict[str, Any], activation: Literal["sigmoid", "softmax"] = "sigmoid"
) -> SegmentSettings:
    settings = SegmentSettings.model_validate(
        {
            "competition": "toy",
            "model": {"kind": "unet", "encoder": "resnet18", "weights": "none", "channels": list(channels)},
            "loss": {"bce": 1.0},
            "decide": decide,
        }
    )
    # What loss fits an activation is not asked here.
    return settings.model_copy(update={"task": SegmentConfig(activation=activation)})


def contest_of(form: Any, classes: tuple[str, ...] = ()) -> Contest:
    split = Split((Sample("a", (), (8, 9)),), (Sample("t", (), (8, 9)),))
    made = Competition(
        "toy",
        lambda data: split,
        lambda data, sample: Mask(np.zeros(sample.size, np.uint8)),
        lambda truths, answers: Score(1.0, {}, {}),
        form,
        classes=classes,
    )
    return Contest(made, Path(), split)


@pytest.mark.parametrize(
    ("form", "classes", "channels", "activation", "decide"),
    [
        (ONE, (), ("salt",), "sigmoid", {"kind": "threshold"}),
        (ONE, (), ("salt", "sand"), "sigmoid", {"kind": "threshold", "channel": "sand"}),
        (OBJECTS, (), ("body", "border"), "sigmoid", {"kind": "watershed"}),
        (SEVERAL, CLASSES, ("crack", "dent"), "sigmoid", {"kind": "classes", "rule": "thresholds"}),
        (SEVERAL, CLASSES, ("dent",), "sigmoid", {"kind": "classes", "rule": "thresholds"}),
        (SEVERAL, CLASSES, CLASSES, "softmax", {"kind": "classes", "min_size": {"dent": 3}}),
        (SEVERAL, CLASSES, CLASSES, "softmax", {"kind": "classes", "rule": "thresholds", "threshold": {"dent": 0.3}}),
        (PICTURES, STREET, STREET, "softmax", {"kind": "classes"}),
        (PICTURES, STREET, STREET, "sigmoid", {"kind": "classes", "rule": "thresholds", "otherwise": "best"}),
        (ONE, (), ("salt",), "sigmoid", {"kind": "classes", "rule": "thresholds"}),
    ],
)
def test_decisions_that_fit_are_rehearsed(
    form: Any,
    classes: tuple[str, ...],
    channels: tuple[str, ...],
    activation: Literal["sigmoid", "softmax"],
    decide: dict[str, Any],
) -> None:
    rehearse_decision(settings_of(channels, decide, activation), contest_of(form, classes), NO_PARTS)


@pytest.mark.parametrize(
    ("form", "classes", "channels", "decide", "told"),
    [
        (
            ONE,
            (),
            ("salt", "sand"),
            {"kind": "threshold"},
            r"decides one channel, and model.channels are salt, sand; name",
        ),
        (OBJECTS, (), ("body",), {"kind": "threshold"}, "the contest asks for objects, the answer is Mask"),
        (ONE, (), ("body",), {"kind": "watershed"}, "the contest asks for a mask, the answer is Instances"),
        (
            SEVERAL,
            CLASSES,
            ("dent",),
            {"kind": "threshold"},
            "answers one class beside a background, and toy asks for background, crack, dent",
        ),
        (SEVERAL, CLASSES, ("body",), {"kind": "watershed"}, "asks for a mask of classes, the answer is Instances"),
        (PICTURES, STREET, ("body",), {"kind": "watershed"}, "asks for a mask of classes, the answer is Instances"),
        (
            ONE,
            (),
            ("a", "b"),
            {"kind": "classes", "rule": "thresholds"},
            "a submission of toy has one; type .*channel=b",
        ),
        (SEVERAL, CLASSES, ("crack", "dents"), {"kind": "classes"}, "no class 'dents'.*did you mean 'dent'"),
        (SEVERAL, CLASSES, ("crack", "dent"), {"kind": "classes"}, "argmax: no channel is the background"),
        (SEVERAL, CLASSES, ("crack",), {"kind": "classes", "rule": "thresholds", "present": {"crak": 0.5}}, "'crak'"),
        (PICTURES, STREET, STREET, {"kind": "classes", "rule": "thresholds"}, "no class 'background'"),
        (
            SEVERAL,
            (),
            ("a", "b", "c"),
            {"kind": "classes", "rule": "thresholds"},
            r"class 3, and .* classes are 0\.\.2",
        ),
    ],
)
def test_decisions_that_cannot_serve_are_refused(
    form: Any, classes: tuple[str, ...], channels: tuple[str, ...], decide: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        rehearse_decision(settings_of(channels, decide), contest_of(form, classes), NO_PARTS)
    assert "\n" not in str(caught.value)


def test_channels_are_classes_by_their_names() -> None:
    settings = settings_of(("dent", "crack"), {"kind": "classes", "rule": "thresholds"})
    roles = roles_of(settings.decide, settings, contest_of(SEVERAL, CLASSES).competition)
    assert roles is not None and roles.numbers == {"dent": 2, "crack": 1} and roles.background
    maps = MapPrediction(np.array([[[200, 0, 0]], [[0, 200, 0]]], np.uint8), ("dent", "crack"))
    answer = decide_by(settings.decide, NO_PARTS, roles=roles)(maps)
    assert isinstance(answer, Mask) and answer.classes.tolist() == [[2, 1, 0]]


def test_other_decisions_need_no_roles() -> None:
    settings = settings_of(("body", "border"), {"kind": "watershed"})
    assert roles_of(settings.decide, settings, contest_of(OBJECTS).competition) is None


@pytest.mark.parametrize(
    ("classes", "channel"), [(STREET, "car"), (CLASSES, "dent"), (("background", "a"), "background")]
)
def test_a_threshold_never_answers_the_number_of_another_class(classes: tuple[str, ...], channel: str) -> None:
    """It would answer 1, also after the training, by `score decide.kind=threshold`."""
    settings = settings_of(classes, {"kind": "threshold", "channel": channel})
    with pytest.raises(ConfigError, match="one class beside a background"):
        roles_of(settings.decide, settings, contest_of(object(), classes).competition)


def test_a_threshold_serves_one_class_beside_a_background() -> None:
    classes = ("background", "salt")
    settings = settings_of(classes, {"kind": "threshold", "channel": "salt"})
    assert roles_of(settings.decide, settings, contest_of(object(), classes).competition) is None
