from __future__ import annotations

from typing import Any

from medalist.kinds import load_settings
from medalist.planning.options import variants
from medalist.tasks.segment.settings import SegmentSettings


def test_what_is_compared(untrained: Any) -> None:
    settings = load_settings(untrained.config)
    assert isinstance(settings, SegmentSettings)
    changes = [one.change for one in variants(settings, 2, False, None)]
    assert changes == ["train.precision=bf16-mixed", "loader.workers=2", "train.batch=2", "train.batch=8"]
    assert "loader.workers=4" in [one.change for one in variants(settings, 4, False, None)]
    on_gpu = [one.change for one in variants(settings, 1, True, 512)]
    assert on_gpu[:3] == ["train.precision=bf16-mixed", "train.precision=16-mixed", "loader.cache_mb=512"]
    other = load_settings(untrained.config, ("train.batch=1", "loader.workers=3", "train.precision=bf16-mixed"))
    found = {one.change: one for one in variants(other, 2, False, None)}
    assert list(found) == ["train.precision=32-true", "loader.workers=0", "train.batch=2"]
    assert found["train.batch=2"].settings.train.batch == 2 and found["train.batch=2"].changes
    assert not found["loader.workers=0"].changes and found["train.precision=32-true"].predicts
