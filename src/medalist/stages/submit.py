"""`medalist submit`: test predictions of one or several runs become a validated file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from medalist.ensemble.blend import blend
from medalist.errors import RunError
from medalist.files import written
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import DecideConfig
from medalist.progress import Progress, progress
from medalist.records import Answer
from medalist.runs import Run
from medalist.stages.contest import Contest
from medalist.stages.score import open_run_contest
from medalist.submission import check_submission, write_submission


def submit(runs: Sequence[Run], output: Path, data: str | None, root: Path, console: Console) -> int:
    """Blend the runs' test predictions with equal weights, decide, write, validate; returns the number of rows.

    Decided as the first run was scored (`medalist score` keeps what it used), else as its config says. The file
    appears only after it was found valid. Raises RunError for runs of different contests or data, SubmissionError
    for a file that the contest would refuse.
    """
    first = runs[0]
    if {run.competition for run in runs} != {first.competition}:
        raise RunError(f"runs of several contests cannot be blended: {', '.join(str(run.folder) for run in runs)}")
    contest = open_run_contest(first, data, root)
    for run in runs:
        if run.lock().data != first.lock().data:
            raise RunError(f"{run.folder} and {first.folder} were trained on different data; they cannot be blended")
        _predict_where_missing(run, contest, console)
    how = scored_decide(first)
    form = contest.competition.submission
    with progress(console, "decide test", len(contest.split.test)) as bar, written(output) as unfinished:
        rows = write_submission(unfinished, form, _answers(runs, contest, how, bar))
        check_submission(unfinished, form, contest.split.test, contest.reference)
    return rows


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
    part = run.test().part("test")
    trained = [f"fold{fold}" for fold in run.trained_folds()]
    if part is not None and trained == sorted(name for name in part.made_by if name.startswith("fold")):
        return
    # Only here: everything else about a submission works without torch.
    from medalist.stages.predict import predict_test

    predict_test(run, run.settings(), contest, console)
