"""Ids and labels that would be lost in a submission are found before a training, not after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.competition import Competition, Retrieval
from medalist.contest import Contest
from medalist.errors import DataError
from medalist.formats.labels import LabelFormat, LabelsFormat
from medalist.formats.probabilities import ProbabilityFormat
from medalist.formats.rankings import RankingFormat
from medalist.formats.rle import RleFormat
from medalist.formats.submission import SubmissionFormat
from medalist.records import Answer, Instances, Labels, Mask, Sample, Score, Split
from medalist.retrieval.splits import identity
from medalist.workflows.names import refuse_unwritable


def contest(form: SubmissionFormat, ids: list[str], truths: list[Any], test: list[str], **more: Any) -> Contest:
    """A contest whose truth of a sample is the one of `truths` at its place."""
    samples = tuple(
        Sample(name, (), (8, 8), annotation=(truth,) if isinstance(truth, str) else ())
        for name, truth in zip(ids, truths, strict=True)
    )
    by_id = dict(zip(ids, truths, strict=True))

    def truth(_: Path, sample: Sample) -> Answer:
        found: Answer = by_id[sample.id]
        return found

    split = Split(samples, tuple(Sample(name, (), (8, 8)) for name in test))
    made = Competition("made", lambda _: split, truth, lambda *_: Score(1, {}, {}), form, **more)
    return Contest(made, Path("data"), split)


def identities(ids: list[str], names: list[str], form: RankingFormat | None = None) -> Contest:
    retrieval = Retrieval("identities", 5, lambda *_: ())
    made = contest(form or RankingFormat(), ids, names, ["t1"], retrieval=retrieval)
    return replace(made, competition=replace(made.competition, truth=identity))


MASK, OBJECTS = Mask(np.zeros((8, 8), np.uint8)), Instances(np.zeros((8, 8), np.int32))
ONE, SEVERAL = LabelFormat(classes=("a b", "c")), LabelsFormat(classes=("a", "b"), separator=" ")
FORMS: list[tuple[SubmissionFormat, Any]] = [
    (RleFormat(("id", "rle"), row_per="image"), MASK),
    (RleFormat(("id", "rle"), row_per="object"), OBJECTS),
    (ONE, Labels(("c",))),
    (SEVERAL, Labels(("b", "a"))),
    (ProbabilityFormat(classes=("a", "b")), Labels(("a",), np.array([1.0, 0.0]))),
]


@pytest.mark.parametrize(("form", "truth"), FORMS)
def test_usual_ids_pass(form: SubmissionFormat, truth: Any) -> None:
    refuse_unwritable(contest(form, ["x", "a,b", "é 1", "0"], [truth] * 4, ["t 1", "t2.png"]))


@pytest.mark.parametrize(("form", "truth"), FORMS)
@pytest.mark.parametrize("bad", ["a\nb", "\udcff"])
def test_an_id_that_is_lost_in_the_file_is_named_before_the_training(
    form: SubmissionFormat, truth: Any, bad: str
) -> None:
    for ids, test in ((["x", bad, "y"], ["t"]), (["x", "y", "z"], ["t", bad])):
        with pytest.raises(DataError, match="cannot be written into a submission and read back") as caught:
            refuse_unwritable(contest(form, ids, [truth] * 3, test))
        told = str(caught.value)
        assert repr(bad)[1:-1] in told and told.isprintable() and len(told) < 400


def test_labels_that_the_contest_cannot_take_are_named() -> None:
    with pytest.raises(DataError, match="'y' with b"):
        refuse_unwritable(contest(ONE, ["x", "y"], [Labels(("c",)), Labels(("b",))], ["t"]))
    with pytest.raises(DataError, match="'y' with a, b, c"):
        refuse_unwritable(contest(SEVERAL, ["x", "y"], [Labels(("a",)), Labels(("a", "b", "c"))], ["t"]))


def test_usual_identities_pass() -> None:
    refuse_unwritable(identities(["x", "y", "z"], ["w_1", "w_2", "w_2"]))
    refuse_unwritable(identities(["x", "y", "z"], ["w_1", "w_2", "w_3"], RankingFormat(most=3, fixed=True)))
    refuse_unwritable(identities(["x", "y"], ["w_1", "w_2"], RankingFormat(most=1, confident=True)))


@pytest.mark.parametrize("bad", ["a" * 3002, "a b", "a\nb", "a,b", "\0"])
def test_an_identity_that_cannot_be_answered_is_named_before_the_training(bad: str) -> None:
    with pytest.raises(DataError) as caught:
        refuse_unwritable(identities(["x", "y", "z"], ["w_1", bad, "w_2"]))
    told = str(caught.value)
    assert "identity" in told and told.isprintable() and len(told) < 400


@pytest.mark.parametrize("bad", ["a" * 3002, "a\nb"])
def test_an_id_of_a_query_is_searched_for_and_answered(bad: str) -> None:
    with pytest.raises(DataError, match="an id"):
        refuse_unwritable(identities(["x", bad, "z"], ["w_1", "w_2", "w_2"]))


def test_a_format_that_needs_other_answers_is_left_alone() -> None:
    """Of a contest's own format nothing is known, so it is not the fault of an id."""

    class Own(RleFormat):
        def rows(self, sample_id: str, answer: Answer) -> list[tuple[str, ...]]:
            raise DataError("other answers")

    refuse_unwritable(contest(Own(("id", "rle"), row_per="image"), ["a\nb", "y"], [MASK, MASK], ["t"]))
