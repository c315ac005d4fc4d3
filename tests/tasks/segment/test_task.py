from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from lightning_fabric import Fabric
from numpy.typing import NDArray

from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.errors import ConfigError
from medalist.records import Instances, Mask, Ranking
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.losses import segmentation_loss
from medalist.tasks.segment.settings import SegmentConfig
from medalist.tasks.segment.targets import touching_border
from medalist.tasks.segment.task import SegmentTask

LOSS = LossConfig(bce=1.0, dice=0.5)
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


def task(*channels: str, border: int = 1) -> SegmentTask:
    return SegmentTask(SegmentConfig(border=border), LOSS, channels)


def plain_border(labels: NDArray[np.int32], radius: int) -> NDArray[np.bool_]:
    """The slow twin: look at every window."""
    border = np.zeros(labels.shape, np.bool_)
    for row, column in np.ndindex(*labels.shape):
        top, left = max(0, row - radius), max(0, column - radius)
        window = labels[top : row + radius + 1, left : column + radius + 1]
        border[row, column] = len(set(window.ravel().tolist()) - {0}) >= 2
    return border


def batch_of(target: torch.Tensor | None, *paddings: Padding) -> Batch:
    image = torch.zeros((len(paddings), 3, 4, 4))
    return Batch(image, target, tuple(range(len(paddings))), paddings)


@given(arrays(np.int32, SHAPES, elements=st.sampled_from([0, 0, 0, 1, 2, 3, 300, 65534])), st.integers(1, 4))
def test_instances_give_body_and_border(labels: NDArray[np.int32], radius: int) -> None:
    border = plain_border(labels, radius)
    np.testing.assert_array_equal(touching_border(labels, radius), border)
    target = task("border", "body", border=radius).targets(Instances(labels))
    assert target.dtype == np.uint8 and target.shape == (*labels.shape, 2)
    np.testing.assert_array_equal(target[..., 0], border)
    np.testing.assert_array_equal(target[..., 1], labels > 0)


def test_border_by_hand() -> None:
    labels = np.array([[1, 1, 0, 0, 2, 2, 3]], np.int32)
    np.testing.assert_array_equal(touching_border(labels, 1), np.array([[0, 0, 0, 0, 0, 1, 1]], np.bool_))
    np.testing.assert_array_equal(touching_border(labels, 2), np.array([[0, 0, 1, 1, 1, 1, 1]], np.bool_))


def test_a_radius_beyond_the_image_and_an_image_without_objects() -> None:
    assert touching_border(np.array([[1, 2]], np.int32), 50).all()
    assert not touching_border(np.array([[7, 7]], np.int32), 50).any()
    assert not touching_border(np.zeros((5, 5), np.int32), 2).any()


def test_more_objects_than_can_be_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"^an image with 65535 objects; at most 65534"):
        touching_border(np.array([[0, 65535]], np.int32), 1)


@pytest.mark.parametrize("channels", [("body", "centre"), ("nucleus",)])
def test_instances_refuse_other_channels(channels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"^model.channels: instances give body, border, not {channels[-1]}$"):
        task(*channels).targets(Instances(np.zeros((2, 2), np.int32)))


@given(arrays(np.uint8, SHAPES, elements=st.integers(0, 3)))
def test_masks_give_foreground_or_one_channel_for_each_class(classes: NDArray[np.uint8]) -> None:
    one = task("salt").targets(Mask(classes))
    assert one.dtype == np.uint8 and one.shape == (*classes.shape, 1)
    many = task("a", "b", "c").targets(Mask(classes))
    assert many.dtype == np.uint8 and many.shape == (*classes.shape, 3)
    for row, column in np.ndindex(*classes.shape):
        assert one[row, column, 0] == (classes[row, column] > 0)
        assert many[row, column].tolist() == [int(classes[row, column] == number) for number in (1, 2, 3)]


def test_a_class_without_a_channel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model.channels names 2 classes \(a, b\), but a mask has class 5; .*1..5$"):
        task("a", "b").targets(Mask(np.array([[0, 5]], np.uint8)))


