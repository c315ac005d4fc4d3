from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.errors import DataError, SubmissionError
from medalist.formats.probabilities import ProbabilityFormat
from medalist.formats.submission import check_submission, write_submission
from medalist.records import Answer, Labels, Mask, Ranking, Sample

SAMPLES = [Sample(name, (), (1, 1)) for name in ("q1", "q2", "q3")]
LEAVES = ("healthy", "rust", "scab")
FREE = ProbabilityFormat("image_id", classes=LEAVES)
ONE = replace(FREE, total=1.0)
DOG = ProbabilityFormat(classes=("cat", "dog"), positive="dog", class_columns=("label",))
QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def answer(*values: float) -> Labels:
    return Labels((), np.array(values))


def submission(tmp_path: Path, *rows: str, header: str = "image_id,healthy,rust,scab") -> Path:
    path = tmp_path / "s.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def said(
    form: ProbabilityFormat, path: Path, samples: Sequence[Sample] = SAMPLES, reference: Path | None = None
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


def parsed(form: ProbabilityFormat, path: Path, samples: Sequence[Sample] = SAMPLES) -> dict[str, Labels]:
    found = {}
    for name, one in form.parse(path, samples).items():
        assert isinstance(one, Labels) and one.probabilities is not None
        assert one.probabilities.dtype == np.float64 and one.probabilities.shape == (len(form.classes),)
        found[name] = one
    return found


def values_of(one: Labels) -> list[float]:
    assert one.probabilities is not None
    values: list[float] = one.probabilities.tolist()
    return values


# -------------------------------------------------------------------------------- round trips

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=6)
ID = st.one_of(TEXT, st.sampled_from(["a,b", 'say "x"', '"', ",", "", "NA", "1.0", " a "]))
PART = st.floats(0, 1)


@QUIET
@given(data=st.data())
def test_independent_probabilities_are_read_back_as_the_same_floats(data: st.DataObject, tmp_path: Path) -> None:
    classes = tuple(data.draw(st.lists(TEXT.filter(lambda name: name != "id"), min_size=1, max_size=5, unique=True)))
    form = ProbabilityFormat(classes=classes)
    row = st.lists(PART, min_size=len(classes), max_size=len(classes))
    given_ = {name: data.draw(row) for name in data.draw(st.lists(ID, min_size=1, max_size=4, unique=True))}
    samples = [Sample(name, (), (1, 1)) for name in given_]
    path = tmp_path / "s.csv"
    assert write_submission(path, form, [(name, answer(*own)) for name, own in given_.items()]) == len(given_)
    assert said(form, path, samples, reference=path) == []
    found = parsed(form, path, samples[::-1])
    assert list(found) == list(given_)[::-1]
    assert {name: values_of(one) for name, one in found.items()} == given_
    assert all(one.names == () for one in found.values())
    with path.open(newline="") as file:
        lines = list(csv.reader(file))[1:]
    assert {name: [float(cell) for cell in cells] for name, *cells in lines} == given_


@QUIET
@given(
    weights=st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=4),
    kind=st.sampled_from([np.float64, np.float32]),
)
def test_exclusive_probabilities_are_read_back_with_the_most_probable_class(
    weights: list[list[float]], kind: type[np.float64 | np.float32], tmp_path: Path
) -> None:
    given_: list[NDArray[np.float64]] = [(np.array(own) / math.fsum(own)).astype(kind) for own in weights]
    samples = [Sample(f"q{n}", (), (1, 1)) for n in range(len(given_))]
    path = tmp_path / "s.csv"
    write_submission(path, ONE, [(f"q{n}", Labels((), own)) for n, own in enumerate(given_)])
    assert said(ONE, path, samples) == []
    for own, one in zip(given_, parsed(ONE, path, samples).values(), strict=True):
        assert values_of(one) == own.tolist()
        first = min(place for place, value in enumerate(own.tolist()) if value == max(own.tolist()))
        assert one.names == (LEAVES[first],)


