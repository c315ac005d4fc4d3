from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from medalist.errors import DataError
from medalist.report.page import RunReport
from medalist.tasks.classify import page
from medalist.tasks.classify.page import (
    SIDE,
    ClassificationReport,
    ImageTile,
    chosen,
    first_answers,
    render_classification,
    tuning_table,
    verdict,
    write_classification_report,
)

HOSTILE = "<script>alert('x')</script>"
VOID = {"meta", "img", "br", "hr", "link", "input", "use", "path", "rect"}
NAMES = ("cat", "dog", f"cow {HOSTILE}")
TUNING = {
    "thresholds": {"cat": 0.4, "dog": 0.5, NAMES[2]: 0.6},
    "by_fold": {"0": {"cat": 0.41, "dog": 0.5, NAMES[2]: 0.6}, "1": {"cat": 0.45}},
    "honest": 0.71,
    "naive": 0.75,
    "untuned": 0.69,
}


class Reader(HTMLParser):
    """Collects tags, attributes and visible text; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return [name for name, _ in self.tags].count(tag)


def picture(height: int = 20, width: int = 30) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=2).astype(np.uint8)


def tile(name: str, truth: str = "cat", answer: str = "dog", size: tuple[int, int] = (20, 30)) -> ImageTile:
    return ImageTile(name, 1, truth, answer, f"p({answer}) 0.97", 0.125, picture(*size))


def drawn(mode: str, count: int = 60, classes: int = 3, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    if mode == "multi":
        truth = rng.random((count, classes)) < 0.4
        probabilities = 0.4 * truth + 0.6 * rng.random((count, classes))
        return {"truth": truth, "answer": probabilities > 0.45, "probabilities": probabilities}
    truth = np.eye(classes, dtype=bool)[rng.integers(classes, size=count)]
    probabilities = rng.random((count, classes)) + 0.5 * truth
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    answer = np.eye(classes, dtype=bool)[probabilities.argmax(axis=1)]
    return {"truth": truth, "answer": answer, "probabilities": probabilities}


def run(whole: bool = True, **scores: Any) -> RunReport:
    """A run; without learning curves and scores of images it has fewer figures, which take their time."""
    oof = {
        "value": 0.5831,
        "folds": {"0": 0.6, "1": 0.55},
        "parts": {"accuracy": 0.625, "recall cat": 0.377, "map@1": 0.5, "map@5": 0.7},
        "strata": {f"s{n}": {"score": 0.5, "samples": n} for n in range(40)},
    }
    by_sample = {str(place): place / 30 for place in range(30 * whole)}
    return RunReport(
        run=f"run {HOSTILE}",
        competition="toy",
        config="model: {dim: 4}  # </pre><script>",
        provenance={"commit": "abc"},
        curves={"0": [{"epoch": epoch, "loss": 1.0} for epoch in range(3 * whole)]},
        scores={"oof": oof, "by_sample": by_sample, **scores},
    )


def report(mode: Any = "single", **changes: Any) -> ClassificationReport:
    whole = ClassificationReport(
        run(False),
        NAMES,
        mode,
        **drawn(mode),
        worst=[tile(HOSTILE), tile("w1", "cat", "cat")],
        doubtful=[tile("d0", NAMES[2], "")],
        tuning=TUNING,
        facts=[("images", f"60 {HOSTILE}")],
    )
    return replace(whole, **changes)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which takes most of the time; for tests of what is said."""
    monkeypatch.setattr(page, "svg", lambda figure: Markup("<svg></svg>"))


# ------------------------------------------------------------------------------------------------------ the page


@pytest.mark.parametrize("mode", ["single", "multi", "ordinal"])
def test_the_page_needs_nothing_else_and_escapes_everything(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "report" / "index.html"
    write_classification_report(path, report(mode))
    read = Reader(path.read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in read.tags}
    for tag, attributes in read.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "action", "srcset"}:
                assert value is not None and value.startswith(("data:image/", "#")), (tag, name, value)
    assert read.count("img") == 3
    assert read.text.count(HOSTILE) >= 8  # title, heading, fact, classes, thresholds, confusions, tiles, config