def test_loss_is_that_of_the_config() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 4, 4), torch.randint(0, 2, (2, 2, 4, 4)).float()
    batch = batch_of(target, Padding(4, 4), Padding(4, 4))
    made = task("body", "border").loss(logits, batch)
    expected = segmentation_loss(logits, target, LOSS, ("body", "border"))
    assert made.keys() == {"loss", "bce", "dice"}
    assert all(torch.equal(made[name], expected[name]) for name in made)


def look(channels: tuple[str, ...], *seen: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    """What the task sees in (logits, target) of several batches, without padding."""
    batches = [(logits, batch_of(target, *([Padding(*target.shape[-2:])] * len(target)))) for logits, target in seen]
    return task(*channels).look(iter(batches), Fabric(accelerator="cpu", devices=1))


def test_a_look_adds_up_over_batches() -> None:
    torch.manual_seed(1)
    logits, target = torch.randn(5, 2, 8, 8), (torch.rand(5, 2, 8, 8) < 0.3).float()
    target[:, 1] = 0
    logits[:, 1] = -1
    whole = look(("body", "border"), (logits, target))
    parts = look(("body", "border"), (logits[:2], target[:2]), (logits[2:], target[2:]))
    assert parts == whole
    answer, truth = logits[:, 0] > 0, target[:, 0] > 0
    dice = 2 * int((answer & truth).sum()) / (int(answer.sum()) + int(truth.sum()))
    assert whole["dice_body"] == pytest.approx(dice, abs=1e-12)
    assert whole["dice_border"] == 1.0
    losses = [segmentation_loss(logits[n : n + 1], target[n : n + 1], LOSS, ("body", "border")) for n in range(5)]
    assert whole["val_loss"] == pytest.approx(sum(float(loss["loss"]) for loss in losses) / 5)
    assert whole["val_loss_bce"] == pytest.approx(sum(float(loss["bce"]) for loss in losses) / 5)


def test_a_look_counts_more_pixels_than_float32_can() -> None:
    """2^24 + 2 pixels of which all but one are right: float32 would lose that one."""
    target = torch.ones(1, 1, 4097, 4097)
    target[0, 0, 0, 0] = 0
    seen = look(("body",), (torch.ones(1, 1, 1, 1).expand(target.shape), target))
    right = 4097 * 4097 - 1
    assert seen["dice_body"] == 2 * right / (2 * right + 1)


def test_a_wrong_answer_has_no_overlap() -> None:
    assert look(("body",), (torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)))["dice_body"] == 0.0


def test_identities_are_no_pixels() -> None:
    with pytest.raises(ConfigError, match=r"task.kind = segment, but the contest asks for identities"):
        task("body").targets(Ranking(("whale",)))


def test_probabilities_are_float32() -> None:
    logits = torch.tensor([[[[0.0, 2.0]]]], dtype=torch.bfloat16)
    made = task("body").probabilities(logits)
    assert made.dtype == torch.float32
    assert made.flatten().tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-2))], abs=1e-6)


def test_predict_undoes_padding_and_rounds() -> None:
    values = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 1.0])
    probabilities = values.repeat(2, 2, 4, 1)  # each row of each map
    made = task("body", "border").predict(probabilities, batch_of(None, Padding(3, 4), Padding(1, 2)))
    assert [prediction.maps.shape for prediction in made] == [(2, 3, 4), (2, 1, 2)]
    assert all(prediction.channels == ("body", "border") for prediction in made)
    assert all(prediction.maps.dtype == np.uint8 and prediction.maps.flags.c_contiguous for prediction in made)
    assert made[0].maps[1, 2].tolist() == [0, 0, 1, 255]
    assert made[1].maps[0, 0].tolist() == [0, 0]
    assert made[0].channel("border")[0, 3] == 1.0


@given(st.integers(0, 255))
def test_predict_keeps_every_step_of_a_stored_probability(step: int) -> None:
    made = task("body").predict(torch.full((1, 1, 1, 1), step / 255), batch_of(None, Padding(1, 1)))
    assert made[0].maps.item() == step
