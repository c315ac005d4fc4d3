"""`medalist new` on the made layouts of well-known contests: what is found, what is written, and that it is checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from corpus import LAYOUTS, Layout

from medalist.discovery.choose import Answers
from medalist.kinds import load_settings
from medalist.reporter import SilentReporter
from medalist.workflows.new import Proposal, checked, create, propose

PROJECT = Path(__file__).parents[2]


def proposed(layout: Layout, home: Path) -> Proposal:
    data = home / "data"
    data.mkdir()
    layout.draw(data)
    (home / "competitions").mkdir(exist_ok=True)
    return propose(f"my_{layout.name}", data, Answers(**layout.answers))  # type: ignore[arg-type]


def test_the_corpus_is_large() -> None:
    assert len(LAYOUTS) >= 40 and len({one.name for one in LAYOUTS}) == len(LAYOUTS)
    assert {one.kind for one in LAYOUTS} == {
        "mask", "classes", "instances", "boxes", "label", "ordinal", "labels", "identities",
    }  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one.name)
def test_a_layout_is_found_written_and_checked(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    proposal = proposed(layout, tmp_path)
    finding = proposal.finding
    assert (finding.kind, finding.source) == (layout.kind, layout.source), finding
    assert finding.train.images.folder == layout.train
    assert (None if finding.test is None else finding.test.images.folder) == layout.test
    create(proposal)
    code = (proposal.places.folder / "__init__.py").read_text(encoding="utf-8")
    for text in layout.code:
        assert text in code, code
    lines = list(checked(proposal, tmp_path / "runs", SilentReporter()))
    assert f"{layout.counts[0]} train and {layout.counts[1]} test" in lines[0]
    assert any("written and parsed back" in line for line in lines)
    assert load_settings(proposal.places.config, ()).competition == f"my_{layout.name}"


@pytest.mark.slow
def test_the_written_code_is_formatted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for layout in LAYOUTS:
        home = tmp_path / layout.name
        home.mkdir()
        create(proposed(layout, home))
    for words in (["check", "--ignore", "I001"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--config", str(PROJECT / "pyproject.toml"), "."]
        ended = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout
