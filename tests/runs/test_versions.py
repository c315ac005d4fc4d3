from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from medalist.runs import versions
from medalist.runs.versions import packages


def test_names_and_versions_are_those_of_the_library() -> None:
    slow = {dist.name: dist.version for dist in importlib.metadata.distributions() if dist.name}
    assert len(slow) > 50 and packages() == dict(sorted(slow.items()))
    assert list(packages()) == sorted(slow)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("whole-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: whole\nVersion: 1.2\n\nText", {"whole": "1.2"}),
        ("old-3.egg-info/PKG-INFO", "Name: old\r\nVersion: 3\r\n", {"old": "3"}),
        ("flat-4.egg-info", "Name: flat\nVersion: 4\n", {"flat": "4"}),
        ("late-5.dist-info/METADATA", "Version: 5\n\nName: only in the description\n", {}),
        ("none-6.dist-info/METADATA", "Name: none\n", {}),
        ("empty-7.dist-info/RECORD", "", {}),
    ],
)
def test_what_a_distribution_says_of_itself(
    name: str, text: str, found: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, newline="")
    monkeypatch.setattr(versions, "distributions", lambda: importlib.metadata.distributions(path=[str(tmp_path)]))
    assert packages() == found
