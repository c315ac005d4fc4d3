from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning_fabric import Fabric
from torch import Tensor, nn

from medalist.data.items import Normalisation
from medalist.errors import ConfigError
from medalist.tasks.segment import memory
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.memory import Need, fitted, measured
from medalist.tasks.segment.settings import PredictConfig, TileConfig
from medalist.tasks.segment.task import SegmentTask
from medalist.tasks.segment.tiled import TilePredictor

GB = 10**9


class Greedy(nn.Module):
    """Takes 400 bytes for each pixel."""

    def forward(self, image: Tensor) -> Tensor:
        return image.repeat(1, 34, 1, 1).mean(dim=1, keepdim=True)


def predictor_of(folder: Path, **config: Any) -> TilePredictor:
    chosen = PredictConfig.model_validate({"tta": "none", "memory": "2GB", "batch": 4} | config)
    task = SegmentTask(LossConfig(bce=1.0), ("one",))
    norm = Normalisation((0.5,) * 3, (0.25,) * 3)
    return TilePredictor(Fabric(accelerator="cpu", devices=1), task, [Greedy()], norm, chosen, 32, False, folder)


def chosen(monkeypatch: pytest.MonkeyPatch, folder: Path, need: Need, size: int, **config: Any) -> PredictConfig:
    monkeypatch.setattr(memory, "measured", lambda predictor: need)
    return fitted(predictor_of(folder, **config), [(size, size), (100, 100)])


def test_the_largest_tile_that_fits_is_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    need = Need(0.5 * GB, 300)
    found = chosen(monkeypatch, tmp_path, need, 20_000)
    assert found.tile is not None
    side = found.tile.size
    assert found.tile.overlap == side // 4 and side in memory.SIDES
    assert need.of(side, found.batch, 20_000, 1) <= 0.9 * 2 * GB
    larger = [one for one in memory.SIDES if one > side]
    assert all(need.of(one, 1, 20_000, 1) > 0.9 * 2 * GB for one in larger)
    assert found.batch == 4 or need.of(side, found.batch + 1, 20_000, 1) > 0.9 * 2 * GB
    more = chosen(monkeypatch, tmp_path, need, 20_000, memory="6GB")
    assert more.tile is not None and more.tile.size > side


def test_images_that_fit_are_not_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = chosen(monkeypatch, tmp_path, Need(0.1 * GB, 20), 2500)
    assert found.tile is not None and found.tile.size == 3072


def test_tiles_of_the_config_stay_and_the_batch_is_lowered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tile = {"size": 1024, "overlap": 64, "window": "flat"}
    found = chosen(monkeypatch, tmp_path, Need(0.5 * GB, 400), 5000, tile=tile)
    assert found.tile == TileConfig(size=1024, overlap=64, window="flat") and found.batch < 4


def test_too_little_memory_is_said_with_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"memory = 300MB is too small: the smallest tile = 256 needs 0\.8 GB for"
    ) as raised:
        chosen(monkeypatch, tmp_path, Need(0.5 * GB, 300), 20_000, memory="300MB")
    said = str(raised.value)
    assert "\n" not in said and "(0.5 GB of it for the networks" in said
    typed = said.rpartition("--memory ")[2]
    assert chosen(monkeypatch, tmp_path, Need(0.5 * GB, 300), 20_000, memory=typed).tile is not None
    with pytest.raises(ConfigError, match=r"predict\.tile\.size = 4096 needs .*, or take smaller tiles$"):
        chosen(monkeypatch, tmp_path, Need(0.5 * GB, 300), 20_000, tile={"size": 4096})


def test_the_memory_of_a_tile_is_measured(tmp_path: Path) -> None:
    found = measured(predictor_of(tmp_path))
    assert 250 < found.pixel < 1500  # the 400 bytes of `Greedy`, the tile, and what is copied
    assert 0 < found.fixed < 6 * GB