@pytest.mark.parametrize("positive", ["cat", "dog"])
@QUIET
@given(chances=st.lists(PART, min_size=1, max_size=4))
def test_one_column_of_two_classes_is_read_back(positive: str, chances: list[float], tmp_path: Path) -> None:
    form = replace(DOG, positive=positive)
    place = form.classes.index(positive)
    samples = [Sample(f"q{n}", (), (1, 1)) for n in range(len(chances))]
    path = tmp_path / "s.csv"
    pairs = [(1 - chance, chance) if place else (chance, 1 - chance) for chance in chances]
    write_submission(path, form, [(f"q{n}", answer(*pair)) for n, pair in enumerate(pairs)])
    assert path.read_text().startswith(f"id,label\nq0,{chances[0] + 0.0!r}\n")
    assert said(form, path, samples) == []
    found = list(parsed(form, path, samples).values())
    assert [values_of(one) for one in found] == [list(pair) for pair in pairs]
    assert [one.names for one in found] == [("dog",) if pair[1] > pair[0] else ("cat",) for pair in pairs]


@QUIET
@given(values=st.lists(PART, min_size=3, max_size=3), digits=st.integers(1, 8))
def test_digits_are_those_that_are_asked_for(values: list[float], digits: int, tmp_path: Path) -> None:
    form = replace(FREE, digits=digits)
    path = tmp_path / "s.csv"
    write_submission(path, form, [("q1", answer(*values))])
    assert all(len(cell.split(".")[1]) == digits for cell in path.read_text().splitlines()[1].split(",")[1:])
    (one,) = parsed(form, path, SAMPLES[:1]).values()
    assert values_of(one) == pytest.approx(values, abs=0.5000001 * 10.0**-digits)


def test_hand_worked_rows() -> None:
    assert FREE.columns == ("image_id", "healthy", "rust", "scab")
    assert FREE.rows("a", answer(0.25, 1, 1e-5)) == [("a", "0.25", "1.0", "1e-05")]
    assert FREE.rows("a", answer(-0.0, 0.1, 1.0)) == [("a", "0.0", "0.1", "1.0")]
    assert FREE.rows("a", answer(-1e-9, 0.5, 1 + 1e-7)) == [("a", "0.0", "0.5", "1.0")]
    assert replace(FREE, digits=2).rows("a", answer(0.125, 0.996, 0)) == [("a", "0.12", "1.00", "0.00")]
    assert ONE.rows("a", answer(0.5, 0.25, 0.25)) == [("a", "0.5", "0.25", "0.25")]
    assert replace(ONE, digits=3).rows("a", answer(1 / 3, 1 / 3, 1 / 3)) == [("a", "0.333", "0.333", "0.333")]
    assert DOG.columns == ("id", "label")
    assert DOG.rows("a", answer(0.25, 0.75)) == [("a", "0.75")]
    assert replace(DOG, positive="cat").rows("a", answer(0.25, 0.75)) == [("a", "0.25")]
    assert replace(DOG, class_columns=None).columns == ("id", "dog")
    assert replace(FREE, class_columns=("a", "b", "c")).columns == ("image_id", "a", "b", "c")
    float32 = Labels((), np.array([0.1, 0.2, 0.3], np.float32))
    assert FREE.rows("a", float32) == [("a", "0.10000000149011612", "0.20000000298023224", "0.30000001192092896")]


def test_of_equal_probabilities_the_first_class_counts(tmp_path: Path) -> None:
    found = parsed(ONE, submission(tmp_path, "q1,0,.5,0.5", "q2,1e0,0,0", "q3,0,+0.25,75e-2"))
    assert [one.names for one in found.values()] == [("rust",), ("healthy",), ("scab",)]
    (one,) = parsed(DOG, submission(tmp_path, "q1,0.5", header="id,label"), SAMPLES[:1]).values()
    assert one.names == ("cat",) and values_of(one) == [0.5, 0.5]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProbabilityFormat(classes=()),
        lambda: ProbabilityFormat(classes=("a", "a")),
        lambda: ProbabilityFormat(classes=("a", "id")),
        lambda: ProbabilityFormat(classes=("a", "b"), class_columns=("a",)),
        lambda: ProbabilityFormat(classes=("a", "b"), class_columns=("x", "x")),
        lambda: ProbabilityFormat(classes=("a", "b"), class_columns=("x", "id")),
        lambda: ProbabilityFormat(classes=("a",), total=1.0),
        lambda: ProbabilityFormat(classes=("a", "b"), total=math.nan),
        lambda: ProbabilityFormat(classes=("a", "b"), tolerance=math.nan),
        lambda: ProbabilityFormat(classes=("a", "b"), tolerance=-1),
        lambda: ProbabilityFormat(classes=("a", "b"), low=1.0),
        lambda: ProbabilityFormat(classes=("a", "b"), high=math.inf),
        lambda: ProbabilityFormat(classes=("a", "b"), digits=0),
        lambda: ProbabilityFormat(classes=("a", "b", "c"), positive="a"),
        lambda: ProbabilityFormat(classes=("a", "b"), positive="c"),
        lambda: ProbabilityFormat(classes=("a", "b"), positive="b", class_columns=("a", "b")),
        lambda: ProbabilityFormat(classes=("a", "b"), positive="b", total=1.0),
        lambda: ProbabilityFormat(classes=("a", "b"), positive="b", low=0.1),
    ],
)
def test_a_format_that_cannot_be_read_back_is_an_error_of_ours(make: Callable[[], ProbabilityFormat]) -> None:
    with pytest.raises(AssertionError):
        make()


