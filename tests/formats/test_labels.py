from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medalist.errors import DataError, SubmissionError
from medalist.formats.labels import LabelFormat, LabelsFormat, nearest
from medalist.formats.submission import check_submission, write_submission
from medalist.records import Answer, Instances, Labels, Mask, Ranking, Sample

SAMPLES = [Sample(name, (), (1, 1)) for name in ("q1", "q2", "q3")]
WEEDS = ("Black-grass", "Charlock", "Common wheat", "Scentless Mayweed")
ONE = LabelFormat(("file", "species"), classes=WEEDS)
GRADE = LabelFormat(("id_code", "diagnosis"), classes=("0", "1", "2", "3", "4"))
TAGS = ("haze", "primary", "clear", "road", "water")
MANY = LabelsFormat(("image", "labels"), classes=TAGS)
TOP2 = LabelsFormat(("image", "labels"), classes=TAGS, most=2, empty=None, ranked=True)
Form = LabelFormat | LabelsFormat
QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def submission(tmp_path: Path, form: Form, *rows: str, header: str = "") -> Path:
    path = tmp_path / "s.csv"
    path.write_text("\n".join([header or ",".join(form.columns), *rows, ""]))
    return path


def said(form: Form, path: Path, samples: Sequence[Sample] = SAMPLES, reference: Path | None = None) -> list[str]:
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


def cell_said(form: Form, cell: str, tmp_path: Path) -> str:
    """What is said of one cell, '' where it is taken."""
    path = tmp_path / "s.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([form.columns, ("q1", cell)])
    problems = said(form, path, SAMPLES[:1])
    assert len(problems) <= 1
    return problems[0].removeprefix(f"row 2, column {form.columns[1]}, ") if problems else ""


def names_in(form: Form, path: Path, samples: Sequence[Sample] = SAMPLES) -> list[tuple[str, tuple[str, ...]]]:
    """Ids and labels of a file in the order of the answers; none has probabilities."""
    found = []
    for name, answer in form.parse(path, samples).items():
        assert isinstance(answer, Labels) and answer.probabilities is None
        found.append((name, answer.names))
    return found


# -------------------------------------------------------------------------------- round trips

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=6)
ID = st.one_of(TEXT, st.sampled_from(["a,b", 'say "x"', '"', ",", "", "NA", "1.0", " a ", "a/b.jpg", "é"]))
SPACED = st.one_of(TEXT, st.sampled_from(["Common wheat", 'a "b", c', ",", "NaN", "-", "a  b"]))


@QUIET
@given(data=st.data())
def test_one_label_is_read_back(data: st.DataObject, tmp_path: Path) -> None:
    classes = tuple(data.draw(st.lists(SPACED, min_size=1, max_size=6, unique=True)))
    form = LabelFormat(classes=classes)
    label = {name: data.draw(st.sampled_from(classes)) for name in data.draw(st.lists(ID, min_size=1, unique=True))}
    path = tmp_path / "s.csv"
    samples = [Sample(name, (), (1, 1)) for name in label]
    assert write_submission(path, form, [(name, Labels((own,))) for name, own in label.items()]) == len(label)
    assert said(form, path, samples, reference=path) == []
    assert names_in(form, path, samples[::-1]) == [(name, (label[name],)) for name in reversed(label)]
    table = pd.read_csv(path, dtype=str, keep_default_na=False)  # the reader that most contests use
    assert list(table.itertuples(index=False, name=None)) == list(label.items())


