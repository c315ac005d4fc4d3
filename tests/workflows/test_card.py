from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from medalist.files import read_json, write_json
from medalist.runs.submissions import Submission, add_submission, submissions_file
from medalist.workflows.board import COLUMNS, board_rows
from medalist.workflows.card import plain

OLD = Path(__file__).parent.parent / "fixtures" / "runs_2026_11" / "runs" / "aptos"
SENT = Submission(
    "k", "2026-12-01T10:00:00+00:00", "s.csv", "", "one", "aptos2019", "complete", ("aptos/old",), (0.79,), 7, 0.81, 0.5
)

Command = Callable[..., Any]


@pytest.fixture
def runs(tmp_path: Path, at_home: Path) -> Path:
    """A scored run, and one with another learning rate and a lower score."""
    root = tmp_path / "runs"
    shutil.copytree(OLD, root / "aptos")
    other = root / "aptos" / "hot"
    shutil.copytree(root / "aptos" / "old", other)
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(re.sub(r"\n  lr: .*", "\n  lr: 0.5", text, count=1))
    scores = read_json(other / "scores.json")
    write_json(other / "scores.json", {**scores, "oof": {**scores["oof"], "value": 0.5}})
    write_json(other / "lock.json", {**read_json(other / "lock.json"), "overrides": ["train.lr=0.5"]})
    return root


class Tags(HTMLParser):
    """The names and attributes of all tags of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_card_tells_what_was_done_and_what_failed(medalist: Command, runs: Path) -> None:
    add_submission(runs, "aptos", SENT)
    ended = medalist("--runs", runs, "card", "aptos/old")
    folder = runs / "aptos" / "old" / "card"
    assert (ended.code, ended.err, ended.out) == (0, "", f"{folder / 'index.html'}\n")
    text = (folder / "card.md").read_text()
    assert "**0.7951** ± 0.0176 over" in text and "public 0.81, private 0.5 (2026-12-01)" in text
    assert re.search(r"\| hot \| 0.5 \| old \| train.lr: .* → 0.5 \| -0.2951 \| worse \|", text)
    failed = text[text.index("## What did not work") :]
    assert failed.splitlines()[2].startswith("- hot, train.lr: ") and ": -0.2951, worse" in failed
    assert "    medalist train grades.yaml --name old" in text and "/tmp/" not in text
    page = Tags((folder / "index.html").read_text())
    images = [attrs["src"] for tag, attrs in page.found if tag == "img"]
    assert images and all((folder / str(name)).is_file() for name in images)
    assert ("h1", {}) in page.found and "aptos: old" in page.text


def test_runs_of_other_folds_are_not_compared(medalist: Command, runs: Path) -> None:
    path = runs / "aptos" / "hot" / "lock.json"
    write_json(path, {**read_json(path), "folds": "0" * 64})
    assert medalist("--runs", runs, "card", "aptos/old").code == 0
    text = (runs / "aptos" / "old" / "card" / "card.md").read_text()
    assert "| – | not compared |" in text and "- hot" not in text


def test_a_run_without_a_score_and_damage_are_one_line(medalist: Command, runs: Path) -> None:
    (runs / "aptos" / "hot" / "config.yaml").write_text("[")
    assert medalist("--runs", runs, "card", "aptos/old").code == 0
    assert "left out: hot" in (runs / "aptos" / "old" / "card" / "card.md").read_text()
    assert medalist("--runs", runs, "card", "aptos/hot").code == 2
    (runs / "aptos" / "old" / "scores.json").unlink()
    assert "medalist score aptos/old" in medalist("--runs", runs, "card", "aptos/old").line


def test_hostile_words_stay_text(medalist: Command, runs: Path) -> None:
    words = "<script>alert(1)</script> | [x](javascript:alert(1)) ![y](http://a/b)\n# big"
    add_submission(runs, "aptos", replace(SENT, message=words))
    path = runs / "aptos" / "old" / "lock.json"
    write_json(path, {**read_json(path), "machine": {"GPUs": words, "processor": "``` </pre>"}})
    assert medalist("--runs", runs, "card", "aptos/old").code == 0
    page = Tags((runs / "aptos" / "old" / "card" / "index.html").read_text())
    assert {tag for tag, _ in page.found} & {"script", "a", "iframe"} == set()
    assert all(
        str(attrs["src"]).endswith(".svg") and "/" not in str(attrs["src"]) for tag, attrs in page.found if tag == "img"
    )
    assert page.text.count("<script>alert(1)</script>") == 2


@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Zl", "Zp", "Zs", "Co", "Cs", "Cn")), min_size=1
    )
)
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    made = MarkdownIt("commonmark", {"html": False}).enable("table").render(f"| a |\n|---|\n| x{plain(text)}x |\n")
    shown = Tags(made).text.split("\n")
    assert f"x{text}x" in shown


def test_the_board_shows_what_kaggle_said(runs: Path) -> None:
    def rows() -> dict[str, dict[str, Any]]:
        return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in board_rows(runs)}

    assert rows()["aptos/old"]["public"] == ""
    add_submission(runs, "aptos", SENT)
    blend = replace(SENT, key="b", runs=("aptos/old", "aptos/hot"), public=0.9, private=None)
    add_submission(runs, "aptos", blend)
    assert [rows()["aptos/old"][name] for name in ("public", "private")] == ["0.81", "0.5"]
    assert [rows()["aptos/hot"][name] for name in ("public", "private")] == ["0.9 (blend of 2)", ""]
    submissions_file(runs, "aptos").write_text("[\n")
    assert rows()["aptos/old"]["public"] == "" and "line 1" in rows()["aptos/submissions.jsonl"]["changed"]
