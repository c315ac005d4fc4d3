"""Functions that the answers of several kinds share: write and score them, and check their weights. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from medalist.config import ConfigModel, with_present_names
from medalist.contest import Contest
from medalist.errors import RunError
from medalist.files import sha256_json
from medalist.formats.box_words import sized
from medalist.formats.submission import AnyFormat, suffix_of, write_submission
from medalist.records import Answer, Sample
from medalist.runs.fold_weights import weights_hash
from medalist.runs.runs import Run
from medalist.tasks.protocols import Oof

How = TypeVar("How", bound=ConfigModel)

MadeBy = Callable[[str], Mapping[str, str] | None]
"""A function: the name of a part -> what its predictions were made with (see `tasks.jobs.made_by`), or None where the
part is not complete."""


def scored_decide(run: Run, kind: TypeAdapter[How], configured: How) -> How:
    """Return the settings of the decision from the run's last score; `configured` where the run was never scored.

    Raises RunError where the file of the score is damaged.
    """
    scores = run.scores()
    if scores is None:
        return configured
    try:
        # Validated as JSON, because there a list is accepted in place of a tuple.
        return kind.validate_json(json.dumps(with_present_names(scores["decide"], type(configured))))
    except ValidationError:
        raise RunError(f"{run.folder / 'scores.json'} is damaged; run medalist score again") from None


def trained_and_predicted(run: Run, made_by: MadeBy) -> list[int]:
    """Return the trained folds that have OOF predictions. Raises RunError where no fold has them."""
    found = [fold for fold in run.trained_folds() if made_by(f"oof/fold{fold}") is not None]
    if not found:
        raise RunError(f"{run.folder} has no out-of-fold predictions; run medalist train again to resume the training")
    return found


def refuse_other_weights(run: Run, fold: int, keep: str, made: Mapping[str, str] | None) -> None:
    """Raise RunError where a fold's OOF predictions were made with other weights, or its weights are not its own."""
    if made is None or made.get(f"fold{fold}") != weights_hash(run, fold, keep):
        raise RunError(
            f"the out-of-fold predictions of fold {fold} in {run.folder} come from other weights; "
            f"run medalist predict {run.competition}/{run.name} --split oof"
        )


def refuse_stale(run: Run, made_by: MadeBy) -> None:
    """Raise RunError where the run's thresholds were tuned on other predictions than it has now."""
    there = {f"fold{fold}": made_by(f"oof/fold{fold}") for fold in run.trained_folds()}
    now = {name: sha256_json(dict(made)) for name, made in there.items() if made is not None}
    if (run.scores() or {}).get("predictions") != now:
        raise RunError(
            f"{run.folder} was scored on other folds or weights than it has now, so its thresholds were tuned on other "
            f"predictions; run medalist score {run.competition}/{run.name} again"
        )


def oof_path(run: Run, contest: Contest) -> Path:
    """Return the file of a run's OOF answers, in the form of a submission: `oof.csv`, `oof.json`, or an archive."""
    return run.folder / f"oof{suffix_of(contest.competition.submission)}"


def refuse_unwritable(form: AnyFormat, answers: Iterable[Answer], name: str = "any") -> None:
    """Raise SubmissionError where a format cannot write one of these answers to a sample of the id `name`.

    Nothing is left behind.
    """
    with TemporaryDirectory() as folder:
        for answer in answers:
            write_submission(Path(folder) / f"rehearsal{suffix_of(form)}", form, [(name, answer)])


def through_file(
    path: Path,
    contest: Contest,
    form: AnyFormat,
    samples: Sequence[Sample],
    truths: Mapping[str, Answer],
    answers: Iterable[tuple[str, Answer]],
    details: Mapping[str, Any] | None = None,
) -> Oof:
    """Write answers as rows, read the rows back and score them.

    The score is computed from the written file, so that each score also tests the writer and the parser.
    """
    write_submission(path, sized(form, samples), answers)
    read = form.parse(path, samples)
    return Oof(tuple(samples), truths, read, contest.competition.score(truths, read), dict(details or {}))
