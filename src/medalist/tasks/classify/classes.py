"""The contest's classes. Torch-free."""

from __future__ import annotations

from medalist.contest import Contest
from medalist.errors import ConfigError


def classes_of(contest: Contest) -> tuple[str, ...]:
    """The classes in their order, as the contest's format names them; ConfigError where it asks for no labels."""
    found = getattr(contest.competition.submission, "classes", None)
    if not found:
        raise ConfigError(
            f"task.kind = classify, but {contest.competition.name} does not ask for labels; begin with another base"
        )
    return tuple(found)
