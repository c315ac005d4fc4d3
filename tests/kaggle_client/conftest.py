"""The real client, logged in at a server on loopback; any other connection fails the test."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_kaggle import FakeKaggle, serving

SIGNS_OF_LOGIN = ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_PROXY", "HTTP_PROXY", "HTTPS_PROXY")


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKaggle]:
    state = FakeKaggle()
    for name in (*SIGNS_OF_LOGIN, *(name.lower() for name in SIGNS_OF_LOGIN), "MEDALIST_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home" / "kaggle"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    connect = socket.socket.connect

    def only_loopback(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), address
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_loopback)
    with serving(state) as url, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        environment = pytest.importorskip("kagglesdk.kaggle_env", reason="pip install 'medalist[kaggle]'")
        monkeypatch.setitem(environment._env_to_endpoint, environment.KaggleEnv.LOCAL, url)
        client = pytest.importorskip("kaggle.api.kaggle_api_extended", reason="pip install 'medalist[kaggle]'")
        monkeypatch.setattr(client.KaggleApi, "args", ["--local"])  # read from the environment when it is imported
        monkeypatch.setattr(client.KaggleApi, "config", str(tmp_path / "home" / "kaggle" / "kaggle.json"))
        monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda self, response=None: None)
        monkeypatch.setenv("KAGGLE_API_TOKEN", state.token)
        yield state


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of all pauses, none of which is made."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made
