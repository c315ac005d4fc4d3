from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from refusals import one_line

from medalist.errors import RunError
from medalist.kinds import run_settings
from medalist.report.labels import shows_nothing
from medalist.reporter import SilentReporter
from medalist.workflows.report import report
from medalist.workflows.score import oof_of_scores, score_run


def test_the_page_shows_scores_curves_and_pictures(toy: Any, quiet: SilentReporter) -> None:
    run, contest = toy.run, toy.contest()
    scores = score_run(run, contest, run_settings(run), quiet)
    page = report(run, contest, run_settings(run))
    assert page == run.folder / "report" / "index.html"
    text = page.read_text()
    assert f"{scores['oof']['value']:.3f}" in text and "test_resnet" in text and "dark_gray" in text
    oof = oof_of_scores(run, contest)
    blank = {name for name in oof.truths if shows_nothing(oof.truths[name], oof.answers[name])}
    shown = [name for name in scores["by_sample"] if f"image, truth and answer of {name}" in text]
    assert text.count("<figure>") == len(shown) == min(24, 26 - len(blank))
    assert len(shown) < text.count("data:image/jpeg") <= len(shown) + 12 * 2  # and enlarged places of the worst
    assert not blank & set(shown) and (f"Left out: {len(blank)} images" in text) == bool(blank)
    lost = [score for name, score in scores["by_sample"].items() if name not in {*shown, *blank}]
    values = sorted(scores["by_sample"][name] for name in shown)
    assert all(values[11] <= score <= values[12] for score in lost)


def test_a_run_that_was_not_scored_says_what_to_type(toy: Any) -> None:
    message = one_line(RunError, lambda: report(toy.run, toy.contest(), run_settings(toy.run)))
    assert "has no scores.json; run medalist score toy_nuclei/tiny first" in message
    assert not (toy.run.folder / "report").exists()


@pytest.mark.parametrize("text", ["{", "{}\n\n", "[1]\n", "3\n", "\xff", None])
def test_damaged_figures_are_one_line(toy: Any, quiet: SilentReporter, text: str | None) -> None:
    path: Path = toy.run.fold_folder(0) / "metrics.jsonl"
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("latin-1"))
    score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)  # which does not need them
    message = one_line(RunError, lambda: report(toy.run, toy.contest(), run_settings(toy.run)))
    assert "fold0/metrics.jsonl cannot be read" in message and "train that fold again" in message
    assert not (toy.run.folder / "report").exists()
