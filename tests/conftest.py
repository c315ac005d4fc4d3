"""Fixtures that every test room shares."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


@pytest.fixture
def contest_data() -> Callable[[str], Path]:
    """Folder of a real contest under $MEDALIST_DATA (default ../shared/data); skips where it is not there."""

    def find(name: str) -> Path:
        root = Path(os.environ.get("MEDALIST_DATA", PROJECT.parent / "shared" / "data"))
        folder = root / name
        if not folder.is_dir():
            pytest.skip(f"{folder} is not there; set MEDALIST_DATA to the folder that holds {name}")
        return folder

    return find
