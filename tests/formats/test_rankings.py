from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medalist.errors import DataError, SubmissionError
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import check_submission, write_submission
from medalist.records import Mask, Ranking, Sample

SAMPLES = [Sample(name, (), (1, 1)) for name in ("q1", "q2", "q3")]
TOP3 = RankingFormat(("id", "names"), 3)
KNOWN = TOP3.among(frozenset({"whale", "shark", "orca", "seal", "new_whale"}))
SURE = RankingFormat(("id", "landmarks"), 1, confident=True, empty="")


def submission(tmp_path: Path, *rows: str, header: str = "id,names") -> Path:
    path = tmp_path / "s.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def said(
    form: RankingFormat, path: Path, samples: Sequence[Sample] = SAMPLES, reference: Path | None = None
) -> list[str]:
    """What validate says, having held that check_submission and parse agree with it, each on one line."""
    problems = form.validate(path, samples, reference)
    for problem in problems:
        assert len(str(problem).splitlines()) == 1 and problem.rule
    rows = [problem.row or 10**9 for problem in problems]
    assert rows == sorted(rows)
    if problems:
        with pytest.raises(SubmissionError) as caught:
            check_submission(path, form, samples, reference)
        assert str(caught.value).startswith(f"{path}: {problems[0]}")
        if reference is None:
            with pytest.raises(SubmissionError):
                form.parse(path, samples)
    else:
        check_submission(path, form, samples, reference)
    return [str(problem) for problem in problems]


def cell_said(form: RankingFormat, cell: str, tmp_path: Path) -> str:
    """What is said of one cell, '' where it is taken."""
    path = tmp_path / "s.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([form.columns, ("q1", cell)])
    problems = said(form, path, SAMPLES[:1])
    assert len(problems) <= 1
    return problems[0].removeprefix(f"row 2, column {form.columns[1]}, ") if problems else ""


# -------------------------------------------------------------------------------- round trips

NAME = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=","), min_size=1, max_size=6
)
FORMATS = [
    RankingFormat(("q", "a"), most, fixed=fixed, separator=separator, empty=empty)
    for most in (1, 3)
    for fixed in (False, True)
    for separator in (" ", ";", "|")
    for empty in (None, "", "-")
]


