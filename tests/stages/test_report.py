from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from medalist.errors import MedalistError, RunError
from medalist.stages.report import metrics_rows, report
from medalist.stages.score import score_run


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(RunError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_page_shows_scores_curves_and_pictures(toy: Any, quiet: Console) -> None:
    run, contest = toy.run, toy.contest()
    scores = score_run(run, contest, run.settings(), quiet)
    page = report(run, contest)
    assert page == run.folder / "report" / "index.html"
    text = page.read_text()
    assert f"{scores['oof']['value']:.3f}" in text and "test_resnet" in text and "dark_gray" in text
    assert text.count("data:image/jpeg") == 24
    ordered = sorted(scores["by_sample"], key=lambda name: (scores["by_sample"][name], name))
    assert all(name in text for name in (*ordered[:12], *ordered[-12:]))
    assert ordered[12] not in text and ordered[13] not in text


def test_a_run_that_was_not_scored_says_what_to_type(toy: Any) -> None:
    message = one_line(lambda: report(toy.run, toy.contest()))
    assert "has no scores.json; run medalist score toy_nuclei/tiny first" in message
    assert not (toy.run.folder / "report").exists()


@pytest.mark.parametrize("text", ["{", "{}\n\n", "[1]\n", "3\n", "\xff", None])
def test_damaged_figures_are_one_line(toy: Any, quiet: Console, text: str | None) -> None:
    path: Path = toy.run.fold_folder(0) / "metrics.jsonl"
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("latin-1"))
    message = one_line(lambda: metrics_rows(toy.run, 0))
    assert "fold0/metrics.jsonl cannot be read" in message and "train that fold again" in message
    score_run(toy.run, toy.contest(), toy.run.settings(), quiet)  # which does not need them
    with pytest.raises(MedalistError):
        report(toy.run, toy.contest())


def test_the_figures_are_those_of_the_training(toy: Any) -> None:
    (row,) = metrics_rows(toy.run, 1)
    assert {"epoch", "step", "lr", "loss", "val_loss", "seconds"} <= row.keys()
