"""What tests of contests that draw themselves share: the drawn data of the module's CONTEST, and a copy to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of the module's CONTEST as its SEED draws it; nobody may change it."""
    contest, seed = request.module.CONTEST, request.module.SEED
    folder = tmp_path_factory.mktemp(contest.name)
    contest.draw(folder, seed)
    return folder


@pytest.fixture
def root(drawn: Path, tmp_path: Path) -> Path:
    """The drawn contest, to be spoilt."""
    return Path(shutil.copytree(drawn, tmp_path / "root"))
