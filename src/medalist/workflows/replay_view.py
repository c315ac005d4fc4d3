"""A run as it was submitted, in a temporary folder: links to its files, but the scores of the record.

So a replay decides as the submission did, also where the run was scored in another way since, and it writes nothing
into the run.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medalist.config import with_present_names
from medalist.errors import RunError
from medalist.experiment import Experiment
from medalist.files import write_json
from medalist.runs.runs import Run
from medalist.runs.submission_record import DecisionFacts

SCORES, TEST = "scores.json", "test"


def view_of(run: Run, number: int, decision: DecisionFacts | None, scratch: Path, with_test: bool) -> Run:
    """Return a view of a run below `scratch`.

    number: the place of the run in the submission, because a run may be submitted twice. decision: the recorded
    decision for the first run, which decides; None for the others. with_test: whether the stored test predictions are
    seen; else they can be made again in the view.
    """
    folder = scratch / str(number) / run.competition / run.name
    folder.mkdir(parents=True)
    for path in sorted(run.folder.iterdir()):
        is_replaced = path.name == SCORES and decision is not None
        if path.name.startswith(".") or is_replaced or (path.name == TEST and not with_test):
            continue
        _link(path, folder / path.name)
    if decision is not None and decision.scores is not None:
        write_json(folder / SCORES, dict(decision.scores))
    return Run(folder)


def _link(path: Path, target: Path) -> None:
    """Link to a file or folder. A system that refuses links, as Windows may, gets a copy."""
    try:
        target.symlink_to(path.resolve(), target_is_directory=path.is_dir())
    except OSError:
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy2(path, target)


def deciding_as(settings: Experiment, decision: DecisionFacts) -> Experiment:
    """Return settings with the recorded section `decide`. Raises RunError where this version cannot read it."""
    values: dict[str, Any] = {**settings.model_dump(mode="json"), "decide": dict(decision.decide)}
    try:
        whole = type(settings).model_validate_json(json.dumps(with_present_names(values, type(settings))))
    except ValidationError as error:
        raise RunError(
            f"this version of medalist cannot read the recorded decide ({error.errors()[0]['msg']}); install the "
            "version that made the submission"
        ) from None
    return settings.model_copy(update={"decide": whole.decide})
