from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from medalist.report.charts import curves_figure, drawable, fold_name, stratum_colours
from medalist.report.page import (
    RunReport,
    SamplePicture,
    bars,
    extremes,
    flattened,
    last_rows,
    number_text,
    render,
    score_text,
    split_parts,
    write_report,
)

HOSTILE = "<script>alert('x')</script>"
VOID = {"meta", "img", "br", "hr", "link", "input", "use", "path", "rect"}


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

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def picture(name: str, score: float) -> SamplePicture:
    return SamplePicture(name, 0, score, "dark<b>", np.full((8, 24, 3), 90, dtype=np.uint8))


def report(**changes) -> RunReport:
    nan = float("nan")
    whole = RunReport(
        run=f"run {HOSTILE}",
        competition="toy",
        config="model:\n  kind: unet  # </pre><script>",
        provenance={"commit": "abc", "packages": {"torch": "2.14.1", HOSTILE: None}},
        curves={
            "0": [{"epoch": e, "step": 10 * e, "lr": 1e-3, "loss": 1 / (e + 1), "bce": nan} for e in range(4)],
            HOSTILE: [{"epoch": 0, "loss": nan, "$x^{": 2.0}, {"epoch": 1, "loss": 0.5, "lr": None}],
        },
        scores={
            "oof": {
                "value": 0.5831,
                "mean": 0.58,
                "standard_error": 0.0112,
                "folds": {"0": 0.6, "1": 0.55},
                "strata": {HOSTILE: {"score": 0.4, "samples": 12}},
                "parts": {"precision@0.50": 0.8, "precision@0.75": 0.5, "recall": 0.7},
            },
            "by_sample": {str(place): place / 30 for place in range(30)},
        },
        worst=[picture(HOSTILE if place == 0 else f"w{place}", place / 100) for place in range(12)],
        best=[picture(f"b{place}", 1 - place / 100) for place in range(12)],
    )
    return replace(whole, **changes)


def test_the_page_needs_nothing_else_and_escapes_everything(tmp_path: Path):
    path = tmp_path / "report" / "index.html"
    write_report(path, report())
    page = Reader(path.read_text(encoding="utf-8"))
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "b<"} & set(names)
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in {"src", "href", "xlink:href", "action", "srcset"}:
                assert value is not None and value.startswith(("data:image/", "#")), (tag, name, value)
    assert len([1 for tag, _ in page.tags if tag == "img"]) == 24
    assert page.text.count(HOSTILE) >= 4  # title, heading, stratum, fold, id: as text
    assert "<script>" in page.text


def test_the_page_shows_the_numbers(tmp_path: Path):
    page = Reader(render(report()))
    for words in (
        "0.583",
        "± 0.011",
        "30 images",
        "over 2 folds",
        "fold 1",
        "0.550",
        "recall",
        "packages.torch",
    ):
        assert words in page.text, words
    assert [tag for tag, _ in page.tags].count("svg") == 3
    assert "nan" not in page.text.lower().split() and "None" not in page.text
    assert "inf" not in page.text.split()


def test_little_is_enough():
    bare = RunReport("r", "c", "", {}, {}, {})
    page = Reader(render(bare))
    assert [tag for tag, _ in page.tags].count("img") == 0
    assert "–" in page.text
    half = report(scores={"oof": {"value": 0.5, "standard_error": None, "mean": float("nan")}}, worst=[], best=[])
    assert "±" not in Reader(render(half)).text
    one = {"oof": {"value": -0.4, "folds": {"0": -0.4}}, "by_sample": {"a": -0.4}}
    assert "-0.400" in Reader(render(report(scores=one))).text


@pytest.mark.parametrize("name", ["\ud800", "核", "_hidden", "a\x00b", "\u202eabc", '" onerror="x', "$\\frac{"])
def test_hostile_ids_do_not_break_the_page(tmp_path: Path, name: str):
    path = tmp_path / "page.html"
    scores = {"oof": {"value": 0.5, "folds": {name: 0.5}, "parts": {f"{name}@0.5": 0.1, name: 0.2}}}
    write_report(path, report(worst=[picture(name, 0.1)], curves={name: [{"loss": 1.0}], "1": []}, scores=scores))
    page = Reader(path.read_text(encoding="utf-8"))
    assert not any("onerror" in attributes for _, attributes in page.tags)


