"""The contest's classes. Torch-free."""

from __future__ import annotations

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.errors import ConfigError


def classes_of(contest: Contest) -> tuple[str, ...]:
    """Return the classes in the order of the contest's submission format.

    Raises ConfigError where the contest does not ask for boxes.
    """
    return competition_classes(contest.competition)


def competition_classes(competition: Competition) -> tuple[str, ...]:
    """Return the classes of a competition as `classes_of` does, without its data."""
    found = getattr(competition.submission, "classes", None)
    if not found:
        raise ConfigError(f"task.kind = detect, but {competition.name} does not ask for boxes; begin with another base")
    return tuple(found)
