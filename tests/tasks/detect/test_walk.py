"""From a drawn contest of boxes to a checked submission."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .conftest import Cells

Command = Callable[..., Any]


def test_a_run_is_scored_submitted_reported_and_on_the_board(cells: Cells, medalist: Command, tmp_path: Path) -> None:
    there = ("--runs", cells.runs)
    csv = tmp_path / "out.csv"
    for words in (
        ("score", "bccd/tiny", "--data", cells.data),
        ("submit", "bccd/tiny", "--data", cells.data, "-o", csv),
        ("validate", csv, "--competition", "bccd", "--data", cells.data),
        ("report", "bccd/tiny", "--data", cells.data),
    ):
        ended = medalist(*there, *words)
        assert ended.code == 0, ended
    scores = cells.run.scores()
    assert scores is not None and len(scores["by_sample"]) == 20 and sorted(scores["oof"]["folds"]) == ["0", "1"]
    assert csv.read_text().startswith("image_id,PredictionString\nBloodImage_00020,")
    assert "image · truth · answer" in (cells.run.folder / "report" / "index.html").read_text()
    assert "bccd" in medalist(*there, "board").out
