"""The function that decides the maps of a config: one of medalist's, or one of the contest's folder. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from medalist.config import OwnConfig
from medalist.errors import ConfigError
from medalist.parts import OwnParts, running
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import WatershedConfig
from medalist.records import Answer, Instances, MapPrediction, Mask
from medalist.tasks.segment.settings import SegmentDecide

if TYPE_CHECKING:
    from medalist.postprocess.regressor import Regressor

Decide = Callable[[MapPrediction], Answer]

REGRESSOR = "second_stage.json"
"""The file of a run with the regressor of its kept decision, where this has a second stage."""


def has_second_stage(how: SegmentDecide) -> bool:
    """Return whether a decision has a second stage."""
    return isinstance(how, WatershedConfig) and how.second_stage is not None


def decide_by(how: SegmentDecide, own: OwnParts, regressor: Regressor | None = None) -> Decide:
    """Return the function from the maps of an image to its mask or instances.

    regressor: of the second stage, where the decision has one. Raises ConfigError where the contest's folder has no
    such function; the function raises it where it fails, or where its answer is no mask and no instances of the image's
    size.
    """
    if not isinstance(how, OwnConfig):
        return lambda prediction: decide(prediction, how, regressor)
    function = own.find("DECIDES", how, "decide", 1)

    def decided(prediction: MapPrediction) -> Answer:
        assert own.file is not None
        with running(own.file, f"decide = {how.name} fails"):
            answer = function(prediction)
        size = prediction.maps.shape[1:]
        if not isinstance(answer, Mask | Instances) or answer.size != size:
            given = f"{type(answer).__name__} of {answer.size}" if hasattr(answer, "size") else type(answer).__name__
            raise ConfigError(
                f"decide = {how.name} gives {given}, and must give a Mask or Instances of medalist.records, of the "
                f"size {size} of the maps"
            )
        return answer

    return decided
