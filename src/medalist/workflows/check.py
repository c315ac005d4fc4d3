"""`medalist check`: test a competition's code on its real data."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medalist.codecs.images import image_turn
from medalist.competition import contests_fault
from medalist.contest import Contest, Perfect
from medalist.errors import ConfigError, DataError
from medalist.files import reason
from medalist.formats.submission import check_submission, suffix_of, write_submission
from medalist.records import Answer, Sample
from medalist.reporter import Reporter
from medalist.runs.runs import manifest_hash
from medalist.workflows.box_doubts import implausible_boxes
from medalist.workflows.class_shares import class_shares
from medalist.workflows.mask_files import implausible_mask_files
from medalist.workflows.plausibility import implausible_truths
from medalist.workflows.seen import Seen, implausible_images, see_images

NAMED_AT_MOST = 10
STRATA_NAMED = 12
WARNING = "warning: "
"""The beginning of lines that say what is probably wrong although every test passed."""


def check(contest: Contest, reporter: Reporter, images: bool = True) -> Iterator[str]:
    """Yield a line for each test that passes. Raise DataError (or SubmissionError) for the first test that fails.

    images: whether images are decoded. Without them their pixels are not tested, nor whether truths fit them.

    Lines that begin with WARNING tell what is implausible, with evidence and what to do (`workflows.seen`,
    `workflows.plausibility`, `workflows.box_doubts`).

    The tests are: ids are unique; every image decodes, in the size that its sample has; every truth decodes, in the
    size of its image; perfect answers have the same score after they are written as rows and parsed back; the sample
    submission, where there is one, is valid.
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
    seen = images_decode(contest, reporter) if images else None
    if seen is not None:
        yield f"images: all {len(split.all)} decode"
        yield from (WARNING + line for line in implausible_images(contest, seen))
    else:
        yield "images: not decoded, so damaged ones and truths that do not fit them are not found"
    truths = truths_decode(contest)
    objects = sum(truth.count for truth in truths.values())
    yield f"truth: all {len(truths)} decode" + (f", {objects} objects" if objects else "")
    shares = class_shares(contest.competition.classes, truths)
    yield from shares.lines()
    yield from (WARNING + line for line in shares.doubts())
    if seen is not None:
        yield from (WARNING + line for line in implausible_truths(contest, truths, seen.turned))
    yield from (WARNING + line for line in implausible_mask_files(contest, truths))
    yield from (WARNING + line for line in implausible_boxes(contest, truths))
    perfect = contest.evaluation.perfect(contest)
    yield from perfect.lines
    yield f"{perfect.called}, written and parsed back, score {perfect_score(contest, perfect):.6f}"
    reference = contest.reference
    if reference is None:
        yield "sample submission: the contest has none"
    else:
        check_submission(reference, contest.evaluation.format_of_test(contest), split.test, reference)
        yield f"sample submission {reference.name}: {perfect.test_line}"
    yield f"data hash {manifest_hash(split)}"


def unique_ids(samples: tuple[Sample, ...]) -> None:
    """Raise DataError, which names the ids, where an id occurs more than once."""
    twice = [name for name, count in Counter(sample.id for sample in samples).items() if count > 1]
    if twice:
        raise DataError(
            f"{len(twice)} ids occur more than once: {', '.join(twice[:NAMED_AT_MOST])}; ids must be unique"
        )


def images_decode(contest: Contest, reporter: Reporter) -> Seen:
    """Decode every image, and return what was noted of them.

    Raises one DataError for all images that are damaged or have another size.
    """
    seen = see_images(contest, reporter)
    _refuse(seen.bad, "images")
    return seen


def truths_decode(contest: Contest) -> dict[str, Answer]:
    """Return the truth of each training sample by id.

    Raises one DataError for all truths that are damaged or do not have the size of their image.
    """
    truths: dict[str, Answer] = {}
    bad: list[str] = []
    for sample in contest.split.train:
        try:
            truth = truths[sample.id] = contest.truth(sample)
        except DataError as error:
            bad.append(str(error))
            continue
        if truth.size not in (None, sample.size):
            bad.append(f"sample {sample.id}: its truth is {truth.size}, its image {sample.size} (height, width)")
            plain = contest.competition.read_image is None
            if plain and truth.size == sample.size[::-1] and image_turn(sample.images[0]) != 1:
                other = "stored" if contest.competition.orientation == "shown" else "shown"
                bad[-1] += f"; it has an EXIF orientation: type orientation='{other}' in the Competition and in `read`"
    _refuse(bad, "truths")
    return truths


def _refuse(bad: Sequence[str], what: str) -> None:
    if bad:
        more = f"; and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
        raise DataError(f"{len(bad)} bad {what}: {'; '.join(bad[:NAMED_AT_MOST])}{more}")


def perfect_score(contest: Contest, perfect: Perfect) -> float:
    """Return the score of perfect answers after they are written to a file and parsed back.

    Raises DataError where the score differs from the score without the file.
    """
    truths = perfect.truths
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"perfect{suffix_of(perfect.form)}"
        write_submission(path, perfect.form, perfect.answers.items())
        parsed = perfect.form.parse(path, [sample for sample in contest.split.train if sample.id in truths])
    through_file = _scored(contest, truths, parsed)
    direct = _scored(contest, truths, perfect.answers)
    if through_file != direct:
        raise DataError(
            f"perfect answers score {direct} but {through_file} once written and parsed back; "
            f"the submission format of {contest.competition.name} does not fit its truth"
        )
    return through_file


def _scored(contest: Contest, truths: Mapping[str, Answer], answers: Mapping[str, Answer]) -> float:
    """Return the score of answers. Raises ConfigError where the contest's metric is one of another kind of answers."""
    try:
        return contest.competition.score(truths, answers).value
    except (AssertionError, AttributeError, TypeError) as error:
        if contests_fault(error) is not None:
            raise
        kinds = ", ".join(sorted({type(answer).__name__ for answer in truths.values()}))
        raise ConfigError(
            f"COMPETITION.score of {contest.competition.name} does not take its answers, which are {kinds} "
            f"({reason(error)}); take a metric that docs/competition.md lists for them"
        ) from error
