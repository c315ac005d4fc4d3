from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_list_names_what_is_there(medalist: Command, at_home: Path) -> None:
    ended = medalist("weights", "list")
    assert (ended.code, ended.err) == (0, "") and "tf_efficientnet_lite0" in ended.out


def test_find_says_where(medalist: Command, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    ended = medalist("weights", "find", "tf_efficientnet_lite0")
    assert ended.code == 0 and "package" in ended.out and "sha256 " in ended.out
    ended = medalist("weights", "find", "resnet152")
    assert ended.code == 2 and "resnet152" in ended.line
    assert medalist("weights", "find", "resnet33").code == 2


def test_add_of_what_is_no_weights(medalist: Command, at_home: Path, tmp_path: Path) -> None:
    (tmp_path / "resnet18.pth").write_bytes(b"x")
    assert medalist("weights", "add", tmp_path / "resnet18.pth").line
    assert medalist("weights", "add", tmp_path / "no.pth").code == 2
