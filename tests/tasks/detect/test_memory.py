from __future__ import annotations

from typing import Any, cast

import pytest

from medalist.data.items import Normalisation
from medalist.errors import ConfigError
from medalist.postprocess.box_settings import SlicesConfig
from medalist.tasks.detect import memory
from medalist.tasks.detect.inference import slices_in
from medalist.tasks.detect.memory import Need, fitted_batch, read_bytes
from medalist.tasks.detect.settings import DetectPredictConfig, DetectSettings

GB = 10**9


def settings_of(**predict: Any) -> DetectSettings:
    config = {"memory": "2GB", "batch": 8} | predict
    return DetectSettings.model_validate(
        {
            "competition": "x",
            "task": {"kind": "detect"},
            "image": {"size": (512, 512)},
            "model": {"kind": "aligned", "encoder": "resnet18"},
            "predict": config,
        }
    )


def batch_of(monkeypatch: pytest.MonkeyPatch, settings: DetectSettings, need: Need, size: tuple[int, int]) -> int:
    monkeypatch.setattr(memory, "measured", lambda *_: need)
    unused: Any = None
    norm = cast(Normalisation, unused)
    return fitted_batch(unused, unused, (), settings, norm, [size], slices_in([size], settings.predict))


def test_the_largest_batch_that_fits_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(slices=SlicesConfig(size=512, overlap=128))
    need, size = Need(0.4 * GB, 0.25 * GB), (8000, 8000)
    read = read_bytes(settings, [size], slices_in([size], settings.predict))
    assert 3 * 512 * 8000 < read < 0.2 * GB  # a row of slices, and not the whole image
    found = batch_of(monkeypatch, settings, need, size)
    assert need.of(found, read) <= 0.9 * 2 * GB < need.of(found + 1, read) and 1 < found < 8
    assert batch_of(monkeypatch, settings, Need(0.4 * GB, 0.01 * GB), size) == 8
    whole = settings_of()
    assert read_bytes(whole, [size], slices_in([size], whole.predict)) > 3 * 8000 * 8000


def test_too_little_memory_says_how_much_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    need = Need(1.5 * GB, 0.4 * GB)
    with pytest.raises(
        ConfigError, match=r"too small: one frame of 512x512 .*; type --memory 2.3GB, or set predict.slices"
    ):
        batch_of(monkeypatch, settings_of(), need, (600, 600))
    with pytest.raises(ConfigError, match="or take smaller slices"):
        batch_of(monkeypatch, settings_of(slices=SlicesConfig(size=512, overlap=64)), need, (900, 900))


def test_less_than_the_libraries_take_is_not_helped_by_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"type --memory 3\.2GB$"):
        batch_of(monkeypatch, settings_of(), Need(2.1 * GB, 0.6 * GB), (100, 100))


def test_a_limit_is_a_size() -> None:
    assert DetectPredictConfig(memory="1.5GB").most_bytes == 1_500_000_000
    with pytest.raises(ValueError, match=r"predict.memory = 'much' is no size"):
        DetectPredictConfig(memory="much")
