"""`medalist score`: out-of-fold predictions decided, written as rows, parsed back and scored. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from medalist.config import differences
from medalist.contest import Contest, open_contest
from medalist.errors import ConfigError, RunError
from medalist.files import sha256_file, sha256_json, write_json
from medalist.formats.submission import write_submission
from medalist.metrics.paired import standard_error
from medalist.postprocess.decide import decide
from medalist.records import Answer, Sample, Score
from medalist.reporter import Progress, progress
from medalist.runs import Run, manifest_hash
from medalist.search.gallery import read_embeddings
from medalist.settings import EmbedSettings, SegmentSettings, Settings, load_settings
from medalist.tasks.embed.ranking import rank_oof, truths_of
from medalist.tasks.embed.vectors import is_embedded


@dataclass(frozen=True, eq=False)
class Oof:
    """What a run answers to training samples it did not see, read back from the rows it wrote.

    told: what else is said of how these answers were made (the threshold of new identities).
    """

    samples: tuple[Sample, ...]
    truths: Mapping[str, Answer]
    answers: Mapping[str, Answer]
    score: Score
    told: Mapping[str, Any] = field(default_factory=dict)


def run_settings(run: Run, overrides: Sequence[str], allowed: str) -> Settings:
    """A run's settings with `key=value` changes inside one section; ConfigError for any other key."""
    settings = run.settings()
    if not overrides:
        return settings
    changed = load_settings(run.folder / "config.yaml", tuple(overrides))
    for key, _, value in differences(settings, changed):
        if not key.startswith(f"{allowed}."):
            raise ConfigError(f"{key}={value} changes how the run was made; only {allowed}.* may be changed here")
    return changed


def open_run_contest(run: Run, data: str | None, root: Path) -> Contest:
    """The contest a run was trained on; RunError where the data there is not what it was trained on.

    The data lies where `data` says, else where it lay when the run was trained, else where `open_contest` looks.
    """
    lock = run.lock()
    known = lock.data_folder if Path(lock.data_folder).is_dir() else None
    contest = open_contest(run.settings().competition, data or known, root)
    if manifest_hash(contest.split) != lock.data:
        raise RunError(f"{contest.data} is not the data that {run.name} was trained on; give its folder with --data")
    return contest


def score_run(run: Run, contest: Contest, settings: Settings, console: Console, nmi: bool = False) -> dict[str, Any]:
    """Score the out-of-fold answers of the trained folds, write `oof.csv` and `scores.json`, return the latter.

    Then log them to where the run's config says (`tracking`).

    nmi: see `rank.rank_oof`; only embeddings have it.
    """
    oof = oof_answers(run, contest, settings, console, nmi)
    folds = run.folds()
    score = contest.competition.score
    by_fold: dict[str, float] = {}
    for fold in sorted({folds.fold_of(sample.id) for sample in oof.samples}):
        by_fold[str(fold)] = _part(oof, [s.id for s in oof.samples if folds.fold_of(s.id) == fold], score).value
    strata = sorted({sample.stratum for sample in oof.samples if sample.stratum is not None})
    by_stratum: dict[str, dict[str, float]] = {}
    for stratum in strata:
        ids = [sample.id for sample in oof.samples if sample.stratum == stratum]
        by_stratum[stratum] = {"score": _part(oof, ids, score).value, "samples": len(ids)}
    makers = makers_of(run, settings, [int(fold) for fold in by_fold])
    scores = {
        "oof": {
            "value": oof.score.value,
            "mean": sum(by_fold.values()) / len(by_fold),
            "standard_error": standard_error(list(by_fold.values())),
            "standard_error_samples": standard_error(list(oof.score.by_sample.values())),
            "folds": by_fold,
            "folds_of": folds.n,
            "strata": by_stratum,
            "parts": dict(oof.score.parts),
        },
        "weights": settings.train.keep,
        "optimistic": settings.train.chosen_on_held_out,
        "decide": settings.decide.model_dump(mode="json"),
        "retrieval": dict(oof.told),
        "predict": predicted_with(makers),
        "predictions": {name: sha256_json(dict(made)) for name, made in makers.items()},
        "rows": sha256_file(run.folder / "oof.csv"),
        "by_sample": dict(oof.score.by_sample),
    }
    write_json(run.folder / "scores.json", scores)
    if settings.tracking != "none":
        from medalist.workflows.track import track_scores  # draws pictures, which a run without a tracker does not need

        track_scores(run, contest, settings, oof, scores)
    return scores


