from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medalist.errors import RunError
from medalist.runs.curves import metrics_rows


@pytest.mark.parametrize("text", ["{", "{}\n\n", "[1]\n", "3\n", "\xff", None])
def test_damaged_figures_are_one_line(toy: Any, text: str | None) -> None:
    path: Path = toy.run.fold_folder(0) / "metrics.jsonl"
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError) as caught:
        metrics_rows(toy.run, 0)
    message = str(caught.value)
    assert "fold0/metrics.jsonl cannot be read" in message and "train that fold again" in message
    assert "\n" not in message


def test_the_figures_are_those_of_the_training(toy: Any) -> None:
    (row,) = metrics_rows(toy.run, 1)
    assert {"epoch", "step", "lr", "loss", "val_loss", "seconds"} <= row.keys()
