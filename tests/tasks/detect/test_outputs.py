from __future__ import annotations

import torch

from medalist.tasks.detect.outputs import DenseOutputs, places_of


def test_points_lie_in_the_middle_of_their_pixels_row_by_row() -> None:
    places = places_of((16, 24), (8, 16), torch.device("cpu"))
    assert places.levels == (6, 2)
    assert places.centres.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8], [24, 8]]
    assert places.strides.tolist() == [8] * 6 + [16] * 2
    assert places.sizes.tolist() == [[8, 8]] * 6 + [[16, 16]] * 2


def test_the_anchors_of_a_point_follow_each_other() -> None:
    shapes = torch.tensor([[[3.0, 5.0], [7.0, 9.0]], [[30.0, 50.0], [70.0, 90.0]]])
    places = places_of((16, 16), (8, 16), torch.device("cpu"), shapes)
    assert places.levels == (8, 2)
    assert places.centres[:4].tolist() == [[4, 4], [4, 4], [12, 4], [12, 4]]
    assert places.sizes[:4].tolist() == [[3, 5], [7, 9], [3, 5], [7, 9]]
    assert places.sizes[8:].tolist() == [[30, 50], [70, 90]]


def test_some_places_are_taken_by_their_numbers() -> None:
    some = places_of((16, 16), (8,), torch.device("cpu")).at(torch.tensor([3, 0]))
    assert some.centres.tolist() == [[12, 12], [4, 4]] and some.levels == (2,)


def test_outputs_become_float32_and_single_images() -> None:
    outputs = DenseOutputs(torch.rand(2, 5, 3, dtype=torch.bfloat16), torch.rand(2, 5, 4), None, torch.rand(1, 2, 2))
    assert outputs.float().scores.dtype == torch.float32 and outputs.float().quality is None
    one = outputs.single(1)
    assert one.scores.shape == (1, 5, 3) and torch.equal(one.sides[0], outputs.sides[1])
    assert one.shapes is outputs.shapes
