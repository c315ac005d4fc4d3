"""What a training says of a fold's data before it starts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.folds.folds import Folds
from medalist.records import Mask, Sample, Split
from medalist.reporter import SilentReporter
from medalist.tasks.jobs import FoldPlace, open_devices
from medalist.tasks.segment import training
from medalist.tasks.segment.class_weights import PixelCounts
from medalist.tasks.segment.settings import SegmentSettings

FOLDS = Folds({f"s{number}": number % 2 for number in range(6)}, dict.fromkeys("x"), dict.fromkeys("x"), 2, 0)


class Heard(SilentReporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def truth(data: Path, sample: Sample) -> Mask:
    """Cars are in even samples alone, and the last sample is void everywhere."""
    classes = np.zeros((8, 8), np.uint8)
    classes[:2] = 1 if int(sample.id[1:]) % 2 == 0 else 0
    return Mask(classes) if sample.id != "s5" else Mask(classes * 0, np.ones((8, 8), np.bool_))


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_a_class_that_one_fold_alone_has_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    split = Split(tuple(Sample(f"s{number}", (tmp_path / "a.png",), (8, 8)) for number in range(6)), ())
    unused: Any = None
    contest = Contest(Competition("toy", lambda _: split, truth, unused, unused), tmp_path, split)
    settings = SegmentSettings.model_validate(
        {
            "competition": "toy",
            "task": {"activation": "softmax"},
            "model": {"kind": "unet", "encoder": "test_efficientnet", "channels": ["road", "car"]},
            "loss": {"ce": 1.0, "class_weights": weights},
            "decide": {"kind": "threshold"},
        }
    )
    setup: Any = SimpleNamespace(settings=settings, contest=contest, run=SimpleNamespace(folder=tmp_path), weights=None)
    given: list[list[PixelCounts]] = []
    monkeypatch.setattr(FoldPlace, "of", lambda _, fold: FoldPlace(FOLDS, fold, tmp_path))
    monkeypatch.setattr(training, "build_job", lambda *rest: given.append(rest[-1]))
    reporter = Heard()
    job_of = training.open_data(setup, open_devices(settings), reporter)
    job_of(0)
    assert reporter.said == [
        "fold 0: no training sample has a pixel of car, so its network learns only where that is not",
        "fold 0: every pixel of 1 training sample is void, so nothing is learned from them: s5",
    ]
    job_of(1)
    assert len(reporter.said) == 2
    assert given[0] == [PixelCounts(64, (64, 0)), PixelCounts(64, (64, 0)), PixelCounts(0, (0, 0))]
    assert given[1] == [PixelCounts(64, (48, 16))] * 3
