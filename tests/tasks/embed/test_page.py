from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from medalist.report.page import RunReport, few_strata
from medalist.report.pictures import PAPER
from medalist.tasks.embed.likeness import EqualError, Pairs, flat, map_figure, pairs_figure
from medalist.tasks.embed.page import (
    OVERLOOKED,
    RIGHT,
    SIDE,
    WRONG,
    EmbeddingMap,
    QueryPicture,
    RetrievalReport,
    Similarities,
    hits_grid,
    render_retrieval,
    shown_queries,
    text_tile,
    write_retrieval_report,
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


def flat_picture(value: int, height: int = 20, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == np.array(colour)).all(axis=2).sum())


def query(name: str, score: float = 0.2, what: str = "") -> QueryPicture:
    return QueryPicture(name, f"who {name}", 1, score, what, hits_grid(flat_picture(9), [], "q"))


def report(**changes: Any) -> RetrievalReport:
    pairs = Pairs(np.array([0.5, 0.75], np.float32), np.array([0.1, 0.2, 0.6], np.float32))
    error = EqualError(0.51, 0.042)
    points, how = flat(np.eye(4, dtype=np.float32))
    run = RunReport(
        run=f"run {HOSTILE}",
        competition="toy",
        config="model: {dim: 4}  # </pre><script>",
        provenance={"commit": "abc"},
        curves={"0": [{"epoch": epoch, "loss": 1.0} for epoch in range(3)]},
        scores={
            "oof": {
                "value": 0.5831,
                "folds": {"0": 0.6, "1": 0.55},
                "parts": {"recall@1": 0.25, "recall@5": 0.75, "unanswerable": 7.0, "predicted": 41.0},
                "strata": {f"s{n}": {"score": 0.5, "samples": n} for n in range(40)},
            },
            "by_sample": {str(place): place / 30 for place in range(30)},
            "retrieval": {
                "threshold": 0.4667,
                "thresholds": {"0": 0.3936, HOSTILE: 0.4667},
                "honest": 0.7,
                "naive": 0.72,
                "without_threshold": 0.479,
            },
        },
    )
    whole = RetrievalReport(
        run,
        worst=[query(HOSTILE, 0.0, "4 right answers"), query("w1")],
        typical=[query("t0")],
        best=[query("b0", 1.0)],
        map=EmbeddingMap(map_figure(points, [HOSTILE, HOSTILE, "$x^{", "b"]), how, 4, 1),
        similarities=Similarities(pairs_figure(pairs, error, 0.4667), pairs, error),
        facts=[("queries", f"30 {HOSTILE}")],
        new=f"new {HOSTILE}",
    )
    return replace(whole, **changes)


# ------------------------------------------------------------------------------------------------------ the page


def test_the_page_needs_nothing_else_and_escapes_everything(tmp_path: Path) -> None:
    path = tmp_path / "report" / "index.html"
    write_retrieval_report(path, report())
    page = Reader(path.read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "action", "srcset"}:
                assert value is not None and value.startswith(("data:image/", "#")), (tag, name, value)
    assert len([1 for tag, _ in page.tags if tag == "img"]) == 4
    assert page.text.count(HOSTILE) >= 8  # title, heading, fold, new identity, query, identity, fact, map


def test_the_page_shows_the_numbers() -> None:
    page = Reader(render_retrieval(report()))
    for words in (
        "0.583",
        "of 30 queries",
        "recall@5 0.750",  # a row of a table, not a point of a curve over thresholds
        "predicted 41",
        "queries by score",
        "honest 0.700",
        "naive 0.720",
        "without 0.479",
        "It gains 0.221",
        "2 pairs of one identity and 3 of two",
        "At a cosine of 0.510",
        "4.2 % of the pairs",
        "4 held-out samples of fold 1",
        "principal components",
        "4 right answers",
        "Not shown: 28 smaller.",
    ):
        assert words in page.text, words
    assert "unanswerable" not in page.text and "by threshold" not in page.text
    assert "images" not in page.text.replace("images by", "")
    assert [tag for tag, _ in page.tags].count("svg") == 4
    assert "None" not in page.text and "nan" not in page.text.split()


def test_what_a_threshold_costs_is_said() -> None:
    def told(**retrieval: Any) -> str:
        base = report()
        scores = {**base.run.scores, "retrieval": retrieval}
        return Reader(render_retrieval(replace(base, run=replace(base.run, scores=scores)))).text

    assert "It loses 0.100 against" in told(threshold=0.5, honest=0.4, naive=0.6, without_threshold=0.5)
    assert "below 0.5 . The config gives" in told(threshold=0.5).replace("0.5.", "0.5 .")
    for nothing in ({}, {"threshold": None}):
        assert "New identities" not in told(**nothing)
    assert "New identities" in told(threshold=0.5, honest="x", without_threshold=float("nan"), thresholds=[1])
    assert "New identities" not in Reader(render_retrieval(report(new=None))).text


def test_little_is_enough() -> None:
    bare = RetrievalReport(RunReport("r", "c", "", {}, {}, {}))
    page = Reader(render_retrieval(bare))
    assert not {"img", "svg"} & {tag for tag, _ in page.tags} and "–" in page.text
    broken = replace(bare, run=replace(bare.run, scores={"oof": {"value": None}, "retrieval": None}))
    Reader(render_retrieval(broken))


