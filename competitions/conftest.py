"""Fixtures for tests of contests with a `draw` function: the drawn data of the module's CONTEST, and a copy of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the data of the module's CONTEST, drawn from its SEED. Tests must not change the files."""
    contest, seed = request.module.CONTEST, request.module.SEED
    folder = tmp_path_factory.mktemp(contest.name)
    contest.draw(folder, seed)
    return folder


@pytest.fixture
def root(drawn: Path, tmp_path: Path) -> Path:
    """Return a copy of the drawn data, which a test may change."""
    return Path(shutil.copytree(drawn, tmp_path / "root"))
