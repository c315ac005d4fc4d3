"""Decide the answer of an image from its predicted boxes: boxes, or objects with all their pixels. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from medalist.postprocess.box_instances import ScoredInstances, scored_instances
from medalist.postprocess.box_settings import MasksConfig, ObjectDecideConfig
from medalist.postprocess.boxes import decide
from medalist.records import Boxes, BoxPrediction, Instances


def decided(prediction: BoxPrediction, config: ObjectDecideConfig, classes: Sequence[str] = ()) -> Boxes | Instances:
    """Return the answer of one image; see `postprocess.boxes.decide` and `postprocess.box_instances`.

    classes: the names of the contest's classes; needed where `config.score` names classes.
    """
    found = scored(prediction, config, classes)
    return found.instances if isinstance(found, ScoredInstances) else found


def scored(
    prediction: BoxPrediction, config: ObjectDecideConfig, classes: Sequence[str] = ()
) -> Boxes | ScoredInstances:
    """Return the answer of one image with its scores, by which it can be cut further."""
    if isinstance(config, MasksConfig):
        return scored_instances(prediction, config, classes)
    return decide(prediction, config, classes)
