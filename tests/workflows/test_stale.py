"""Predictions and scores of other code are recognised, and made again on request."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalist.files import read_json, write_json
from medalist.kinds import run_settings
from medalist.reporter import LineReporter
from medalist.runs import sources
from medalist.runs.runs import Run
from medalist.runs.sources import (
    changed,
    code_tokens,
    predicting_sources,
    reading_sources,
    scoring_sources,
    stored_parts,
)
from medalist.workflows.score import score_run
from medalist.workflows.submit import submit

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def own_contest(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the contest's code that a test may change, and the folder in which medalist finds it."""
    shutil.copytree(PROJECT / "competitions" / "toy_nuclei", tmp_path / "competitions" / "toy_nuclei")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "competitions" / "toy_nuclei"


def record(run: Run, split: str) -> None:
    """Note in the stored parts of a run that the present code has predicted them."""
    for path in (run.folder / split).glob("*.json"):
        write_json(path, {**read_json(path), "sources": predicting_sources("toy_nuclei", "segment")})


def said_by(call: Callable[[LineReporter], object]) -> str:
    said: list[str] = []
    call(LineReporter(said.append))
    return "\n".join(said)


# ------------------------------------------------------------------------------------------------- what counts


def test_the_code_that_reads_predicts_decides_and_scores_counts(at_home: Path) -> None:
    reading, predicting = reading_sources("toy_nuclei"), predicting_sources("toy_nuclei", "segment")
    scoring = scoring_sources("toy_nuclei", "segment")
    assert {"medalist/codecs/images.py", "competitions/toy_nuclei/data.py"} < reading.keys() < predicting.keys()
    assert {"medalist/tasks/segment/network.py", "medalist/tasks/segment/inference.py"} < predicting.keys()
    assert {
        "medalist/metrics/instances.py",
        "medalist/formats/rle.py",
        "medalist/postprocess/watershed.py",
    } < scoring.keys()
    assert "competitions/toy_nuclei/__init__.py" in scoring
    for name in {*predicting, *scoring}:
        assert not name.endswith(("report.py", "page.py", "cost.py", "README.md")) and "/tests/" not in name, name
    assert "medalist/tasks/embed/network.py" not in predicting


def test_each_file_of_the_contest_counts(own_contest: Path) -> None:
    before = scoring_sources("toy_nuclei", "segment")
    (own_contest / "classes.txt").write_text("a\n")
    (own_contest / "draw.py").unlink()
    path = own_contest / "__init__.py"
    path.write_text(path.read_text() + "\nMORE = 1\n")
    names = [f"competitions/toy_nuclei/{name}" for name in ("__init__.py", "classes.txt", "draw.py")]
    assert changed(before, scoring_sources("toy_nuclei", "segment")) == names
    assert changed({}, before) == []  # nothing is known of results that are older than hashes


def test_comments_docstrings_and_layout_of_a_contest_do_not_count(own_contest: Path) -> None:
    before = scoring_sources("toy_nuclei", "segment")
    path = own_contest / "__init__.py"
    code = path.read_text()
    path.write_text(f'"""Other words."""\n# a comment\n{code.partition(chr(10))[2]}\n\n# another\n')
    now = scoring_sources("toy_nuclei", "segment")
    assert now != before and changed(before, now) == []
    path.write_text(f"__doc__\n{code}")
    assert changed(before, scoring_sources("toy_nuclei", "segment")) == ["competitions/toy_nuclei/__init__.py"]
    path.write_text(code)
    older = {name: hashes.partition(" ")[0] for name, hashes in before.items()}  # as older versions recorded them
    assert changed(older, scoring_sources("toy_nuclei", "segment")) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("def f(x):\n    return x  # why\n", "def f( x ):\n  # what\n  return x\n", True),
        ('def f(x):\n    "doc"\n    return x\n', "def f(x):\n    return x\n", True),
        ('x = "doc"\n', 'x = "other"\n', False),
        ('x = (\n    "doc"\n)\n', 'x = (\n    "other"\n)\n', False),
        ("if a:\n    b()\nc()\n", "if a:\n    b()\n    c()\n", False),
        ("a = 'x'; 'y'\n", "a = 'x'; 'z'\n", False),
        ("a = f'{x=}'\n", "a = f'{x = }'\n", False),
        ("a = f'{x}'\n", "a = f'{{x}}'\n", False),
        ("a = '# b'\n", "a = '# c'\n", False),
    ],
)
def test_code_is_the_same_where_it_does_the_same(one: str, other: str, same: bool) -> None:
    assert (code_tokens(one.encode()) == code_tokens(other.encode())) == same
    assert code_tokens(b"x = (") is None and code_tokens(b"\xff = 1") is None


