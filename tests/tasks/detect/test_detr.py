"""RT-DETRv2: its loss beside that of transformers, its weights, and batches that are learned by heart."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

from medalist.data.targets import IGNORED
from medalist.errors import ConfigError, WeightsError
from medalist.models.weights import encoder_weights
from medalist.tasks.detect import detr_network
from medalist.tasks.detect.criterion import build_criterion
from medalist.tasks.detect.decoding import Limits
from medalist.tasks.detect.detr import DetrCriterion, assigned
from medalist.tasks.detect.detr_network import CLASSES, Detr
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import DetrConfig
from medalist.tasks.detect.network import build_model
from medalist.tasks.detect.outputs import DetrOutputs

from .test_dense import pictures, same, targets

MISSING = pytest.mark.skipif(find_spec("transformers") is None, reason="needs the extra detr (transformers)")
SIZE = (64, 96)
SMALL = DetrConfig(
    kind="detr", encoder="test_resnet", weights="none", width=32, hidden=32, depth=2, queries=20, expansion=0.5
)
OWN = SMALL.model_copy(update={"encoder": "rtdetr_resnet18"})
CRITERION = DetrCriterion(SMALL, LossConfig())
BOXES = [[(4, 8, 24, 30, 0), (34, 30, 58, 50, 1), (5, 9, 60, 60, 0)], [(10, 36, 30, 60, 1)], []]


def network_of(config: DetrConfig = SMALL, classes: int = 2) -> Detr:
    torch.manual_seed(0)
    network = build_model(config, classes)
    assert isinstance(network, Detr)
    return network


def some(images: int = 3, layers: int = 3, queries: int = 8) -> DetrOutputs:
    random = torch.Generator().manual_seed(2)
    boxes = torch.rand(images, layers, queries, 4, generator=random) * 0.5 + 0.1
    return DetrOutputs(torch.randn(images, layers, queries, 2, generator=random), boxes)


@MISSING
def test_losses_are_those_of_transformers() -> None:
    from transformers import RTDetrV2Config
    from transformers.loss.loss_rt_detr import RTDetrLoss

    outputs, target = some(), targets(*BOXES)
    found = CRITERION.losses(outputs, target, SIZE, same)
    whole = torch.tensor([96.0, 64, 96, 64])
    given = [
        {"class_labels": labels, "boxes": box_convert(boxes / whole, "xyxy", "cxcywh")}
        for boxes, labels in zip(target.xyxy, target.labels, strict=True)
    ]
    layers = [{"logits": outputs.logits[:, at], "pred_boxes": outputs.boxes[:, at]} for at in range(3)]
    losses = RTDetrLoss(RTDetrV2Config(num_labels=2))({**layers[-1], "auxiliary_outputs": layers[:-1]}, given)
    for ours, theirs, weight in (
        ("classes", "loss_vfl", 1.0),
        ("distances", "loss_bbox", 5.0),
        ("boxes", "loss_giou", 2.0),
    ):
        both = sum(float(value) for name, value in losses.items() if name.startswith(theirs))
        assert weight * float(found[ours]) == pytest.approx(both, rel=1e-4), ours
    assert float(found["loss"]) == pytest.approx(sum(float(value) for value in losses.values()), rel=1e-4)


def test_the_assignment_is_the_cheapest_of_all() -> None:
    outputs = some(1, 1, 5)
    logits, boxes = outputs.logits[0, 0], outputs.boxes[0, 0]
    truth, labels = boxes[[3, 1]] + 0.05, torch.tensor([1, 0])
    score = logits.sigmoid()

    def cost(query: int, number: int) -> float:
        p = float(score[query, labels[number]])
        focal = 0.25 * (1 - p) ** 2 * -torch.tensor(p).log() - 0.75 * p**2 * -torch.tensor(1 - p).log()
        distance = float((boxes[query] - truth[number]).abs().sum())
        corners = [box_convert(one[None], "cxcywh", "xyxy") for one in (boxes[query], truth[number])]
        return 2 * float(focal) + 5 * distance - 2 * float(generalized_box_iou(*corners))

    best = min(permutations(range(5), 2), key=lambda pair: cost(pair[0], 0) + cost(pair[1], 1))
    query, number = assigned(logits, boxes, truth, labels)
    assert {int(n): int(q) for q, n in zip(query, number, strict=True)} == dict(enumerate(best))


def test_an_image_learns_the_same_in_any_batch() -> None:
    outputs, target = some(), targets(*BOXES)
    one = torch.ones(())
    whole = CRITERION.losses(outputs, target, SIZE, lambda value: one)
    alone = [CRITERION.losses(outputs.single(at), targets(BOXES[at]), SIZE, lambda value: one) for at in range(3)]
    for name, value in whole.items():
        assert float(value) == pytest.approx(sum(float(each[name]) for each in alone), rel=1e-5), name


def test_more_objects_than_queries_and_what_is_ignored() -> None:
    crowd = [(x, x, x + 20.0, x + 20.0, 0) for x in range(0, 40, 4)]
    assert all(bool(value.isfinite()) for value in CRITERION.losses(some(1), targets(crowd), SIZE, same).values())  # type: ignore[arg-type]
    ignored = CRITERION.losses(some(1), targets([(0, 0, 96, 64, IGNORED)]), SIZE, same)
    inside = DetrOutputs(some(1).logits, some(1).boxes.clamp(0.3, 0.5))
    assert float(CRITERION.losses(inside, targets([(0, 0, 96, 64, IGNORED)]), SIZE, same)["loss"]) == 0
    assert float(ignored["distances"]) == 0


def test_boxes_are_those_of_the_last_layer_in_pixels() -> None:
    outputs = DetrOutputs(torch.full((1, 2, 3, 2), -20.0), torch.full((1, 2, 3, 4), 0.5))
    outputs.logits[0, 0] = 20.0
    outputs.logits[0, 1, 2, 1], outputs.logits[0, 1, 0, 0] = 5.0, 2.0
    outputs.boxes[0, 1, 2] = torch.tensor([0.5, 0.25, 0.25, 0.75])
    found = CRITERION.found(outputs, SIZE, Limits(0.5, 9, None))[0]
    assert found.labels.tolist() == [1, 0] and found.xyxy.tolist() == [[36, 0, 60, 40], [24, 16, 72, 48]]
    assert len(CRITERION.found(outputs, SIZE, Limits(0.5, 1, 0.7))[0].scores) == 1


@MISSING
@pytest.mark.parametrize("classes", [1, 3])
def test_there_is_one_logit_for_each_class_of_the_contest(classes: int) -> None:
    network = network_of(classes=classes).eval()
    with torch.inference_mode():
        outputs = network(torch.zeros(2, 3, *SIZE))
    assert outputs.logits.shape == (2, 3, 20, classes) and outputs.boxes.shape == (2, 3, 20, 4)
    assert float(outputs.logits.sigmoid().max()) < 0.3 and float(outputs.boxes.min()) >= 0


@MISSING
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's compiler asks for it
@pytest.mark.parametrize("how", ["bf16", pytest.param("compile", marks=pytest.mark.slow)])
def test_other_computations_give_nearly_the_same(how: str) -> None:
    network, target = network_of(), targets(*BOXES)
    image = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    plain = float(CRITERION.losses(network(image), target, SIZE, same)["loss"].detach())
    if how == "compile":
        outputs = torch.compile(network, backend="aot_eager")(image)
    else:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(image)
    found = CRITERION.losses(outputs.float(), target, SIZE, same)["loss"]
    # A rounding changes which queries are looked at, and with them the loss of a network that knows nothing yet.
    assert float(found.detach()) == pytest.approx(plain, rel=0.5 if how == "bf16" else 0.05)
    found.backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in network.parameters())


@MISSING
@pytest.mark.slow
def test_a_batch_is_learned_by_heart() -> None:
    image, target = pictures()
    network, criterion = network_of(), build_criterion(SMALL, LossConfig())
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(150):
        found = criterion.losses(network(image).float(), target, (64, 64), same)
        losses.append(float(found["loss"].detach()))
        optimizer.zero_grad()
        found["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    assert losses[-1] < 0.35 * losses[0], losses[::15]
    with torch.no_grad():
        answers = criterion.found(network(image).float(), (64, 64), Limits(0.3, 9, 0.7))
    for xyxy, labels, answer in zip(target.xyxy[:2], target.labels[:2], answers[:2], strict=True):
        for box, label in zip(xyxy, labels, strict=True):
            away = (answer.xyxy[answer.labels == label] - box).abs().amax(dim=1)
            assert len(away) and float(away.min()) < 8


def tensors(network: Detr) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if "num_batches" not in name}


@MISSING
def test_weights_of_a_whole_network_are_loaded_but_for_its_classes(tmp_path: Path) -> None:
    torch.manual_seed(5)
    there = detr_network._built(OWN, 7, None)
    there.save_pretrained(tmp_path / "some")
    weights = encoder_weights(OWN.encoder, str(tmp_path / "some"), whole=True)
    assert weights is not None and weights.path.name == "model.safetensors" and weights.source == "path"
    torch.manual_seed(6)
    network = build_model(OWN, 2, weights)
    assert isinstance(network, Detr)
    own = {f"model.{name}": value for name, value in network.decoder.state_dict().items()}
    given = there.state_dict()
    assert len(own) > 100 and own.keys() <= given.keys()
    for name, value in own.items():
        if name.startswith(CLASSES):
            assert value.shape != given[name].shape and len(value) == 2, name
        else:
            assert torch.equal(value, given[name]), name
    first = "embedder.embedder.0.convolution.weight"
    assert torch.equal(network.encoder.model.model.get_parameter(first), given[f"model.backbone.model.{first}"])  # type: ignore[operator,union-attr]
    for change, words in (({"depth": 3}, "is missing"), ({"width": 64}, "has another shape")):
        with pytest.raises(WeightsError, match=words) as caught:
            build_model(OWN.model_copy(update=change), 2, weights)
        assert "\n" not in str(caught.value) and "decoder_layers" in str(caught.value)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detr_network, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package transformers; type pip install 'medalist\[detr\]'"):
        build_model(SMALL, 2)
