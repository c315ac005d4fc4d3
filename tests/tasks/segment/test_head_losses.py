from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.targets import MapTargets
from medalist.tasks.segment.head_losses import loss_of_heads, presence_loss
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.outputs import SegmentOutputs, heads_of
from medalist.tasks.segment.task import SegmentTask


def targets_of(maps: Tensor, judged: Tensor | None = None) -> MapTargets:
    return MapTargets(maps, judged)


def two_images() -> Tensor:
    """The first image has both channels, the second only the first."""
    maps = torch.zeros(2, 2, 4, 4)
    maps[0, :, 1, 2] = 1
    maps[1, 0, 3, 3] = 1
    return maps


def test_presence_by_hand() -> None:
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.5]], requires_grad=True)
    found = presence_loss(logits, targets_of(two_images()))
    expected = binary_cross_entropy_with_logits(logits, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    assert torch.isclose(found, expected)
    found.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and bool(logits.grad.ne(0).all())


def test_void_pixels_are_in_no_image() -> None:
    judged = torch.ones(2, 1, 4, 4)
    judged[0, 0, 1, 2] = 0  # the only pixels of both channels
    logits = torch.randn(2, 2)
    expected = binary_cross_entropy_with_logits(logits, torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert torch.isclose(presence_loss(logits, targets_of(two_images(), judged)), expected)
    judged[0] = 0  # nothing is known of the first image
    expected = binary_cross_entropy_with_logits(logits[1:], torch.tensor([[1.0, 0.0]]))
    assert torch.isclose(presence_loss(logits, targets_of(two_images(), judged)), expected)
    assert presence_loss(logits, targets_of(two_images(), torch.zeros(2, 1, 4, 4))) == 0


def test_mixed_images_have_soft_targets() -> None:
    logits = torch.randn(2, 2)
    expected = binary_cross_entropy_with_logits(logits, torch.tensor([[0.3, 0.3], [0.3, 0.0]]))
    assert torch.isclose(presence_loss(logits, targets_of(0.3 * two_images())), expected)


def test_heads_are_added_by_their_weights() -> None:
    config = LossConfig(bce=1, deep=0.25, presence=2)
    outputs = SegmentOutputs(torch.tensor(3.0), torch.zeros(2, 2), (torch.tensor(5.0), torch.tensor(7.0)))
    found = loss_of_heads(outputs, targets_of(two_images()), config, lambda maps: {"loss": maps, "bce": maps})
    log2 = torch.log(torch.tensor(2.0))
    assert torch.isclose(found["loss"], 3 + 0.25 * 6 + 2 * log2)
    assert found["deep"] == 6 and found["bce"] == 3 and torch.isclose(found["presence"], log2)
    alone = loss_of_heads(SegmentOutputs(torch.tensor(3.0)), targets_of(two_images()), config, lambda m: {"loss": m})
    assert alone == {"loss": 3}


def batch_of(maps: Tensor) -> Batch:
    paddings = (Padding(4, 4), Padding(4, 4))
    return Batch(torch.zeros(2, 3, 4, 4), targets_of(maps), (0, 1), paddings)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_presence_becomes_planes_of_one_value(activation: str) -> None:
    config = LossConfig(bce=1) if activation == "sigmoid" else LossConfig(ce=1)
    names = ("a", "b", "presence:a", "presence:b")
    task = SegmentTask(config, ("a", "b"), activation, names)  # type: ignore[arg-type]
    outputs = SegmentOutputs(torch.randn(2, 2, 4, 4), torch.tensor([[0.0, 9.0], [-9.0, 1.0]]))
    found = task.probabilities(outputs)
    assert found.shape == (2, 4, 4, 4)
    assert torch.equal(found[:, :2], task.probabilities(outputs.maps))
    assert torch.equal(found[:, 2:], torch.sigmoid(outputs.presence)[:, :, None, None].expand(2, 2, 4, 4))  # type: ignore[arg-type]
    predictions = task.predict(found, batch_of(two_images()))
    assert [one.channels for one in predictions] == [names, names]
    assert predictions[0].maps.shape == (4, 4, 4)


def test_a_plain_tensor_and_its_heads_have_one_loss() -> None:
    task = SegmentTask(LossConfig(bce=1, dice=1), ("a", "b"))
    logits, batch = torch.randn(2, 2, 4, 4), batch_of(two_images())
    plain, headed = task.loss(logits, batch), task.loss(heads_of(logits), batch)
    assert plain.keys() == headed.keys() and all(torch.equal(plain[name], headed[name]) for name in plain)
    more = task.loss(SegmentOutputs(logits, torch.zeros(2, 2), (logits,)), batch)
    assert list(more) == ["loss", "bce", "dice", "deep", "presence"]
    assert torch.isclose(more["loss"], 1.5 * plain["loss"] + 0.5 * torch.log(torch.tensor(2.0)))


def test_one_sample_without_its_padding() -> None:
    outputs = SegmentOutputs(
        torch.arange(64.0).view(2, 2, 4, 4), torch.arange(4.0).view(2, 2), (torch.ones(2, 2, 4, 4),)
    )
    padding = Padding(3, 2)
    one = outputs.single(1, padding)
    assert torch.equal(one.maps, padding.undo(outputs.maps[1:]))
    assert one.presence is not None and one.presence.tolist() == [[2, 3]]
    assert [maps.shape for maps in one.deep] == [(1, 2, 3, 2)]
    half = SegmentOutputs(outputs.maps.half(), outputs.presence.half(), outputs.deep).float()  # type: ignore[union-attr]
    assert half.maps.dtype == half.presence.dtype == torch.float32  # type: ignore[union-attr]
