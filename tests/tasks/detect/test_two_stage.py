"""Networks of two stages beside those of torchvision, and batches that are learned by heart."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers

from medalist.data.targets import IGNORED, BoxTargets
from medalist.tasks.detect.criterion import build_criterion
from medalist.tasks.detect.decoding import Limits
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import FasterRcnnConfig
from medalist.tasks.detect.network import build_model
from medalist.tasks.detect.outputs import TwoStageOutputs
from medalist.tasks.detect.two_stage import TwoStageCriterion
from medalist.tasks.detect.two_stage_network import TwoStageDetector

from .test_dense import pictures, same, targets

SIZE = (64, 96)
ALL = 10**5
SMALL = FasterRcnnConfig(
    kind="faster_rcnn",
    encoder="test_resnet",
    weights="none",
    finest=8,
    width=16,
    hidden=24,
    pooled=3,
    scales=(2.0,),
    proposals=40,
    anchors_learned=64,
    boxes_learned=32,
)
WHOLE = SMALL.model_copy(update={"anchors_learned": ALL, "boxes_learned": ALL})
BOXES = [[(4, 8, 24, 30, 0), (34, 30, 58, 50, 1), (5, 9, 60, 60, 0)], [(10, 36, 30, 60, 1)], []]


def criterion_of(model: FasterRcnnConfig) -> TwoStageCriterion:
    criterion = build_criterion(model, LossConfig())
    assert isinstance(criterion, TwoStageCriterion) and criterion.draws
    return criterion


def network_of(model: FasterRcnnConfig = SMALL) -> TwoStageDetector:
    torch.manual_seed(0)
    network = build_model(model, 2)
    assert isinstance(network, TwoStageDetector)
    return network


def numbers(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in losses.items()}


def livelier(network: TwoStageDetector) -> TwoStageDetector:
    """Return the network with larger weights in its outputs, whose boxes and scores then differ from place to place."""
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for layer in (network.first.cls_logits, network.first.bbox_pred):
            layer.weight.add_(torch.randn(layer.weight.shape, generator=random) * 0.3)
        for line in (network.second.predictor.cls_score, network.second.predictor.bbox_pred):
            line.weight.add_(torch.randn(line.weight.shape, generator=random))
    return network


def seen(network: TwoStageDetector, images: int = 3) -> TwoStageOutputs:
    outputs: TwoStageOutputs = network(torch.rand(images, 3, *SIZE, generator=torch.Generator().manual_seed(1)))
    return outputs.float()


def torchvision_first(model: FasterRcnnConfig) -> RegionProposalNetwork:
    most = {"training": model.proposals, "testing": model.proposals}
    return RegionProposalNetwork(None, None, 0.7, 0.3, ALL, 0.5, most, most, 0.7)


def torchvision_second(network: TwoStageDetector, floor: float = 0.1, most: int = 9) -> RoIHeads:
    second = network.second
    parts = (second.pool, second.head, second.predictor)
    return RoIHeads(*parts, 0.5, 0.5, ALL, 0.25, None, floor, 0.6, most)


def as_torchvision(target: BoxTargets) -> list[dict[str, Tensor]]:
    both = zip(target.xyxy, target.labels, strict=True)
    return [{"boxes": boxes, "labels": labels + 1} for boxes, labels in both]


def test_losses_are_those_of_torchvision() -> None:
    network, criterion, target = livelier(network_of()), criterion_of(WHOLE), targets(*BOXES)
    outputs = seen(network)
    found = numbers(criterion.losses(outputs, target, SIZE, same, (1, 2, 3)))
    anchors = criterion.places(outputs.proposals, SIZE).boxes
    first = torchvision_first(WHOLE)
    labels, matched = first.assign_targets_to_anchors([anchors] * 3, as_torchvision(target))
    wanted = first.box_coder.encode(matched, [anchors] * 3)
    logits, sides = concat_box_prediction_layers(*super(type(network.first), network.first).forward([*outputs.levels]))
    objects, proposals = first.compute_loss(logits, sides, labels, wanted)
    assert found["objects"] == pytest.approx(float(objects.detach()), rel=1e-5)
    assert found["proposals"] == pytest.approx(float(proposals.detach()), rel=1e-5) and found["proposals"] > 0
    levels = OrderedDict(zip(("8", "16", "32"), outputs.levels, strict=False))
    given = criterion.proposed(outputs.proposals, SIZE)
    assert sum(map(len, given)) > 20
    losses = numbers(torchvision_second(network).train()(levels, given, [SIZE] * 3, as_torchvision(target))[1])
    assert found["classes"] == pytest.approx(losses["loss_classifier"], rel=1e-5)
    assert found["boxes"] == pytest.approx(losses["loss_box_reg"], rel=1e-5) and found["boxes"] > 0


def test_proposals_and_answers_are_those_of_torchvision() -> None:
    network, criterion = livelier(network_of()).eval(), criterion_of(SMALL)
    with torch.inference_mode():
        outputs = seen(network)
        given = criterion.proposed(outputs.proposals, SIZE)
        places, first = criterion.places(outputs.proposals, SIZE), torchvision_first(SMALL).eval()
        boxes = first.box_coder.decode(outputs.proposals.sides.flatten(0, 1), [places.boxes] * 3)
        logits = outputs.proposals.scores.flatten()
        expected, _ = first.filter_proposals(boxes.view(3, -1, 4), logits, [SIZE] * 3, places.levels)
        for one, other in zip(given, expected, strict=True):
            torch.testing.assert_close(one, other)
        levels = OrderedDict(zip(("8", "16", "32"), outputs.levels, strict=False))
        answers, _ = torchvision_second(network).eval()(levels, given, [SIZE] * 3)
        found = criterion.found(outputs, SIZE, Limits(0.1, 9, 0.6))
    assert sum(len(one.scores) for one in found) > 9
    for one, answer in zip(found, answers, strict=True):
        assert one.labels.tolist() == (answer["labels"] - 1).tolist()  # the background is no class
        torch.testing.assert_close(one.xyxy, answer["boxes"])
        torch.testing.assert_close(one.scores, answer["scores"])


def test_what_an_image_learns_depends_on_its_seed_alone() -> None:
    network, criterion, target = livelier(network_of()), criterion_of(SMALL), targets(*BOXES)
    outputs = seen(network)
    counts: list[float] = []

    def noted(value: Tensor) -> Tensor:
        counts.append(float(value))
        return torch.ones(())

    whole = numbers(criterion.losses(outputs, target, SIZE, noted, (7, 8, 9)))
    singles = [BoxTargets(target.xyxy[at : at + 1], target.labels[at : at + 1]) for at in range(3)]
    alone = [
        numbers(criterion.losses(outputs.single(at), one, SIZE, noted, (7 + at,))) for at, one in enumerate(singles)
    ]
    assert counts[:2] == [sum(counts[2::2]), sum(counts[3::2])] and counts[0] == 3 * 64
    for name, value in whole.items():
        assert value == pytest.approx(sum(one[name] for one in alone), rel=1e-4), name
    assert numbers(criterion.losses(outputs, target, SIZE, noted, (7, 8, 10)))["objects"] != whole["objects"]


def test_what_is_ignored_changes_no_loss() -> None:
    model = SMALL.model_copy(update={"coarsest": 32})  # of stride 64 a point would lie outside of the image
    network = livelier(network_of(model))
    target = targets([(0, 0, 96, 64, IGNORED)])
    found = criterion_of(model).losses(seen(network, 1), target, SIZE, same, (1,))
    assert set(numbers(found).values()) == {0.0}
    found["loss"].backward()  # distributed training waits for the gradient of each weight
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_an_average_over_steps_brings_its_own_second_stage() -> None:
    network = network_of()
    average = copy.deepcopy(network)
    assert seen(average).second is average.second is not network.second


@pytest.mark.parametrize("how", ["bf16", pytest.param("compile", marks=pytest.mark.slow)])
def test_other_computations_give_nearly_the_same(how: str) -> None:
    network, criterion, target = network_of(), criterion_of(WHOLE), targets(*BOXES)
    plain = numbers(criterion.losses(seen(network), target, SIZE, same, (1, 2, 3)))
    if how == "compile":
        compiled = torch.compile(network, backend="aot_eager")
        outputs = seen(compiled)  # type: ignore[arg-type]
        assert outputs.precision is None and outputs.second is network.second
    else:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = seen(network)
        assert outputs.precision == torch.bfloat16 and outputs.levels[0].dtype == torch.float32
    found = criterion.losses(outputs, target, SIZE, same, (1, 2, 3))
    for name, value in plain.items():
        assert float(found[name].detach()) == pytest.approx(value, rel=0.1), name
    found["loss"].backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in network.parameters())  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_batch_is_learned_by_heart() -> None:
    image, target = pictures()
    network, criterion = network_of(), criterion_of(SMALL)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    losses = []
    for step in range(80):
        seeds = [3 * step + number for number in range(3)]
        found = criterion.losses(network(image).float(), target, (64, 64), same, seeds)
        losses.append(float(found["loss"].detach()))
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
    assert losses[-1] < 0.35 * losses[0]
    network.eval()
    with torch.no_grad():
        answers = criterion.found(network(image).float(), (64, 64), Limits(0.5, 9, 0.5))
    for xyxy, labels, answer in zip(target.xyxy[:2], target.labels[:2], answers[:2], strict=True):
        for box, label in zip(xyxy, labels, strict=True):
            away = (answer.xyxy[answer.labels == label] - box).abs().amax(dim=1)
            assert len(away) and float(away.min()) < 6
    assert len(answers[2].scores) == 0
