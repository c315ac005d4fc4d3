"""The evaluation of a contest of identities: which samples are queries, which names are right, which are allowed.

This module is the `contest.Evaluation` of such contests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from medalist.competition import Retrieval, find_groups
from medalist.contest import Contest, Perfect
from medalist.errors import DataError, FoldError
from medalist.folds.folds import Folds, make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import SubmissionFormat
from medalist.records import Answer, Ranking, RetrievalSplit, Sample
from medalist.retrieval.splits import answerable, identity_of, right_names, splits_of_test
from medalist.search.embeddings import shown


def facts_of(contest: Contest) -> Retrieval:
    """Return the `retrieval` of a contest of identities."""
    assert contest.competition.retrieval is not None, contest.competition.name
    return contest.competition.retrieval


def fold_splits(contest: Contest, folds: Folds, fold: int) -> tuple[RetrievalSplit, ...]:
    """Return the retrieval splits on which a fold is validated. Raises FoldError where the fold has no query."""
    held_out = set(folds.held_out(fold))
    training = [sample for sample in contest.split.train if sample.id not in held_out]
    found = facts_of(contest).splits(training, [sample for sample in contest.split.train if sample.id in held_out])
    asked = [name for split in found for name in split.queries]
    assert len(set(asked)) == len(asked) and held_out.issuperset(asked), "each held-out sample asks at most once"
    if not asked:
        raise FoldError(f"fold {fold} has no query; make fewer folds, or choose other folds with --fold")
    return found


def fold_truths(contest: Contest, folds: Folds, chosen: Sequence[int]) -> dict[str, Answer]:
    """Return the right names of every query of these folds, by query id."""
    facts, samples = facts_of(contest), {sample.id: sample for sample in contest.split.train}
    splits = [split for fold in chosen for split in fold_splits(contest, folds, fold)]
    return dict(right_names(splits, samples, facts.names, facts.new, facts.exclusion_key))


def perfect(contest: Contest) -> Perfect:
    """Return truths and perfect answers of the queries of two folds, with facts about the data.

    Raises DataError where names cannot be written or a query cannot be answered; FoldError where a fold has no query.
    """
    train, facts = contest.split.train, facts_of(contest)
    refuse_unwritable(contest)
    sizes = Counter(identity_of(sample) for sample in train)
    unknown = sizes.pop(facts.new, 0) if facts.new is not None else 0
    alone = sum(size == 1 for size in sizes.values())
    nameless = f"; {unknown} are '{facts.new}'" if unknown else ""
    found = f"identities: {len(sizes)} in {len(train)} train samples, {alone} of them with one sample{nameless}"
    samples = {sample.id: sample for sample in train}
    groups = find_groups(contest.competition, contest.split)
    folds = make_folds(train, FoldsConfig(n=2), groups.group_of if groups else None)
    splits = [split for fold in range(2) for split in fold_splits(contest, folds, fold)]
    truths = right_names(splits, samples, facts.names, facts.new, facts.exclusion_key)
    lonely = sum(not truth.names for truth in truths.values())
    asks, answers = len(contest.split.test), len(contest.split.gallery or train)
    return Perfect(
        dict(truths),
        dict(perfect_answers(contest, splits, truths)),
        bound_format(contest, splits, samples),
        (found,),
        f"retrieval splits of two folds: {len(truths)} queries, {lonely} of them without an answer; perfect answers",
        f"valid; {asks} queries, {answers} samples in the gallery",
    )


def format_of_test(contest: Contest) -> SubmissionFormat:
    """Return the contest's format, which allows only names that may be answered in the test part."""
    split = contest.split
    gallery = split.gallery or split.train
    samples = {sample.id: sample for sample in gallery}
    return bound_format(contest, splits_of_test(split.test, gallery), samples)


def perfect_answers(
    contest: Contest, splits: Sequence[RetrievalSplit], truths: Mapping[str, Ranking]
) -> dict[str, Ranking]:
    """Return the truths as answers, with a confidence of 1 where the contest asks for one.

    A query has no right name where its identity is not in its gallery and the contest has no name for a new identity.
    Where the format needs a name, this query gets a wrong name. Raises DataError where its gallery has no other sample.
    """
    facts, form = facts_of(contest), contest.competition.submission
    assert isinstance(form, RankingFormat), "contests of identities are answered in a RankingFormat"
    samples = {sample.id: sample for sample in contest.split.train}
    answers: dict[str, Ranking] = {}
    for split in splits:
        for query in split.queries:
            names = truths[query].names
            if not names and form.empty is None:
                other = next((name for name in split.gallery if name != query), None)
                if other is None:
                    raise DataError(
                        f"sample {query} is a query, but its fold has no gallery sample for it; remove this sample"
                    )
                names = (other if facts.names == "samples" else identity_of(samples[other]),)
            answers[query] = Ranking(names, 1.0 if facts.confident and names else None)
    return answers


def refuse_unwritable(contest: Contest) -> None:
    """Raise DataError, which shows the names, where names contain the submission's separator or are unprintable."""
    form, facts, split = contest.competition.submission, facts_of(contest), contest.split
    assert isinstance(form, RankingFormat), "contests of identities are answered in a RankingFormat"
    names = {identity_of(sample) for sample in split.train}
    if facts.names == "samples":
        names = {sample.id for sample in (*split.train, *split.gallery)}
    bad = sorted(name for name in names if form.separator in name or not name.isprintable())
    if bad:
        raise DataError(
            f"{contest.data}: {len(bad)} names of {facts.names} cannot be answered, because '{form.separator}' "
            f"separates names in a submission, or because they are not printable: {shown(bad)}; rename them"
        )


def bound_format(contest: Contest, splits: Sequence[RetrievalSplit], samples: Mapping[str, Sample]) -> SubmissionFormat:
    """Return the contest's format, which allows only names that may be answered in these splits."""
    form, facts = contest.competition.submission, facts_of(contest)
    assert isinstance(form, RankingFormat), "contests of identities are answered in a RankingFormat"
    return form.among(answerable(splits, samples, facts.names, facts.new))
