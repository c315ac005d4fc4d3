"""The contest's classes. Torch-free."""

from __future__ import annotations

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.errors import ConfigError
from medalist.formats.rle import RleFormat

OBJECT = "object"
"""The name of the class of objects that have no classes."""


def classes_of(contest: Contest) -> tuple[str, ...]:
    """Return the classes in the order of the contest's submission format.

    A contest of objects without classes has one. Raises ConfigError where the contest asks neither for boxes nor for
    objects.
    """
    return competition_classes(contest.competition)


def competition_classes(competition: Competition) -> tuple[str, ...]:
    """Return the classes of a competition as `classes_of` does, without its data."""
    if asks_for_objects(competition):
        return (OBJECT,)
    found = getattr(competition.submission, "classes", None)
    if not found:
        raise ConfigError(f"task.kind = detect, but {competition.name} does not ask for boxes; begin with another base")
    return tuple(found)


def asks_for_objects(competition: Competition) -> bool:
    """Return whether answers are objects with all their pixels, and not boxes."""
    form = competition.submission
    return isinstance(form, RleFormat) and form.row_per == "object"