@pytest.mark.parametrize("form", FORMATS, ids=str)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_back(form: RankingFormat, data: st.DataObject, tmp_path: Path) -> None:
    word = NAME.filter(lambda name: form.separator not in name and name != form.empty)
    least = 0 if form.empty is not None else form.most if form.fixed else 1
    answers: dict[str, Ranking] = {}
    for query in data.draw(st.lists(NAME, min_size=1, max_size=4, unique=True)):
        names = data.draw(st.lists(word, min_size=least, max_size=form.most + 2, unique=True))
        answers[query] = Ranking(tuple(names if not form.fixed or len(names) >= form.most else []))
    samples = [Sample(query, (), (1, 1)) for query in answers]
    path = tmp_path / "s.csv"
    bound = form.among({query: frozenset(answer.names) for query, answer in answers.items()})
    for one in (form, bound):
        assert write_submission(path, one, answers.items()) == len(answers)
        assert said(one, path, samples, reference=path) == []
        read = one.parse(path, samples[::-1])
        assert list(read) == [sample.id for sample in samples[::-1]]
        assert read == {query: Ranking(answer.names[: form.most]) for query, answer in answers.items()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_confidence_is_read_back_as_the_same_float(tmp_path: Path, confidence: float) -> None:
    path = tmp_path / "s.csv"
    write_submission(path, SURE, [("q1", Ranking(("8815",), confidence))])
    (answer,) = SURE.parse(path, SAMPLES[:1]).values()
    assert answer == Ranking(("8815",), confidence)
    assert isinstance(answer, Ranking) and repr(answer.confidence) == repr(confidence)


def test_hand_worked_rows() -> None:
    assert TOP3.rows("q1", Ranking(("b", "a"))) == [("q1", "b a")]
    assert TOP3.rows("q1", Ranking(("b", "a", "d", "c"), 0.5)) == [("q1", "b a d")]
    assert SURE.rows("q1", Ranking(("8815", "7"), 0.1)) == [("q1", "8815 0.1")]
    assert SURE.rows("q1", Ranking(("8815",), np.float32(0.5))) == [("q1", "8815 0.5")]  # type: ignore[arg-type]
    assert SURE.rows("q1", Ranking(())) == [("q1", "")]
    assert RankingFormat(empty="nobody").rows("q1", Ranking(())) == [("q1", "nobody")]


@pytest.mark.parametrize(
    ("form", "answer", "match"),
    [
        (
            TOP3,
            Mask(np.zeros((1, 1), np.uint8)),
            r"query q1: the contest asks for names, the answer is Mask; use .*embed",
        ),
        (TOP3, Ranking(()), "query q1, value '': there must be a name"),
        (TOP3, Ranking(("a", "b", "a")), "value 'a': the name at place 3 is also at place 1"),
        (TOP3, Ranking(("a b", "c")), "value 'a b': a name must not be empty or hold ' '"),
        (TOP3, Ranking(("a", "")), "an extra ' ' at place 2"),
        (TOP3, Ranking(("",)), "there must be a name"),
        (TOP3, Ranking(("a,b",)), "value 'a,b': names are separated by ' ', not by commas"),
        (TOP3, Ranking(("a\nb",)), r"value 'a\\nb': a tab or another unprintable"),
        (RankingFormat(most=2, fixed=True), Ranking(("a",)), "1 names; exactly 2 must be answered"),
        (RankingFormat(empty="-"), Ranking(("-",)), "value '-': this name is what the contest writes for 'no name'"),
        (KNOWN, Ranking(("whale", "narwhal")), r"value 'narwhal': there is no such name .*did you mean 'whale'\?"),
        (SURE, Ranking(("a",)), "query q1: the contest asks for a confidence and the answer has none"),
        (SURE, Ranking(("a",), math.nan), "value 'nan': the confidence must be a finite number"),
        (SURE, Ranking(("a",), -math.inf), "value '-inf': the confidence must be a finite number"),
    ],
)
def test_an_answer_that_the_contest_would_refuse_is_not_written(
    form: RankingFormat, answer: Ranking | Mask, match: str, tmp_path: Path
) -> None:
    with pytest.raises(SubmissionError, match=match) as caught:
        write_submission(tmp_path / "s.csv", form, [("q1", answer)])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------- spoilt cells


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("whale", ""),
        ("whale shark orca", ""),
        ("", "value '': there must be a name"),
        (" ", "value ' ': there must be a name"),
        (
            " whale",
            "value ' whale': an extra ' ' at place 1; names are separated by exactly one, with none at the ends",
        ),
        ("whale ", "an extra ' ' at place 2"),
        ("whale  shark", "value 'whale  shark': an extra ' ' at place 2"),
        ("whale\tshark", r"value 'whale\tshark': a tab or another unprintable character"),
        ("whale\u00a0shark", r"value 'whale\xa0shark': a tab or another unprintable character"),
        ("whale shark orca seal", "value 'whale shark orca seal': 4 names; at most 3 may be answered"),
        ("whale shark whale", "value 'whale': the name at place 3 is also at place 1; each is answered once"),
    ],
)
def test_cells(cell: str, rule: str, bound: bool, tmp_path: Path) -> None:
    found = cell_said(KNOWN if bound else TOP3, cell, tmp_path)
    assert (rule in found) if rule else (found == "")


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("shark whale,orca", "value 'whale,orca': there is no such name among those that may be answered"),
        (
            "shark, whale",
            r"value 'shark,': there is no such name among those that may be answered; did you mean 'shark'?",
        ),
        ("shark.jpg", "did you mean 'shark'?"),
        ("sharc", "did you mean 'shark'?"),
        ("Q", "value 'Q': there is no such name among those that may be answered"),
        ("['whale']", "did you mean 'whale'?"),
    ],
)
def test_a_name_that_nothing_has_is_given_the_nearest(cell: str, rule: str, tmp_path: Path) -> None:
    assert rule in cell_said(KNOWN, cell, tmp_path)
    assert cell_said(TOP3, "shark whale,orca", tmp_path) == (
        "value 'whale,orca': names are separated by ' ', not by commas"
    )


def test_only_the_first_unknown_names_are_searched_for(tmp_path: Path) -> None:
    samples = [Sample(f"q{n}", (), (1, 1)) for n in range(9)]
    path = submission(tmp_path, *(f"q{n},wale" for n in range(9)))
    assert [("did you mean 'whale'" in line) for line in said(KNOWN, path, samples)] == [True] * 5 + [False] * 4


def test_names_are_bound_by_query(tmp_path: Path) -> None:
    form = TOP3.among({"q1": frozenset({"a", "b"}), "q2": frozenset({"c"})})
    assert said(form, submission(tmp_path, "q1,b a", "q2,c", "q3,a")) == [
        "row 4, column names, value 'a': there is no such name among those that may be answered; this query has none"
    ]
    assert "row 3, column names, value 'a'" in said(form, submission(tmp_path, "q1,b", "q2,c a", "q3,a"))[0]
    assert TOP3.candidates is None and form == TOP3.among({"q2": frozenset({"c"}), "q1": frozenset({"a", "b"})})
    assert hash(form) == hash(TOP3) and "candidates" not in repr(form)


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("8815 0.25", ""),
        ("8815 -1e-3", ""),
        ("8815 3", ""),
        ("8815 .5", ""),
        ("", ""),
        (" ", "value ' ': a query without a name is written as ''"),
        ("8815", "the cell must be one name and its confidence, separated by ' '"),
        ("8815 0.5 9 0.5", "value '8815 0.5 9 0.5': the cell must be one name and its confidence"),
        ("8815 nan", "value 'nan': the confidence must be a finite number, such as 0.25"),
        ("8815 inf", "value 'inf': the confidence"),
        ("8815 1e999", "value '1e999': the confidence"),
        ("8815 1_0", "value '1_0': the confidence"),
        ("8815 0x1", "value '0x1': the confidence"),
        ("8815 ٣", "value '٣': the confidence"),
        ("8815 sure", "value 'sure': the confidence"),
        ("7 0.5", "value '7': there is no such name"),
        ("0.5 8815", "value '0.5': there is no such name"),
    ],
)
def test_confident_cells(cell: str, rule: str, tmp_path: Path) -> None:
    found = cell_said(SURE.among(frozenset({"8815", "9"})), cell, tmp_path)
    assert (rule in found) if rule else (found == "")


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("a b", ""),
        ("-", ""),
        ("", "value '': a query without a name is written as '-'"),
        ("a", "value 'a': 1 names; exactly 2 must be answered"),
        ("a b c", "value 'a b c': 3 names; exactly 2 may be answered"),
        ("- a", "value '-': there is no such name"),
    ],
)
def test_a_fixed_number_of_names(cell: str, rule: str, tmp_path: Path) -> None:
    form = RankingFormat(("id", "names"), 2, fixed=True, empty="-").among(frozenset("abc"))
    found = cell_said(form, cell, tmp_path)
    assert (rule in found) if rule else (found == "")