# ------------------------------------------------------------------------------------------------- what is said


def test_a_training_and_its_predictions_keep_what_made_them(trained: Any, at_home: Path) -> None:
    assert dict(trained.run.lock().sources) == reading_sources("toy_nuclei")
    now = predicting_sources("toy_nuclei", "segment")
    assert stored_parts(trained.run, "oof") == {"oof/fold0": now, "oof/fold1": now}


def test_a_score_of_another_metric_is_stale(toy: Any, own_contest: Path, medalist: Callable[..., Any]) -> None:
    run, settings = toy.run, run_settings(toy.run)
    said_by(lambda reporter: score_run(run, toy.contest(), settings, reporter))
    assert "stale" not in medalist("--runs", toy.runs, "board").out
    path = own_contest / "__init__.py"
    path.write_text(
        path.read_text().replace("score=nuclei_map", "score=lambda truths, answers: nuclei_map(truths, truths)")
    )
    assert "(stale: scored by other code)" in medalist("--runs", toy.runs, "board").out
    said = said_by(lambda reporter: submit([run], toy.runs / "s.csv", None, toy.runs, reporter))
    assert "is STALE: other code decided and scored, competitions/toy_nuclei/__init__.py changed since" in said
    assert (
        "warning: tiny was trained when other code read images and truths: competitions/toy_nuclei/__init__.py" in said
    )
    said_by(lambda reporter: score_run(run, toy.contest(), settings, reporter))  # made again on request
    assert "stale" not in medalist("--runs", toy.runs, "board").out


def test_predictions_of_another_reader_are_said_and_made_again(
    toy: Any, at_home: Path, medalist: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `read_image` was changed."""
    run, settings = toy.run, run_settings(toy.run)
    for split in ("oof", "test"):
        record(run, split)
    score = said_by(lambda reporter: score_run(run, toy.contest(), settings, reporter))
    assert "warning" not in score
    own = sources._own
    monkeypatch.setattr(sources, "_own", lambda places: {**own(places), "medalist/codecs/images.py": "0" * 32})
    said = said_by(lambda reporter: score_run(run, toy.contest(), settings, reporter))
    words = "were made by other code, medalist/codecs/images.py changed since; make them again: medalist predict"
    assert f"warning: tiny: the predictions oof/fold0, oof/fold1 {words} toy_nuclei/tiny --split oof" in said
    said = said_by(lambda reporter: submit([run], toy.runs / "s.csv", None, toy.runs, reporter))
    assert f"the predictions test/test {words} toy_nuclei/tiny --split test" in said
    for _ in range(2):  # a new score is one of the old predictions
        assert "(stale: predicted by other code)" in medalist("--runs", toy.runs, "board").out
        said_by(lambda reporter: score_run(run, toy.contest(), settings, reporter))
    ended = medalist("--runs", toy.runs, "predict", "tiny")
    assert ended.code == 0 and "test/test is made again: other code made it" in ended.out
    assert stored_parts(run, "test") == {"test/test": predicting_sources("toy_nuclei", "segment")}
    assert "made again" not in medalist("--runs", toy.runs, "predict", "tiny").out
