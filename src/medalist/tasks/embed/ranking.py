"""Make ranked answers from a run's embeddings, for held-out samples and for the test part. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medalist.contest import Contest
from medalist.errors import RunError
from medalist.formats.submission import SubmissionFormat
from medalist.records import Ranking, RetrievalSplit, Sample, Score
from medalist.reporter import Reporter
from medalist.retrieval.asking import asked
from medalist.retrieval.contests import bound_format, fold_splits
from medalist.retrieval.evaluate import Figures, evaluate
from medalist.retrieval.heads import ClassPrototypes
from medalist.retrieval.rank import Candidates, answers, candidates
from medalist.retrieval.settings import RankConfig
from medalist.retrieval.splits import identity_of, right_names, splits_of_test
from medalist.retrieval.threshold import nested
from medalist.runs.runs import Run
from medalist.search.checks import processors
from medalist.search.gallery import Embeddings
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import embedded, fold_prototypes, retrieval_of, test_parts


@dataclass(frozen=True, eq=False)
class Ranked:
    """The OOF answers of a run before they are written.

    samples: the queries. truths, answers: by sample id. form: the contest's format, bound to the names that may be
    answered. details: the section of `scores.json`: figures by cosine alone, the threshold of new identities, and the
    score with and without it.
    """

    samples: tuple[Sample, ...]
    truths: Mapping[str, Ranking]
    answers: Mapping[str, Ranking]
    form: SubmissionFormat
    details: Mapping[str, Any]


def rank_oof(
    run: Run, contest: Contest, settings: EmbedSettings, folds: Sequence[int], reporter: Reporter, nmi: bool = False
) -> Ranked:
    """Rank the retrieval splits of these folds, each by the embeddings of the network that did not see its queries.

    nmi: whether the details also have NMI, how well clusters of the queries agree with their identities.
    """
    facts, samples = retrieval_of(contest), {sample.id: sample for sample in contest.split.train}
    found: dict[int, dict[str, Candidates]] = {}
    truths: dict[str, Ranking] = {}
    splits: list[RetrievalSplit] = []
    plain: list[Figures] = []
    for fold in folds:
        vectors = embedded(run, f"oof/fold{fold}", settings, [fold])
        asking = fold_splits(contest, run.folds(), fold)
        prototypes = fold_prototypes(run, [fold]) if settings.decide.prototypes else None
        found[fold] = rank_splits(
            contest, asking, vectors, vectors, samples, settings.decide, prototypes, reporter, f"fold {fold}"
        )
        truths |= right_names(asking, samples, facts.names, facts.new, facts.exclusion_key)
        splits += asking
        plain += [_by_cosine(contest, split, vectors, samples, settings.decide.recall, nmi) for split in asking]
    score = contest.competition.score
    threshold, details = _threshold(found, truths, settings.decide, contest, score)
    ranked: dict[str, Ranking] = {}
    for fold, each in found.items():
        ranked |= answers(each, facts.depth, new=facts.new, threshold=threshold[fold], confident=facts.confident)
    queries = tuple(sample for sample in contest.split.train if sample.id in ranked)
    form = bound_format(contest, splits, samples)
    lonely = sum(not truth.names for truth in truths.values())
    details = {"queries": len(queries), "without_answer": lonely, "cosine_alone": _mean(plain), **details}
    return Ranked(queries, {s.id: truths[s.id] for s in queries}, {s.id: ranked[s.id] for s in queries}, form, details)


def _by_cosine(
    contest: Contest,
    split: RetrievalSplit,
    vectors: Embeddings,
    samples: Mapping[str, Sample],
    recall: float,
    nmi: bool,
) -> Figures:
    """Return the figures of one split with gallery samples ranked by cosine alone: no re-ranking and no threshold."""
    facts = retrieval_of(contest)
    gallery = [name for name in split.gallery if facts.new is None or identity_of(samples[name]) != facts.new]
    row_of = {name: row for row, name in enumerate(gallery)}
    sides = (split.queries, gallery)
    exclusion_key = None
    if facts.exclusion_key is not None:
        codes = [[str(samples[name].meta.get(facts.exclusion_key)) for name in side] for side in sides]
        exclusion_key = (codes[0], codes[1])
    return evaluate(
        vectors.take(split.queries),
        [identity_of(samples[name]) for name in split.queries],
        vectors.take(gallery),
        [identity_of(samples[name]) for name in gallery],
        own=np.array([row_of.get(name, -1) for name in split.queries]),
        exclusion=exclusion_key,
        recall=recall,
        nmi=nmi,
    )


def _mean(figures: Sequence[Figures]) -> dict[str, float]:
    """Return the mean figures of several splits, weighted by the number of their queries with a right answer."""
    weights = [each.queries - each.unanswerable if each.values else 0 for each in figures]
    names = next((list(each.values) for each in figures if each.values), [])
    return {
        name: sum(weight * each.values[name] for weight, each in zip(weights, figures, strict=True) if weight)
        / sum(weights)
        for name in names
    }


def rank_test(
    runs: Sequence[tuple[Run, EmbedSettings]],
    contest: Contest,
    config: RankConfig,
    threshold: float | None,
    reporter: Reporter,
) -> dict[str, Ranking]:
    """Return the answers to the test part. The cosine of several runs is the mean of the runs' cosines."""
    facts, split = retrieval_of(contest), contest.split
    gallery = split.gallery or split.train
    samples = {sample.id: sample for sample in (*split.test, *gallery)}
    queries, answering = (_side_by_side(runs, name) for name in test_parts(contest))
    prototypes = _one_runs_prototypes(runs) if config.prototypes else None
    asking = splits_of_test(split.test, gallery)
    found = rank_splits(contest, asking, queries, answering, samples, config, prototypes, reporter, "rank test")
    return answers(found, facts.depth, new=facts.new, threshold=threshold, confident=facts.confident)


