"""Which places learn which objects, against loops over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou  # type: ignore[import-untyped]

from medalist.data.targets import IGNORED
from medalist.tasks.detect.assigned import BACKGROUND, aligned, by_centre, by_overlap, by_proposal
from medalist.tasks.detect.outputs import Places, places_of

CPU = torch.device("cpu")
SHAPES = torch.tensor([[[8.0, 8.0], [12.0, 6.0]], [[20.0, 20.0], [32.0, 16.0]]])


def scene(seed: int, count: int = 4) -> tuple[Tensor, Tensor]:
    """Boxes and labels of an image of 64 x 64 pixels."""
    random = np.random.default_rng(seed)
    low = random.uniform(0, 50, (count, 2))
    xyxy = np.concatenate([low, low + random.uniform(3, 30, (count, 2))], axis=1).clip(0, 64)
    return torch.from_numpy(xyxy.astype(np.float32)), torch.from_numpy(random.integers(0, 3, count))


def inside(places: Places, place: int, box: Tensor, least: float = 0.0) -> bool:
    x, y = places.centres[place].tolist()
    x1, y1, x2, y2 = box.tolist()
    half = [max((x2 - x1) / 2, least), max((y2 - y1) / 2, least)]
    return abs(x - (x1 + x2) / 2) <= half[0] and abs(y - (y1 + y2) / 2) <= half[1]


@pytest.mark.parametrize("seed", range(6))
def test_an_object_is_learned_where_score_and_box_agree_best(seed: int) -> None:
    places, (boxes, labels) = places_of((64, 64), (8, 16), CPU), scene(seed)
    random = torch.Generator().manual_seed(seed)
    scores = torch.rand(80, 3, generator=random)
    away = torch.rand(80, 4, generator=random) * 20
    found = torch.cat([places.centres - away[:, :2], places.centres + away[:, 2:]], dim=1)
    number, target = aligned(scores, found, places, boxes, labels, 3)

    overlap = box_iou(boxes, found)
    agreement = [[float(scores[p, labels[g]] * overlap[g, p] ** 6) for p in range(80)] for g in range(len(boxes))]
    taken: dict[int, int] = {}
    for g, box in enumerate(boxes):
        within = [p for p in range(80) if inside(places, p, box, 4.0 if places.strides[p] == 8 else 0.0)]
        for p in sorted(within, key=lambda p: -agreement[g][p])[:3]:
            if p not in taken or overlap[g, p] > overlap[taken[p], p]:
                taken[p] = g
    assert {p: int(g) for p, g in enumerate(number) if g >= 0} == taken
    assert set(number[number < 0].tolist()) <= {BACKGROUND}
    for g in range(len(boxes)):
        own = [p for p in taken if taken[p] == g]
        if own:
            most, highest = max(agreement[g][p] for p in own), max(float(overlap[g, p]) for p in own)
            for p in own:
                assert float(target[p]) == pytest.approx(agreement[g][p] / max(most, 1e-38) * highest, rel=1e-3)
    assert not target[number < 0].any()


def test_each_small_object_has_a_point() -> None:
    places = places_of((64, 64), (8, 16), CPU)
    found = torch.cat([places.centres - 20, places.centres + 20], dim=1)
    for x in np.linspace(0, 60, 13):
        box = torch.tensor([[x, x / 2, x + 2, x / 2 + 1]], dtype=torch.float32)
        number, target = aligned(torch.full((80, 1), 0.01), found, places, box, torch.tensor([0]), 13)
        assert (number == 0).any() and float(target.max()) == pytest.approx(float(box_iou(box, found).max()), rel=0.5)


@pytest.mark.parametrize("seed", range(6))
def test_fcos_learns_the_smallest_object_around_a_point(seed: int) -> None:
    places, (boxes, labels) = places_of((64, 64), (8, 16), CPU), scene(seed)
    expected = []
    for p, (x, y) in enumerate(places.centres.tolist()):
        stride, fits = float(places.strides[p]), []
        for g, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            sides = (x - x1, y - y1, x2 - x, y2 - y)
            near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < 1.5 * stride
            reach = max(sides) < 64 if stride == 8 else max(sides) >= 64
            if min(sides) > 0 and near and reach:
                fits.append(((x2 - x1) * (y2 - y1), g))
        expected.append(min(fits)[1] if fits else BACKGROUND)
    assert by_centre(places, boxes, labels).tolist() == expected


@pytest.mark.parametrize("seed", range(6))
def test_retinanet_learns_the_object_that_an_anchor_overlaps_most(seed: int) -> None:
    places, (boxes, labels) = places_of((64, 64), (8, 16), CPU, SHAPES), scene(seed)
    half = places.sizes / 2
    overlap = box_iou(boxes, torch.cat([places.centres - half, places.centres + half], dim=1))
    number = by_overlap(places, boxes, labels)
    for p in range(overlap.shape[1]):
        g = int(overlap[:, p].argmax())
        if overlap[g, p] >= 0.5 or any(overlap[k, p] == overlap[k].max() > 0 for k in range(len(boxes))):
            assert int(number[p]) == g
        else:
            assert int(number[p]) == (IGNORED if overlap[g, p] >= 0.4 else BACKGROUND)


def test_places_in_ignored_regions_learn_nothing_but_the_objects_there() -> None:
    places = places_of((64, 64), (8,), CPU)
    boxes = torch.tensor([[0.0, 0, 64, 32], [8, 8, 24, 24]])
    labels = torch.tensor([IGNORED, 2])
    found = torch.cat([places.centres - 8, places.centres + 8], dim=1)
    for number in (
        aligned(torch.full((64, 3), 0.1), found, places, boxes, labels, 4)[0],
        by_centre(places, boxes, labels),
        by_overlap(places_of((64, 64), (8,), CPU, torch.tensor([[[16.0, 16.0]]])), boxes, labels),
    ):
        assert set(number[places.centres[:, 1] > 32].tolist()) == {BACKGROUND}
        assert set(number[places.centres[:, 1] < 32].tolist()) == {IGNORED, 1}


@pytest.mark.parametrize("labels", [[], [IGNORED]])
def test_an_image_without_objects_has_no_places_that_learn_one(labels: list[int]) -> None:
    places = places_of((64, 64), (8,), CPU)
    boxes, of = torch.zeros(len(labels), 4), torch.tensor(labels, dtype=torch.int64)
    number, target = aligned(torch.rand(64, 2), torch.rand(64, 4), places, boxes, of, 4)
    for one in (number, by_centre(places, boxes, of), by_overlap(places, boxes, of)):
        assert one.tolist() == [BACKGROUND] * 64
    assert not target.any()


@pytest.mark.parametrize("seed", range(4))
def test_proposals_learn_the_object_that_they_overlap_most(seed: int) -> None:
    (boxes, labels), (proposals, _) = scene(seed, 5), scene(seed + 50, 40)
    labels[1] = labels[3] = IGNORED
    proposals = torch.cat([proposals, boxes + 1.0])
    found = by_proposal(proposals, boxes, labels).tolist()
    for place, proposal in enumerate(proposals):
        overlaps = box_iou(proposal[None], boxes)[0].tolist()
        real = [(overlaps[at], at) for at in range(5) if labels[at] != IGNORED]
        best, of = max(real)
        low, high = torch.maximum(proposal[:2], boxes[:, :2]), torch.minimum(proposal[2:], boxes[:, 2:])
        shares = (high - low).clamp(min=0).prod(dim=1) / (proposal[2:] - proposal[:2]).prod()
        within = any(float(shares[at]) >= 0.5 for at in range(5) if labels[at] == IGNORED)
        assert found[place] == (of if best >= 0.5 else IGNORED if within else BACKGROUND)
    assert len({*found}) > 2
    assert by_proposal(proposals, boxes[:0], labels[:0]).tolist() == [BACKGROUND] * len(proposals)
    assert by_proposal(proposals[:0], boxes, labels).shape == (0,)
