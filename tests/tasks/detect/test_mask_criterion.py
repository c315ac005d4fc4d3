"""Mask R-CNN: true masks, losses, masks of boxes, and one batch that is learned by heart."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ranks import together
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torchvision.models.detection.roi_heads import maskrcnn_loss  # type: ignore[import-untyped]
from torchvision.ops import roi_align  # type: ignore[import-untyped]

from medalist.data.object_targets import InstanceTarget
from medalist.data.targets import BoxTargets, collate_targets
from medalist.engine.devices import mean_over_processes
from medalist.engine.syncnorm import synchronised
from medalist.tasks.detect.criterion import build_criterion
from medalist.tasks.detect.decoding import Limits
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.mask_criterion import MaskCriterion, mask_targets
from medalist.tasks.detect.model_settings import MaskRcnnConfig
from medalist.tasks.detect.network import build_model
from medalist.tasks.detect.two_stage import Taught

TINY = MaskRcnnConfig(
    kind="mask_rcnn",
    encoder="test_resnet",
    weights="none",
    finest=8,
    coarsest=32,
    width=16,
    hidden=32,
    mask_width=16,
    mask_depth=1,
    proposals=50,
    anchors_learned=64,
    boxes_learned=32,
    scales=(2.0,),
)
SIZE = (64, 96)


def discs(seed: int = 0, count: int = 3) -> tuple[Tensor, BoxTargets]:
    """Return two images with bright discs, and their target."""
    random, images, targets = np.random.default_rng(seed), [], []
    rows, columns = np.indices(SIZE)
    for _ in range(2):
        labels = np.zeros(SIZE, np.uint16)
        for number in range(1, count + 1):
            y, x, radius = random.uniform(10, 54), random.uniform(10, 86), random.uniform(6, 10)
            labels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = number
        targets.append(InstanceTarget(labels))
        images.append(np.repeat((labels > 0)[None].astype(np.float32), 3, axis=0))
    batch = collate_targets(targets)
    assert isinstance(batch, BoxTargets)
    return torch.from_numpy(np.stack(images)), batch


def criterion(masks: float = 1.0) -> MaskCriterion:
    made = build_criterion(TINY, LossConfig(masks=masks))
    assert isinstance(made, MaskCriterion)
    return made


def same(value: Tensor) -> Tensor:
    return value


def test_true_masks_are_those_of_roi_align_on_a_mask_of_each_object() -> None:
    target = discs(3, 5)[1]
    assert target.objects is not None
    torch.manual_seed(0)
    low = torch.rand(20, 2) * torch.tensor([80.0, 50.0])
    boxes = torch.cat([low, low + 2 + torch.rand(20, 2) * torch.tensor([14.0, 12.0])], dim=1)
    numbers = target.numbers[0][torch.randint(len(target.numbers[0]), (20,))]
    found = mask_targets(target.objects[0], boxes, numbers)
    for number, box, mask in zip(numbers, boxes, found, strict=True):
        whole = (target.objects[0] == number).float()[None, None]
        own = torch.cat([torch.zeros(1), box])[None]
        torch.testing.assert_close(roi_align(whole, own, 28, 1.0, 2, True)[0, 0], mask, atol=1e-5, rtol=0)
    box = torch.tensor([[2.0, 1.0, 6.0, 5.0]])
    square = torch.zeros(8, 9, dtype=torch.int32)
    square[1:5, 2:6] = 7
    assert (mask_targets(square, box, torch.tensor([7]), 4)[0, 1:3, 1:3] == 1).all()


def test_the_loss_is_that_of_torchvision_on_the_boxes_that_learn_an_object() -> None:
    images, target = discs()
    model = build_model(TINY, 1).eval().requires_grad_(False)
    outputs = model(images).float()
    taught = [
        Taught(torch.cat([boxes + 1, boxes, boxes.flip(0) * 0.9]), torch.tensor([0, 1, 2, -2, 1, 2, -2, -2, -2]))
        for boxes in target.xyxy
    ]
    found = criterion().mask_loss(outputs, taught, target, SIZE, same)
    rows = [one.number >= 0 for one in taught]
    boxes = [one.boxes[row] for one, row in zip(taught, rows, strict=True)]
    of = [one.number[row] for one, row in zip(taught, rows, strict=True)]
    logits = outputs.second.outlines(outputs.levels, boxes, SIZE)  # type: ignore[operator]
    assert target.objects is not None
    masks = [(objects == numbers[:, None, None]).float() for objects, numbers in zip(target.objects, target.numbers)]  # noqa: B905
    moved = [box - 0.5 for box in boxes]  # torchvision takes the corner of a pixel for its centre
    labels = [torch.zeros(len(masks[0]), dtype=torch.int64)] * 2
    expected = maskrcnn_loss(logits, moved, masks, labels, of)
    assert float(found) == pytest.approx(float(expected), rel=2e-3)
    halved = criterion().mask_loss(outputs, taught, target, SIZE, lambda value: 2 * value)
    assert float(halved) == pytest.approx(float(found) / 2)


def test_the_weight_of_masks_is_their_own_and_images_are_independent() -> None:
    images, target = discs()
    model = build_model(TINY, 1).eval().requires_grad_(False)
    outputs = model(images).float()
    one, two = (criterion(weight).losses(outputs, target, SIZE, same, (5, 6)) for weight in (0.0, 2.0))
    assert float(two["loss"] - one["loss"]) == pytest.approx(2 * float(one["masks"]), rel=1e-4)
    alone = [criterion().losses(outputs.single(at), target.one(at), SIZE, same, (5 + at,)) for at in (0, 1)]
    swapped = model(images.flip(0)).float()
    again = criterion().losses(swapped.single(1), target.one(0), SIZE, same, (5,))
    assert float(again["masks"]) == pytest.approx(float(alone[0]["masks"]), rel=1e-4)


def test_a_batch_without_objects_has_a_loss_that_reaches_all_weights() -> None:
    images, target = discs(count=0)
    model = build_model(TINY, 1)
    losses = criterion().losses(model(images).float(), target, SIZE, same, (1, 2))
    assert losses["masks"].item() == 0
    losses["loss"].backward()
    assert all(weight.grad is not None for name, weight in model.named_parameters() if "mask_" in name)


def test_boxes_have_masks_and_none_where_nothing_is_found() -> None:
    model = build_model(TINY, 1).eval()
    with torch.no_grad():
        outputs = model(discs()[0]).float()
        found = criterion().found(outputs, SIZE, Limits(0.0, 70, None))
        nothing = criterion().found(outputs, SIZE, Limits(0.999, 70, None))
    for one in found:
        assert one.masks is not None and one.masks.shape == (len(one.labels), 28, 28) and len(one.labels) > 0
        assert one.masks.min() >= 0 and one.masks.max() <= 1
    assert all(one.masks is not None and one.masks.shape == (0, 28, 28) for one in nothing)


WHOLE = TINY.model_copy(update={"anchors_learned": 10**5, "boxes_learned": 10**5})


def learned(rank: int, world: int) -> dict[str, Tensor]:
    """The gradients and the loss of two images, shared out to the processes; the second has no object."""
    torch.manual_seed(0)
    images, target = discs(2)
    assert target.objects is not None
    nothing = target.xyxy[1][:0], target.labels[1][:0], target.numbers[1][:0]
    target = BoxTargets(
        (target.xyxy[0], nothing[0]), (target.labels[0], nothing[1]), target.objects, (target.numbers[0], nothing[2])
    )
    network = build_model(WHOLE, 1)
    if world > 1:
        images, target = images[rank : rank + 1], target.one(rank)
    wrapped = network if world == 1 else DistributedDataParallel(synchronised(network, "cpu", world))
    found = build_criterion(WHOLE, LossConfig()).losses(
        wrapped(images).float(), target, SIZE, mean_over_processes, (5, 6) if world == 1 else (5 + rank,)
    )
    found["loss"].backward()
    loss = found["loss"].detach().clone()
    if world > 1:
        dist.all_reduce(loss)
    gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    assert len(gradients) == len(list(network.parameters()))
    return {"loss": loss / world, **gradients}


def work(folder: Path, rank: int) -> None:
    torch.save(learned(rank, 2), folder / f"{rank}.pt")


def test_two_processes_are_as_one_where_one_of_them_has_no_object(tmp_path: Path) -> None:
    together(2, tmp_path, partial(work, tmp_path))
    one, both = learned(0, 1), [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for name, value in one.items():
        assert torch.equal(both[0][name], both[1][name]), name
        torch.testing.assert_close(both[0][name], value, rtol=2e-3, atol=2e-5, msg=lambda text, name=name: name + text)


@pytest.mark.slow
def test_a_batch_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    images, target = discs(1, 2)
    images, target = images[:1], target.one(0)
    model = build_model(TINY, 1)
    model.encoder.eval()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(200):
        losses = criterion().losses(model(images).float(), target, SIZE, same, (step,))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        found = criterion().found(model(images).float(), SIZE, Limits(0.5, 20, 0.5))
    assert target.objects is not None
    for one, numbers, objects in zip(found, target.numbers, target.objects, strict=True):
        assert one.masks is not None and len(one.labels) >= len(numbers)
        truth = [mask_targets(objects, one.xyxy, number.expand(len(one.xyxy))) for number in numbers]
        agree = torch.stack([((one.masks > 0.5) == (mask > 0.5)).float().mean(dim=(1, 2)) for mask in truth])
        assert (agree.amax(dim=1) > 0.9).all()