def oof_answers(run: Run, contest: Contest, settings: Settings, console: Console, nmi: bool = False) -> Oof:
    """Decide the out-of-fold predictions, write them as submission rows to `oof.csv`, and score what is parsed back."""
    folds = run.folds()
    trained = [fold for fold in run.trained_folds() if makers_of(run, settings, [fold])]
    if not trained:
        raise RunError(
            f"{run.folder} has no out-of-fold predictions; run medalist train again, it goes on where it stopped"
        )
    path = run.folder / "oof.csv"
    if isinstance(settings, EmbedSettings):
        ranked = rank_oof(run, contest, settings, trained, console, nmi)
        write_submission(path, ranked.form, ranked.answers.items())
        read = ranked.form.parse(path, ranked.samples)
        return Oof(ranked.samples, ranked.truths, read, contest.competition.score(ranked.truths, read), ranked.told)
    for fold in trained:
        _refuse_other_weights(run, fold, settings.train.keep)
    held_out = {name for fold in trained for name in folds.held_out(fold)}
    samples = tuple(sample for sample in contest.split.train if sample.id in held_out)
    with progress(console, "decide oof", len(samples)) as bar:
        write_submission(path, contest.competition.submission, _answers(run, samples, settings, bar))
    answers = contest.competition.submission.parse(path, samples)
    truths = contest.truths(samples)
    return Oof(samples, truths, answers, contest.competition.score(truths, answers))


def oof_of_scores(run: Run, contest: Contest) -> Oof:
    """What `medalist score` scored: the rows it wrote and the scores, read back.

    Raises RunError where it was not run, and where the rows are not those that were scored.
    """
    scores = run.scores()
    if scores is None:
        raise RunError(f"{run.folder} has no scores.json; run medalist score {run.competition}/{run.name} first")
    if scores.get("rows") != sha256_file(run.folder / "oof.csv"):
        raise RunError(
            f"{run.folder / 'oof.csv'} is not what was scored; run medalist score {run.competition}/{run.name} again"
        )
    samples = tuple(sample for sample in contest.split.train if sample.id in scores["by_sample"])
    answers = contest.competition.submission.parse(run.folder / "oof.csv", samples)
    score = Score(scores["oof"]["value"], scores["oof"]["parts"], scores["by_sample"])
    if contest.competition.retrieval is not None:
        truths = truths_of(contest, run.folds(), [int(fold) for fold in scores["oof"]["folds"]])
        return Oof(samples, truths, answers, score)
    return Oof(samples, contest.truths(samples), answers, score)


def _answers(
    run: Run, samples: Sequence[Sample], settings: SegmentSettings, bar: Progress
) -> Iterator[tuple[str, Answer]]:
    for sample in samples:
        yield sample.id, decide(run.oof().read(sample.id, settings.model.channels), settings.decide)
        bar.advance()


def _part(oof: Oof, ids: Sequence[str], score: Any) -> Score:
    result: Score = score({name: oof.truths[name] for name in ids}, {name: oof.answers[name] for name in ids})
    return result


def predicted_with(makers: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """How each part was predicted: `predict.*` of the config as it then was, None where it is not recorded."""
    used: dict[str, Any] = {}
    for name, made in makers.items():
        try:
            used[name] = json.loads(made["predict"])
        except (KeyError, TypeError, ValueError):
            used[name] = None
    return used


def makers_of(run: Run, settings: Settings, folds: Sequence[int]) -> dict[str, Mapping[str, str]]:
    """What made the out-of-fold predictions of each of these folds that has any."""
    found: dict[str, Mapping[str, str]] = {}
    for fold in folds:
        name = f"fold{fold}"
        if isinstance(settings, EmbedSettings):
            if is_embedded(run, f"oof/{name}"):
                found[name] = read_embeddings(run.vectors(f"oof/{name}")).made_by
        elif part := run.oof().part(name):
            found[name] = part.made_by
    return found


def _refuse_other_weights(run: Run, fold: int, keep: str) -> None:
    part = run.oof().part(f"fold{fold}")
    assert part is not None
    if part.made_by.get(f"fold{fold}") != sha256_file(run.checkpoint(fold, keep)):
        raise RunError(
            f"the out-of-fold predictions of fold {fold} in {run.folder} come from other weights; "
            f"run medalist predict {run.competition}/{run.name} --split oof"
        )
