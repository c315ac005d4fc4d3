"""Tiles of an image give what the whole image gives, away from its borders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from medalist.codecs.disk import is_on_disk
from medalist.codecs.windows import DecodedPicture
from medalist.data.items import Normalisation, make_item
from medalist.data.loader import collate
from medalist.data.padding import pad_to_multiple
from medalist.data.windows import WindowedImage
from medalist.tasks.segment.inference import average_views
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.network_settings import ConditionConfig
from medalist.tasks.segment.outputs import SegmentOutputs
from medalist.tasks.segment.settings import PredictConfig
from medalist.tasks.segment.task import SegmentTask
from medalist.tasks.segment.tiled import TilePredictor, Tiles

STRIDE = 4
TASK = SegmentTask(LossConfig(bce=1.0), ("body", "border"))
NORM = Normalisation((0.5,) * 3, (0.25,) * 3)
WINDOWS = ["gaussian", "pyramid", "flat"]


class PerPixel(nn.Module):
    """Sees each pixel alone."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([image[:, 0] - image[:, 1], image[:, 2]], dim=1)


class Near(nn.Module):
    """A small U-Net without pretrained weights: it halves the image twice, and sees less than 16 pixels far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(14, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        first = torch.relu(self.first(image))
        second = torch.relu(self.second(nn.functional.max_pool2d(first, 2)))
        third = torch.relu(self.third(nn.functional.max_pool2d(second, 2)))
        up = nn.functional.interpolate(third, scale_factor=4, mode="nearest")
        found: Tensor = 3 * self.last(torch.cat([first, up], dim=1))
        return found


REACH = 16


def predictor_of(model: nn.Module, folder: Path, **config: Any) -> TilePredictor:
    model.eval()
    chosen = PredictConfig.model_validate({"tta": "none", "batch": 3} | config)
    fabric = Fabric(accelerator="cpu", devices=1)
    return TilePredictor(fabric, TASK, [model], NORM, chosen, STRIDE, True, folder)


def image_of(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)


@torch.inference_mode()
def whole(predictor: TilePredictor, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    padded, padding = pad_to_multiple(image, STRIDE)
    batch = collate([make_item(0, padded, None, NORM, padding)])
    maps = average_views(TASK, predictor.models, batch.image, predictor.config, STRIDE)
    return TASK.predict(maps, batch)[0].maps


def tiled(predictor: TilePredictor, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return predictor.predict(WindowedImage(DecodedPicture(image))).prediction.maps


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("overlap", [0, 12, 40])
@pytest.mark.parametrize("size", [(150, 203), (64, 300), (1, 200), (200, 1), (65, 64)])
def test_a_network_of_single_pixels_gives_the_whole(
    tmp_path: Path, window: str, overlap: int, size: tuple[int, int]
) -> None:
    image = image_of(*size)
    predictor = predictor_of(PerPixel(), tmp_path, tile={"size": 64, "overlap": overlap, "window": window})
    made, expected = tiled(predictor, image), whole(predictor, image)
    assert made.shape == (2, *size) and made.dtype == np.uint8
    apart = np.abs(made.astype(int) - expected)
    assert apart.max() <= 1 and (apart > 0).mean() < 5e-3  # sums of weighted values round otherwise, very rarely
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(64, 64), (50, 33), (1, 1)])
def test_an_image_within_a_tile_is_predicted_as_without_tiles(tmp_path: Path, size: tuple[int, int]) -> None:
    """To the last bit."""
    predictor = predictor_of(Near(), tmp_path, tile={"size": 64, "overlap": 16}, tta="d4", scales=(1.0, 0.5))
    image = image_of(*size)
    np.testing.assert_array_equal(tiled(predictor, image), whole(predictor, image))


@pytest.mark.parametrize("window", WINDOWS)
def test_inner_parts_of_tiles_are_those_of_the_whole(tmp_path: Path, window: str) -> None:
    """Away from the edges of tiles by what the network sees: all pixels, where no tile counts at its own edge."""
    image = image_of(300, 420)
    predictor = predictor_of(Near(), tmp_path, tile={"size": 128, "overlap": 0, "window": window})
    made, expected = tiled(predictor, image).astype(int), whole(predictor, image).astype(int)
    tiles = Tiles.of((300, 420), predictor.config.tile, STRIDE)  # type: ignore[arg-type]
    sure = np.ones((300, 420), bool)
    for line, axis in ((tiles.down, 0), (tiles.right, 1)):
        for start in line.starts:
            for edge in (start, start + line.tile):
                near = slice(max(0, edge - REACH), max(0, edge + REACH))
                sure[(slice(None),) * axis + (near,)] = False
    assert sure.mean() > 0.1
    assert np.abs(made - expected)[:, sure].max() <= 1
    if window == "flat":  # the test would see a wrong place
        assert np.abs(made - expected)[:, ~sure].max() > 1


def test_overlap_by_what_the_network_sees_gives_the_whole_away_from_borders(tmp_path: Path) -> None:
    image = image_of(300, 420)
    inner = (slice(None), slice(REACH, -REACH), slice(REACH, -REACH))
    apart = {}
    for overlap in (0, 64, 112):
        predictor = predictor_of(Near(), tmp_path, tile={"size": 128, "overlap": overlap, "window": "gaussian"})
        made, expected = tiled(predictor, image).astype(int), whole(predictor, image).astype(int)
        apart[overlap] = np.abs(made - expected)[inner].mean()
    assert apart[64] < apart[0] / 3 and apart[112] < 0.1


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_batches_change_nothing(tmp_path: Path, batch: int) -> None:
    image = image_of(150, 203)
    made = [
        tiled(predictor_of(Near(), tmp_path, batch=one, tile={"size": 64, "overlap": 16}), image) for one in (batch, 4)
    ]
    assert np.abs(made[0].astype(int) - made[1]).max() <= 1


def test_large_maps_lie_on_disk_and_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of(150, 203)
    predictor = predictor_of(Near(), tmp_path, tile={"size": 64, "overlap": 16})
    in_memory = tiled(predictor, image)
    monkeypatch.setattr("medalist.tasks.segment.tiled.IN_MEMORY", 0)
    monkeypatch.setattr("medalist.tasks.segment.tiled.ROUNDED_ROWS", 5)
    on_disk = tiled(predictor, image)
    assert is_on_disk(on_disk) and not is_on_disk(in_memory)
    np.testing.assert_array_equal(on_disk, in_memory)
    assert list(tmp_path.iterdir()) == []


class Blind(nn.Module):
    """Says 0.5 and a step more for each tile it has seen: every seam shows."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        ramp = torch.linspace(0, 0.2, image.shape[-1]).expand(image.shape[0], 2, *image.shape[-2:])
        return ramp + self.calls % 2


