"""From a run's embeddings to ranked answers, of held-out samples and of the test part. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from medalist.contest import Contest, fold_splits
from medalist.errors import DataError, RunError
from medalist.folds.folds import Folds
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import SubmissionFormat
from medalist.records import Ranking, RetrievalSplit, Sample, Score
from medalist.reporter import progress
from medalist.retrieval.asking import asked
from medalist.retrieval.evaluate import Figures, evaluate
from medalist.retrieval.heads import ClassPrototypes
from medalist.retrieval.rank import Candidates, answers, candidates
from medalist.retrieval.settings import RankConfig
from medalist.retrieval.splits import answerable, identity_of, right_names, splits_of_test
from medalist.retrieval.threshold import nested
from medalist.runs import Run
from medalist.search.checks import processors
from medalist.search.embeddings import shown
from medalist.search.gallery import Embeddings
from medalist.settings import EmbedSettings
from medalist.tasks.embed.vectors import embedded, fold_prototypes, test_parts


@dataclass(frozen=True, eq=False)
class Ranked:
    """What a run answers to samples it did not see, before it is written.

    samples: those that ask. form: the contest's format, bound to the names that may answer. told: what the score's
    file says of it: the threshold of new identities, and the value with and without it.
    """

    samples: tuple[Sample, ...]
    truths: Mapping[str, Ranking]
    answers: Mapping[str, Ranking]
    form: SubmissionFormat
    told: Mapping[str, Any]


def rank_oof(
    run: Run, contest: Contest, settings: EmbedSettings, folds: Sequence[int], console: Console, nmi: bool = False
) -> Ranked:
    """Rank the trials of these folds, each by the embeddings of the network that did not see its queries.

    nmi: among what is told, also how well clusters of the queries agree with their identities.
    """
    facts, samples = contest.retrieval, {sample.id: sample for sample in contest.split.train}
    found: dict[int, dict[str, Candidates]] = {}
    truths: dict[str, Ranking] = {}
    trials: list[RetrievalSplit] = []
    plain: list[Figures] = []
    for fold in folds:
        vectors = embedded(run, f"oof/fold{fold}", settings, [fold])
        asking = fold_splits(contest, run.folds(), fold)
        centres = fold_prototypes(run, [fold]) if settings.decide.centres else None
        found[fold] = rank_trials(
            contest, asking, vectors, vectors, samples, settings.decide, centres, console, f"fold {fold}"
        )
        truths |= right_names(asking, samples, facts.names, facts.new, facts.apart)
        trials += asking
        plain += [_by_cosine(contest, trial, vectors, samples, settings.decide.recall, nmi) for trial in asking]
    score = contest.competition.score
    threshold, told = _threshold(found, truths, settings.decide, contest, score)
    ranked: dict[str, Ranking] = {}
    for fold, each in found.items():
        ranked |= answers(each, facts.depth, new=facts.new, threshold=threshold[fold], confident=facts.confident)
    queries = tuple(sample for sample in contest.split.train if sample.id in ranked)
    form = bound_format(contest, trials, samples)
    lonely = sum(not truth.names for truth in truths.values())
    told = {"queries": len(queries), "without_answer": lonely, "cosine_alone": _mean(plain), **told}
    return Ranked(queries, {s.id: truths[s.id] for s in queries}, {s.id: ranked[s.id] for s in queries}, form, told)


def _by_cosine(
    contest: Contest,
    trial: RetrievalSplit,
    vectors: Embeddings,
    samples: Mapping[str, Sample],
    recall: float,
    nmi: bool,
) -> Figures:
    """What the embeddings of one trial are worth before anything else is done: samples by cosine, any rank."""
    facts = contest.retrieval
    gallery = [name for name in trial.gallery if facts.new is None or identity_of(samples[name]) != facts.new]
    row_of = {name: row for row, name in enumerate(gallery)}
    sides = (trial.queries, gallery)
    apart = None
    if facts.apart is not None:
        codes = [[str(samples[name].meta.get(facts.apart)) for name in side] for side in sides]
        apart = (codes[0], codes[1])
    return evaluate(
        vectors.take(trial.queries),
        [identity_of(samples[name]) for name in trial.queries],
        vectors.take(gallery),
        [identity_of(samples[name]) for name in gallery],
        own=np.array([row_of.get(name, -1) for name in trial.queries]),
        apart=apart,
        recall=recall,
        nmi=nmi,
    )


def _mean(figures: Sequence[Figures]) -> dict[str, float]:
    """Figures of several trials, weighted by their queries that can be answered."""
    weights = [each.queries - each.unanswerable if each.values else 0 for each in figures]
    names = next((list(each.values) for each in figures if each.values), [])
    return {
        name: sum(weight * each.values[name] for weight, each in zip(weights, figures, strict=True) if weight)
        / sum(weights)
        for name in names
    }


def truths_of(contest: Contest, folds: Folds, chosen: Sequence[int]) -> dict[str, Ranking]:
    """The right names of every query of these folds."""
    facts, samples = contest.retrieval, {sample.id: sample for sample in contest.split.train}
    trials = [trial for fold in chosen for trial in fold_splits(contest, folds, fold)]
    return right_names(trials, samples, facts.names, facts.new, facts.apart)


def rank_test(
    runs: Sequence[Run], contest: Contest, config: RankConfig, threshold: float | None, console: Console
) -> dict[str, Ranking]:
    """Answers to the test part; several runs count equally: a similarity is the mean of theirs."""
    facts, split = contest.retrieval, contest.split
    gallery = split.gallery or split.train
    samples = {sample.id: sample for sample in (*split.test, *gallery)}
    queries, answering = (_side_by_side(runs, name) for name in test_parts(contest))
    centres = _joined_centres(runs) if config.centres else None
    asking = splits_of_test(split.test, gallery)
    found = rank_trials(contest, asking, queries, answering, samples, config, centres, console, "rank test")
    return answers(found, facts.depth, new=facts.new, threshold=threshold, confident=facts.confident)


def rank_trials(
    contest: Contest,
    trials: Sequence[RetrievalSplit],
    queries: Embeddings,
    gallery: Embeddings,
    samples: Mapping[str, Sample],
    config: RankConfig,
    centres: ClassPrototypes | None,
    console: Console,
    title: str,
) -> dict[str, Candidates]:
    """The candidates of each query of several trials."""
    facts = contest.retrieval
    named = facts.names == "identities"
    apart = None
    if facts.apart is not None:
        apart = {name: sample.meta.get(facts.apart) for name, sample in samples.items()}
    found: dict[str, Candidates] = {}
    with progress(console, title, sum(len(trial.queries) for trial in trials)) as bar:
        for trial in trials:
            identities = {name: identity_of(samples[name]) for name in trial.gallery} if named else None
            question = asked(trial, queries, gallery, identities=identities, apart=apart)
            found |= candidates(
                question,
                config,
                names=facts.names,
                depth=facts.depth,
                new=facts.new,
                centres=centres,
                threads=processors(),
                progress=_counting(bar.advance),
            )
    return found


def refuse_unwritable(contest: Contest) -> None:
    """DataError that shows names which no answer can be written with: what parts names stands in them."""
    form, facts, split = contest.competition.submission, contest.retrieval, contest.split
    assert isinstance(form, RankingFormat), "contests of identities are answered in a RankingFormat"
    names = {identity_of(sample) for sample in split.train}
    if facts.names == "samples":
        names = {sample.id for sample in (*split.train, *split.gallery)}
    bad = sorted(name for name in names if form.separator in name or not name.isprintable())
    if bad:
        raise DataError(
            f"{contest.data}: {len(bad)} names of {facts.names} cannot be answered, as '{form.separator}' parts names "
            f"in a submission, or they are not printable: {shown(bad)}; rename them"
        )


def bound_format(contest: Contest, trials: Sequence[RetrievalSplit], samples: Mapping[str, Sample]) -> SubmissionFormat:
    """The contest's format, bound to the names that these trials may be answered with."""
    form, facts = contest.competition.submission, contest.retrieval
    assert isinstance(form, RankingFormat), "contests of identities are answered in a RankingFormat"
    return form.among(answerable(trials, samples, facts.names, facts.new))


