"""`medalist check`: a competition's contract, held on its real data."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from medalist.errors import DataError
from medalist.files import read_image
from medalist.progress import progress
from medalist.records import Answer, Instances, Sample
from medalist.runs import manifest_hash
from medalist.stages.contest import Contest
from medalist.submission import check_submission, write_submission

NAMED_AT_MOST = 10
THREADS = 2


def check(contest: Contest, console: Console) -> Iterator[str]:
    """Yield a line for each thing found right; raise DataError (SubmissionError) for the first that is not.

    Ids are unique; every image of both parts decodes, in the size its header says; every truth decodes in that size;
    perfect answers written as rows and parsed back give the best score; the sample submission is valid.
    """
    split = contest.split
    unique_ids((*split.train, *split.test))
    yield f"{contest.competition.name}: {len(split.train)} train and {len(split.test)} test samples, ids unique"
    strata = Counter(sample.stratum for sample in split.train if sample.stratum)
    if strata:
        yield "strata: " + ", ".join(f"{name} {count}" for name, count in sorted(strata.items()))
    images_decode(contest, console)
    yield f"images: all {len(split.train) + len(split.test)} decode"
    truths = truths_decode(contest)
    objects = sum(truth.count for truth in truths.values() if isinstance(truth, Instances))
    yield f"truth: all {len(truths)} decode" + (f", {objects} objects" if objects else "")
    score = perfect_score(contest, truths)
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
    samples = (*contest.split.train, *contest.split.test)

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
        size = truth.labels.shape if isinstance(truth, Instances) else truth.classes.shape
        if size != sample.size:
            bad.append(f"sample {sample.id}: its truth is {size}, its image {sample.size} (height, width)")
    _refuse(bad, "truths")
    return truths


def _refuse(bad: Sequence[str], what: str) -> None:
    if bad:
        more = f"; and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
        raise DataError(f"{len(bad)} bad {what}: {'; '.join(bad[:NAMED_AT_MOST])}{more}")


def perfect_score(contest: Contest, truths: Mapping[str, Answer]) -> float:
    """Score of the truth itself, written and parsed back; DataError where the way through the file changes it."""
    form = contest.competition.submission
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "perfect.csv"
        write_submission(path, form, truths.items())
        parsed = form.parse(path, contest.split.train)
    through_file = contest.competition.score(truths, parsed).value
    direct = contest.competition.score(truths, truths).value
    if through_file != direct:
        raise DataError(
            f"perfect answers score {direct} but {through_file} once written and parsed back; "
            f"the submission format of {contest.competition.name} does not fit its truth"
        )
    return through_file