def test_seams_are_seen(tmp_path: Path) -> None:
    image = WindowedImage(DecodedPicture(image_of(150, 203)))
    tile = {"size": 64, "overlap": 0, "window": "flat"}
    seen = predictor_of(Blind(), tmp_path, batch=1, tile=tile).predict(image).seam_score
    assert seen > 10
    smooth = predictor_of(PerPixel(), tmp_path, tile=tile).predict(image).seam_score
    assert 0.9 < smooth < 1.1


class Coarse(nn.Module):
    """Says one value for each square of 4 x 4 pixels: neighbours differ only between squares, where seams lie too."""

    def forward(self, image: Tensor) -> Tensor:
        squares = nn.functional.avg_pool2d(image[:, :2], 4)
        found: Tensor = 9 * nn.functional.interpolate(squares, scale_factor=4, mode="nearest")
        return found


def test_squares_of_the_stride_are_no_seams(tmp_path: Path) -> None:
    predictor = predictor_of(Coarse(), tmp_path, tile={"size": 64, "overlap": 16})
    assert 0.8 < predictor.predict(WindowedImage(DecodedPicture(image_of(150, 203)))).seam_score < 1.25


def test_the_score_of_seams_is_that_of_the_maps(tmp_path: Path) -> None:
    """Counted again on the whole maps, by plain differences."""
    predictor = predictor_of(Near(), tmp_path, tile={"size": 64, "overlap": 16})
    found = predictor.predict(WindowedImage(DecodedPicture(image_of(150, 203))))
    tiles = Tiles.of((150, 203), predictor.config.tile, STRIDE)  # type: ignore[arg-type]
    assert found.seam_score == pytest.approx(jump_ratio(found.prediction.maps, tiles))


