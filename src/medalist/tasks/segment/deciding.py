"""The function that decides the maps of a config: one of medalist's, or one of the contest's folder. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medalist.competition import Competition
from medalist.config import OwnConfig
from medalist.contest import Contest
from medalist.errors import ConfigError, SubmissionError
from medalist.parts import OwnParts, running
from medalist.postprocess.classes import ClassRoles, refuse_unfit
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import ClassesConfig, ThresholdConfig, WatershedConfig
from medalist.records import Answer, Instances, MapPrediction, Mask
from medalist.tasks.scored import refuse_unwritable
from medalist.tasks.segment.channels import BACKGROUND, class_numbers
from medalist.tasks.segment.settings import SegmentDecide, SegmentSettings

if TYPE_CHECKING:
    from medalist.postprocess.regressor import Regressor

Decide = Callable[[MapPrediction], Answer]

REGRESSOR = "second_stage.json"
"""The file of a run with the regressor of its kept decision, where this has a second stage."""

REHEARSED = (32, 32)
"""Height and width of the maps on which a decision is rehearsed."""


def has_second_stage(how: SegmentDecide) -> bool:
    """Return whether a decision has a second stage."""
    return isinstance(how, WatershedConfig) and how.second_stage is not None


def roles_of(how: SegmentDecide, settings: SegmentSettings, competition: Competition) -> ClassRoles | None:
    """Return what the channels mean for masks of several classes; None where the decision does not ask for it.

    Raises ConfigError for a channel that is no class of the contest, and where the decision does not fit the channels,
    or gives the numbers of other classes than the contest's.
    """
    channels, classes = settings.model.channels, competition.classes
    # A threshold answers 1 where its channel is, which is right only for the one class beside a background.
    if isinstance(how, ThresholdConfig) and classes:
        one = len(classes) == 2 and classes[0] == BACKGROUND and (how.channel or channels[0]) != BACKGROUND
        if not one:
            raise ConfigError(
                f"decide.kind = threshold answers one class beside a background, and {competition.name} asks for "
                f"{', '.join(classes)}; type decide.kind=classes"
            )
    if not isinstance(how, ClassesConfig):
        return None
    numbers = class_numbers(channels, classes, settings.task.activation)
    roles = ClassRoles(dict(zip(channels, numbers, strict=True)), not classes or classes[0] == BACKGROUND)
    refuse_unfit(how, roles)
    return roles


def decide_by(
    how: SegmentDecide, own: OwnParts, *, roles: ClassRoles | None = None, regressor: Regressor | None = None
) -> Decide:
    """Return the function from the maps of an image to its mask or instances.

    roles: what the channels mean for masks of several classes (`roles_of`). regressor: of the second stage, where the
    decision has one. Raises ConfigError where the contest's folder has no such function; the function raises it where
    it fails, or where its answer is no mask and no instances of the image's size.
    """
    if not isinstance(how, OwnConfig):
        return lambda prediction: decide(prediction, how, roles=roles, regressor=regressor)
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


def rehearse_decision(settings: SegmentSettings, contest: Contest, own: OwnParts) -> None:
    """Decide empty maps, and maps that are full of one channel, and write the answers.

    Raises ConfigError where the contest cannot take them. Without this check it is found after the training that a
    decision gives another sort of answer than is asked for.
    """
    how, competition, channels = settings.decide, contest.competition, settings.model.channels
    several = f"model.channels are {', '.join(channels)}"
    if isinstance(how, ThresholdConfig) and how.channel is None and len(channels) > 1:
        raise ConfigError(
            f"decide.kind = threshold decides one channel, and {several}; name it, decide.channel={channels[0]}, "
            "or decide all of them: decide.kind=classes"
        )
    roles = roles_of(how, settings, competition)
    if roles is not None and max(roles.numbers.values()) > 1 and getattr(competition.submission, "one_class", False):
        raise ConfigError(
            f"decide.kind = classes answers several classes, and a submission of {competition.name} has one; type "
            f"decide.kind=threshold decide.channel={channels[-1]}"
        )
    if isinstance(how, WatershedConfig):
        how = how.model_copy(update={"second_stage": None})  # it is trained later, and changes no type of answer
    decided = decide_by(how, own, roles=roles)
    try:
        answers = (decided(MapPrediction(maps, channels)) for maps in _rehearsed(channels))
        refuse_unwritable(competition.submission, answers, contest.split.train[0].id)
    except SubmissionError as error:
        raise ConfigError(f"decide.kind = {how.kind} does not fit {competition.name}: {error}") from None


def _rehearsed(channels: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    """Maps uint8[C, H, W] that are empty, and that are full of each channel alone."""
    empty = np.zeros((len(channels), *REHEARSED), np.uint8)
    yield empty
    for at in range(len(channels)):
        full = empty.copy()
        full[at] = 255
        yield full
