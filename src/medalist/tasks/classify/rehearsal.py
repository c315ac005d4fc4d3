"""Check with made-up predictions that the contest's submission format accepts the answers of a config."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medalist.errors import ConfigError, SubmissionError
from medalist.formats.submission import AnyFormat
from medalist.parts import NO_PARTS, OwnParts
from medalist.tasks.classify.decide import decide, default_thresholds, own_decide
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.scored import refuse_unwritable


def refuse_unanswerable(
    settings: ClassifySettings, form: AnyFormat, classes: Sequence[str], own: OwnParts = NO_PARTS
) -> None:
    """Raise ConfigError where the submission format cannot write an answer of the config.

    Tried are a sure prediction and one that prefers no class, or the lowest and the highest grade. own: the parts of
    the contest's folder.
    """
    count = len(classes)
    if settings.gives_grades:
        values = np.array([[0.0], [count - 1.0]])
    else:
        doubtful = np.zeros(count) if settings.task.mode == "multi" else np.full(count, 1 / count)
        values = np.stack([np.eye(count)[0], doubtful])
    numbers = default_thresholds(settings.decide, classes)
    for answer in decide(values, settings.decide, numbers, classes, own_decide(settings.decide, own)):
        try:
            refuse_unwritable(form, [answer])
        except SubmissionError as error:
            raise ConfigError(
                f"task.mode = {settings.task.mode}, loss.kind = {settings.loss.kind} and decide.kind = "
                f"{settings.decide.kind} give answers that the contest does not accept: {error}"
            ) from None
