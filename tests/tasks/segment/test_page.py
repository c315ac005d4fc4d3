"""The page of a segmentation run."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from medalist.config.layers import _override_tree
from medalist.records import Answer, Mask
from medalist.report.classes import Classes
from medalist.report.page import RunReport, SamplePicture
from medalist.tasks.segment.class_section import ClassesReport
from medalist.tasks.segment.classes import class_pixels
from medalist.tasks.segment.objects import ObjectTotals, SizeRow
from medalist.tasks.segment.page import SegmentationReport, _mapping, render_segmentation, write_segmentation_report
from medalist.tasks.segment.thresholds import Sweep

HOSTILE = "<script>alert('x')</script>"
PICTURE = np.full((8, 32, 3), 90, dtype=np.uint8)
SIZES = tuple(SizeRow(4**n, 4 ** (n + 1) - 1, 10 * n, 5 * n, n, 1) for n in range(4))
SWEEP = Sweep(
    "threshold", 0.5, (0.3, 0.5, 0.7), (0.6, 0.5, 0.4), {0: (0.6, 0.5, 0.4), 1: (0.5, 0.4, 0.3)}, 0.58, 40, 462
)


class Reader(HTMLParser):
    """Collects tags and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.style = tag == "style"

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        if not self.style:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def sample(name: str, note: str = "") -> SamplePicture:
    details = [(f"a: a missed object of 12 px {note}", PICTURE), ("b: a false object of 9 px", PICTURE)]
    return SamplePicture(name, 0, 0.1, f"dark {HOSTILE}", PICTURE, note, details)


