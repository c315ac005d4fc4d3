from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medalist.errors import DataError, MedalistError, SubmissionError
from medalist.formats.rle import RleFormat
from medalist.formats.submission import Problem, check_submission, read_rows, shortened, write_submission
from medalist.records import Answer, Instances, Mask, Sample

SIZE = (4, 5)  # 20 pixels
SAMPLES = [Sample(name, (), SIZE) for name in ("a", "b", "c")]
OBJECTS = RleFormat(columns=("id", "rle"))
MASKS = RleFormat(columns=("id", "rle"), row_per="image")
FORMATS = [
    RleFormat(("ImageId", "EncodedPixels"), order, base, empty, row_per)
    for order, base, empty, row_per in itertools.product(
        ("column", "row"), (0, 1), ("", "-", "-1"), ("object", "image")
    )
]


def pixels(labels: Iterable[Iterable[int]]) -> Instances:
    return Instances(np.array(labels, np.int32))


def submission(tmp_path: Path, *rows: str, header: str = "id,rle") -> Path:
    path = tmp_path / "s.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def said(form: RleFormat, path: Path, samples: Sequence[Sample] = SAMPLES, reference: Path | None = None) -> list[str]:
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
        assert len(str(caught.value).splitlines()) == 1
    else:
        check_submission(path, form, samples, reference)
    if reference is None and problems:
        with pytest.raises(SubmissionError):
            form.parse(path, samples)
    return [str(problem) for problem in problems]


# -------------------------------------------------------------------------------- round trips


def same(left: Answer, right: Answer) -> bool:
    if isinstance(left, Mask) and isinstance(right, Mask):
        return left.classes.dtype == right.classes.dtype and np.array_equal(left.classes, right.classes)
    assert isinstance(left, Instances) and isinstance(right, Instances)
    return left.labels.dtype == right.labels.dtype and np.array_equal(left.labels, right.labels)


def numbered(labels: np.ndarray) -> Instances:
    """Objects 1..n without gaps."""
    values = np.unique(labels[labels > 0])
    return Instances(np.searchsorted(values, labels, side="left").astype(np.int32) + (labels > 0))


SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)


@pytest.mark.parametrize("form", FORMATS, ids=str)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_back(form: RleFormat, data: st.DataObject, tmp_path: Path) -> None:
    answers: dict[str, Answer] = {}
    samples = []
    for name in data.draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        size = data.draw(SIZES)
        labels = data.draw(hnp.arrays(np.int32, size, elements=st.integers(0, 4)))
        answers[name] = numbered(labels) if form.row_per == "object" else Mask((labels > 1).astype(np.uint8))
        samples.append(Sample(name, (), size))
    path = tmp_path / "s.csv"
    count = write_submission(path, form, answers.items())
    with path.open(newline="", encoding="utf-8") as file:
        assert count == len(list(csv.reader(file))) - 1
    assert said(form, path, samples, reference=path) == []
    read = form.parse(path, samples[::-1])
    assert list(read) == [sample.id for sample in samples[::-1]]
    assert all(same(read[name], answers[name]) for name in answers)


def test_hand_worked_rows(tmp_path: Path) -> None:
    answer = pixels([[1, 0, 0, 2, 2], [1, 0, 0, 0, 2], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0]])
    assert OBJECTS.rows("a", answer) == [("a", "1 2 12 1"), ("a", "13 1 17 2")]
    by_row = RleFormat(order="row", base=0)
    assert by_row.rows("a", answer) == [("a", "0 1 5 1 17 1"), ("a", "3 2 9 1")]
    assert MASKS.rows("a", Mask((answer.labels * 3).astype(np.uint8))) == [("a", "1 2 12 2 17 2")]
    nothing = np.zeros(SIZE)
    assert RleFormat(empty="-").rows("a", Instances(nothing.astype(np.int32))) == [("a", "-")]
    assert MASKS.rows("a", Mask(nothing.astype(np.uint8))) == [("a", "")]


