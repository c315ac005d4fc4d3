"""Check before a training that the network fits the truths, and that the format accepts the answers of a config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medalist.contest import Contest
from medalist.errors import ConfigError, SubmissionError
from medalist.formats.box_words import sized
from medalist.formats.submission import AnyFormat
from medalist.postprocess.box_settings import MasksConfig, ObjectDecideConfig
from medalist.records import Boxes, BoxPrediction, Instances, Sample
from medalist.tasks.detect.deciding import decided
from medalist.tasks.detect.model_settings import MASK_SIDE, MaskRcnnConfig, ModelConfig
from medalist.tasks.scored import refuse_unwritable


def refuse_other_truths(contest: Contest, model: ModelConfig) -> None:
    """Raise ConfigError where the network cannot learn the truth of the first training sample."""
    first, name = contest.truth(contest.split.train[0]), contest.competition.name
    if isinstance(first, Instances) and not isinstance(model, MaskRcnnConfig):
        raise ConfigError(
            f"model.kind = {model.kind} finds boxes, but {name} asks for the pixels of its objects; set "
            "model.kind=mask_rcnn and decide.kind=masks"
        )
    if isinstance(first, Boxes) and isinstance(model, MaskRcnnConfig):
        raise ConfigError(
            f"model.kind = mask_rcnn learns the pixels of objects, but the truths of {name} are boxes; set "
            "model.kind=faster_rcnn and decide.kind=nms"
        )
    if not isinstance(first, Boxes | Instances):
        raise ConfigError(
            f"task.kind = detect, but the truths of {contest.competition.name} are {type(first).__name__}; begin with "
            "another base"
        )


def refuse_unanswerable(config: ObjectDecideConfig, form: AnyFormat, classes: Sequence[str], image: Sample) -> None:
    """Raise ConfigError where the submission format cannot write an answer of the config.

    Tried are `image`, a sample of the contest, with one box of each class, and without boxes.
    """
    count = len(classes)
    xyxy = np.tile(np.array([0, 0, 8, 8], np.float32), (count, 1)) + np.arange(count, dtype=np.float32)[:, None] % 8
    all_classes = BoxPrediction(
        xyxy, np.arange(count, dtype=np.int32), np.ones(count, np.float32), np.zeros(count, np.int16)
    )
    nothing = BoxPrediction(
        np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int16)
    )
    if isinstance(config, MasksConfig):
        full = np.full((count, MASK_SIDE, MASK_SIDE), 255, np.uint8)
        all_classes = replace(all_classes, masks=full, size=image.size)
        nothing = replace(nothing, masks=full[:0], size=image.size)
    for prediction in (all_classes, nothing):
        try:
            refuse_unwritable(sized(form, [image]), [decided(prediction, config, classes)], image.id)
        except SubmissionError as error:
            raise ConfigError(
                f"decide.kind = {config.kind} gives answers that the contest does not accept: {error}"
            ) from None
