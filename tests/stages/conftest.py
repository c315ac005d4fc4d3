"""Tiny trained runs of two drawn contests of identities, and copies of them that tests may spoil."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from medalist.competition import load_competition
from medalist.runs import Run, find_run
from medalist.stages.contest import Contest, open_contest

PROJECT = Path(__file__).parents[2]
WHALES = """\
competition: humpback_whale
folds: {n: 2, seed: 1, stratified: false}
task: {kind: embed, mirrored: true}
image: {size: [32, 48]}
augment: [{HorizontalFlip: {p: 0.0}}]
model: {encoder: test_resnet, weights: none, pooling: avg, dim: 8}
loss: {terms: [{kind: arcface, margin: 0.1, scale: 10, centres: 2}, {kind: triplet}]}
sampler: {kind: pxk, classes: 3, per_class: 2}
train: {epochs: 1, schedule: constant, warmup: 0.0}
tracking: none
"""
SIGNS = """\
competition: omniglot.oneshot
folds: {n: 2, seed: 1, stratified: false}
task: {kind: embed, turns: true}
image: {size: [32, 32], invert: true}
augment: [{Affine: {rotate: [-5, 5]}}]
model: {encoder: test_resnet, weights: none, in_channels: 1, pooling: flat, dim: 8}
loss: {terms: [{kind: prototype, shots: 1}]}
sampler: {kind: group, classes: 8, per_class: 2}
train: {epochs: 1, schedule: constant, warmup: 0.0}
decide: {assign: true}
tracking: none
"""


@dataclass(frozen=True)
class Identities:
    """A drawn contest, its config, and a folder of runs that has the run `tiny`."""

    name: str
    data: Path
    config: Path
    runs: Path

    @property
    def run(self) -> Run:
        return find_run(f"{self.name}/tiny", self.runs)

    def contest(self) -> Contest:
        return open_contest(self.name, self.data, self.runs)


def make(name: str, text: str, home: Path) -> Identities:
    from medalist.cli.main import run

    draw = load_competition(name, PROJECT / "competitions").draw
    assert draw is not None
    made = Identities(name, home / "data", home / "tiny.yaml", home / "runs")
    draw(made.data, 1)
    made.config.write_text(text)
    with contextlib.chdir(PROJECT), contextlib.redirect_stdout(io.StringIO()):
        assert run(["--runs", str(made.runs), "--debug", "train", str(made.config), "--data", str(made.data)]) == 0
    return made


@pytest.fixture(scope="session")
def trained_whales(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    """Nobody may change it."""
    return make("humpback_whale", WHALES, tmp_path_factory.mktemp("whales"))


@pytest.fixture(scope="session")
def trained_signs(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    """Nobody may change it."""
    return make("omniglot.oneshot", SIGNS, tmp_path_factory.mktemp("signs"))


@pytest.fixture
def spoilable(tmp_path: Path) -> Callable[[Identities], Identities]:
    """Copies a trained contest."""

    def copy(made: Identities) -> Identities:
        shutil.copytree(made.runs, tmp_path / "runs")
        shutil.copytree(made.data, tmp_path / "data")
        shutil.copy(made.config, tmp_path / "tiny.yaml")
        return Identities(made.name, tmp_path / "data", tmp_path / "tiny.yaml", tmp_path / "runs")

    return copy


@pytest.fixture
def whales(trained_whales: Identities, at_home: Path, spoilable: Callable[[Identities], Identities]) -> Identities:
    return spoilable(trained_whales)


@pytest.fixture
def signs(trained_signs: Identities, at_home: Path, spoilable: Callable[[Identities], Identities]) -> Identities:
    return spoilable(trained_signs)
