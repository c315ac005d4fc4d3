"""What settings of segmentation refuse before any training."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from medalist.config import dump_config, parse_config
from medalist.tasks.segment.settings import SegmentSettings


def settings_of(**changes: Any) -> SegmentSettings:
    tree: dict[str, Any] = {
        "competition": "toy",
        "model": {"kind": "unet", "encoder": "resnet18", "channels": ["background", "car"]},
        "loss": {"ce": 1.0},
        "task": {"activation": "softmax"},
        "decide": {"kind": "threshold", "channel": "car"},
    }
    return SegmentSettings.model_validate(tree | changes)


def test_softmax_is_a_setting() -> None:
    assert settings_of().task.activation == "softmax"
    assert settings_of(loss={"bce": 1.0}, task={}).task.activation == "sigmoid"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": {"bce": 1.0}}, "loss.bce is not made for task.activation = softmax; set loss.bce=0 loss.ce=1"),
        ({"task": {}}, "loss.ce is not made for task.activation = sigmoid; set loss.ce=0 loss.bce=1"),
        (
            {"model": {"kind": "unet", "encoder": "resnet18", "channels": ["car"]}},
            "task.activation = softmax needs two channels or more",
        ),
        ({"augment": [{"Morphological": {}}]}, r"augment\[0\]: Morphological changes numbers of classes"),
        ({"loss": {"dice": 1.0, "ohem": {}}}, "loss.ohem is for bce, ce and focal, and none of them has a weight"),
        ({"task": {"activation": "softmax", "border_sigma": 5.0}}, "task.border_sigma is for task.activation sigmoid"),
        (
            {"augment": [{"D4": {}}, {"Affine": {"mask_interpolation": 1}}]},
            r"augment\[1\].Affine: mask_interpolation would blend numbers of classes",
        ),
    ],
)
def test_what_does_not_fit_the_activation_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings_of(**changes)


def test_the_same_transforms_serve_sigmoid() -> None:
    augment = [{"Morphological": {}}, {"Affine": {"mask_interpolation": 1}}]
    assert len(settings_of(augment=augment, loss={"bce": 1.0}, task={}).augment) == 2
    settings_of(augment=[{"Affine": {"mask_interpolation": 6}}])


def instances(*channels: str, **changes: Any) -> SegmentSettings:
    model = {"kind": "unet", "encoder": "resnet18", "channels": list(channels)}
    rest = {"task": {}, "loss": {"bce": 1.0}, "predict": {"tta": "none"}}
    return settings_of(model=model, decide={"kind": "watershed"}, **rest | changes)


def test_numbers_need_their_own_term() -> None:
    with pytest.raises(ValidationError, match=r"distance, offset_y needs the term loss.regression; set it to 1.0"):
        instances("body", "distance", "offset_y")
    both = {"bce": 1.0, "regression": 0.5}
    assert instances("body", "distance", "offset_y", loss=both).model.channels[1:] == ("distance", "offset_y")
    with pytest.raises(ValidationError, match=r"loss.regression: no channel is a number"):
        instances("body", "border", loss=both)
    with pytest.raises(ValidationError, match="distance is a number and no class; take sigmoid"):
        instances("body", "distance", task={"activation": "softmax"}, loss={"ce": 1.0, "regression": 1.0})


def test_offsets_are_not_mixed_or_resized_in_batches() -> None:
    loss = {"bce": 1.0, "regression": 0.5}
    for train in ({"mix": [{"kind": "cutmix"}]}, {"sizes": [{"epochs": 1, "size": [64, 64]}]}):
        with pytest.raises(ValidationError, match=f"train.{next(iter(train))} does not fit the channels offset_x"):
            instances("body", "offset_x", loss=loss, train=train)
        instances("body", "distance", loss=loss, train=train)
    for predict in ({}, {"tta": "none", "scales": [1.5]}):
        with pytest.raises(ValidationError, match=r"predict.tta and predict.scales do not fit the channels offset_x"):
            instances("body", "offset_x", loss=loss, predict=predict)
        instances("body", "distance", loss=loss, predict=predict)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"ce": 1.0}, {"lovasz": 1.0}], "each stage but the last needs its number of epochs"),
        ([{"epochs": 2, "ce": 1.0}, {"epochs": 2, "lovasz": 1.0}], "the last stage lasts to the end of the training"),
        ([{"epochs": 20, "ce": 1.0}, {"lovasz": 1.0}], "take 20 epochs before the last stage, and train.epochs = 20"),
        ([{"epochs": 2, "ce": 1.0}, {"bce": 1.0}], "loss.bce is not made for task.activation = softmax"),
        ([{"epochs": 2, "ce": 1.0}], "at least 2"),
    ],
)
def test_stages_that_do_not_follow_each_other_are_refused(stages: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings_of(loss={"kind": "stages", "stages": stages}, train={"epochs": 20})


def test_stages_are_read_and_written() -> None:
    stages = [{"epochs": 2, "ce": 1.0, "dice": 1.0}, {"lovasz": 1.0}]
    read = settings_of(loss={"kind": "stages", "stages": stages})
    assert parse_config(dump_config(read), "x.yaml", SegmentSettings) == read
