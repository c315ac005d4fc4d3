from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest

from medalist.errors import WeightsError
from medalist.models import repositories
from medalist.models.hubs import HubError
from medalist.models.repositories import find_repository


def filled(folder: Path) -> Path:
    folder.mkdir(parents=True)
    file = folder / "model.safetensors"
    file.write_bytes(b"x")
    return file


def test_paths_come_first_then_the_folder_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, kept = filled(tmp_path / "some"), tmp_path / "weights"
    assert find_repository(str(file), kept) == (file, "path")
    assert find_repository(str(file.parent), kept) == (file, "path")
    own = filled(kept / "name")
    assert find_repository("owner/name", kept) == (own, "folder")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: f"/cache/{name}/{file}")
    assert find_repository("owner/other", kept) == (Path("/cache/owner/other/model.safetensors"), "cache")


def test_offline_the_network_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: None)
    monkeypatch.setattr(repositories, "require_reachable", lambda url: pytest.fail("the network was asked"))
    with pytest.raises(
        WeightsError, match=r"MEDALIST_OFFLINE=1: put model\.safetensors of the hub page a/b at"
    ) as caught:
        find_repository("a/b", tmp_path)
    assert str(tmp_path / "b" / "model.safetensors") in str(caught.value)
    for name, words in (
        ("no file", "no file and no folder here"),
        (str(tmp_path), "a folder without model.safetensors"),
    ):
        with pytest.raises(WeightsError, match=words):
            find_repository(name, tmp_path)


def test_the_hub_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDALIST_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: None)
    monkeypatch.setattr(repositories, "require_reachable", lambda url: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: f"/hub/{name}/{file}")
    assert find_repository("a/b", tmp_path) == (Path("/hub/a/b/model.safetensors"), "hub")

    def unreachable(url: str) -> None:
        raise HubError("the hub cannot be reached")

    monkeypatch.setattr(repositories, "require_reachable", unreachable)
    with pytest.raises(WeightsError, match=r"the hub cannot be reached: put model\.safetensors"):
        find_repository("a/b", tmp_path)