def test_the_page_of_single_labels_shows_the_numbers() -> None:
    given_ = report(run=run())
    matrix = np.array([[np.sum(given_.truth[:, row] & given_.answer[:, at]) for at in range(3)] for row in range(3)])
    read = Reader(render_classification(given_))
    wrong = int(matrix.sum() - np.trace(matrix))
    for words in (
        "0.583",
        "of 30 images",
        "Not shown: 28 smaller.",
        "map@5 0.700",  # a row of a table, not a point of a curve over thresholds
        f"Of 60 images {60 - wrong} are answered correctly ({100 * (60 - wrong) / 60:.1f} %)",
        "expected calibration error",
        "the most probable class of each image",
        "Mean over 3 classes",
        "honest 0.710",
        "naive 0.750",
        "untuned 0.690",
        "It gains 0.020",
        "cat 0.400 0.410 0.450",
        "dog 0.500 0.500 –",
        f"cat {matrix[0].sum()} {matrix[:, 0].sum()} {matrix[0, 0] / matrix[:, 0].sum():.3f} 0.377",  # the score's own
        "Worst images",
        "The smallest margin",
        "answer no label",
        "p(dog) 0.97",
    ):
        assert words in read.text, words
    assert "recall cat" not in read.text and "by threshold" not in read.text and "Left out" not in read.text
    for count in matrix.ravel().tolist():
        assert f" {count} " in read.text
    assert read.count("svg") == 5  # curves, scores, confusions, calibration, ROC and precision-recall
    assert "None" not in read.text and "nan" not in read.text.split()


def test_the_page_of_several_labels_pairs_missed_with_false() -> None:
    read = Reader(render_classification(report("multi")))
    assert "A label that is missed and a label that is falsely answered" in read.text
    assert "over all decisions, one for each image and class" in read.text
    assert "The probability nearest to its threshold" in read.text
    assert read.count("svg") == 2 and "rightly" not in read.text
    perfect = drawn("multi")["truth"]
    assert (
        "No image has both"
        in Reader(render_classification(report("multi", truth=perfect, answer=perfect, probabilities=None))).text
    )


@pytest.mark.usefixtures("undrawn")
def test_the_page_of_grades_has_cuts_and_no_curves() -> None:
    cuts = {"thresholds": [0.5, 1.375], "by_fold": {"0": [0.5, 1.25]}, "honest": 0.6, "naive": 0.7, "untuned": 0.65}
    read = Reader(render_classification(report("ordinal", probabilities=None, tuning=cuts)))
    assert "% within one grade" in read.text
    assert "cut between test part fold 0 cat and dog 0.500 0.500 dog and cow" in read.text
    assert "It loses 0.050" in read.text and "with the cuts that" in read.text
    assert "not probabilities of the classes" in read.text and "The number nearest to a cut" in read.text
    assert "AUC" not in read.text and "calibration error" not in read.text
    truth, answer = np.eye(3, dtype=bool)[[0, 0, 0, 0]], np.eye(3, dtype=bool)[[0, 1, 1, 2]]
    read = Reader(render_classification(report("ordinal", truth=truth, answer=answer, probabilities=None)))
    assert "Of 4 images 1 are answered correctly (25.0 %), 75.0 % within one grade" in read.text


@pytest.mark.usefixtures("undrawn")
def test_of_many_classes_some_are_drawn_and_that_is_said() -> None:
    many = tuple(f"c{at}" for at in range(50))
    read = Reader(render_classification(report("single", classes=many, **drawn("single", 2000, 50), tuning={})))
    assert "Drawn are the 24 of 50 classes that take part in most confusions" in read.text
    assert "Drawn are the 10 of 50 classes with the lowest AUC" in read.text
    assert "Not shown: 10 others." in read.text and "Tuning" not in read.text


def test_little_is_enough() -> None:
    none = np.zeros((0, 0), bool)
    bare = ClassificationReport(RunReport("r", "c", "", {}, {}, {}), (), "single", none, none)
    read = Reader(render_classification(bare))
    assert not {"img", "svg"} & {tag for tag, _ in read.tags}
    assert "There are no scored images yet." in read.text and "Tuning" not in read.text
    empty = np.zeros((0, 3), bool)
    for mode in ("single", "multi", "ordinal"):
        scores = {"oof": None, "tuning": None}
        spare = report(mode, run=replace(bare.run, scores=scores), truth=empty, answer=empty, probabilities=None)
        assert (
            "no scored images" in Reader(render_classification(replace(spare, tuning={}, worst=(), doubtful=()))).text
        )
    parts = {"recall cat": 0.5}
    lone = report(run=run(oof={"parts": parts}), truth=empty, answer=empty, probabilities=np.zeros((0, 3)))
    assert "recall cat 0.500" in Reader(render_classification(lone)).text  # where there is no table of classes