# -------------------------------------------------------------------------------- answers that are refused


@pytest.mark.parametrize(
    ("form", "given_", "match"),
    [
        (
            FREE,
            Mask(np.zeros((1, 1), np.uint8)),
            r"image q1: the contest asks for labels, the answer is Mask; use .*clas",
        ),
        (FREE, Ranking(("rust",)), r"the answer is Ranking; use a config whose task\.kind is classify$"),
        (
            FREE,
            Labels(("rust",)),
            "image q1: the contest asks for probabilities and the answer has none; .*decide.kind",
        ),
        (FREE, answer(0.5, 0.5), "image q1: the contest has 3 classes, the answer's probabilities are 2$"),
        (DOG, answer(0.5), "the contest has 2 classes, the answer's probabilities are 1$"),
        (FREE, Labels((), np.zeros((1, 3))), "the answer's probabilities are 1x3"),
        (FREE, Labels((), np.array(0.5)), "the answer's probabilities are a single number"),
        (
            FREE,
            answer(0, math.nan, 0),
            "image q1, column rust, value 'nan': the probability must be a number from 0 to 1",
        ),
        (FREE, answer(0, 0, math.inf), "column scab, value 'inf': the probability must be a number from 0 to 1"),
        (FREE, answer(1.01, 0, 0), r"column healthy, value '1\.01': the probability must lie from 0 to 1"),
        (FREE, answer(-0.01, 0, 0), r"column healthy, value '-0\.01': the probability must lie from 0 to 1"),
        (
            ONE,
            answer(0.5, 0.25, 0.125),
            r"image q1, value '0\.5,0\.25,0\.125': the probabilities of a row must sum to 1 \(within 0\.001\); "
            r"here they sum to 0\.875$",
        ),
        (ONE, answer(0.5, 0.5, 0.0011), r"here they sum to 1\.0011"),
        (DOG, answer(0.5, 0.75), r"image q1, value '0\.5,0\.75': .* must sum to 1 .*; here they sum to 1\.25"),
        (DOG, answer(math.nan, 0.75), "column cat, value 'nan'"),
        (
            replace(ONE, digits=1),
            answer(1 / 3, 1 / 3, 1 / 3),
            r"value '0\.3,0\.3,0\.3': .*sum to 0\.9; the format writes too few digits, digits=1",
        ),
        (replace(FREE, low=0.001, digits=2), answer(0.001, 0.5, 0.5), r"value '0\.00': .*from 0\.001 to 1; .*digits=2"),
    ],
)
def test_an_answer_that_the_contest_would_refuse_is_not_written(
    form: ProbabilityFormat, given_: Answer, match: str, tmp_path: Path
) -> None:
    with pytest.raises(SubmissionError, match=match) as caught:
        write_submission(tmp_path / "s.csv", form, [("q1", given_)])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------- spoilt files


