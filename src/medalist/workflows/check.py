"""`medalist check`: a competition's contract, held on its real data."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from medalist.competition import find_groups
from medalist.contest import Contest, fold_splits
from medalist.errors import DataError
from medalist.files import read_image
from medalist.folds.folds import FoldsConfig, make_folds
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import SubmissionFormat, check_submission, write_submission
from medalist.records import Answer, Instances, Ranking, RetrievalSplit, Sample
from medalist.reporter import progress
from medalist.retrieval.splits import identity_of, right_names
from medalist.runs import manifest_hash
from medalist.tasks.embed.ranking import bound_format, format_of_test, refuse_unwritable

NAMED_AT_MOST = 10
STRATA_NAMED = 12
THREADS = 2


def check(contest: Contest, console: Console) -> Iterator[str]:
    """Yield a line for each thing found right; raise DataError (SubmissionError) for the first that is not.

    Ids are unique; every image of both parts decodes, in the size its header says; every truth decodes in that size;
    perfect answers written as rows and parsed back give the best score; the sample submission is valid.
    """
    split = contest.split
    unique_ids(split.all)
    gallery = f" and {len(split.gallery)} gallery" if split.gallery else ""
    counts = f"{len(split.train)} train and {len(split.test)} test{gallery} samples"
    yield f"{contest.competition.name}: {counts}, ids unique"
    strata = Counter(sample.stratum for sample in split.train if sample.stratum)
    if strata:
        listed = ", ".join(f"{name} {count}" for name, count in sorted(strata.items())[:STRATA_NAMED])
        more = f" and {len(strata) - STRATA_NAMED} more" if len(strata) > STRATA_NAMED else ""
        yield f"strata: {listed}{more}"
    images_decode(contest, console)
    yield f"images: all {len(split.all)} decode"
    truths = truths_decode(contest)
    if contest.competition.retrieval is not None:
        yield from retrieval_contract(contest)
        yield f"data hash {manifest_hash(split)}"
        return
    objects = sum(truth.count for truth in truths.values() if isinstance(truth, Instances))
    yield f"truth: all {len(truths)} decode" + (f", {objects} objects" if objects else "")
    score = perfect_score(contest, contest.competition.submission, truths)
    yield f"perfect answers, written and parsed back, score {score:.6f}"
    check_submission(contest.reference, contest.competition.submission, split.test, contest.reference)
    yield f"sample submission {contest.reference.name}: valid"
    yield f"data hash {manifest_hash(split)}"


def unique_ids(samples: tuple[Sample, ...]) -> None:
    """DataError that names ids which stand twice."""
    twice = [name for name, count in Counter(sample.id for sample in samples).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} ids stand twice: {', '.join(twice[:NAMED_AT_MOST])}; ids must be unique")


def images_decode(contest: Contest, console: Console) -> None:
    """Decode every image; one DataError names all that are bad."""
    samples = contest.split.all

    def attempt(sample: Sample) -> str | None:
        try:
            for path in sample.images:
                shape = read_image(path, contest.competition.white).shape[:2]
                if shape != sample.size:
                    return f"sample {sample.id}: {path} is {shape}, but its size was given as {sample.size}"
        except DataError as error:
            return f"sample {sample.id}: {error}"
        return None

    bad: list[str] = []
    with progress(console, "decoding images", len(samples)) as bar, ThreadPoolExecutor(THREADS) as pool:
        for fault in pool.map(attempt, samples):
            bar.advance()
            if fault:
                bad.append(fault)
    _refuse(bad, "images")


def truths_decode(contest: Contest) -> dict[str, Answer]:
    """Decode every truth, in the size of its image; one DataError names all that are bad."""
    truths: dict[str, Answer] = {}
    bad: list[str] = []
    for sample in contest.split.train:
        try:
            truth = truths[sample.id] = contest.truth(sample)
        except DataError as error:
            bad.append(str(error))
            continue
        if isinstance(truth, Ranking):
            continue
        size = truth.labels.shape if isinstance(truth, Instances) else truth.classes.shape
        if size != sample.size:
            bad.append(f"sample {sample.id}: its truth is {size}, its image {sample.size} (height, width)")
    _refuse(bad, "truths")
    return truths


def _refuse(bad: Sequence[str], what: str) -> None:
    if bad:
        more = f"; and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
        raise DataError(f"{len(bad)} bad {what}: {'; '.join(bad[:NAMED_AT_MOST])}{more}")


def retrieval_contract(contest: Contest) -> Iterator[str]:
    """Yield what is found right of a contest of identities: who there is, the trials of its folds, its test part."""
    train, facts = contest.split.train, contest.retrieval
    refuse_unwritable(contest)
    sizes = Counter(identity_of(sample) for sample in train)
    unknown = sizes.pop(facts.new, 0) if facts.new is not None else 0
    alone = sum(size == 1 for size in sizes.values())
    nameless = f"; {unknown} are '{facts.new}'" if unknown else ""
    yield f"identities: {len(sizes)} in {len(train)} train samples, {alone} of them with one sample{nameless}"
    samples = {sample.id: sample for sample in train}
    groups = find_groups(contest.competition, contest.split)
    folds = make_folds(train, FoldsConfig(n=2), groups.group_of if groups else None)
    trials = [trial for fold in range(2) for trial in fold_splits(contest, folds, fold)]
    truths = right_names(trials, samples, facts.names, facts.new, facts.apart)
    perfect = perfect_answers(contest, trials, truths)
    score = perfect_score(contest, bound_format(contest, trials, samples), truths, perfect)
    lonely = sum(not truth.names for truth in truths.values())
    yield (
        f"trials of two folds: {len(truths)} queries, {lonely} of them without an answer; perfect answers, written and "
        f"parsed back, score {score:.6f}"
    )
    check_submission(contest.reference, format_of_test(contest), contest.split.test, contest.reference)
    asks, answers = len(contest.split.test), len(contest.split.gallery or train)
    yield f"sample submission {contest.reference.name}: valid; {asks} queries, {answers} samples in the gallery"


def perfect_answers(
    contest: Contest, trials: Sequence[RetrievalSplit], truths: Mapping[str, Ranking]
) -> dict[str, Ranking]:
    """The truths as answers: with a confidence where one is asked for, and with some name where each query needs one.

    A query has no right name where its gallery does not have its identity, and the contest no name for that.
    """
    facts, form = contest.retrieval, contest.competition.submission
    assert isinstance(form, RankingFormat), "contests of identities are answered in a RankingFormat"
    samples = {sample.id: sample for sample in contest.split.train}
    answers: dict[str, Ranking] = {}
    for trial in trials:
        for query in trial.queries:
            names = truths[query].names
            if not names and form.empty is None:
                other = next((name for name in trial.gallery if name != query), None)
                if other is None:
                    raise DataError(f"sample {query} asks, and its fold has nobody who answers; take it out")
                names = (other if facts.names == "samples" else identity_of(samples[other]),)
            answers[query] = Ranking(names, 1.0 if facts.confident and names else None)
    return answers


def perfect_score(
    contest: Contest,
    form: SubmissionFormat,
    truths: Mapping[str, Answer],
    perfect: Mapping[str, Answer] | None = None,
) -> float:
    """Score of perfect answers, written and parsed back; DataError where the way through the file changes it.

    perfect: the truths themselves where it is None.
    """
    perfect = truths if perfect is None else perfect
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "perfect.csv"
        write_submission(path, form, perfect.items())
        parsed = form.parse(path, [sample for sample in contest.split.train if sample.id in truths])
    through_file = contest.competition.score(truths, parsed).value
    direct = contest.competition.score(truths, perfect).value
    if through_file != direct:
        raise DataError(
            f"perfect answers score {direct} but {through_file} once written and parsed back; "
            f"the submission format of {contest.competition.name} does not fit its truth"
        )
    return through_file