def rank_splits(
    contest: Contest,
    splits: Sequence[RetrievalSplit],
    queries: Embeddings,
    gallery: Embeddings,
    samples: Mapping[str, Sample],
    config: RankConfig,
    prototypes: ClassPrototypes | None,
    reporter: Reporter,
    title: str,
) -> dict[str, Candidates]:
    """Return the ranked candidates of each query of several retrieval splits, by query id."""
    facts = retrieval_of(contest)
    named = facts.names == "identities"
    exclusion_key = None
    if facts.exclusion_key is not None:
        exclusion_key = {name: sample.meta.get(facts.exclusion_key) for name, sample in samples.items()}
    found: dict[str, Candidates] = {}
    with reporter.progress(title, sum(len(split.queries) for split in splits)) as bar:
        for split in splits:
            identities = {name: identity_of(samples[name]) for name in split.gallery} if named else None
            question = asked(split, queries, gallery, identities=identities, exclusion=exclusion_key)
            found |= candidates(
                question,
                config,
                names=facts.names,
                depth=facts.depth,
                new=facts.new,
                prototypes=prototypes,
                threads=processors(),
                progress=_counting(bar.advance),
            )
    return found


def _threshold(
    found: Mapping[int, Mapping[str, Candidates]],
    truths: Mapping[str, Ranking],
    config: RankConfig,
    contest: Contest,
    score: Callable[[Mapping[str, Any], Mapping[str, Any]], Score],
) -> tuple[dict[int, float | None], dict[str, Any]]:
    """Return the threshold for each fold, and the details for `scores.json`.

    A query with a similarity below the threshold is a new identity; None is no threshold. Raises RunError where the
    contest has no new identities but the config asks for them, and where fewer than two folds are there for tuning.
    """
    new, depth = retrieval_of(contest).new, retrieval_of(contest).depth
    if new is None or config.new is None:
        if config.new is not None:
            raise RunError(f"decide.new = {config.new}: {contest.competition.name} has no name for a new identity")
        return dict.fromkeys(found), {}
    if config.new != "tuned":
        return dict.fromkeys(found, config.new), {"threshold": config.new}
    if len(found) < 2:
        raise RunError("decide.new = tuned takes each fold's threshold from the other folds; train at least two")
    tuned = nested(found, truths, score, new=new, depth=depth, share=config.new_share)
    details = {
        "threshold": tuned.final,
        "thresholds": {str(fold): value for fold, value in tuned.by_fold.items()},
        "honest": tuned.honest,
        "naive": tuned.naive,
        "without_threshold": tuned.without,
    }
    return dict(tuned.by_fold), details


def _side_by_side(runs: Sequence[tuple[Run, EmbedSettings]], name: str) -> Embeddings:
    """Concatenate the embeddings of one part by several runs, so that a cosine is the mean of the runs' cosines."""
    parts = []
    for run, settings in runs:
        parts.append(embedded(run, name, settings, run.trained_folds()))
    if len(parts) == 1:
        return parts[0]
    ids = parts[0].ids
    vectors = np.concatenate([part.take(ids) for part in parts], axis=1) / np.float32(np.sqrt(len(parts)))
    made = {f"{part.named} {key}": value for part in parts for key, value in part.made_by.items()}
    return Embeddings(ids, vectors.astype(np.float32), made)


def _one_runs_prototypes(runs: Sequence[tuple[Run, EmbedSettings]]) -> ClassPrototypes | None:
    """Return the class prototypes of one run. Raises RunError for several runs, whose identities may differ."""
    if len(runs) > 1:
        raise RunError("decide.prototypes works with one run; set decide.prototypes=0 when scoring, or submit one run")
    run = runs[0][0]
    return fold_prototypes(run, run.trained_folds())


def _counting(advance: Callable[[int], None]) -> Callable[[int, int], None]:
    """Return a function that turns the number of a split's finished queries into steps of a progress bar."""
    before = 0

    def report(done: int, _: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return report
