from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medalist.data.items import Normalisation
from medalist.data.loader import collate
from medalist.engine.placement import DevicePlacement
from medalist.engine.view_settings import VIEWS, View
from medalist.engine.views import apply_view
from medalist.errors import TrainingError
from medalist.postprocess.box_settings import SlicesConfig
from medalist.postprocess.box_slices import ImageSlice
from medalist.tasks.detect.criterion import build_criterion
from medalist.tasks.detect.datasets import frame_item
from medalist.tasks.detect.decoding import Found, Limits
from medalist.tasks.detect.inference import (
    Framed,
    back,
    boxes_back,
    in_slice,
    masks_back,
    merged,
    predict,
    slices_in,
    views_of,
)
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import AlignedConfig
from medalist.tasks.detect.outputs import DenseOutputs
from medalist.tasks.detect.settings import DetectPredictConfig, FrameConfig
from medalist.tasks.detect.task import DetectTask

LOW = FrameConfig.model_construct(size=(80, 128), unit="frame")
"""A frame whose height is no multiple of 32, which suits the numbers below."""


def found(*xyxy: tuple[float, float, float, float], label: int = 0, score: float = 0.5) -> Found:
    boxes = torch.tensor(xyxy, dtype=torch.float32).reshape(-1, 4)
    return Found(boxes, torch.full((len(boxes),), score), torch.full((len(boxes),), label))


@pytest.mark.parametrize("view", [*VIEWS["d4"], View(scale=2.0), View(1, True, 0.5), View(3, False, 1.5)])
def test_boxes_of_a_view_come_back_to_where_the_object_is(view: View) -> None:
    image = torch.zeros(1, 1, 64, 96)
    box = (8, 16, 40, 32)
    image[..., 16:32, 8:40] = 1
    seen = apply_view(image, view, 32)
    rows, columns = (torch.nonzero(seen[0, 0] > 0.5)[:, axis] for axis in (0, 1))
    there = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=torch.float32)
    back = boxes_back(there, view, (seen.shape[2], seen.shape[3]), (64, 96))
    assert back[0].tolist() == pytest.approx(box, abs=2.0 if view.scale < 1 else 1.0)
    if view.scale == 1:
        assert back[0].tolist() == list(box)


@pytest.mark.parametrize("at", [0, 1])
def test_outputs_that_are_no_numbers_are_refused_and_not_dropped(at: int) -> None:
    config = AlignedConfig(kind="aligned", encoder="test_resnet")
    task = DetectTask(build_criterion(config, LossConfig()), Limits(0.01, 10, None), 2, 1)
    places = sum((64 // stride) ** 2 for stride in config.strides)
    outputs = DenseOutputs(torch.zeros(1, places, 2), torch.zeros(1, places, 4 * (config.bins + 1)))
    network, norm = Said(outputs), Normalisation((0.5,) * 3, (0.5,) * 3)
    batch = collate([frame_item(0, np.zeros((64, 64, 3), np.uint8), FrameConfig(size=(64, 64)), norm, 3)])

    def boxes() -> list[Framed]:
        place = DevicePlacement(torch.device("cpu"), "32-true")
        return list(predict(place, task, [network], [batch], DetectPredictConfig(), channels_last=False))

    assert len(boxes()[0][1][0].scores) == 10
    outputs[at][0, 3, 0] = torch.nan
    with pytest.raises(TrainingError, match=r"not finite; set train.precision=32-true, or lower train.lr"):
        boxes()


class Said(nn.Module):
    """A network that says the same of each batch."""

    def __init__(self, outputs: DenseOutputs) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: torch.Tensor) -> DenseOutputs:
        return self.outputs


def test_each_turn_is_taken_at_each_scale() -> None:
    views = views_of(DetectPredictConfig(tta="mirror", scales=(1.0, 1.5)))
    assert views == (View(), View(0, True), View(0, False, 1.5), View(0, True, 1.5))


def test_boxes_of_all_sources_in_pixels_of_their_slice() -> None:
    there = ImageSlice(100, 50, 150, 90)  # 40 x 50 pixels, in a frame of twice their size
    one = in_slice(
        [found((10, 20, 30, 40)), found((96, 2, 120, 10), (0, 0, 200, 200), label=2)],
        there,
        LOW,
    )
    assert one.sources == 2 and one.source.tolist() == [0, 1, 1] and one.labels.tolist() == [0, 2, 2]
    assert one.xyxy.tolist() == [[5, 10, 15, 20], [48, 1, 50, 5], [0, 0, 50, 40]]  # the last two are cut
    outside = in_slice([found((101, 2, 120, 10))], there, LOW)
    assert len(outside.labels) == 0 and outside.sources == 1


def test_without_slices_each_image_is_one() -> None:
    config, sizes = DetectPredictConfig(), [(40, 50), (30, 20)]
    slices = slices_in(sizes, config)
    assert slices == [(0, ImageSlice(0, 0, 50, 40)), (1, ImageSlice(0, 0, 20, 30))]
    parts = [in_slice([found((0, 0, 8, 8))], there, FrameConfig(size=(64, 64))) for _, there in slices]
    assert merged(parts, slices, sizes, config) == parts


def test_the_parts_of_an_object_become_one_box_of_the_whole_image() -> None:
    config = DetectPredictConfig(slices=SlicesConfig(size=64, overlap=16))
    sizes = [(64, 112), (20, 20)]
    slices = slices_in(sizes, config)
    assert [number for number, _ in slices] == [0, 0, 1]
    boxes = [found((20, 10, 64, 30)), found((0, 10, 42, 30), score=0.25), found()]
    parts = [in_slice([one], there, FrameConfig(size=(64, 64))) for one, (_, there) in zip(boxes, slices, strict=True)]
    whole, nothing = merged(parts, slices, sizes, config)
    assert whole.xyxy == pytest.approx(np.array([[20, 10, 90, 30]]), abs=0.5) and whole.scores.tolist() == [0.5]
    assert len(nothing.labels) == 0


@pytest.mark.parametrize("view", [*VIEWS["d4"], View(scale=2.0)])
def test_masks_of_a_view_come_back_to_how_the_object_lies(view: View) -> None:
    masks = torch.rand(3, 1, 28, 28)
    seen = torch.cat([apply_view(mask[None], View(view.turns, view.mirror), 1) for mask in masks])[:, 0]
    assert torch.equal(masks_back(seen, view), masks[:, 0])
    one = Found(torch.tensor([[1.0, 2.0, 5.0, 9.0]]), torch.ones(1), torch.zeros(1), seen[:1])
    returned = back(one, view, (64, 64), (64, 64)).masks
    assert returned is not None and torch.equal(returned, masks[:1, 0])


def test_boxes_with_masks_are_not_cut_and_know_their_image() -> None:
    masks = torch.full((2, 4, 4), 0.5)
    reaching, outside = (40.0, 20.0, 60.0, 90.0), (10.0, 84.0, 30.0, 96.0)
    one = Found(torch.tensor([reaching, outside]), torch.ones(2), torch.zeros(2, dtype=torch.int64), masks)
    frame = FrameConfig.model_construct(size=(96, 100), unit="frame")
    seen = in_slice([one, one], ImageSlice(0, 0, 50, 40), frame)  # 40 x 50 pixels in a frame of twice their size
    assert seen.size == (40, 50) and seen.xyxy.tolist() == [[20, 10, 30, 45]] * 2
    assert seen.masks is not None and seen.masks.dtype == np.uint8 and (seen.masks == 128).all()
    assert seen.masks.shape == (2, 4, 4) and seen.source.tolist() == [0, 1]
