"""`medalist submit`: test predictions of one or several runs become a validated file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, assert_never

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from medalist.contest import Contest
from medalist.engine.settings import EmbedPredictConfig, PredictConfig
from medalist.ensemble.blend import blend
from medalist.errors import RunError
from medalist.files import sha256_file, written
from medalist.formats.submission import SubmissionFormat, refuse, write_submission
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import DecideConfig
from medalist.records import Answer
from medalist.reporter import Progress, progress
from medalist.retrieval.settings import RankConfig
from medalist.runs import Run
from medalist.search.gallery import read_embeddings
from medalist.settings import EmbedSettings, SegmentSettings, Settings
from medalist.tasks.embed.ranking import format_of_test, rank_test
from medalist.tasks.embed.vectors import is_embedded, test_parts
from medalist.workflows.score import open_run_contest, predicted_with

How = TypeVar("How")
Predict = TypeVar("Predict", PredictConfig, EmbedPredictConfig)


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
    if isinstance(first.settings(), EmbedSettings):
        ranked = rank_test(runs, contest, scored_rank(first), scored_threshold(first), console)
        return _write_valid(output, contest, format_of_test(contest), ranked.items())
    how = scored_decide(first)
    with progress(console, "decide test", len(contest.split.test)) as bar:
        answers = _answers(runs, contest, how, bar)
        return _write_valid(output, contest, contest.competition.submission, answers)


def _write_valid(output: Path, contest: Contest, form: SubmissionFormat, answers: Iterable[tuple[str, Answer]]) -> int:
    with written(output) as unfinished:
        rows = write_submission(unfinished, form, answers)
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
        one, other = first.settings(), run.settings()
        if isinstance(one, EmbedSettings) or isinstance(other, EmbedSettings):
            if type(one) is not type(other):
                raise RunError(f"{both}: one predicts masks, the other embeddings; they cannot be blended")
            continue
        channels, others = one.model.channels, other.model.channels
        if channels != others:
            raise RunError(
                f"{both} predict different channels, {', '.join(channels)} and {', '.join(others)}; "
                "take runs with the same model.channels"
            )


def scored_decide(run: Run) -> DecideConfig:
    """How the run's answers were decided when it was last scored, else what its config says."""
    scores, settings = run.scores(), run.settings()
    assert isinstance(settings, SegmentSettings)
    return settings.decide if scores is None else _said(run, TypeAdapter(DecideConfig), scores.get("decide"))


def scored_rank(run: Run) -> RankConfig:
    """How the run's candidates were ranked when it was last scored, else what its config says."""
    scores, settings = run.scores(), run.settings()
    assert isinstance(settings, EmbedSettings)
    return settings.decide if scores is None else _said(run, TypeAdapter(RankConfig), scores.get("decide"))


def scored_threshold(run: Run) -> float | None:
    """The threshold of new identities that the score has found, or that its config says; None where there is none."""
    new = scored_rank(run).new
    if new != "tuned":
        return new
    found = (run.scores() or {}).get("retrieval", {}).get("threshold")
    if not isinstance(found, float):
        raise RunError(f"decide.new = tuned: no threshold yet; run medalist score {run.competition}/{run.name} first")
    return found


def _said(run: Run, kind: TypeAdapter[How], value: object) -> How:
    try:
        # As JSON, where a list may stand for a tuple.
        return kind.validate_json(json.dumps(value))
    except ValidationError:
        raise RunError(f"{run.folder / 'scores.json'} is damaged; run medalist score again") from None


def _answers(runs: Sequence[Run], contest: Contest, how: DecideConfig, bar: Progress) -> Iterator[tuple[str, Answer]]:
    channels = [settings.model.channels for run in runs if isinstance(settings := run.settings(), SegmentSettings)]
    for sample in contest.split.test:
        predictions = [run.test().read(sample.id, names) for run, names in zip(runs, channels, strict=True)]
        yield sample.id, decide(blend(predictions), how)
        bar.advance()


def _predict_where_missing(run: Run, contest: Contest, console: Console) -> None:
    """Predict the test part unless that was done with the weights that are there now, as the run was scored."""
    settings = run.settings()
    scored = next(iter((run.scores() or {}).get("predict", {}).values()), None)
    made = _made(run, settings, contest)
    by_folds = {name: made for name, made in made.items() if name.startswith("fold")}
    keep = settings.train.keep
    if by_folds == {f"fold{fold}": sha256_file(run.checkpoint(fold, keep)) for fold in run.trained_folds()} != {}:
        used = predicted_with({"test": made})["test"]
        if scored and used and used != scored:
            note = f"note: {run.name} was scored with predict {scored}, its test part was predicted with {used}"
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        return
    # Only here: everything else about a submission works without torch.
    match settings:
        case SegmentSettings():
            from medalist.tasks.segment.predict import predict_test

            how = _as_scored(PredictConfig, scored, settings.predict)
            predict_test(run, settings.model_copy(update={"predict": how}), contest, console)
        case EmbedSettings():
            from medalist.tasks.embed.embedding import embed_test

            way = _as_scored(EmbedPredictConfig, scored, settings.predict)
            embed_test(run, settings.model_copy(update={"predict": way}), contest, console)
        case _:
            assert_never(settings)


def _as_scored(kind: type[Predict], scored: Any, configured: Predict) -> Predict:
    if not scored:
        return configured
    return kind.model_validate_json(json.dumps({**scored, "batch": configured.batch}))


def _made(run: Run, settings: Settings, contest: Contest) -> Mapping[str, str]:
    """What made the predictions of the test part; nothing where there are none."""
    if isinstance(settings, EmbedSettings):
        parts = test_parts(contest)
        made = [read_embeddings(run.vectors(part)).made_by for part in parts if is_embedded(run, part)]
        return made[0] if len(made) == len(parts) and made[0] == made[1] else {}
    part = run.test().part("test")
    return part.made_by if part else {}
