"""Losses on numbers worked out by hand, and batches that are learned by heart."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from medalist.data.targets import IGNORED, BoxTargets
from medalist.tasks.detect.decoding import Limits
from medalist.tasks.detect.dense import DenseConfig, DenseCriterion
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import AlignedConfig, FcosConfig, RetinaConfig
from medalist.tasks.detect.network import build_model
from medalist.tasks.detect.outputs import DenseOutputs

TINY = {"encoder": "test_resnet", "weights": "none"}
ALIGNED = AlignedConfig(kind="aligned", width=32, depth=1, bins=4, **TINY)
FCOS = FcosConfig(kind="fcos", width=32, depth=1, coarsest=32, **TINY)
RETINA = RetinaConfig(kind="retinanet", width=32, coarsest=32, scales=(2.0, 4.0), ratios=(1.0,), **TINY)
MODELS = pytest.mark.parametrize("model", [ALIGNED, FCOS, RETINA], ids=lambda model: model.kind)


def same(value: Tensor) -> Tensor:
    return value


def targets(*images: list[tuple[float, float, float, float, int]]) -> BoxTargets:
    return BoxTargets(
        tuple(torch.tensor([box[:4] for box in boxes], dtype=torch.float32).reshape(-1, 4) for boxes in images),
        tuple(torch.tensor([box[4] for box in boxes], dtype=torch.int64) for boxes in images),
    )


def outputs_of(model: DenseConfig, images: int = 1, classes: int = 2) -> DenseOutputs:
    """Outputs of zeros for frames of 32 x 32 pixels, of 16 + 4 + 1 points."""
    places = 21 * (2 if isinstance(model, RetinaConfig) else 1)
    wide = 4 * (model.bins + 1) if isinstance(model, AlignedConfig) else 4
    quality = torch.zeros(images, places, 1) if isinstance(model, FcosConfig) else None
    shapes = torch.tensor([[[16.0, 16.0]] * 2, [[32.0, 32.0]] * 2, [[64.0, 64.0]] * 2])
    anchored = shapes if isinstance(model, RetinaConfig) else None
    return DenseOutputs(torch.zeros(images, places, classes), torch.zeros(images, places, wide), quality, anchored)


def test_distances_are_the_mean_of_their_distribution() -> None:
    criterion, outputs = DenseCriterion(ALIGNED, LossConfig()), outputs_of(ALIGNED)
    sides = outputs.sides.clone().reshape(1, 21, 4, 5)
    sides[0, 5, :, 3] = 100.0  # all of the distribution on three strides
    boxes = criterion.boxes(sides.reshape(1, 21, 20), criterion.places(outputs, (32, 32)))
    assert boxes[0, 5].tolist() == [12 - 24, 12 - 24, 12 + 24, 12 + 24]
    assert boxes[0, 0].tolist() == [4 - 16, 4 - 16, 4 + 16, 4 + 16]  # an even distribution over 0..4 means 2


def test_boxes_of_fcos_and_of_anchors() -> None:
    outputs = outputs_of(FCOS)
    outputs.sides[0, 5] = torch.tensor([1.0, 0.5, 1.0, 2.0])
    criterion = DenseCriterion(FCOS, LossConfig())
    places = criterion.places(outputs, (32, 32))
    assert criterion.boxes(outputs.sides, places)[0, 5].tolist() == [4, 8, 20, 28]
    anchored = outputs_of(RETINA)
    anchored.sides[0, 10] = torch.tensor([0.5, 0.0, log(2.0), 100.0])
    criterion = DenseCriterion(RETINA, LossConfig())
    boxes = criterion.boxes(anchored.sides, criterion.places(anchored, (32, 32)))
    assert boxes[0, 0].tolist() == [-4, -4, 12, 12]
    assert boxes[0, 10, 0::2].tolist() == pytest.approx([12 + 8 - 16, 12 + 8 + 16])
    assert 400 < float(boxes[0, 10, 3] - boxes[0, 10, 1]) < 1100  # the factor has a limit


@MODELS
def test_without_objects_only_classes_are_learned(model: DenseConfig) -> None:
    outputs = outputs_of(model)
    losses = DenseCriterion(model, LossConfig()).losses(outputs, targets([]), (32, 32), same)
    count, score = outputs.scores.numel(), 0.5
    by_hand = {
        "aligned": 0.75 * score**2 * log(2) * count,  # varifocal
        "fcos": 0.75 * score**2 * log(2) * count,  # focal
        "retinanet": 0.75 * score**2 * log(2) * count,
    }
    assert float(losses["classes"]) == pytest.approx(by_hand[model.kind], rel=1e-5)
    assert all(float(value) == 0 for name, value in losses.items() if name not in ("loss", "classes"))
    assert float(losses["loss"]) == pytest.approx(float(losses["classes"]))


def test_the_central_point_of_fcos() -> None:
    # One object around the point (12, 12): the points beside it are 8 pixels away, and lie on its edge or outside.
    losses = DenseCriterion(FCOS, LossConfig()).losses(outputs_of(FCOS), targets([(6, 6, 18, 18, 1)]), (32, 32), same)
    assert float(losses["central"]) == pytest.approx(log(2))
    assert float(losses["boxes"]) == pytest.approx(1.0)  # the box of zeros lies inside: IoU 0, nothing around both


def test_the_distribution_is_learned_between_two_bins() -> None:
    criterion = DenseCriterion(ALIGNED, LossConfig())
    outputs = outputs_of(ALIGNED)
    # The object lies 1.25 strides around the point (12, 12); its points have the even distribution of five bins.
    losses = criterion.losses(outputs, targets([(2, 2, 22, 22, 0)]), (32, 32), same)
    assert float(losses["distances"]) > 0
    assert float(losses["distances"]) == pytest.approx(log(5), rel=0.6)  # weights are below one, so is the divisor


@MODELS
def test_losses_are_divided_by_what_all_processes_learn(model: DenseConfig) -> None:
    criterion, size = DenseCriterion(model, LossConfig()), (32, 32)
    one, two = [(2.0, 2.0, 22.0, 22.0, 0)], [(4.0, 8.0, 20.0, 24.0, 1), (0.0, 0.0, 16.0, 16.0, 0)]
    random = torch.Generator().manual_seed(3)
    whole = DenseOutputs(
        *(
            torch.rand(2, *value.shape[1:], generator=random) if name != "shapes" and value is not None else value
            for name, value in outputs_of(model, 2)._asdict().items()
        )
    )
    together = criterion.losses(whole, targets(one, two), size, same)
    learned: list[Tensor] = []

    def noted(value: Tensor) -> Tensor:
        learned.append(value)
        return value

    for number, boxes in enumerate((one, two)):
        criterion.losses(whole.single(number), targets(boxes), size, noted)
    mean = sum(learned, torch.zeros(())) / 2
    parts = [
        criterion.losses(whole.single(number), targets(boxes), size, lambda value: mean)
        for number, boxes in enumerate((one, two))
    ]
    for name, value in together.items():  # distributed training takes the mean of the gradients of both
        assert float(value) == pytest.approx(float(parts[0][name] + parts[1][name]) / 2, rel=1e-4), name


@MODELS
def test_what_is_ignored_changes_no_loss(model: DenseConfig) -> None:
    outputs = outputs_of(model)
    criterion = DenseCriterion(model, LossConfig())
    seen = criterion.losses(outputs, targets([(0, 0, 32, 32, IGNORED)]), (32, 32), same)
    outside = [p for p, at in enumerate(criterion.places(outputs, (32, 32)).centres.tolist()) if max(at) >= 32]
    assert not outside and float(seen["loss"]) == 0


def pictures() -> tuple[Tensor, BoxTargets]:
    """Three images of 64 x 64 pixels: two with a red and a green square each, one without."""
    random = torch.Generator().manual_seed(0)
    image = 0.1 * torch.randn(3, 3, 64, 64, generator=random)
    boxes = [[(4, 8, 24, 30, 0), (34, 30, 58, 50, 1)], [(10, 36, 30, 60, 1), (36, 4, 62, 26, 0)], []]
    for number, own in enumerate(boxes):
        for x1, y1, x2, y2, label in own:
            image[number, label, y1:y2, x1:x2] += 1
    return image, targets(*boxes)  # type: ignore[arg-type]


@MODELS
def test_a_batch_is_learned_by_heart(model: DenseConfig) -> None:
    torch.manual_seed(0)
    image, target = pictures()
    network, criterion = build_model(model, 2), DenseCriterion(model, LossConfig())
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    losses = []
    for _ in range(30):
        found = criterion.losses(network(image).float(), target, (64, 64), same)
        losses.append(float(found["loss"].detach()))
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.eval()
    with torch.no_grad():
        answers = criterion.found(network(image).float(), (64, 64), Limits(0.25, 9, 0.5))
    if model.kind != "retinanet":  # which needs more steps
        for xyxy, labels, answer in zip(target.xyxy[:2], target.labels[:2], answers[:2], strict=True):
            for box, label in zip(xyxy, labels, strict=True):
                away = (answer.xyxy[answer.labels == label] - box).abs().amax(dim=1)
                assert len(away) and float(away.min()) < 4