def test_objects_are_numbered_in_row_order(tmp_path: Path) -> None:
    path = submission(tmp_path, "b,", "a,5 1", "a,1 1", "c,2 1 7 1")
    read = OBJECTS.parse(path, SAMPLES)
    assert list(read) == ["a", "b", "c"]
    assert same(read["a"], pixels([[2, 1, 0, 0, 0]] + [[0] * 5] * 3))
    assert same(read["c"], pixels([[0] * 5, [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0] * 5]))


def test_an_answer_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(SubmissionError, match=r"image a: the contest asks for objects, the answer is Mask.*decide"):
        OBJECTS.rows("a", Mask(np.zeros(SIZE, np.uint8)))
    with pytest.raises(SubmissionError, match=r"image a: the contest asks for a mask, the answer is Instances"):
        MASKS.rows("a", Instances(np.zeros(SIZE, np.int32)))


# -------------------------------------------------------------------------------- writing


def test_the_file_has_unix_lines_and_no_mark(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.csv"
    labels = np.zeros(SIZE, np.int32)
    labels[0, 0] = 1
    count = write_submission(path, OBJECTS, [("ä,b", Instances(labels)), ("c", Instances(labels * 0))])
    assert count == 2
    assert path.read_bytes() == 'id,rle\n"ä,b",1 1\nc,\n'.encode()


def test_a_failed_writing_leaves_what_was_there(tmp_path: Path) -> None:
    path = submission(tmp_path, "old")

    def answers() -> Iterable[tuple[str, Answer]]:
        yield "a", Instances(np.zeros(SIZE, np.int32))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_submission(path, OBJECTS, answers())
    assert path.read_text() == "id,rle\nold\n"
    assert list(tmp_path.iterdir()) == [path]


# -------------------------------------------------------------------------------- good files


GOOD: dict[str, tuple[RleFormat, bytes]] = {
    "plain": (OBJECTS, b"id,rle\na,1 2\na,3 1\nb,\nc,1 20\n"),
    "no last line end": (OBJECTS, b"id,rle\na,1 2\nb,\nc,"),
    "one pixel": (OBJECTS, b"id,rle\na,1 1\nb,1 1\nc,20 1\n"),
    "windows lines": (OBJECTS, b"id,rle\r\na,1 2\r\nb,\r\nc,\r\n"),
    "whole cells quoted": (OBJECTS, b'"id","rle"\n"a","1 2"\n"b",""\nc,"1 1"\n'),
    "runs that touch": (OBJECTS, b"id,rle\na,1 2 3 4\nb,\nc,\n"),
    "more spaces": (OBJECTS, b"id,rle\na, 1 2  5 1 \nb,\nc,\n"),
    "rows an image": (MASKS, b"id,rle\na,1 2 4 17\nb,\nc,\n"),
    "dash": (RleFormat(("id", "rle"), empty="-"), b"id,rle\na,-\nb,1 2\nc,-\n"),
    "minus one": (RleFormat(("id", "rle"), empty="-1", row_per="image"), b"id,rle\na,-1\nb,1 2\nc,-1\n"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_files_pass(name: str, tmp_path: Path) -> None:
    form, content = GOOD[name]
    path = tmp_path / "s.csv"
    path.write_bytes(content)
    assert said(form, path, reference=path) == []
    assert len(form.parse(path, SAMPLES)) == 3


def test_a_code_longer_than_the_csv_modules_limit_passes(tmp_path: Path) -> None:
    size = (400, 400)
    mask = np.indices(size).sum(axis=0) % 2
    path = tmp_path / "s.csv"
    form = RleFormat(row_per="image")
    write_submission(path, form, [("a", Mask(mask.astype(np.uint8)))])
    assert path.stat().st_size > 2 * 131072
    read = form.parse(path, [Sample("a", (), size)])["a"]
    assert isinstance(read, Mask) and np.array_equal(read.classes, mask)
    path.write_text(path.read_text().replace(",", ',"').removesuffix("\n") + '"\n')  # header "EncodedPixels too
    path.write_text(path.read_text().replace('"EncodedPixels', "EncodedPixels"))
    assert said(form, path, [Sample("a", (), size)]) == []


# -------------------------------------------------------------------------------- refusals

O, M = OBJECTS, MASKS  # noqa: E741
DASH = RleFormat(("id", "rle"), empty="-")
TAIL = ["b,", "c,"]
NO_ROW = "this id is asked for and has no row"
NOT_ASKED = "this id is not asked for"
TOGETHER = "the rows of one id must stand together; this id was first in row 2"
SECOND = "a second row for this id; the first is row 2"
TWICE = "the same as row 2; a row is written once"
NOTHING = "an image without objects is written as an empty cell"
NOTHING_DASH = "an image without objects is written as '-'"
QUOTE = "a quote is only allowed around a whole cell, closed on the same line"
CODEC = "(the image is 5 wide and 4 high)"
# form, rows, and for each problem: row, column, value, and how the rule begins or ends
REFUSED: list[tuple[RleFormat, list[str], list[tuple[int | None, str | None, str, str]]]] = [
    # ids
    (O, ["a,", "b,"], [(None, "id", "c", NO_ROW)]),
    (O, ["a,", *TAIL, "quite,"], [(5, "id", "quite", NOT_ASKED)]),
    (O, ["a,", *TAIL, "b ,"], [(5, "id", "b ", f"{NOT_ASKED}; did you mean 'b'?")]),
    (O, ["a,", *TAIL, "c.png,"], [(5, "id", "c.png", f"{NOT_ASKED}; did you mean 'c'?")]),
    (
        O,
        ["a,", "c,", "b,"],
        [(3, "id", "c", "ids must be in the order of the sample submission; here it has 'b'")],
    ),
    (O, ["a,1 1", "b,", "a,3 1", "c,"], [(4, "id", "a", TOGETHER)]),
    # rows of one id
    (O, ["a,1 2", "a,1 2", *TAIL], [(3, "rle", "1 2", TWICE)]),
    (O, ["a,", "a,", *TAIL], [(3, "rle", "", TWICE)]),
    (
        O,
        ["a,", "a,1 2", *TAIL],
        [(2, "rle", "", "says that the image has nothing, but row 3 has an object of it")],
    ),
    (
        O,
        ["a,1 2", "a,", *TAIL],
        [(3, "rle", "", "says that the image has nothing, but row 2 has an object of it")],
    ),
    (M, ["a,1 2", "a,4 1", *TAIL], [(3, "id", "a", SECOND)]),
    (M, ["a,", "a,", *TAIL], [(3, "id", "a", SECOND)]),
    # objects that share pixels
    (O, ["a,1 3", "a,5 1", "a,2 2 5 2", *TAIL], [(4, "rle", "2 2 5 2", "shares pixel 2 with row 2; ")]),
    (
        O,
        ["a,1 3", "a,3 2", "a,4 1", *TAIL],
        [(3, "rle", "3 2", "shares pixel 3 with row 2; "), (4, "rle", "4 1", "shares pixel 4 with row 3; ")],
    ),
    # runs
    (O, ["a,1 2 3", *TAIL], [(2, "rle", "1 2 3", CODEC)]),
    (O, ["a,5 1", "a,0 1", *TAIL], [(3, "rle", "0 1", CODEC)]),
    (O, ["a,1 3", "a,9 1 3 1", "a,7 1", *TAIL], [(3, "rle", "9 1 3 1", CODEC)]),
    (M, ["a,20 2", *TAIL], [(2, "rle", "20 2", "run 20 2 ends at 21, past the last pixel 20 ")]),
    (M, ["a,3 0", *TAIL], [(2, "rle", "3 0", CODEC)]),
    (M, ["a,1 3 3 1", *TAIL], [(2, "rle", "1 3 3 1", CODEC)]),
    # the empty convention
    (O, ["a,nan", *TAIL], [(2, "rle", "nan", NOTHING)]),
    (M, ["a,NaN", *TAIL], [(2, "rle", "NaN", NOTHING)]),
    (O, ["a,-1", *TAIL], [(2, "rle", "-1", NOTHING)]),
    (M, ["a,  ", *TAIL], [(2, "rle", "  ", NOTHING)]),
    (O, ['a," "', *TAIL], [(2, "rle", " ", NOTHING)]),
    (O, ["a,0 0", *TAIL], [(2, "rle", "0 0", NOTHING)]),
    (DASH, ["a,", "b,-", "c,-"], [(2, "rle", "", NOTHING_DASH)]),
    (DASH, ["a,-1", "b,-", "c,-"], [(2, "rle", "-1", NOTHING_DASH)]),
    # the form of a row
    (
        O,
        ["a", *TAIL],
        [(2, None, "a", "the row has 1 cell; each row has 2: id,rle"), (None, "id", "a", NO_ROW)],
    ),
    (O, ["a,", *TAIL, "a,1 2,x"], [(5, None, "a,1 2,x", "the row has 3 cells; each row has 2: id,rle")]),
    (O, ["a,", "", *TAIL], [(3, None, "", "the row is blank; each row has 2: id,rle")]),
    (O, ["a,", *TAIL, 'a,1" 2'], [(5, None, 'a,1" 2', QUOTE)]),
    (O, ["a,", *TAIL, '"a,1 2'], [(5, None, '"a,1 2', QUOTE)]),
    (O, ["a,", *TAIL, '"a"b,1 2'], [(5, None, '"a"b,1 2', QUOTE)]),
]


@pytest.mark.parametrize(("form", "rows", "expected"), REFUSED)
def test_refusals(
    form: RleFormat, rows: list[str], expected: list[tuple[int | None, str | None, str, str]], tmp_path: Path
) -> None:
    reference = tmp_path / "sample_submission.csv"
    reference.write_text("id,rle\na,\nb,\nc,\n")
    path = submission(tmp_path, *rows)
    said(form, path, reference=reference)
    problems = form.validate(path, SAMPLES, reference)
    assert [(one.row, one.column, one.value) for one in problems] == [one[:3] for one in expected]
    for problem, (*_, rule) in zip(problems, expected, strict=True):
        assert problem.rule.startswith(rule) or problem.rule.endswith(rule)


def test_characters_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    for code in ("1 x", "1.0 2", "1;2", "\uff11 \uff12", "1\t2", "+1 2", "1e3 1", "9" * 30 + " 1"):
        told = said(OBJECTS, submission(tmp_path, f"a,{code}", *TAIL))
        assert len(told) == 1 and told[0].startswith("row 2, column rle, value '"), code


def test_every_problem_is_told_in_row_order(tmp_path: Path) -> None:
    path = submission(tmp_path, "c,1 0", "x,1 1", "b,1", "a,1 1,", "b,2 1")
    told = said(OBJECTS, path)
    assert [line.split(",")[0] for line in told] == ["row 2", "row 3", "row 4", "row 5", "column id"]
    with pytest.raises(SubmissionError, match=r"^.*s\.csv: row 2, .*\(and 4 more; 'medalist validate' lists them\)$"):
        check_submission(path, OBJECTS, SAMPLES, None)


def test_order_counts_only_against_a_reference_and_where_asked(tmp_path: Path) -> None:
    path = submission(tmp_path, "c,1 1", "a,", "b,", "c,3 1")
    reference = tmp_path / "r.csv"
    reference.write_text("id,rle\na,\nb,\nc,\n")
    assert said(OBJECTS, path) == []
    assert len(said(OBJECTS, path, reference=reference)) == 2
    assert said(RleFormat(("id", "rle"), ordered=False), path, reference=reference) == []


HEADERS = {
    "rle,id": "the columns are in another order; the header must be 'id,rle'",
    ",id,rle": "there is one more column in front (a pandas index?); the header must be 'id,rle'",
    "Id,rle": "the header must be 'id,rle'",
    "id,rle ": "the header must be 'id,rle'",
    "id;rle": "the header must be 'id,rle'",
    "id": "the header must be 'id,rle'",
    "a,1 2": "the header must be 'id,rle'",
    'id,"rle': "the header must be 'id,rle'",
}


@pytest.mark.parametrize("header", HEADERS)
def test_another_header_is_the_only_problem(header: str, tmp_path: Path) -> None:
    path = submission(tmp_path, "a,", "zzz,", header=header)
    assert said(OBJECTS, path) == [f"row 1, value '{header}': {HEADERS[header]}"]


BYTES: list[tuple[bytes, str]] = [
    (b"", "value '': the file is empty"),
    (b"\n\n", "value '': the file is empty"),
    (b"id,rle\n", "row 1, value 'id,rle': there are no rows after the header"),
    (b"\xef\xbb\xbfid,rle\na,\n", r"row 1, value '\xef\xbb\xbf': the file starts with a byte order mark"),
    ("id,rle\na,\n".encode("utf-16"), r"row 1, value '\xff\xfei': the file starts with a byte order mark"),
    (b"id,rle\na,\nb\xe4,\n", r"row 3, value 'id,rle\na,\nb\xe4,\n': the file is not UTF-8; save it"),
    (b"id,rle\na,1 2\nb,\0\0\0", r"row 3, value 'id,rle\na,1 2\nb,\x00\x00\x00': a NUL byte"),
    (b"id,rle\ra,\rb,\rc,\r", r"row 1, value 'id,rle\ra,\rb,\rc,': the header must be 'id,rle'"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), BYTES)
def test_files_that_are_no_proper_text(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(content)
    told = said(OBJECTS, path)
    assert len(told) == (4 if content == b"id,rle\n" else 1) or content == b"id,rle\n"
    assert told[0].startswith(expected)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        for ask in (OBJECTS.validate, OBJECTS.parse):
            with pytest.raises(SubmissionError, match=r"cannot be read \("):
                ask(path, SAMPLES)


def test_a_bad_sample_submission_is_a_fault_of_the_data(tmp_path: Path) -> None:
    path = submission(tmp_path, "a,", "b,", "c,")
    reference = tmp_path / "r.csv"
    for content, match in {
        "id,code\na,\n": r"r\.csv: row 1.*header",
        "id,rle\na,\nb\nc,\n": r"r\.csv: row 3.*1 cell",
        "id,rle\na,\nb,\n": r"r\.csv: 'c': this test image is not asked for",
        "id,rle\na,\nb,\nc,\nd,\n": r"r\.csv: 'd': there is no such test image",
        "": r"r\.csv: .*empty",
    }.items():
        reference.write_text(content)
        with pytest.raises(DataError, match=match):
            OBJECTS.validate(path, SAMPLES, reference)
    with pytest.raises(DataError, match=r"none\.csv"):
        OBJECTS.validate(path, SAMPLES, tmp_path / "none.csv")


def test_values_are_shown_short_and_on_one_line() -> None:
    assert shortened("1 2") == "1 2"
    assert shortened("a" * 64) == "a" * 64
    assert len(shortened("1 " * 100_000)) <= 80
    assert shortened("a\n\x1b[31m\ufeff") == r"a\n\x1b[31m\ufeff"
    assert str(Problem(3, None, "x", "no")) == "row 3, value 'x': no"


def test_unknown_ids_are_given_the_nearest_a_few_times(tmp_path: Path) -> None:
    samples = [Sample(f"image{number:03}", (), SIZE) for number in range(20)]
    path = submission(tmp_path, *(f"imagx{number:03}," for number in range(20)))
    told = [line for line in said(OBJECTS, path, samples) if line.startswith("row")]
    assert len(told) == 20
    assert sum("did you mean 'image0" in line for line in told) == 5


# -------------------------------------------------------------------------------- slow twin, hostile


def slow_verdict(form: RleFormat, codes: list[str], size: tuple[int, int]) -> bool:
    """Whether the rows of one image are right, pixel by pixel."""
    if form.row_per == "image" and len(codes) != 1:
        return False
    if codes == [form.empty]:
        return True
    taken: set[int] = set()
    for code in codes:
        words = code.split()
        if not words or len(words) % 2 or not all(word.isascii() and word.isdigit() for word in words):
            return False
        last = -1
        for start, length in zip(map(int, words[::2]), map(int, words[1::2]), strict=True):
            run = range(start - form.base, start - form.base + length)
            if not run or run[0] <= last or run[0] < 0 or run[-1] >= size[0] * size[1] or taken & set(run):
                return False
            taken |= set(run)
            last = run[-1]
    return True


CODES = st.lists(st.sampled_from(["0", "1", "2", "3", "5", "7", "-", "x", ""]), max_size=5).map(" ".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(form=st.sampled_from(FORMATS), codes=st.lists(CODES, min_size=1, max_size=3))
def test_verdicts_are_those_of_a_slow_reader(form: RleFormat, codes: list[str], tmp_path: Path) -> None:
    path = submission(tmp_path, *(f"a,{code}" for code in codes), header="ImageId,EncodedPixels")
    told = said(form, path, [Sample("a", (), (2, 4))])
    assert (told == []) == slow_verdict(form, codes, (2, 4))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    form=st.sampled_from(FORMATS),
    body=st.binary(max_size=60) | st.text('ab,1 "\n\r\t-', max_size=60).map(str.encode),
)
def test_no_bytes_crash_the_reader(form: RleFormat, body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(b"ImageId,EncodedPixels\n" + body)
    said(form, path, [Sample("a", (), (2, 4))])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    cells=st.lists(st.lists(NAMES, min_size=2, max_size=2), min_size=1, max_size=4),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_cells_are_read_as_the_csv_module_writes_them(cells: list[list[str]], quoting: int, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer: Callable[[Iterable[list[str]]], None] = csv.writer(file, quoting=quoting).writerows  # type: ignore[call-overload]
        writer([["id", "rle"], *cells])
    rows, problems = read_rows(path, ("id", "rle"))
    assert problems == []
    assert [list(row.cells) for row in rows] == cells
    assert [row.number for row in rows] == list(range(2, 2 + len(cells)))


def test_errors_are_the_users() -> None:
    assert issubclass(SubmissionError, MedalistError)
    for wrong in ({"empty": "1 1"}, {"columns": ("a", "a")}, {"base": -1}):
        with pytest.raises(AssertionError):
            RleFormat(**wrong)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- what only looks right or wrong

CASES = Path(__file__).parents[3] / "shared" / "cases"
MARKED = b"\xef\xbb\xbfid,rle_mask\r\nupright,\r\n"


def test_a_sample_submission_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """The contest made it, so "save it without one" is no remedy; in a submission it stays a problem."""
    form, samples = RleFormat(("id", "rle_mask"), row_per="image"), [Sample("upright", (), (60, 90))]
    reference, made = tmp_path / "sample_submission.csv", tmp_path / "made.csv"
    case = CASES / "sample_bom.csv"
    reference.write_bytes(case.read_bytes() if case.exists() else MARKED)
    assert reference.read_bytes() == MARKED
    check_submission(reference, form, samples, reference)
    write_submission(made, form, [("upright", Mask(np.zeros((60, 90), np.uint8)))])
    check_submission(made, form, samples, reference)
    made.write_bytes(MARKED)
    with pytest.raises(SubmissionError, match="byte order mark"):
        check_submission(made, form, samples, reference)


def test_ids_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    """macOS writes the names of files decomposed (NFD), and csv files have them composed (NFC)."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    form, samples = RleFormat(("id", "rle"), row_per="image"), [Sample(composed, (), (8, 8)), Sample("b", (), (8, 8))]
    path = tmp_path / "a.csv"
    path.write_text(f"id,rle\n{decomposed},\nb,\n", encoding="utf-8")
    told = str(form.validate(path, samples)[0])
    assert "accents are written as Unicode NFD and not NFC" in told and "did you mean" not in told
    with pytest.raises(DataError, match="is written with Unicode NFD there and with NFC in the contest's data"):
        form.validate(path, samples, path)


def test_a_long_line_with_a_quote_takes_memory_in_proportion(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,rle\n"' + "1 " * 500_000 + "\n")
    rows, problems = read_rows(path, ["id", "rle"])
    assert not rows and "a quote is only allowed around a whole cell" in problems[0].rule
    path.write_text('id,rle\na,"' + '""' * 500_000 + '"\n')
    ((row,), ()) = read_rows(path, ["id", "rle"])
    assert row.cells == ("a", '"' * 500_000)
