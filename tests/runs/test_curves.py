from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from medalist.errors import RunError
from medalist.runs.curves import metrics_rows
from medalist.runs.runs import find_run


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


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_figures_that_are_no_file_are_named_without_an_error_number(toy: Any, kind: str) -> None:
    path: Path = toy.run.fold_folder(0) / "metrics.jsonl"
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(RunError) as caught:
        metrics_rows(toy.run, 0)
    what = {"pipe": "a named pipe, not a file", "folder": "a folder, not a file"}[kind]
    assert str(caught.value) == f"{path} cannot be read ({what}); train that fold again"
    lock = toy.run.folder / "lock.json"
    lock.unlink()
    os.mkfifo(lock) if kind == "pipe" else lock.mkdir()
    with pytest.raises(RunError) as caught:
        find_run("tiny", toy.runs).lock()
    assert str(caught.value) == f"{lock}: {what}"
    with pytest.raises(RunError, match=what):
        find_run(str(toy.run.folder), toy.runs).lock()


def test_the_figures_are_those_of_the_training(toy: Any) -> None:
    (row,) = metrics_rows(toy.run, 1)
    assert {"epoch", "step", "lr", "loss", "val_loss", "seconds"} <= row.keys()
