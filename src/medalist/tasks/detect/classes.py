"""The contest's classes, and its format of boxes. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.errors import ConfigError
from medalist.formats.boxes import BoxesFormat, BoxRowsFormat
from medalist.formats.submission import AnyFormat
from medalist.records import Sample


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


def sized(form: AnyFormat, samples: Sequence[Sample]) -> AnyFormat:
    """Return a format that knows the sizes of the images that it writes coordinates as shares of."""
    return form.sized(samples) if isinstance(form, BoxesFormat | BoxRowsFormat) else form