def format_of_test(contest: Contest) -> SubmissionFormat:
    """The format of the contest's test part, bound to what may be answered; other contests' as it is."""
    if contest.competition.retrieval is None:
        return contest.competition.submission
    split = contest.split
    gallery = split.gallery or split.train
    samples = {sample.id: sample for sample in gallery}
    return bound_format(contest, splits_of_test(split.test, gallery), samples)


def _threshold(
    found: Mapping[int, Mapping[str, Candidates]],
    truths: Mapping[str, Ranking],
    config: RankConfig,
    contest: Contest,
    score: Callable[[Mapping[str, Any], Mapping[str, Any]], Score],
) -> tuple[dict[int, float | None], dict[str, Any]]:
    """The similarity below which a query is a new identity, for each fold, and what is told of it."""
    new, depth = contest.retrieval.new, contest.retrieval.depth
    if new is None or config.new is None:
        if config.new is not None:
            raise RunError(f"decide.new = {config.new}: {contest.competition.name} has no name for a new identity")
        return dict.fromkeys(found), {}
    if config.new != "tuned":
        return dict.fromkeys(found, config.new), {"threshold": config.new}
    if len(found) < 2:
        raise RunError("decide.new = tuned takes each fold's threshold from the other folds; train at least two")
    tuned = nested(found, truths, score, new=new, depth=depth, share=config.new_share)
    told = {
        "threshold": tuned.final,
        "thresholds": {str(fold): value for fold, value in tuned.by_fold.items()},
        "honest": tuned.honest,
        "naive": tuned.naive,
        "without_threshold": tuned.without,
    }
    return dict(tuned.by_fold), told


def _side_by_side(runs: Sequence[Run], name: str) -> Embeddings:
    """Embeddings of one part by several runs as one: its cosines are the means of theirs."""
    parts = []
    for run in runs:
        settings = run.settings()
        assert isinstance(settings, EmbedSettings)
        parts.append(embedded(run, name, settings, run.trained_folds()))
    if len(parts) == 1:
        return parts[0]
    ids = parts[0].ids
    vectors = np.concatenate([part.take(ids) for part in parts], axis=1) / np.float32(np.sqrt(len(parts)))
    made = {f"{part.named} {key}": value for part in parts for key, value in part.made_by.items()}
    return Embeddings(ids, vectors.astype(np.float32), made)


def _joined_centres(runs: Sequence[Run]) -> ClassPrototypes | None:
    """The class centres of one run; those of several runs would each need all identities of the others."""
    if len(runs) > 1:
        raise RunError("decide.centres works with one run; say decide.centres=0 when scoring, or submit one run")
    return fold_prototypes(runs[0], runs[0].trained_folds())


def _counting(advance: Callable[[int], None]) -> Callable[[int, int], None]:
    """Turn 'so many of the trial's queries' into steps of a bar over all trials."""
    before = 0

    def report(done: int, _: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return report
