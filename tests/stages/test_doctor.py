from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from medalist.stages import doctor


def test_it_tells_what_is_there(at_home: Path, tmp_path: Path) -> None:
    found = dict(doctor.examine(tmp_path / "runs" / "that" / "are" / "not" / "there"))
    assert str(tmp_path) in found["disk for runs"] and "GB free" in found["memory"]
    assert {"python", "processors", "commit", "torch", "timm", "network for weights"} <= found.keys()
    assert int(found["processors"]) >= 1
    assert any(name.startswith("GPU") for name in found)
    assert "tf_efficientnet_lite0" in " ".join(found)


def test_offline_is_told(at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    assert "never" in dict(doctor.examine(tmp_path))["network for weights"]


def test_a_missing_package_does_not_stop_it(at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", absent)
    assert dict(doctor.examine(tmp_path))["medalist"] == "not installed by pip"