@pytest.mark.parametrize("separator", [" ", ",", "; ", "|"])
@pytest.mark.parametrize("ranked", [False, True])
@QUIET
@given(data=st.data())
def test_several_labels_are_read_back(separator: str, ranked: bool, data: st.DataObject, tmp_path: Path) -> None:
    word = TEXT.filter(lambda name: separator not in name and name != "-")
    classes = tuple(data.draw(st.lists(word, min_size=1, max_size=6, unique=True)))
    empty = data.draw(st.sampled_from([None, "", "-"]))
    most = data.draw(st.sampled_from([None, 1, 3]))
    form = LabelsFormat(classes=classes, separator=separator, most=most, empty=empty, ranked=ranked)
    own = st.lists(
        st.sampled_from(classes),
        min_size=int(empty is None),
        max_size=len(classes) if ranked or most is None else min(most, len(classes)),
        unique=True,
    )
    answers = {name: tuple(data.draw(own)) for name in data.draw(st.lists(ID, min_size=1, max_size=5, unique=True))}
    path = tmp_path / "s.csv"
    samples = [Sample(name, (), (1, 1)) for name in answers]
    write_submission(path, form, [(name, Labels(names)) for name, names in answers.items()])
    assert said(form, path, samples, reference=path) == []
    expected = {
        name: names[:most] if ranked else tuple(one for one in classes if one in names)
        for name, names in answers.items()
    }
    assert names_in(form, path, samples) == list(expected.items())
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    cells = [separator.join(names) if names else empty for names in expected.values()]
    assert table["labels"].tolist() == cells


def test_hand_worked_rows() -> None:
    assert ONE.rows("a.png", Labels(("Common wheat",))) == [("a.png", "Common wheat")]
    assert GRADE.rows("a", Labels(("3",), np.array([0, 0, 0.4, 0.6, 0]))) == [("a", "3")]
    assert MANY.rows("a", Labels(("road", "haze", "clear"))) == [("a", "haze clear road")]
    assert MANY.rows("a", Labels()) == [("a", "")]
    assert replace(MANY, empty="-").rows("a", Labels()) == [("a", "-")]
    assert TOP2.rows("a", Labels(("road", "haze", "clear"))) == [("a", "road haze")]
    assert replace(MANY, separator=", ").rows("a", Labels(("road", "haze"))) == [("a", "haze, road")]


def test_labels_are_given_in_the_order_of_the_classes_unless_ranked(tmp_path: Path) -> None:
    path = submission(tmp_path, MANY, "q1,road haze", "q2,water primary", "q3,clear")
    assert names_in(MANY, path) == [("q1", ("haze", "road")), ("q2", ("primary", "water")), ("q3", ("clear",))]
    assert names_in(TOP2, path)[0] == ("q1", ("road", "haze"))


@pytest.mark.parametrize("form", [ONE, MANY, TOP2])
def test_a_format_is_a_value(form: Form) -> None:
    form.rows("a", Labels(form.classes[:1]))  # fills what the format keeps for itself
    twin = pickle.loads(pickle.dumps(form))
    assert twin == form == replace(form) and hash(twin) == hash(form)
    with pytest.raises(AttributeError):
        form.ordered = False  # type: ignore[misc]


@pytest.mark.parametrize(
    "make",
    [
        lambda: LabelFormat(classes=()),
        lambda: LabelFormat(classes=("a", "b", "a")),
        lambda: LabelFormat(classes=("a", "")),
        lambda: LabelFormat(classes=("a", " b")),
        lambda: LabelFormat(classes=("a", "b\n")),
        lambda: LabelFormat(("id", "id"), classes=("a",)),
        lambda: LabelsFormat(classes=("a", "a")),
        lambda: LabelsFormat(classes=("a b", "c")),
        lambda: LabelsFormat(classes=("a|", "b"), separator="||"),  # "a|||b" would be read as "a" and "|b"
        lambda: LabelsFormat(classes=("a",), separator=""),
        lambda: LabelsFormat(classes=("a",), separator="\t"),
        lambda: LabelsFormat(classes=("a",), most=0),
        lambda: LabelsFormat(classes=("a", "b"), empty="a"),
        lambda: LabelsFormat(classes=("a", "b"), empty="b a"),
        lambda: LabelsFormat(classes=("a", "b"), empty=" "),
    ],
)
def test_a_format_that_cannot_be_read_back_is_an_error_of_ours(make: Callable[[], Form]) -> None:
    with pytest.raises(AssertionError):
        make()


# -------------------------------------------------------------------------------- answers that are refused