def test_the_headline_says_how_far_it_can_be_trusted():
    oof = {
        "value": 0.5,
        "mean": 0.5,
        "standard_error": None,
        "standard_error_samples": 0.02,
        "folds": {"0": 0.5},
    }
    page = Reader(render(report(scores={"oof": oof | {"folds_of": 5}, "optimistic": True})))
    assert "± 0.020" in page.text and "standard error over the images. 1 of 5 folds. Optimistic:" in page.text
    assert "Mean of the folds" not in page.text
    page = Reader(render(report(scores={"oof": oof | {"folds_of": 1}, "optimistic": False})))
    assert "Optimistic" not in page.text and "of 1 folds" not in page.text


def test_folds_are_named_alike():
    assert [fold_name(fold) for fold in (0, "0", "fold 0")] == ["fold 0"] * 3


def test_the_page_is_the_same_twice():
    assert render(report()) == render(report())


def test_a_failed_page_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "page.html"
    path.write_text("old")
    broken = SamplePicture("a", 0, 0.1, None, np.zeros((2, 2, 7), dtype=np.uint8))
    with pytest.raises((TypeError, ValueError)):
        write_report(path, report(worst=[broken]))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_curves_take_rows_of_any_shape():
    panels = {"loss": "training loss", "val_loss": "validation loss", "lr": "learning rate"}
    for keys in ({"loss"}, {"loss", "lr"}, {"loss", "val_loss", "lr"}, set()):
        rows = [dict.fromkeys(keys, 0.5) | {"step": place} for place in range(3)]
        titles = [ax.get_title(loc="left") for ax in curves_figure({"0": rows, "1": []}).axes]
        assert titles == [panels[name] for name in panels if name in keys or (not keys and name == "loss")]


def test_curves_run_over_what_tells_rows_apart():
    def along(rows):
        ax = curves_figure({"0": rows}).axes[0]
        return ax.get_xlabel(), list(ax.lines[0].get_xdata())

    assert along([{"epoch": 1, "step": 5, "loss": 1}, {"epoch": 2, "step": 9, "loss": 1}]) == (
        "epoch",
        [1, 2],
    )
    assert along([{"epoch": 1, "step": 5, "loss": 1}, {"epoch": 1, "step": 9, "loss": 1}]) == ("step", [5, 9])
    assert along([{"loss": 1}, {"loss": 1}]) == ("row", [0, 1])


def test_bars_share_one_scale():
    assert [bar.share for bar in bars({"a": 0.5, "b": 1.0, "c": None})] == [50.0, 100.0, 0.0]
    assert [bar.share for bar in bars({"a": -4.0, "b": -2.0})] == [0.0, 50.0]
    assert [bar.share for bar in bars({"a": 5.0, "b": 10.0})] == [50.0, 100.0]
    assert [bar.value for bar in bars({"a": float("inf")})] == [None]
    assert bars({}) == []


def test_parts_with_thresholds_are_split_off():
    parts = {
        "precision@0.75": 0.2,
        "tp@0.50": 17.0,
        "precision@0.50": 0.9,
        "dice": 0.4,
        "precision@0.95": float("nan"),
        "a@b": 1.0,
    }
    assert split_parts(parts) == ({"precision": [(0.5, 0.9), (0.75, 0.2)]}, {"tp@0.50": 17.0, "dice": 0.4, "a@b": 1.0})


def test_extremes_do_not_overlap():
    scores = {"d": 0.4, "a": 0.1, "c": 0.1, "b": 0.9, "e": 0.5}
    assert extremes(scores, 2) == (["a", "c"], ["b", "e"])
    assert extremes(scores) == (["a", "c", "d"], ["b", "e"])
    assert extremes({}) == ([], [])


def test_last_rows_find_the_last_finite_value():
    rows = {
        "0": [{"loss": 2.0, "val_loss": 1.0}, {"loss": 1.0, "val_loss": float("nan")}],
        "1": [{"loss": 3.0}],
    }
    assert last_rows(rows) == (["loss", "val_loss"], [("fold 0", [1.0, 1.0]), ("fold 1", [3.0, None])])