def jump_ratio(maps: NDArray[np.uint8], tiles: Tiles) -> float:
    jumps: dict[bool, list[int]] = {True: [], False: []}
    for axis, line in ((1, tiles.down), (2, tiles.right)):
        steps = np.abs(np.diff(maps.astype(int), axis=axis))
        for place in range(steps.shape[axis]):
            if (place + 1) % STRIDE == 0:
                jumps[place + 1 in line.seams] += steps.take(place, axis).ravel().tolist()
    return float(np.mean(jumps[True]) / np.mean(jumps[False]))


class Present(nn.Module):
    """A map of each pixel's own colour, and whether the tile is bright: one value for a tile."""

    def forward(self, image: Tensor) -> SegmentOutputs:
        return SegmentOutputs(image[:, :1], 9 * image.mean(dim=(2, 3))[:, :1], ())


def test_presence_is_kept_beside_the_maps_and_has_no_seams(tmp_path: Path) -> None:
    task = SegmentTask(LossConfig(bce=1.0), ("one",), outputs=("one", "presence:one"))
    plain = predictor_of(Present(), tmp_path, tile={"size": 64, "overlap": 0, "window": "flat"})
    image = image_of(128, 192) // 4
    image[64:, 128:] += 180
    found = replace(plain, task=task).predict(WindowedImage(DecodedPicture(image)))
    assert found.prediction.channels == ("one", "presence:one")
    presence = found.prediction.maps[1].reshape(2, 64, 3, 64)
    values = presence[:, 0, :, 0]
    assert (presence == values[:, None, :, None]).all() and values[1, 2] > 250 and values.ravel()[:5].max() < 5
    tiles = Tiles.of((128, 192), plain.config.tile, STRIDE)  # type: ignore[arg-type]
    assert found.seam_score == pytest.approx(jump_ratio(found.prediction.maps[:1], tiles))


def test_one_step_is_counted_for_each_tile(tmp_path: Path) -> None:
    steps: list[int] = []
    predictor = predictor_of(PerPixel(), tmp_path, tile={"size": 64, "overlap": 16})
    predictor.predict(WindowedImage(DecodedPicture(image_of(150, 203))), lambda: steps.append(1))
    assert len(steps) == Tiles.of((150, 203), predictor.config.tile, STRIDE).count == 4 * 5  # type: ignore[arg-type]


class Told(nn.Module):
    """Its maps are the first colour where it is told the first value; it says its condition as presence."""

    def forward(self, image: Tensor) -> SegmentOutputs:
        return SegmentOutputs(image[:, :2] * image[:, 3:4] - image[:, 4:5], 8 * image[:, 3:].mean(dim=(2, 3)) - 4)


@pytest.mark.parametrize(("city", "presence"), [("a", (250, 5)), ("b", (5, 250)), ("c", (5, 5))])
def test_tiles_know_the_condition_and_have_planes_of_presence(
    tmp_path: Path, city: str, presence: tuple[int, int]
) -> None:
    predictor = predictor_of(Told(), tmp_path, tile={"size": 64, "overlap": 16})
    names = ("body", "border", "presence:body", "presence:border")
    told = ConditionConfig(column="city", values=("a", "b"))
    predictor = replace(predictor, task=SegmentTask(LossConfig(bce=1), names[:2], outputs=names), condition=told)
    image = image_of(100, 150)
    found = predictor.predict(WindowedImage(DecodedPicture(image)), meta={"city": city}).prediction
    assert found.channels == names
    assert [np.unique(plane).tolist() for plane in found.maps[2:]] == [[value] for value in presence]
    values = (image[..., 0] / 255 - 0.5) / 0.25 * (city == "a") - (city == "b")
    np.testing.assert_allclose(found.maps[0] / 255, 1 / (1 + np.exp(-values)), atol=0.003)