@pytest.mark.parametrize(
    ("form", "answer", "match"),
    [
        (
            ONE,
            Mask(np.zeros((1, 1), np.uint8)),
            "image q1: the contest asks for labels, the answer is Mask; use .*clas",
        ),
        (
            MANY,
            Ranking(("haze",)),
            r"asks for labels, the answer is Ranking; use a config whose task\.kind is classify$",
        ),
        (MANY, Instances(np.zeros((1, 1), np.int32)), "the answer is Instances"),
        (ONE, Labels(), "image q1: the contest asks for exactly one label, the answer has none; .*decide.kind"),
        (ONE, Labels(("Charlock", "Black-grass")), r"the answer has 2 \(Charlock, Black-grass\)"),
        (ONE, Labels(("Charlok",)), "value 'Charlok': the contest has no such label; did you mean 'Charlock'?"),
        (ONE, Labels(("",)), "value '': there must be a label"),
        (ONE, Labels(("a\nb",)), r"value 'a\\nb': a tab or another unprintable"),
        (TOP2, Labels(), "image q1: the contest asks for at least one label and the answer has none"),
        (replace(MANY, most=2), Labels(TAGS[:3]), "value 'haze primary clear': 3 labels; at most 2 may be answered"),
        (MANY, Labels(("road", "haze", "road")), "value 'road': the label at place 3 is also at place 1"),
        (MANY, Labels(("haze road",)), "value 'haze road': the contest has no such label"),
        (MANY, Labels(("haze", "")), "value '': the contest has no such label"),
        (MANY, Labels(("haze,road",)), "value 'haze,road': labels are separated by ' ', not by ','"),
        (MANY, Labels(("hase",)), "value 'hase': the contest has no such label; did you mean 'haze'?"),
    ],
)
def test_an_answer_that_the_contest_would_refuse_is_not_written(
    form: Form, answer: Answer, match: str, tmp_path: Path
) -> None:
    with pytest.raises(SubmissionError, match=match) as caught:
        write_submission(tmp_path / "s.csv", form, [("q1", answer)])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_id_of_many_lines_is_named_on_one() -> None:
    with pytest.raises(SubmissionError, match=r"image a\\nb: ") as caught:
        ONE.rows("a\nb", Labels())
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------- spoilt cells


@pytest.mark.parametrize(
    ("form", "cell", "rule"),
    [
        (ONE, "Common wheat", ""),
        (ONE, "", "value '': there must be a label"),
        (ONE, " ", "value ' ': there must be a label"),
        (ONE, " Charlock", "value ' Charlock': the contest has no such label; did you mean 'Charlock'?"),
        (ONE, "Charlock,", "did you mean 'Charlock'?"),
        (ONE, "charlock", "did you mean 'Charlock'?"),
        (ONE, "['Charlock']", "did you mean 'Charlock'?"),
        (ONE, "Comon weat", "did you mean 'Common wheat'?"),
        (ONE, "Q", "value 'Q': the contest has no such label"),
        (ONE, "Charlock\t", r"value 'Charlock\t': a tab or another unprintable character"),
        (ONE, "Common\u00a0wheat", r"value 'Common\xa0wheat': a tab or another unprintable character"),
        (ONE, "Charlock Black-grass", "value 'Charlock Black-grass': 2 labels; the contest asks for exactly one"),
        (ONE, "Charlock, Common wheat,Black-grass", "3 labels; the contest asks for exactly one"),
        (ONE, "Charlock Charlock", "2 labels; the contest asks for exactly one"),
        (GRADE, "4", ""),
        (GRADE, "5", "value '5': the contest has no such label"),
        (GRADE, "-1", "value '-1': the contest has no such label"),
        (GRADE, "2.0", "value '2.0': the contest has no such label; did you mean '2'?"),
        (GRADE, "٣", "value '٣': the contest has no such label"),
        (GRADE, "nan", "value 'nan': the contest has no such label"),
        (GRADE, "0 4", "2 labels; the contest asks for exactly one"),
    ],
)
def test_cells_of_one_label(form: Form, cell: str, rule: str, tmp_path: Path) -> None:
    found = cell_said(form, cell, tmp_path)
    assert (rule in found) if rule else (found == "")


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("haze", ""),
        ("water haze road", ""),
        ("", ""),
        (" ", "value ' ': an image without labels is written as ''"),
        (" haze", "value ' haze': an extra ' ' at place 1; labels are separated by exactly one, with none at the ends"),
        ("haze ", "value 'haze ': an extra ' ' at place 2"),
        ("haze  road", "value 'haze  road': an extra ' ' at place 2"),
        ("haze\troad", r"value 'haze\troad': a tab or another unprintable character; labels are separated by ' '"),
        ("haze road clear water", "value 'haze road clear water': 4 labels; at most 3 may be answered"),
        ("haze road haze", "value 'haze': the label at place 3 is also at place 1; each is written once"),
        ("haze,road", "value 'haze,road': labels are separated by ' ', not by ','"),
        ("haze, road", "value 'haze,': labels are separated by ' ', not by ','"),
        ("clear haze|road", "value 'haze|road': labels are separated by ' ', not by '|'"),
        ("haze roud", "value 'roud': the contest has no such label; did you mean 'road'?"),
        ("HAZE", "value 'HAZE': the contest has no such label; did you mean 'haze'?"),
        ("haze 7", "value '7': the contest has no such label"),
        ("nan", "value 'nan': the contest has no such label"),
    ],
)
def test_cells_of_several_labels(cell: str, rule: str, ranked: bool, tmp_path: Path) -> None:
    found = cell_said(replace(MANY, most=3, ranked=ranked), cell, tmp_path)
    assert (rule in found) if rule else (found == "")


