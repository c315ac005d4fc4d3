"""The contest's classes, and the columns of predictions. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.errors import ConfigError
from medalist.tasks.classify.settings import ClassifySettings


def classes_of(contest: Contest) -> tuple[str, ...]:
    """Return the classes in the order of the contest's submission format.

    Raises ConfigError where the contest does not ask for labels.
    """
    return competition_classes(contest.competition)


def competition_classes(competition: Competition) -> tuple[str, ...]:
    """Return the classes of a competition as `classes_of` does, without its data."""
    found = getattr(competition.submission, "classes", None)
    if not found:
        raise ConfigError(
            f"task.kind = classify, but {competition.name} does not ask for labels; begin with another base"
        )
    return tuple(found)


GRADE = "grade"
"""The name of the only column in the predictions of runs that predict grades."""


def columns_of(settings: ClassifySettings, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns of a prediction: the classes, or `GRADE`."""
    return (GRADE,) if settings.gives_grades else tuple(classes)
