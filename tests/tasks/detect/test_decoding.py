from __future__ import annotations

import torch

from medalist.tasks.detect.decoding import Found, Limits, cut_found, kept
from medalist.tasks.detect.dense import DenseCriterion
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import FcosConfig
from medalist.tasks.detect.outputs import DenseOutputs

FCOS = FcosConfig(kind="fcos", encoder="x", finest=8, coarsest=32, width=32)
CRITERION = DenseCriterion(FCOS, LossConfig())
SURE = 20.0


def outputs(images: int = 1) -> DenseOutputs:
    """Outputs for frames of 32 x 32 pixels, 16 + 4 + 1 points, where nothing is seen."""
    return DenseOutputs(
        torch.full((images, 21, 3), -SURE), torch.ones(images, 21, 4), torch.full((images, 21, 1), SURE)
    )


def test_a_place_may_give_boxes_of_several_classes_and_all_are_cut_to_the_frame() -> None:
    seen = outputs(2)
    seen.scores[1, 0, 2], seen.scores[1, 0, 1] = SURE, 0.0
    seen.scores[1, 20, 0] = SURE
    nothing, found = CRITERION.found(seen, (32, 32), Limits(0.1, 10, None))
    assert len(nothing.scores) == 0 and nothing.xyxy.shape == (0, 4)
    assert found.labels.tolist() == [2, 0, 1]
    assert [round(score, 3) for score in found.scores.tolist()] == [1.0, 1.0, 0.707]
    assert found.xyxy.tolist() == [[0, 0, 12, 12], [0, 0, 32, 32], [0, 0, 12, 12]]


def test_each_level_gives_at_most_so_many_boxes() -> None:
    seen = outputs()
    seen.scores[0, :, 1] = torch.linspace(0, 5, 21)
    found = CRITERION.found(seen, (32, 32), Limits(0.1, 2, None))[0]
    assert len(found.scores) == 2 and found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert len(CRITERION.found(seen, (32, 32), Limits(0.1, 5, None))[0].scores) == 5


def test_doubles_of_one_class_go() -> None:
    xyxy = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = Found(xyxy, torch.tensor([0.5, 0.9, 0.4, 0.3]), torch.tensor([0, 0, 1, 0]))
    assert kept(boxes, Limits(0.0, 9, 0.8)).scores.tolist() == torch.tensor([0.9, 0.4, 0.3]).tolist()
    assert kept(boxes, Limits(0.0, 2, None)).scores.tolist() == torch.tensor([0.9, 0.5]).tolist()


def test_boxes_without_area_go() -> None:
    seen = outputs()
    seen.scores[0, 0] = SURE
    seen.sides[0, 0] = 0.0
    assert len(CRITERION.found(seen, (32, 32), Limits(0.1, 10, None))[0].scores) == 0


def test_found_boxes_are_cut_to_their_image() -> None:
    xyxy = torch.tensor([[-5.0, 2, 10, 50], [40, 0, 50, 5], [3, 3, 3, 9]])
    found = cut_found(Found(xyxy, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 1, 2])), (20, 40))
    assert found.xyxy.tolist() == [[0, 2, 10, 20]] and found.labels.tolist() == [0]