@pytest.mark.parametrize(
    ("form", "cell", "rule"),
    [
        (TOP2, "", "value '': there must be a label"),
        (TOP2, " ", "value ' ': there must be a label"),
        (replace(MANY, empty="-"), "-", ""),
        (replace(MANY, empty="-"), "", "value '': an image without labels is written as '-'"),
        (replace(MANY, empty="-"), "haze -", "value '-': the contest has no such label"),
        (replace(MANY, separator=";"), "haze;road", ""),
        (
            replace(MANY, separator=";"),
            "haze; road",
            "value ' road': the contest has no such label; did you mean 'road'?",
        ),
        (replace(MANY, separator=";"), "haze,road", "labels are separated by ';', not by ','"),
        (replace(MANY, separator=";"), "haze;;road", "an extra ';' at place 2"),
        (replace(MANY, separator=","), "haze,road", ""),
        (replace(MANY, separator=","), "haze;road", "labels are separated by ',', not by ';'"),
    ],
)
def test_other_separators_and_empty_cells(form: Form, cell: str, rule: str, tmp_path: Path) -> None:
    found = cell_said(form, cell, tmp_path)
    assert (rule in found) if rule else (found == "")


CELL = st.lists(st.sampled_from(["a", "b", "c", "", " ", "\t", "x", "b,c", ","]), max_size=5).map(" ".join)


@given(cell=CELL, most=st.sampled_from([None, 1, 2]), empty=st.sampled_from([None, "", "-"]))
def test_a_cell_is_taken_only_where_every_rule_is_kept(cell: str, most: int | None, empty: str | None) -> None:
    names = cell.split(" ")
    keeps = cell == empty or (
        len(names) <= (most or 9) and all(name in ("a", "b", "c") and names.count(name) == 1 for name in names)
    )
    form = LabelsFormat(classes=("a", "b", "c"), most=most, empty=empty)
    assert (form._fault([cell], True) is None) == keeps


def test_only_the_first_unknown_labels_are_searched_for(tmp_path: Path) -> None:
    samples = [Sample(f"q{n}", (), (1, 1)) for n in range(9)]
    path = submission(tmp_path, ONE, *(f"q{n},Charlick" for n in range(9)))
    assert [("did you mean 'Charlock'" in line) for line in said(ONE, path, samples)] == [True] * 5 + [False] * 4


