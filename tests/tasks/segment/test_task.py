from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric

from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.targets import MapTargets
from medalist.errors import TrainingError
from medalist.tasks.segment.loss_settings import LossConfig, StagedLossConfig
from medalist.tasks.segment.losses import segmentation_loss
from medalist.tasks.segment.task import SegmentTask

LOSS = LossConfig(bce=1.0, dice=0.5)


def task(*channels: str) -> SegmentTask:
    return SegmentTask(LOSS, channels)


def batch_of(target: torch.Tensor | None, *paddings: Padding) -> Batch:
    image = torch.zeros((len(paddings), 3, 4, 4))
    maps = None if target is None else MapTargets(target)
    return Batch(image, maps, tuple(range(len(paddings))), paddings)


def test_loss_is_that_of_the_config() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 4, 4), torch.randint(0, 2, (2, 2, 4, 4)).float()
    batch = batch_of(target, Padding(4, 4), Padding(4, 4))
    made = task("body", "border").loss(logits, batch)
    expected = segmentation_loss(logits, target, LOSS, ("body", "border"))
    assert made.keys() == {"loss", "bce", "dice"}
    assert all(torch.equal(made[name], expected[name]) for name in made)


def validated(channels: tuple[str, ...], *seen: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    """What the task sees in (logits, target) of several batches, without padding."""
    batches = [(logits, batch_of(target, *([Padding(*target.shape[-2:])] * len(target)))) for logits, target in seen]
    return task(*channels).validate(iter(batches), Fabric(accelerator="cpu", devices=1))


def test_a_validation_adds_up_over_batches() -> None:
    torch.manual_seed(1)
    logits, target = torch.randn(5, 2, 8, 8), (torch.rand(5, 2, 8, 8) < 0.3).float()
    target[:, 1] = 0
    logits[:, 1] = -1
    whole = validated(("body", "border"), (logits, target))
    parts = validated(("body", "border"), (logits[:2], target[:2]), (logits[2:], target[2:]))
    assert parts == whole
    answer, truth = logits[:, 0] > 0, target[:, 0] > 0
    dice = 2 * int((answer & truth).sum()) / (int(answer.sum()) + int(truth.sum()))
    assert whole["dice_body"] == pytest.approx(dice, abs=1e-12)
    assert whole["dice_border"] == 1.0
    losses = [segmentation_loss(logits[n : n + 1], target[n : n + 1], LOSS, ("body", "border")) for n in range(5)]
    assert whole["val_loss"] == pytest.approx(sum(float(loss["loss"]) for loss in losses) / 5)
    assert whole["val_loss_bce"] == pytest.approx(sum(float(loss["bce"]) for loss in losses) / 5)


def test_a_validation_counts_more_pixels_than_float32_can() -> None:
    """2^24 + 2 pixels of which all but one are right: float32 would lose that one."""
    target = torch.ones(1, 1, 4097, 4097)
    target[0, 0, 0, 0] = 0
    seen = validated(("body",), (torch.ones(1, 1, 1, 1).expand(target.shape), target))
    right = 4097 * 4097 - 1
    assert seen["dice_body"] == 2 * right / (2 * right + 1)


def test_a_wrong_answer_has_no_overlap() -> None:
    assert validated(("body",), (torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)))["dice_body"] == 0.0


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


def void_batch(target: torch.Tensor, judged: torch.Tensor) -> Batch:
    whole = [Padding(*target.shape[-2:])] * len(target)
    return Batch(
        torch.zeros((len(target), 3, 4, 4)), MapTargets(target, judged), tuple(range(len(target))), tuple(whole)
    )


