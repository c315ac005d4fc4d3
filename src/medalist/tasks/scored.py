"""What answers of all kinds share: rows and their score, and which weights they come from. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from medalist.config import ConfigModel, with_present_names
from medalist.contest import Contest
from medalist.errors import RunError
from medalist.files import sha256_file
from medalist.formats.submission import SubmissionFormat, write_submission
from medalist.records import Answer, Sample
from medalist.runs.runs import Run
from medalist.tasks.protocols import Oof

How = TypeVar("How", bound=ConfigModel)

MadeBy = Callable[[str], Mapping[str, str] | None]
"""What made the predictions of a part; None where it is not whole."""


def scored_decide(run: Run, kind: TypeAdapter[How], configured: How) -> How:
    """How the run's answers were decided when it was last scored, else what its config says."""
    scores = run.scores()
    if scores is None:
        return configured
    try:
        # As JSON, where a list may stand for a tuple.
        return kind.validate_json(json.dumps(with_present_names(scores["decide"], type(configured))))
    except ValidationError:
        raise RunError(f"{run.folder / 'scores.json'} is damaged; run medalist score again") from None


def trained_and_predicted(run: Run, made_by: MadeBy) -> list[int]:
    """The trained folds that have out-of-fold predictions; RunError where none has."""
    found = [fold for fold in run.trained_folds() if made_by(f"oof/fold{fold}") is not None]
    if not found:
        raise RunError(
            f"{run.folder} has no out-of-fold predictions; run medalist train again, it goes on where it stopped"
        )
    return found


def refuse_other_weights(run: Run, fold: int, keep: str, made: Mapping[str, str] | None) -> None:
    """RunError where the out-of-fold predictions of a fold come from other weights than those that are there."""
    if made is None or made.get(f"fold{fold}") != sha256_file(run.checkpoint(fold, keep)):
        raise RunError(
            f"the out-of-fold predictions of fold {fold} in {run.folder} come from other weights; "
            f"run medalist predict {run.competition}/{run.name} --split oof"
        )


def through_file(
    path: Path,
    contest: Contest,
    form: SubmissionFormat,
    samples: Sequence[Sample],
    truths: Mapping[str, Answer],
    answers: Iterable[tuple[str, Answer]],
    details: Mapping[str, Any] | None = None,
) -> Oof:
    """Write answers as rows, parse these back and score them: so writer, parser and metric are tested each time."""
    write_submission(path, form, answers)
    read = form.parse(path, samples)
    return Oof(tuple(samples), truths, read, contest.competition.score(truths, read), dict(details or {}))