def test_no_nearest_name_is_searched_for_among_very_many() -> None:
    many = {f"species{number}": number for number in range(20_001)}
    assert nearest("species7,", many) == "species7"
    assert nearest("speciess7", many) is None
    assert nearest("speciess7", {"species7": 0}) == "species7"


# -------------------------------------------------------------------------------- files


@pytest.mark.parametrize("form", [ONE, MANY])
def test_ids_are_held_against_those_that_are_asked_for(form: Form, tmp_path: Path) -> None:
    id_column, own = form.columns[0], form.classes[0]
    rows = [f"{name},{own}" for name in ("q2", "q1", "q3")]
    assert said(form, submission(tmp_path, form, *rows)) == []
    rows = [f"{name},{own}" for name in ("q1", "q1", "q4", "q2")]
    assert said(form, submission(tmp_path, form, *rows)) == [
        f"row 3, column {id_column}, value 'q1': a second row for this id; the first is row 2",
        f"row 4, column {id_column}, value 'q4': this id is not asked for",
        f"column {id_column}, value 'q3': this id is asked for and has no row",
    ]


def test_the_order_is_that_of_the_sample_submission(tmp_path: Path) -> None:
    reference = tmp_path / "sample.csv"
    reference.write_text("id_code,diagnosis\nq3,0\nq1,0\nq2,0\n")
    path = submission(tmp_path, GRADE, "q1,4", "q2,0", "q3,1")
    assert said(GRADE, path, SAMPLES, reference) == [
        "row 2, column id_code, value 'q1': ids must be in the order of the sample submission; here it has 'q3'"
    ]
    assert said(replace(GRADE, ordered=False), path, SAMPLES, reference) == []
    assert said(GRADE, submission(tmp_path, GRADE, "q3,1", "q1,1", "q2,1"), SAMPLES, reference) == []


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id_code,diagnosis\nq1,0\nq2,0\n", "'q3': this test image is not asked for; download"),
        ("id_code,diagnosis\nq1,0\nq2,0\nq3,0\nq4,0\n", "'q4': there is no such test image; download"),
        ("id,diagnosis\nq1,0\n", "row 1, .*the header must be 'id_code,diagnosis'"),
        (None, "cannot be read"),
    ],
)
def test_a_spoilt_sample_submission_is_no_fault_of_the_submission(text: str | None, match: str, tmp_path: Path) -> None:
    reference = tmp_path / "sample.csv"
    if text is not None:
        reference.write_text(text)
    with pytest.raises(DataError, match=match):
        GRADE.validate(submission(tmp_path, GRADE, "q1,0"), SAMPLES, reference)


@pytest.mark.parametrize("form", [ONE, MANY])
def test_lines_and_files_that_are_no_table(form: Form, tmp_path: Path) -> None:
    own = form.classes[0]
    path = submission(tmp_path, form, f"q1,{own},x", "q2", "", f"q3,{own}")
    width = f"each row has 2: {','.join(form.columns)}"
    lines = said(form, path)
    assert lines[:3] == [
        f"row 2, value 'q1,{own},x': the row has 3 cells; {width}",
        f"row 3, value 'q2': the row has 1 cell; {width}",
        f"row 4, value '': the row is blank; {width}",
    ]
    assert len(said(form, submission(tmp_path, form, f"q1,{own}", header="id,x"))) == 1
    path.write_bytes(b"")
    assert said(form, path) == ["value '': the file is empty"]
    path.unlink()
    with pytest.raises(SubmissionError, match="cannot be read"):
        form.validate(path, SAMPLES)


def test_the_first_problem_of_each_row_is_told_in_row_order(tmp_path: Path) -> None:
    path = submission(tmp_path, MANY, "q3,haze  roud", "q1,haze", "q2,road,haze", "q9,x")
    assert [line.split(", ")[0].split(":")[0] for line in said(MANY, path)] == [
        "row 2",
        "row 4",
        "row 5",
        "column image",
    ]