@pytest.mark.parametrize("mode", ["single", "multi", "ordinal"])
@pytest.mark.usefixtures("undrawn")
def test_one_class_alone_has_no_curves(mode: str) -> None:
    truth = np.ones((4, 1), bool)
    alone = report(mode, classes=("cat",), truth=truth, answer=truth, probabilities=np.full((4, 1), 0.75), tuning={})
    read = Reader(render_classification(alone))
    assert "here every class is in all images or in none" in read.text and "is 0.250 :" in read.text
    some = replace(alone, truth=np.array([[1], [0], [1], [0]], bool))
    if mode == "multi":
        assert "Mean over 1 class: AUC 0.500" in Reader(render_classification(some)).text
    else:
        assert "Left out: 2 without" in Reader(render_classification(some)).text


@pytest.mark.usefixtures("undrawn")
def test_a_class_without_images_has_no_curve() -> None:
    absent = drawn("single")
    absent["truth"][:, 2] = False
    assert "Without curves: 1 that all images or none have." in Reader(render_classification(report(**absent))).text


@pytest.mark.usefixtures("undrawn")
def test_one_answer_of_each_image_counts() -> None:
    truth = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 1]], bool)
    answer = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]], bool)
    probabilities = np.array([[0.2, 0.3, 0.5], [0.1, 0.5, 0.4], [0.1, 0.1, 0.8], [0.9, 0.1, 0], [0.5, 0.3, 0.2]])
    told = report(truth=truth, answer=answer, probabilities=probabilities)
    found = first_answers(told)
    assert [one.argmax(axis=1).tolist() for one in found] == [[0, 1, 2], [1, 1, 2]]
    read = Reader(render_classification(told))
    assert "Of 3 images 2 are answered correctly" in read.text and "Left out: 2 without" in read.text
    assert "the most probable counts" in read.text
    bare = replace(told, probabilities=None)  # then nothing says which of several answers comes first
    assert [one.argmax(axis=1).tolist() for one in first_answers(bare)] == [[2], [2]]
    none = replace(bare, answer=np.ones((5, 3), bool))
    assert "there is no confusion matrix" in Reader(render_classification(none)).text


@pytest.mark.parametrize("wrong", [np.nan, -0.01, 1.01, np.inf])
def test_probabilities_that_cannot_be_are_refused(wrong: float) -> None:
    for mode in ("single", "multi", "ordinal"):
        told = report(mode)
        assert told.probabilities is not None
        probabilities = told.probabilities.copy()
        probabilities[7, 1] = wrong
        with pytest.raises(DataError, match=r"class 'dog' in row 7 is .*, expected 0 to 1; run medalist predict"):
            render_classification(replace(told, probabilities=probabilities))
    with pytest.raises(AssertionError):
        render_classification(report(answer=np.zeros((5, 3), bool)))


@pytest.mark.parametrize(
    "names", [("\ud800", "核", "_hidden"), ("a\x00b", "\u202eabc", '" onerror="x'), ("$\\frac{", "", "x" * 3000)]
)
def test_hostile_names_do_not_break_the_page(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "page.html"
    tuning = {"thresholds": dict.fromkeys(names, 0.5), "by_fold": {name: {name: 0.25} for name in names}}
    tiles = [replace(tile(name, name, name), fold=name, note=name) for name in names]
    facts = [(name, name) for name in names]
    write_classification_report(path, report(classes=names, worst=tiles, tuning=tuning, facts=facts))
    read = Reader(path.read_text(encoding="utf-8"))
    assert not any("onerror" in attributes for _, attributes in read.tags) and read.count("img") == 4


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (500, 400)])
def test_pictures_of_any_shape_fit(size: tuple[int, int]) -> None:
    none = np.zeros((0, 3))
    told = report(truth=none > 0, answer=none > 0, probabilities=none, worst=[tile("a", size=size)], doubtful=())
    read = Reader(render_classification(told))
    (image,) = [attributes for tag, attributes in read.tags if tag == "img"]
    sides = int(image["height"] or 0), int(image["width"] or 0)
    assert max(sides) == min(max(size), SIDE) and min(sides) >= 1


# ---------------------------------------------------------------------------------------------------------- tuning