def test_another_separator(tmp_path: Path) -> None:
    form = RankingFormat(("id", "names"), separator=";")
    assert cell_said(form, "Pont Neuf;Big Ben", tmp_path) == ""
    assert "white space at the end of a name" in cell_said(form, "Pont Neuf; Big Ben", tmp_path)
    assert "an extra ';' at place 2" in cell_said(form, "Pont Neuf;;Big Ben", tmp_path)
    commas = RankingFormat(("id", "names"), separator=",").among(frozenset({"a", "b"}))
    assert cell_said(commas, "a,b", tmp_path) == ""


# -------------------------------------------------------------------------------- ids


def test_ids_are_held_against_those_that_are_asked_for(tmp_path: Path) -> None:
    assert said(TOP3, submission(tmp_path, "q2,a", "q1,a", "q3,a")) == []
    assert said(TOP3, submission(tmp_path, "q1,a", "q1,b", "q4,a", "q2,b")) == [
        "row 3, column id, value 'q1': a second row for this id; the first is row 2",
        "row 4, column id, value 'q4': this id is not asked for",
        "column id, value 'q3': this id is asked for and has no row",
    ]


def test_the_order_is_that_of_the_sample_submission(tmp_path: Path) -> None:
    reference = tmp_path / "sample.csv"
    reference.write_text("id,names\nq3,a\nq1,a\nq2,a\n")
    path = submission(tmp_path, "q1,a", "q2,a", "q3,a")
    assert said(TOP3, path, SAMPLES, reference) == [
        "row 2, column id, value 'q1': ids must be in the order of the sample submission; here it has 'q3'"
    ]
    assert said(RankingFormat(("id", "names"), 3, ordered=False), path, SAMPLES, reference) == []
    assert said(TOP3, submission(tmp_path, "q3,b", "q1,b", "q2,b"), SAMPLES, reference) == []


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id,names\nq1,a\nq2,a\n", "'q3': this query is not asked for; download"),
        ("id,names\nq1,a\nq2,a\nq3,a\nq4,a\n", "'q4': there is no such query; download"),
        ("id,name\nq1,a\n", "row 1, .*the header must be 'id,names'"),
        (None, "cannot be read"),
    ],
)
def test_a_spoilt_sample_submission_is_no_fault_of_the_submission(text: str | None, match: str, tmp_path: Path) -> None:
    reference = tmp_path / "sample.csv"
    if text is not None:
        reference.write_text(text)
    with pytest.raises(DataError, match=match):
        TOP3.validate(submission(tmp_path, "q1,a"), SAMPLES, reference)


def test_a_file_that_is_no_table_has_one_problem(tmp_path: Path) -> None:
    path = submission(tmp_path, "q1,a", header="id,name")
    assert len(said(TOP3, path)) == 1
    path.write_bytes(b"")
    assert said(TOP3, path) == ["value '': the file is empty"]


# -------------------------------------------------------------------------------- the fast path and its slow twin

CELL = st.lists(st.sampled_from(["a", "b", "c", "d", "", " ", "\t", "x", "b c", ",", ";"]), max_size=5).map(" ".join)


@given(cell=CELL, most=st.integers(1, 3), fixed=st.booleans(), empty=st.sampled_from([None, "", "-", "a"]))
def test_a_cell_is_taken_at_once_only_where_every_rule_is_kept(
    cell: str, most: int, fixed: bool, empty: str | None
) -> None:
    form = RankingFormat(most=most, fixed=fixed, empty=empty).among(frozenset("abcd"))
    names = cell.split(" ")
    keeps = cell == empty or (
        (len(names) == most if fixed else 1 <= len(names) <= most)
        and all(name in ("a", "b", "c", "d") for name in names)
        and all(names.count(name) == 1 for name in names)
    )
    assert form._fits("q1", cell) == keeps
    assert (form._rule("q1", cell, 5)[1] == "") == keeps
