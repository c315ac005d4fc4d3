"""`medalist submit`: test predictions of one or several runs become a validated file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from medalist.engine.settings import PredictConfig
from medalist.ensemble.blend import blend
from medalist.errors import RunError
from medalist.files import sha256_file, written
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import DecideConfig
from medalist.progress import Progress, progress
from medalist.records import Answer
from medalist.runs import Run
from medalist.stages.contest import Contest
from medalist.stages.score import open_run_contest, predicted_with
from medalist.submission import refuse, write_submission


def submit(runs: Sequence[Run], output: Path, data: str | None, root: Path, console: Console) -> int:
    """Blend the runs' test predictions with equal weights, decide, write, validate; returns the number of rows.

    Decided as the first run was scored (`medalist score` keeps what it used), else as its config says. The file
    appears only after it was found valid. Raises RunError for runs of different contests, data or channels, before
    anything is predicted, and SubmissionError for a file that the contest would refuse.
    """
    first = runs[0]
    refuse_unlike(runs)
    contest = open_run_contest(first, data, root)
    for run in runs:
        _predict_where_missing(run, contest, console)
    how = scored_decide(first)
    form = contest.competition.submission
    with progress(console, "decide test", len(contest.split.test)) as bar, written(output) as unfinished:
        rows = write_submission(unfinished, form, _answers(runs, contest, how, bar))
        refuse(output, form.validate(unfinished, contest.split.test, contest.reference))
    return rows


def refuse_unlike(runs: Sequence[Run]) -> None:
    """RunError for runs that cannot be blended: of different contests, data or channels."""
    first = runs[0]
    for run in runs[1:]:
        both = f"{first.folder} and {run.folder}"
        if run.competition != first.competition:
            raise RunError(f"{both} are runs of different contests; they cannot be blended")
        if run.lock().data != first.lock().data:
            raise RunError(f"{both} were trained on different data; they cannot be blended")
        channels, others = first.settings().model.channels, run.settings().model.channels
        if channels != others:
            raise RunError(
                f"{both} predict different channels, {', '.join(channels)} and {', '.join(others)}; "
                "take runs with the same model.channels"
            )


def scored_decide(run: Run) -> DecideConfig:
    """How the run's answers were decided when it was last scored, else what its config says."""
    scores = run.scores()
    if scores is None:
        return run.settings().decide
    try:
        how: DecideConfig = TypeAdapter(DecideConfig).validate_python(scores.get("decide"))
    except ValidationError:
        raise RunError(f"{run.folder / 'scores.json'} is damaged; run medalist score again") from None
    return how


def _answers(runs: Sequence[Run], contest: Contest, how: DecideConfig, bar: Progress) -> Iterator[tuple[str, Answer]]:
    channels = [run.settings().model.channels for run in runs]
    for sample in contest.split.test:
        predictions = [run.test().read(sample.id, names) for run, names in zip(runs, channels, strict=True)]
        yield sample.id, decide(blend(predictions), how)
        bar.advance()


def _predict_where_missing(run: Run, contest: Contest, console: Console) -> None:
    """Predict the test part unless that was done with the weights that are there now, as the run was scored."""
    settings = run.settings()
    scored = next(iter((run.scores() or {}).get("predict", {}).values()), None)
    part = run.test().part("test")
    made = {name: made for name, made in part.made_by.items() if name.startswith("fold")} if part else {}
    keep = settings.train.keep
    if part and made == {f"fold{fold}": sha256_file(run.checkpoint(fold, keep)) for fold in run.trained_folds()}:
        used = predicted_with(run.test(), ["test"])["test"]
        if scored and used and used != scored:
            note = f"note: {run.name} was scored with predict {scored}, its test part was predicted with {used}"
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        return
    if scored:
        predict = PredictConfig.model_validate_json(json.dumps({**scored, "batch": settings.predict.batch}))
        settings = settings.model_copy(update={"predict": predict})
    # Only here: everything else about a submission works without torch.
    from medalist.stages.predict import predict_test

    predict_test(run, settings, contest, console)
