"""Check before a training that each id and each label can be written into a submission and read back.

Without this check a line break in an id is found when the predictions are written, after all folds are trained.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medalist.contest import Contest
from medalist.errors import DataError, MedalistError, SearchError
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import AnyFormat, shortened, write_submission
from medalist.records import Answer, Instances, Labels, Mask, Ranking, Sample

Pair = tuple[Sample, Answer]
"""A sample and an answer to it."""


def refuse_unwritable(contest: Contest) -> None:
    """Raise DataError for an id or a label that is lost on the way into a submission and back; it names the first.

    For contests of identities, names must also be what the search takes as ids. No pixels are read.
    """
    form, split = contest.competition.submission, contest.split
    asked = list({sample.id: sample for sample in (*split.test, *split.train)}.values())
    if isinstance(form, RankingFormat) and contest.competition.retrieval is not None:
        _refuse_names(contest, form, contest.competition.retrieval.names == "samples")
        width = form.most if form.fixed else 1
        answer = Ranking(tuple(f"n{number}" for number in range(width)), 1.0 if form.confident else None)
        _refuse(contest, form, [(sample, answer) for sample in asked], "id")
        return
    try:
        first = contest.truth(split.train[0])
        truths = contest.truths(split.train) if isinstance(first, Labels) else {}
    except DataError:
        return  # the training itself lists all truths that cannot be read
    match first:
        case Labels():
            _refuse(contest, form, [(one, truths.get(one.id, first)) for one in asked], "id or a label")
        case Mask():
            dot: Answer = Mask(np.ones((1, 1), np.uint8))
            _refuse(contest, form, [(replace(sample, size=(1, 1)), dot) for sample in asked], "id")
        case Instances():
            dot = Instances(np.ones((1, 1), np.int32))
            _refuse(contest, form, [(replace(sample, size=(1, 1)), dot) for sample in asked], "id")


def _refuse_names(contest: Contest, form: RankingFormat, of_samples: bool) -> None:
    """Raise DataError for a name that cannot be answered, or that the search does not take."""
    from medalist.search.ids import parse_ids  # imported here: only contests of identities need the search

    split = contest.split
    ids = [sample.id for sample in split.all]
    names = list(dict.fromkeys(ids if of_samples else [sample.annotation[0] for sample in split.train]))
    for what, texts in (("id", ids), ("identity", names)):
        try:
            parse_ids(texts, len(texts))
        except SearchError as error:
            raise DataError(f"{contest.data}: an {what} cannot be searched for: {error}; rename it") from None
    width = min(form.most, len(names)) if form.fixed else 1
    pairs: list[Pair] = []
    for place in range(len(names)):
        answered = tuple(names[(place + step) % len(names)] for step in range(width))
        asking = replace(split.train[0], id=f"q{place}")
        pairs.append((asking, Ranking(answered, 1.0 if form.confident else None)))
    _refuse(contest, form, pairs, "identity" if not of_samples else "id")


def _refuse(contest: Contest, form: AnyFormat, pairs: Sequence[Pair], what: str) -> None:
    fault = _fault(form, pairs)
    # A format of a contest's own may need other answers than these; then nothing can be said here.
    if fault is None or _fault(form, [(replace(pairs[0][0], id="a1"), _plain(pairs[0][1]))]) is not None:
        return
    while len(pairs) > 1:
        half = pairs[: len(pairs) // 2]
        found = _fault(form, half)
        pairs, fault = (half, found) if found is not None else (pairs[len(half) :], fault)
    (sample, answer) = pairs[0]
    names = getattr(answer, "names", ())
    told = f" with {', '.join(map(shortened, names[:3]))}" if names else ""
    raise DataError(
        f"{contest.data}: an {what} cannot be written into a submission and read back: '{shortened(sample.id)}'{told} "
        f"({_fault(form, pairs) or fault}); rename it in the contest's data"
    )


def _plain(answer: Answer) -> Answer:
    """Return the answer with plain names in a ranking, whose own names may be the fault."""
    if isinstance(answer, Ranking):
        return replace(answer, names=tuple(f"n{place}" for place in range(len(answer.names))))
    return answer


def _fault(form: AnyFormat, pairs: Sequence[Pair]) -> str | None:
    """Return why these answers are lost in a written file; None where they are read back as they were."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "submission.csv"
        try:
            write_submission(path, form, ((sample.id, answer) for sample, answer in pairs))
            parsed = form.parse(path, [sample for sample, _ in pairs])
        except UnicodeEncodeError:
            return "it cannot be written in UTF-8"
        except MedalistError as error:
            return str(error).removeprefix(f"{path}: ").partition(" (and ")[0]
    for sample, answer in pairs:
        back = parsed[sample.id]
        if isinstance(answer, Ranking | Labels) and isinstance(back, Ranking | Labels):
            asked = sorted(answer.names), sorted(back.names)
            if asked[0] != asked[1] and getattr(answer, "probabilities", None) is None:
                return f"read back as {', '.join(map(shortened, back.names[:3])) or 'no name'}"
    return None