def test_a_validation_leaves_void_pixels_and_void_samples_out() -> None:
    torch.manual_seed(2)
    logits, target = torch.randn(4, 2, 8, 8), (torch.rand(4, 2, 8, 8) < 0.4).float()
    judged = (torch.rand(4, 1, 8, 8) < 0.7).float()
    judged[2] = 0
    seen = task("a", "b").validate(iter([(logits, void_batch(target * judged, judged))]), one_process())
    answer = logits > 0
    for channel, name in enumerate("ab"):
        where = judged[:, 0] > 0
        said, true = answer[:, channel][where], target[:, channel][where] > 0
        assert seen[f"dice_{name}"] == 2 * int((said & true).sum()) / (int(said.sum()) + int(true.sum()))
    alone = [
        segmentation_loss(logits[n : n + 1], target[n : n + 1], LOSS, ("a", "b"), judged[n : n + 1])["loss"].item()
        for n in (0, 1, 3)
    ]
    assert seen["val_loss"] == pytest.approx(sum(alone) / 3)
    with pytest.raises(TrainingError, match="every pixel of all held-out samples is void"):
        task("a", "b").validate(iter([(logits, void_batch(target * 0, judged * 0))]), one_process())


def one_process() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def test_softmax_answers_the_likeliest_class() -> None:
    torch.manual_seed(3)
    names = ("road", "car", "sky")
    made = SegmentTask(LossConfig(ce=1.0), names, "softmax")
    logits, classes = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    target = torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    probabilities = made.probabilities(logits.bfloat16())
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(2, 8, 8))
    assert torch.equal(probabilities.argmax(dim=1), logits.bfloat16().argmax(dim=1))
    judged = (torch.rand(2, 1, 8, 8) < 0.7).float()
    seen = made.validate(iter([(logits, void_batch(target * judged, judged))]), one_process())
    where, answer = judged[:, 0] > 0, logits.argmax(dim=1)
    for number, name in enumerate(names):
        said, true = answer[where] == number, classes[where] == number
        assert seen[f"dice_{name}"] == 2 * int((said & true).sum()) / (int(said.sum()) + int(true.sum()))
    assert seen["dice_mean"] == pytest.approx(sum(seen[f"dice_{name}"] for name in names) / 3)
    loss = made.loss(logits, void_batch(target * judged, judged))
    expected = segmentation_loss(logits, target, LossConfig(ce=1.0), names, judged, "softmax")
    assert loss.keys() == {"loss", "ce"} and torch.equal(loss["loss"], expected["loss"])


STAGED = StagedLossConfig.model_validate(
    {"kind": "stages", "stages": [{"epochs": 2, "bce": 1.0}, {"epochs": 1, "dice": 1.0}, {"lovasz": 1.0}]}
)


def test_each_stage_has_its_epochs_and_all_are_validated_by_the_last() -> None:
    torch.manual_seed(4)
    logits, target = torch.randn(2, 1, 4, 4), torch.randint(0, 2, (2, 1, 4, 4)).float()
    made, batch = SegmentTask(STAGED, ("body",)), batch_of(target, Padding(4, 4), Padding(4, 4))
    seen = []
    for epoch in range(5):
        made.begin_epoch(epoch)
        seen.append(list(made.loss(logits, batch))[1])
        figures = made.validate(iter([(logits, batch)]), one_process())
        assert "val_loss_lovasz" in figures and "val_loss_bce" not in figures
        assert list(made.loss(logits, batch))[1] == seen[-1]  # a validation changes no stage
    assert seen == ["bce", "bce", "dice", "lovasz", "lovasz"]


def test_a_resumed_task_is_in_the_stage_of_its_epoch() -> None:
    """In the middle of an epoch `begin_epoch` is not called again."""
    logits, batch = torch.randn(1, 1, 4, 4), batch_of(torch.ones(1, 1, 4, 4), Padding(4, 4))
    before, after = SegmentTask(STAGED, ("body",)), SegmentTask(STAGED, ("body",))
    before.begin_epoch(2)
    after.remember(before.memory())
    assert list(after.loss(logits, batch)) == ["loss", "dice"]
    assert task("body").memory() == {}
    task("body").remember({})
    with pytest.raises(LookupError):
        after.remember({})