def report(**changes) -> SegmentationReport:
    run = RunReport(
        run=f"run {HOSTILE}",
        competition="toy",
        config="model: {}",
        provenance={"commit": "abc"},
        curves={"0": [{"epoch": 1, "loss": 0.5}]},
        scores={"oof": {"value": 0.5, "folds": {"0": 0.5}}, "by_sample": {"a": 0.5, "b": 0.7}},
        worst=[sample(HOSTILE, HOSTILE), sample("w")],
        best=[replace(sample("b"), details=())],
        strata={"a": f"dark {HOSTILE}"},
    )
    objects = ObjectTotals(SIZES, 181, 12, 281, 40, 631.0, 96.0)
    return replace(SegmentationReport(run, objects, True, 169, [SWEEP]), **changes)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which takes most of the time; for tests of what is said."""
    for name in ("medalist.report.page", "medalist.tasks.segment.page"):
        monkeypatch.setattr(f"{name}.svg", lambda figure: Markup("<svg></svg>"))


def test_the_page_needs_nothing_else_and_escapes_everything(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    write_segmentation_report(path, report())
    page = Reader(path.read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in {"src", "href", "xlink:href", "action", "srcset"}:
                assert value is not None and value.startswith(("data:image/", "#")), (tag, name, value)
    assert page.text.count(HOSTILE) >= 6  # title, heading, command, stratum, id, note, details


def test_the_page_answers_what_one_asks_at_night() -> None:
    page = Reader(render_segmentation(report()))
    for words in (
        "Of 60 true objects 30 are found (50 %)",
        "Half of the missed ones have at most 96 pixels; half of the found ones at most 631",
        "Of 6 answered objects 4 are false (67 %)",
        "images with an object 281; the answer is empty for 40 of them",
        "images without an object 181; the answer has an object for 12 of them",
        "16 – 63 20 10 50 %",
        "0.3 scores 0.100 more than 0.5, with which the run was scored; with each fold decided as is best on the other "
        "folds it is 0.080 more, which is the honest gain",
        "Tried on 40 of 462 images",
        "decide.threshold=0.3",
        "Left out: 169 images whose truth and answer are both empty.",
        "image · truth · answer · probability",
        "a: a missed object of 12 px",
    ):
        assert words in page.text, words
    assert "nan" not in page.text.split() and "None" not in page.text


def test_every_picture_is_enlarged_by_a_click_without_scripts() -> None:
    page = Reader(render_segmentation(report()))
    names = [tag for tag, _ in page.tags]
    assert names.count("img") == 2 * 3 + 1
    boxes = [attributes for tag, attributes in page.tags if tag == "input" and attributes.get("aria-label")]
    assert len(boxes) == 7 and all(box["type"] == "checkbox" for box in boxes)


@pytest.mark.parametrize(
    ("scores", "used", "honest", "words"),
    [
        ((0.6, 0.6, 0.6), 0.5, 0.6, "Nothing changes"),
        ((0.4, 0.6, 0.5), 0.5, 0.6, "0.5, as scored, is the best of these."),
        ((0.4, 0.5, 0.6), 0.5, None, "that it is scored on flatters"),
        ((0.4, 0.5, 0.6), 0.5, 0.45, "it is 0.050 less"),
    ],
)
def test_what_the_thresholds_say(scores, used, honest, words) -> None:
    sweep = Sweep("body", used, (0.3, 0.5, 0.7), scores, {}, honest, 5, 5)
    text = Reader(render_segmentation(report(sweeps=[sweep]))).text
    assert words in text and "Tried on" not in text


def test_without_maps_it_is_said_why_there_are_no_thresholds() -> None:
    text = Reader(render_segmentation(report(sweeps=[], unswept=f"They are gone {HOSTILE}."))).text
    assert f"They are gone {HOSTILE}." in text and "probability" not in text


def test_a_run_of_empty_masks_says_so() -> None:
    nothing = ObjectTotals((), 20, 0, 0, 0, None, None)
    bare = report(objects=nothing, empty=20, sweeps=[])
    text = Reader(render_segmentation(replace(bare, run=bare.run.with_pictures([], [])))).text
    assert "No scored image has a true object." in text and "are empty, so there is nothing to show" in text


def test_a_metric_without_scores_of_images_shows_no_pictures() -> None:
    whole = report()
    bare = replace(whole, run=replace(whole.run.with_pictures([], []), scores={"oof": {"value": 0.5}}))
    text = Reader(render_segmentation(bare)).text
    assert "Worst" not in text and "nothing to show" not in text and "Which objects are found" in text


# ---------------------------------------------------------------------------------------------------------- classes

CLASSES = ("road", "car", f"pole {HOSTILE}", "train")


def masks(*rows: list[int]) -> dict[str, Answer]:
    """Return one mask of one row for each list; 9 is void."""
    numbers = [np.array([row], np.uint8) for row in rows]
    made = [Mask(np.where(one == 9, 0, one).astype(np.uint8), one == 9) for one in numbers]
    return {f"s{at}": mask for at, mask in enumerate(made)}


def classes_report() -> ClassesReport:
    truths = masks([0, 0, 0, 0, 1, 1, 9, 9], [0, 0, 0, 0, 0, 0, 2, 2])
    answers = masks([0, 0, 0, 1, 1, 0, 2, 2], [0, 0, 0, 0, 0, 0, 0, 2])
    worst = SamplePicture(
        HOSTILE, 0, 0.25, None, PICTURE, f"1 px missed {HOSTILE}", [("a: the largest error", PICTURE)]
    )
    pixels = class_pixels(truths, answers, CLASSES)
    return ClassesReport(Classes(CLASSES), pixels, {1: [worst], 2: [worst, worst]})


def test_the_page_says_how_each_class_is_answered() -> None:
    page = Reader(render_segmentation(report(classes=classes_report(), void=True)))
    for words in (
        "Of 14 judged pixels in 2 images 78.6 % have the right class.",
        "The mean IoU of 3 classes is 0.528",  # of 9/12, 1/3 and 1/2
        "Left out: 2 void pixels (12.5 %).",
        "In no image, neither in the truth nor in the answer: train .",
        "0 road 0.750 10 11 1 2 2 2",
        "image · truth · answer · wrong pixels, in white",
        "IoU 0.250",
        f"1 px missed {HOSTILE}",
        "whose truth and answer are both empty or void",
    ):
        assert words in page.text, words
    assert not {"script", "link", "iframe", "a"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "src" or str(value).startswith("data:image/"), (tag, name, value)
    assert "found missed truth false answer" not in page.text  # the colours of masks of one class


def test_the_iou_of_a_class_is_told_once() -> None:
    whole = report(classes=classes_report())
    scores = {"oof": {"value": 0.5, "parts": {"iou road": 0.71828, "recall road": 0.61}}}
    text = Reader(render_segmentation(replace(whole, run=replace(whole.run, scores=scores)))).text
    assert "recall road 0.610" in text and "iou road" not in text


def test_a_class_has_one_swatch_everywhere() -> None:
    text = render_segmentation(report(classes=classes_report()))
    images = re.findall(r'class="square" alt="" src="data:image/png;base64,([^"]+)"', text)
    assert len(set(images)) == len(CLASSES) + 1  # and void
    assert min(images.count(one) for one in set(images)) >= 3  # three legends


def class_sweep(channel: str, scores: tuple[float, ...], honest: float | None) -> Sweep:
    setting = {"road": 0.5, HOSTILE: 0.4, channel: 0.5}
    return Sweep("threshold", 0.5, (0.3, 0.5, 0.7), scores, {}, honest, 5, 5, channel, setting)


def test_thresholds_of_classes_are_told_by_their_gain() -> None:
    several = [class_sweep(f"c{at}", (0.5 + at / 100, 0.5, 0.4), 0.5 + at / 200) for at in range(7)]
    page = Reader(render_segmentation(report(sweeps=[SWEEP, *several])))
    assert "c6 decide.threshold 0.5 0.3 0.060 0.030 c5" in page.text and "the charts of 3 more" in page.text
    assert "The honest gain decides each fold as is best on the other folds." in page.text
    assert f"medalist score 'toy/run {HOSTILE}'".replace("'x'", "'\"'\"'x'\"'\"'") in page.text
    assert "c6: 0.3}" in page.text and "decide.threshold={road: 0.5, " in page.text


def test_without_an_honest_gain_it_is_said_that_gains_flatter() -> None:
    text = Reader(render_segmentation(report(sweeps=[class_sweep(HOSTILE, (0.6, 0.5, 0.4), None)]))).text
    assert "they flatter" in text and f"{HOSTILE} decide.threshold 0.5 0.3 0.100 –" in text


def test_the_command_of_a_class_is_read_as_it_is_meant(tmp_path: Path) -> None:
    """The command line reads the mapping back, whatever the names of the classes are."""
    values = {"road": 0.5, "traffic light": 0.3, "a: {b}": 0.4, 'say "x"': 0.2, "yes": 0.1}
    assert _override_tree([f"decide.threshold={_mapping(values)}"]) == {"decide": {"threshold": values}}


def test_long_tables_are_folded() -> None:
    names = tuple(f"c{number}" for number in range(19))
    every = np.arange(19, dtype=np.uint8)[np.newaxis]
    pixels = class_pixels({"a": Mask(every)}, {"a": Mask(every[:, ::-1])}, names)
    text = Reader(render_segmentation(report(classes=ClassesReport(Classes(names), pixels), sweeps=[]))).text
    assert text.count("all 19 classes") == 2


def test_without_a_judged_pixel_it_is_said() -> None:
    nothing = masks([9, 9])
    pixels = class_pixels(nothing, masks([1, 2]), CLASSES)
    text = Reader(render_segmentation(report(classes=ClassesReport(Classes(CLASSES), pixels), void=True))).text
    assert "No pixel is judged. Left out: 2 void pixels (100.0 %)." in text
    assert "Confusion of classes" not in text and "nan" not in text.split()


def test_masks_of_one_class_have_no_such_sections() -> None:
    page = render_segmentation(report())
    assert "Confusion of classes" not in page and "found</span>" in page and 'class="void"' not in page
    assert 'class="void"' in render_segmentation(report(void=True))


@pytest.mark.parametrize("field", ["id", "stratum", "note"])
def test_hostile_words_beside_pictures_are_escaped(field: str) -> None:
    whole = classes_report()
    picture = replace(whole.pictures[1][0], **{field: HOSTILE})
    text = render_segmentation(report(classes=replace(whole, pictures={1: [picture]})))
    assert "<script" not in text and "&lt;script&gt;" in text
