from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalist.config import parse_config
from medalist.kinds import load_settings
from medalist.tasks.segment.settings import SegmentSettings

Command = Callable[..., Any]
CONFIG = Path("configs/toy_nuclei/demo.yaml")


def test_show_prints_the_resolved_config(medalist: Command, at_home: Path) -> None:
    ended = medalist("show", CONFIG, "train.lr=1e-4", "tracking=wandb")
    assert (ended.code, ended.err) == (0, "")
    shown = parse_config(ended.out, "shown", SegmentSettings)
    assert shown == load_settings(CONFIG, ("train.lr=1e-4", "tracking=wandb"))
    assert shown.train.lr == 1e-4


def test_show_does_not_wrap_long_lines(medalist: Command, at_home: Path) -> None:
    long = "x" * 500
    assert f"data: {long}\n" in medalist("show", CONFIG, f"data={long}").out


def test_show_checks_the_augmentation_too(medalist: Command, at_home: Path) -> None:
    ended = medalist("show", CONFIG, "augment=[{D4: {}}, {RandomCorp: {height: 3}}]")
    assert ended.code == 2 and ended.out == ""
    assert "augment[1]" in ended.line and "did you mean 'RandomCrop'?" in ended.line


def test_show_of_a_wrong_config(medalist: Command, at_home: Path, tmp_path: Path) -> None:
    ended = medalist("show", "configs/base/segment.yaml")
    assert ended.code == 2 and "segment.yaml: key 'competition' is missing" in ended.line
    (tmp_path / "x.yaml").write_bytes(b"\xff\x00")
    assert medalist("show", tmp_path / "x.yaml").code == 2
    assert medalist("show", tmp_path).code == 2


def test_diff_of_two_configs(medalist: Command, toy: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(toy.config.read_text().replace("epochs: 1", "epochs: 2").replace("bce: 1.0", "bce: 1.0, dice: 2"))
    ended = medalist("diff", toy.config, other)
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split() for line in ended.out.splitlines()[2:]]
    assert rows == [["train.epochs", "1", "2"], ["loss.dice", "0.0", "2.0"]]
    assert medalist("diff", toy.config, toy.config).out == "no difference\n"


def test_diff_of_runs_and_configs(medalist: Command, toy: Any) -> None:
    here = ("--runs", toy.runs, "diff")
    assert medalist(*here, "tiny", toy.config).out == "no difference\n"
    # a run may be called like a file
    renamed = toy.run.folder.rename(toy.run.folder.with_name("tiny+folds.file=mine.yaml"))
    assert medalist(*here, renamed.name, toy.config).out == "no difference\n"
    assert medalist(*here, toy.config, "none.yaml").line == "no config file none.yaml"
    ended = medalist(*here, "tony", toy.config)
    assert ended.code == 2 and "no run 'tony'" in ended.line


def test_board(medalist: Command, toy: Any, tmp_path: Path) -> None:
    assert medalist("--runs", toy.runs, "score", "tiny").code == 0
    ended = medalist("--runs", toy.runs, "board")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[1].split()[:2] == ["run", "OOF"]
    assert ended.out.splitlines()[2].split()[:2] == ["toy_nuclei/tiny", f"{toy.run.scores()['oof']['value']:.4f}"]
    assert "no competition 'ships'" in medalist("--runs", toy.runs, "board", "ships").line
    assert medalist("--runs", tmp_path / "none", "board").out.startswith("no runs under")


def test_doctor(medalist: Command, at_home: Path, tmp_path: Path) -> None:
    ended = medalist("--runs", tmp_path, "doctor")
    assert (ended.code, ended.err) == (0, "")
    assert "processors" in ended.out and "tf_efficientnet_lite0" in ended.out


@pytest.mark.parametrize("text", ["[bold]x[/bold]", ":car:"])
def test_what_users_write_is_no_markup(medalist: Command, toy: Any, text: str, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(toy.config.read_text() + f"data: '{text}'\n")
    assert text in medalist("diff", toy.config, other).out
    assert text in medalist("show", other).out
