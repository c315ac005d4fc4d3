"""The decision that the contest's folder brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medalist.competition import load_competition
from medalist.config import OwnConfig
from medalist.errors import ConfigError
from medalist.parts import parts_of
from medalist.records import Instances, MapPrediction
from medalist.tasks.segment.deciding import decide_by

CONTESTS = Path(__file__).parents[2]


def test_only_sure_pieces_of_some_size_are_objects() -> None:
    own = parts_of(load_competition("dsb2018", CONTESTS))
    body = np.zeros((1, 20, 30), np.uint8)
    body[0, 2:8, 2:8] = 150  # 36 pixels above low, one of them above high
    body[0, 4, 4] = 240
    body[0, 2:8, 12:18] = 150  # none above high
    body[0, 12:14, 2:4] = 240  # too small
    decide = decide_by(OwnConfig(name="hysteresis"), own)
    answer = decide(MapPrediction(body, ("body",)))
    assert isinstance(answer, Instances) and answer.count == 1
    assert (answer.labels > 0).sum() == 36
    with pytest.raises(ConfigError, match=r"decide\.args\.high = 1\.5"):
        decide_by(OwnConfig(name="hysteresis", args={"high": 1.5}), own)
