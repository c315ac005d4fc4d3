"""Whether anything is left to do is told without torch, and never said too early."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalist.kinds import load_settings
from medalist.training.finished import finished
from medalist.training.request import TrainRequest


def request(toy: Any, *changes: str, folds: tuple[int, ...] = ()) -> TrainRequest:
    return TrainRequest(load_settings(toy.config, changes), toy.config, changes, str(toy.data), folds, "tiny", toy.runs)


def test_a_run_that_is_whole_is_finished(toy: Any) -> None:
    found = finished(request(toy))
    assert found is not None and found.folder == toy.run.folder
    assert finished(request(toy, folds=(1,))) is not None


def no_weights(folder: Path) -> None:
    (folder / "fold1" / "last.safetensors").unlink()


def other_weights(folder: Path) -> None:
    (folder / "fold1" / "last.safetensors").write_bytes((folder / "fold0" / "last.safetensors").read_bytes())


def no_predictions(folder: Path) -> None:
    (folder / "oof" / "fold1.json").unlink()


def a_state(folder: Path) -> None:
    (folder / "fold1" / "state-0000000004.safetensors").write_bytes(b"left")


def no_cost(folder: Path) -> None:
    (folder / "fold1" / "cost.json").unlink()


def edited_config(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("batch: 4", "batch: 8"))


def damaged_config(folder: Path) -> None:
    (folder / "config.yaml").write_text("train: [")


def other_data(folder: Path) -> None:
    path = folder / "lock.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": "0" * 64}))


SPOILT = [no_weights, other_weights, no_predictions, a_state, no_cost, edited_config, damaged_config, other_data]


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_run_that_lacks_something_is_not(spoil: Callable[[Path], None], toy: Any) -> None:
    spoil(toy.run.folder)
    assert finished(request(toy)) is None
    if spoil in (no_weights, other_weights, no_predictions, a_state, no_cost):
        assert finished(request(toy, folds=(0,))) is not None


@pytest.mark.parametrize("change", ["train.lr=0.5", "decide.body=0.4", "tracking=tensorboard", "folds.seed=2"])
def test_another_config_is_not_finished(change: str, toy: Any) -> None:
    """Not even one that only decides otherwise: the training then writes the config anew."""
    assert finished(request(toy, change)) is None


def test_a_run_that_is_not_there_is_not_finished(toy: Any) -> None:
    (toy.run.folder / "lock.json").unlink()
    assert finished(request(toy)) is None


def test_it_needs_no_torch(toy: Any) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from medalist.cli.main import run; "
        f"sys.exit(run(['--runs', {str(toy.runs)!r}, 'train', {str(toy.config)!r}, '--data', {str(toy.data)!r}]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and "nothing is left to do" in ended.stdout, (ended.stdout, ended.stderr)
