"""The drawn contest of blood cells, and a tiny training of it that tests share."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from medalist.competition import load_competition
from medalist.contest import Contest
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run, find_run
from medalist.tasks.detect.settings import DetectSettings

PROJECT = Path(__file__).parents[3]
CONFIG = """\
competition: bccd
folds: {n: 2, seed: 1}
task: {kind: detect, absent: allow}
image: {size: [96, 128], scale: [0.8, 1.25]}
augment: [{HorizontalFlip: {p: 0.5}}]
model: {kind: aligned, encoder: test_resnet, weights: none, width: 16, depth: 1}
compose: {mosaic: 0.3, mixup: 0.2, paste: 0.2, until: 1.0}
train: {epochs: 1, batch: 5, schedule: constant, warmup: 0.0, lr: 0.003}
predict: {floor: 0.001, most: 30, tta: mirror}
decide: {kind: wbf, score: 0.0}
tracking: none
"""


@dataclass(frozen=True)
class Cells:
    """A contest with its data, a config, and the run `tiny`."""

    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def config(self) -> Path:
        return self.home / "tiny.yaml"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def run(self) -> Run:
        return find_run("bccd/tiny", self.runs)

    def contest(self) -> Contest:
        return open_contest("bccd", self.data, self.runs)


@pytest.fixture(scope="session")
def drawn_cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    """Return the contest without a run. Tests must not change it."""
    cells = Cells(tmp_path_factory.mktemp("cells"))
    draw = load_competition("bccd", PROJECT / "competitions").draw
    assert draw is not None
    draw(cells.data, 1)
    cells.config.write_text(CONFIG)
    return cells


@pytest.fixture(scope="session")
def trained_cells(drawn_cells: Cells) -> Cells:
    """Train both folds with the command. Tests must not change the run."""
    from medalist.cli.main import run

    words = ["--runs", str(drawn_cells.runs), "--debug", "train", str(drawn_cells.config), "--data"]
    with contextlib.chdir(PROJECT), contextlib.redirect_stdout(io.StringIO()):
        assert run([*words, str(drawn_cells.data)]) == 0
    return drawn_cells


@pytest.fixture
def cells(trained_cells: Cells, tmp_path: Path, at_home: Path) -> Cells:
    """Return a copy of the trained contest, which a test may change."""
    shutil.copytree(trained_cells.home, tmp_path / "cells")
    return Cells(tmp_path / "cells")


@pytest.fixture
def settings_of(drawn_cells: Cells) -> Callable[..., DetectSettings]:
    """Return a function that reads the config with overrides."""
    from medalist.kinds import load_settings

    def read(*changes: str) -> DetectSettings:
        settings = load_settings(drawn_cells.config, changes)
        assert isinstance(settings, DetectSettings)
        return settings

    return read
