"""Fixtures that the tests of the project and the tests of its competitions share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent


@pytest.fixture
def contest_data() -> Callable[[str], Path]:
    """Return a function from a contest's name to its folder under $MEDALIST_DATA (default ../shared/data).

    The test is skipped if the folder does not exist.
    """

    def find(name: str) -> Path:
        root = Path(os.environ.get("MEDALIST_DATA", PROJECT.parent / "shared" / "data"))
        folder = root / name
        if not folder.is_dir():
            pytest.skip(f"{folder} is not there; set MEDALIST_DATA to the folder that holds {name}")
        return folder

    return find


@pytest.fixture
def case() -> Callable[[str], Path]:
    """Return a function from a name to a small input with a known right value, under ../shared/cases.

    The test is skipped if it does not exist. Its README says what each file is.
    """

    def find(name: str) -> Path:
        path = PROJECT.parent / "shared" / "cases" / name
        if not path.is_file():
            pytest.skip(f"{path} is not there")
        return path

    return find
