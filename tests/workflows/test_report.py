from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalist.errors import RunError
from medalist.kinds import run_settings
from medalist.reporter import SilentReporter
from medalist.workflows.report import report
from medalist.workflows.score import score_run


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(RunError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_page_shows_scores_curves_and_pictures(toy: Any, quiet: SilentReporter) -> None:
    run, contest = toy.run, toy.contest()
    scores = score_run(run, contest, run_settings(run), quiet)
    page = report(run, contest, run_settings(run))
    assert page == run.folder / "report" / "index.html"
    text = page.read_text()
    assert f"{scores['oof']['value']:.3f}" in text and "test_resnet" in text and "dark_gray" in text
    assert text.count("<figure>") == 24
    assert 24 < text.count("data:image/jpeg") <= 24 + 12 * 2  # and enlarged places of the worst
    ordered = sorted(scores["by_sample"], key=lambda name: (scores["by_sample"][name], name))
    assert all(name in text for name in (*ordered[:12], *ordered[-12:]))
    assert ordered[12] not in text and ordered[13] not in text


def test_a_run_that_was_not_scored_says_what_to_type(toy: Any) -> None:
    message = one_line(lambda: report(toy.run, toy.contest(), run_settings(toy.run)))
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
    message = one_line(lambda: report(toy.run, toy.contest(), run_settings(toy.run)))
    assert "fold0/metrics.jsonl cannot be read" in message and "train that fold again" in message
    assert not (toy.run.folder / "report").exists()