@pytest.mark.parametrize("name", ["\ud800", "核", "_hidden", "a\x00b", "\u202eabc", '" onerror="x', "$\\frac{"])
def test_hostile_names_do_not_break_the_page(tmp_path: Path, name: str) -> None:
    figure: Figure = map_figure(np.zeros((3, 2)), [name] * 3, None)
    mapped = EmbeddingMap(figure, "PCA", 3, 0)
    path = tmp_path / "page.html"
    write_retrieval_report(path, report(worst=[query(name)], map=mapped, new=name, facts=[("queries", name)]))
    page = Reader(path.read_text(encoding="utf-8"))
    assert not any("onerror" in attributes for _, attributes in page.tags)
    hits_grid(flat_picture(1), [(text_tile(name), f"1\n{name}", False)], name)


def test_the_largest_strata_are_kept() -> None:
    scores = {"oof": {"value": 1, "strata": {f"s{n}": {"samples": n % 50} for n in range(100)}}, "by_sample": {}}
    shortened, left_out = few_strata(scores, 4)
    assert list(shortened["oof"]["strata"]) == ["s49", "s99", "s48", "s98"] and left_out == 96
    assert len(scores["oof"]["strata"]) == 100 and shortened["oof"]["value"] == 1
    assert few_strata({}, 4) == ({"oof": {"strata": {}}}, 0)


def test_shown_queries_are_shown_once() -> None:
    scores = {f"q{place}": place // 10 / 10 for place in range(100)}
    worst, typical, best = shown_queries(scores)
    assert len(worst) == 12 and len(typical) == len(best) == 6
    assert len({*worst, *typical, *best}) == 24
    assert [scores[name] for name in worst] == [0.0] * 10 + [0.1] * 2
    assert {scores[name] for name in best} == {0.9} and {scores[name] for name in typical} <= {0.4, 0.5}
    assert worst[:10] != sorted(worst[:10])  # equal scores are not in the order of their names
    for count in range(40):
        groups = shown_queries({f"q{place}": 0.5 for place in range(count)})
        assert len({name for group in groups for name in group}) == sum(map(len, groups)) == min(count, 24)


# ------------------------------------------------------------------------------------------------- rows of pictures


def test_hits_are_framed_by_what_they_are() -> None:
    hits = [(flat_picture(0), "0.9\na", True), (flat_picture(0), "0.8\nb", False), (flat_picture(0), "0.7\nc", None)]
    picture = hits_grid(flat_picture(90), hits, "query", missed=(flat_picture(0), "rank 7"))
    frame = (SIDE + 10) * (SIDE // 2 + 10) - SIDE * (SIDE // 2)
    assert count(picture, RIGHT) == count(picture, WRONG) == count(picture, OVERLOOKED) == frame
    assert count(picture, (90, 90, 90)) == SIDE * SIDE // 2  # the query has none
    none = hits_grid(flat_picture(90), [(one, words, None) for one, words, _ in hits])
    assert not any(count(none, colour) for colour in (RIGHT, WRONG, OVERLOOKED))
    left_to_right = [
        int(np.argwhere((picture == np.array(c)).all(axis=2))[:, 1].min()) for c in (RIGHT, WRONG, OVERLOOKED)
    ]
    assert left_to_right == sorted(left_to_right)
    assert picture.dtype == np.uint8 and tuple(picture[0, 0]) == PAPER


def test_hits_go_on_in_the_next_row() -> None:
    hits = [(flat_picture(0), "one line", True)] * 7
    wide, narrow = hits_grid(flat_picture(9), hits), hits_grid(flat_picture(9), hits, columns=3)
    assert narrow.shape[0] == 3 * wide.shape[0] and narrow.shape[1] < wide.shape[1]
    assert count(wide, RIGHT) == count(narrow, RIGHT) > 0
    assert count(narrow, (9, 9, 9)) == SIDE * SIDE // 2  # the query is shown once
    lost = hits_grid(flat_picture(9), hits, columns=3, missed=(flat_picture(1), "rank 9"))
    assert lost.shape[0] == narrow.shape[0] and lost.shape[1] > narrow.shape[1] and count(lost, OVERLOOKED)
    fewer = hits_grid(flat_picture(9), hits[:2], columns=3)
    assert fewer.shape[1] == narrow.shape[1]  # rows of several queries can be put below one another


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1), (300, 300)])
def test_pictures_of_any_shape_fit(shape: tuple[int, int]) -> None:
    odd = flat_picture(50, *shape)
    row = hits_grid(odd, [(odd, "x" * 500, True), (flat_picture(3), "", None)], missed=(odd, "a\nb\nc"))
    assert row.shape[1] < 5 * SIDE and row.shape[0] < 2 * SIDE
    assert hits_grid(odd, []).ndim == 3


def test_a_name_without_picture_is_written() -> None:
    tile = text_tile("new_whale")
    assert tile.shape == (SIDE // 2, SIDE, 3) and tile.min() < 120 and tile[0, 0, 0] == 225
    assert np.array_equal(text_tile(""), text_tile("   "))
    assert text_tile("x" * 999).shape == tile.shape and not np.array_equal(text_tile("a"), text_tile("b"))