@pytest.mark.usefixtures("undrawn")
def test_tuning_may_be_of_one_number_or_broken() -> None:
    one = tuning_table({"thresholds": 0.375, "by_fold": {"0": 0.25, "1": 0.5}, "honest": 0.5}, NAMES)
    assert one is not None and one.rows == (((), 0.375, (0.25, 0.5)),) and one.gain is None
    assert one.folds == ("fold 0", "fold 1") and one.what == "threshold"
    text = Reader(render_classification(report("multi", tuning={"thresholds": 0.375, "by_fold": {"0": 0.25}}))).text
    assert "all classes 0.375 0.250" in text and "against no tuning" not in text
    other = tuning_table({"thresholds": [0.5, 1.5, 2.5]}, NAMES)  # of a contest that had one grade more
    assert other is not None and [names for names, _, _ in other.rows] == [("cut 1",), ("cut 2",), ("cut 3",)]
    for nothing in ({}, {"thresholds": None}, {"thresholds": "x", "by_fold": [1], "honest": float("nan")}):
        assert tuning_table(nothing, NAMES) is None
    assert tuning_table({"thresholds": {"cat": None, "dog": 0.5}}, NAMES).rows == ((("dog",), 0.5, ()),)  # type: ignore[union-attr]


def test_of_many_thresholds_the_least_stable_are_shown() -> None:
    numbers = {f"c{at}": 0.5 for at in range(50)}
    tuning = {"thresholds": numbers, "by_fold": {"0": numbers, "1": {**numbers, "c33": 0.75, "c44": 0.25, "c5": 0.6}}}
    table = tuning_table(tuning, tuple(numbers))
    assert table is not None and table.left_out == 10 and len(table.rows) == 40
    assert [names[0] for names, _, _ in table.rows[:4]] == ["c33", "c44", "c5", "c0"]


# ---------------------------------------------------------------------------------------------------------- images


def test_confident_mistakes_come_first() -> None:
    scores = {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.5, "e": 1.0, "f": 1.0, "g": 1.0, "h": 0.0}
    doubt = {"a": 0.3, "b": 0.2, "c": 0.9, "d": 0.1, "e": 0.05, "f": 0.6, "g": float("nan")}
    assert chosen(scores, doubt, 3) == (["c", "b", "h"], ["e", "d", "a"])
    assert chosen(scores, doubt, 9) == (["c", "b", "h", "d"], ["e", "a", "f"])  # what is right is not among the worst
    assert chosen(scores, {}, 2)[1] == [] and chosen({}, doubt, 5) == ([], [])
    assert chosen({**scores, "n": float("nan")}, {**doubt, "n": 0.0}, 9) == chosen(scores, doubt, 9)
    assert len(chosen(dict.fromkeys("abcdef", 0.0), {}, 12)[0]) == 3


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.1, 0.2, np.nan])),
        max_size=30,
    ),
    st.integers(0, 12),
    st.randoms(use_true_random=False),
)
def test_images_are_chosen_once_whatever_their_order(
    rows: dict[str, tuple[float, float]], most: int, random: Any
) -> None:
    names = list(rows)
    scores, doubt = ({name: rows[name][at] for name in names} for at in (0, 1))
    worst, doubtful = chosen(scores, doubt, most)
    random.shuffle(names)
    assert chosen({name: scores[name] for name in names}, {name: doubt[name] for name in names}, most) == (
        worst,
        doubtful,
    )
    assert len({*worst, *doubtful}) == len(worst) + len(doubtful) and max(len(worst), len(doubtful)) <= most
    assert [scores[name] for name in worst] == sorted(scores.values())[: len(worst)]
    rest = sorted(doubt[name] for name in names if name not in worst and doubt[name] == doubt[name])
    assert [doubt[name] for name in doubtful] == rest[:most]


def test_equal_images_are_not_in_the_order_of_their_names() -> None:
    worst, doubtful = chosen(
        dict.fromkeys(map(str, range(100, 200)), 0.0), dict.fromkeys(map(str, range(100, 200)), 0.5), 12
    )
    assert worst != sorted(worst) and doubtful != sorted(doubtful)


def test_whether_an_image_is_right_is_said_where_words_can_tell() -> None:
    assert verdict(tile("a", "cat", "cat"), "single") == verdict(tile("a", "cat", "cat, dog"), "single") == "right"
    assert verdict(tile("a", "cat", "cats"), "single") == verdict(tile("a", "cat", "dog, cat"), "single") == "wrong"
    assert verdict(tile("a", "cat", "cat, dog"), "multi") == "wrong"
    assert verdict(tile("a", "cat, dog", "cat, dog"), "multi") == ""
