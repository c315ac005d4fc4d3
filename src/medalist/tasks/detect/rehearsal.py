"""Check before a training that the contest asks for boxes, and that its format accepts the answers of a config."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medalist.contest import Contest
from medalist.errors import ConfigError, SubmissionError
from medalist.formats.box_words import sized
from medalist.formats.submission import AnyFormat
from medalist.postprocess.box_settings import BoxDecideConfig
from medalist.postprocess.boxes import decide
from medalist.records import Boxes, BoxPrediction, Sample
from medalist.tasks.scored import refuse_unwritable


def refuse_other_truths(contest: Contest) -> None:
    """Raise ConfigError where the truth of the first training sample is not boxes."""
    first = contest.truth(contest.split.train[0])
    if not isinstance(first, Boxes):
        raise ConfigError(
            f"task.kind = detect, but the truths of {contest.competition.name} are {type(first).__name__}; begin with "
            "another base"
        )


def refuse_unanswerable(config: BoxDecideConfig, form: AnyFormat, classes: Sequence[str], image: Sample) -> None:
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
    for prediction in (all_classes, nothing):
        try:
            refuse_unwritable(sized(form, [image]), [decide(prediction, config, classes)], image.id)
        except SubmissionError as error:
            raise ConfigError(
                f"decide.kind = {config.kind} gives answers that the contest does not accept: {error}"
            ) from None