def test_numbers_as_text():
    assert [score_text(value) for value in (0.58349, 1, None, float("nan"), "x")] == [
        "0.583",
        "1.000",
        "–",
        "–",
        "–",
    ]
    assert [number_text(value) for value in (19.0, 0.00014912, 3, None, float("inf"))] == [
        "19",
        "0.0001491",
        "3",
        "–",
        "–",
    ]
    assert flattened({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == [
        ("a.b", "1"),
        ("a.c.d", "–"),
        ("e", "[1]"),
    ]


def test_one_point_is_no_chart():
    once = {"0": [{"epoch": 1, "loss": 0.5, "val_loss": 0.25}], "1": [{"epoch": 1, "loss": 0.75}]}
    page = Reader(render(report(curves=once)))
    assert [tag for tag, _ in page.tags].count("svg") == 2  # thresholds and scores
    assert "there are no curves yet" in page.text and "val_loss 0.25" in page.text
    late = {"0": [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4, "val_loss": 0.25}]}
    assert drawable(late) == {"epoch", "loss"}
    assert [ax.get_title(loc="left") for ax in curves_figure(late).axes] == ["training loss"]
    scores = {"oof": {"parts": {"ap@0.50": 0.5, "ap@0.75": float("nan")}}, "by_sample": dict.fromkeys("abc", 0.5)}
    page = Reader(render(report(curves={}, scores=scores)))
    assert "svg" not in [tag for tag, _ in page.tags]
    assert "All 3 images score 0.500." in page.text and "ap@0.50 0.500" in page.text
    assert "svg" not in [tag for tag, _ in Reader(render(report(curves={}, scores={"by_sample": {"a": 1.0}}))).tags]


def test_no_table_is_wider_than_the_page():
    """Figures are rows and folds are columns, of which a table has six at most."""
    rows = [{"epoch": epoch, **{f"dice_channel{place}": 0.5 for place in range(30)}} for epoch in range(2)]
    text = render(report(curves={str(fold): rows for fold in range(10)}, scores={}, worst=[], best=[]))
    tables = text.split('<table class="figures">')[1:]
    heads = [table[: table.index("</thead>")].count("<th") for table in tables]
    assert heads == [1 + 1 + 6, 1 + 1 + 4]  # with <thead>
    assert "fold 9" in tables[1] and "dice_channel29" in tables[0] and "dice_channel29" in tables[1]
    assert "white-space: nowrap; overflow-wrap: normal; max-width: 14rem; overflow: hidden" not in text


def test_long_tables_are_folded():
    def labels(**changes) -> list[str]:
        text = render(report(**changes))
        return [part[: part.index("</label>")] for part in text.split('<input type="checkbox">')[1:]]

    assert labels() == []
    strata = {f"s{place}": {"score": 0.5, "samples": 2} for place in range(40)}
    parts = {f"recall c{place}": 0.5 for place in range(13)}
    lock = {f"package{place}": "1.0" for place in range(1234)}
    scores = {"oof": {"strata": strata, "parts": parts}}
    assert labels(scores=scores, provenance=lock) == ["all 40 strata", "all 13 parts", "all 1,234 rows"]
    page = Reader(render(report(scores=scores, provenance=lock)))
    assert "s39" in page.text and "package1233" in page.text  # they are there
    assert "details" in [tag for tag, _ in page.tags]  # the config


def test_a_stratum_has_one_colour_everywhere():
    strata = {"a": "dark", "b": "stain", "c": "dark"}
    scores = {"oof": {"strata": {"stain": {"score": 0.5, "samples": 1}}}, "by_sample": {"a": 0.1, "b": 0.5, "c": 0.9}}
    text = render(report(scores=scores, strata=strata, worst=[replace(picture("b", 0.5), stratum="stain")], best=[]))
    colours = stratum_colours(["stain", "dark"])
    assert colours["stain"] != colours["dark"]
    assert text.count(f"background: {colours['stain']}") == 2  # its bar and the caption of its sample
    assert colours["stain"] in text.split("The score in parts")[1]  # its part of the histogram
    unnamed = render(report(scores={"by_sample": scores["by_sample"]}, strata=strata, worst=[], best=[]))
    assert colours["stain"] not in unnamed  # no table says which stratum it is
    many = render(report(scores={"oof": {"strata": {f"s{n}": {"score": 0.5} for n in range(99)}}}))
    assert not any(colour in many for colour in stratum_colours(map(str, range(10))).values())


def test_pictures_are_enlarged_by_a_click_without_scripts():
    shown = replace(
        picture(HOSTILE, 0.1), note=f"why {HOSTILE}", details=[(f"a: {HOSTILE}", np.zeros((4, 4, 3), np.uint8))]
    )
    page = Reader(render(report(worst=[shown], best=[])))
    boxes = [attributes for tag, attributes in page.tags if tag == "input"]
    assert [box["aria-label"] for box in boxes] == [
        f"enlarge image, truth and answer of {HOSTILE}",
        f"enlarge a: {HOSTILE}",
    ]
    assert not {"script", "a", "button"} & {tag for tag, _ in page.tags}
    assert f"why {HOSTILE}" in page.text and f"a: {HOSTILE}" in page.text


def test_of_equal_scores_the_most_wrong_are_the_worst():
    scores = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0, "e": float("nan"), "f": 1.0}
    assert extremes(scores, 2, {"b": 7.0, "c": 9.0}) == (["c", "b"], ["f", "d"])