@pytest.mark.parametrize("form", [FREE, ONE, DOG])
@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("0", ""),
        ("1e-9", ""),
        ("", "value '': the probability must be a number from 0 to 1"),
        (" ", "value ' ': the probability must be a number"),
        (" 0.5", "value ' 0.5': the probability must be a number"),
        ("nan", "value 'nan': the probability must be a number"),
        ("NaN", "value 'NaN': the probability must be a number"),
        ("inf", "value 'inf': the probability must be a number"),
        ("-inf", "value '-inf': the probability must be a number"),
        ("1e999", "value '1e999': the probability must be a number"),
        ("0_1", "value '0_1': the probability must be a number"),
        ("0x1", "value '0x1': the probability must be a number"),
        ("٣", "value '٣': the probability must be a number"),
        ("50%", "value '50%': the probability must be a number"),
        ("rust", "value 'rust': the probability must be a number"),
        ("1.0001", "value '1.0001': the probability must lie from 0 to 1"),
        ("-0.0001", "value '-0.0001': the probability must lie from 0 to 1"),
        ("100", "value '100': the probability must lie from 0 to 1"),
    ],
)
def test_cells(form: ProbabilityFormat, cell: str, rule: str, tmp_path: Path) -> None:
    row = f"q1,{cell}" if form is DOG else f"q1,1,0,{cell}"
    found = said(form, submission(tmp_path, row, header=",".join(form.columns)), SAMPLES[:1])
    assert found == [] if not rule else len(found) == 1
    assert not rule or found[0].startswith(f"row 2, column {form.columns[-1]}, {rule}")


@pytest.mark.parametrize(
    ("form", "row", "rule"),
    [
        (ONE, "q1,0.333,0.333,0.333", ""),
        (ONE, "q1,0.334,0.333,0.334", ""),
        (
            ONE,
            "q1,0.333,0.333,0.332",
            "the probabilities of a row must sum to 1 (within 0.001); here they sum to 0.998",
        ),
        (ONE, "q1,0,0,0", "value '0,0,0': the probabilities of a row must sum to 1 (within 0.001); here they sum to 0"),
        (ONE, "q1,1,1,1", "here they sum to 3"),
        (FREE, "q1,1,1,1", ""),
        (FREE, "q1,0,0,0", ""),
        (replace(ONE, total=100.0, high=100.0), "q1,50,25,25", ""),
        (
            replace(ONE, total=100.0, high=100.0),
            "q1,0.5,0.25,0.25",
            "must sum to 100 (within 0.001); here they sum to 1",
        ),
        (replace(ONE, tolerance=0.0), "q1,0.1,0.2,0.7", ""),
        (replace(ONE, tolerance=0.0), "q1,0.1,0.2,0.7001", "must sum to 1 (within 0); here they sum to 1.0001"),
    ],
)
def test_sums(form: ProbabilityFormat, row: str, rule: str, tmp_path: Path) -> None:
    found = said(form, submission(tmp_path, row), SAMPLES[:1])
    assert found == [] if not rule else found[0].startswith("row 2, value '") and rule in found[0]


def test_one_problem_a_row_in_row_order(tmp_path: Path) -> None:
    path = submission(tmp_path, "q3,2,nan,0", "q1,0,0", "q1,0,1,0", "q1,1,0,0", "q7,0,0,0")
    assert said(FREE, path) == [
        "row 2, column healthy, value '2': the probability must lie from 0 to 1",
        "row 3, value 'q1,0,0': the row has 3 cells; each row has 4: image_id,healthy,rust,scab",
        "row 5, column image_id, value 'q1': a second row for this id; the first is row 4",
        said(FREE, path)[3],
        "column image_id, value 'q2': this id is asked for and has no row",
    ]
    assert said(FREE, path)[3].startswith("row 6, column image_id, value 'q7': this id is not asked for")


def test_columns_keep_their_order(tmp_path: Path) -> None:
    path = submission(tmp_path, "q1,0,0,0", header="image_id,rust,healthy,scab")
    assert said(FREE, path)[0].endswith(
        "the columns are in another order; the header must be 'image_id,healthy,rust,scab'"
    )
    path = submission(tmp_path, "0,q1,0,0,0", header=",image_id,healthy,rust,scab")
    assert "there is one more column in front (a pandas index?)" in said(FREE, path)[0]


def test_the_order_is_that_of_the_sample_submission(tmp_path: Path) -> None:
    reference = tmp_path / "sample.csv"
    reference.write_text("id,label\nq3,0.5\nq1,0.5\nq2,0.5\n")
    path = submission(tmp_path, "q1,1", "q2,1", "q3,1", header="id,label")
    assert len(said(DOG, path, SAMPLES, reference)) == 1
    assert said(replace(DOG, ordered=False), path, SAMPLES, reference) == []
    reference.write_text("id,label\nq3,0.5\nq1,0.5\n")
    with pytest.raises(DataError, match="'q2': this test image is not asked for"):
        DOG.validate(path, SAMPLES, reference)
