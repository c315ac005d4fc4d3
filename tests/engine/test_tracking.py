from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.errors import AuthenticationError, CommError

from medalist.engine import tracking as module
from medalist.engine.tracking import _logged_in, _mode, tracking
from medalist.errors import RunError

KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a netrc file, and no variable of wandb."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def netrc(path: Path, host: str, rights: int = 0o600) -> None:
    path.write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    path.chmod(rights)


def test_nobody_is_logged_in_without_a_key() -> None:
    assert not _logged_in()
    assert _mode() == "offline"


def test_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert _logged_in()
    assert _mode() == "online"
    for mode, chosen in (("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled"), ("online", "online")):
        monkeypatch.setenv("WANDB_MODE", mode)
        assert _logged_in() is (mode == "online")
        assert _mode() == chosen


def test_a_key_that_login_wrote(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc(home / ".netrc", "example.org")
    assert not _logged_in()
    for host in (str(wandb.Settings().base_url).removeprefix("https://"), "api.wandb.ai"):
        netrc(home / ".netrc", host)
        assert _logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example.org:8080")
    assert not _logged_in()
    netrc(home / ".netrc", "wandb.example.org:8080")
    assert _logged_in()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not _logged_in()


def test_a_netrc_file_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc(tmp_path / "keys", "api.wandb.ai")
    monkeypatch.setenv("NETRC", str(tmp_path / "keys"))
    assert _logged_in()


@pytest.mark.parametrize("text", ["machine", "nonsense here", "machine api.wandb.ai password"])
def test_a_malformed_netrc_file_is_no_key(home: Path, text: str) -> None:
    (home / ".netrc").write_text(text)
    assert not _logged_in()


def test_none_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "fold0"
    with tracking("none", folder, "toy", "run", 0, {}) as log:
        log({"step": 1.0, "loss": 0.5})
    assert not folder.exists()


def test_wandb_offline_writes_under_the_folder(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "fold0"
    folder.mkdir()
    with tracking("wandb", folder, "toy", "run", 2, {"train": {"lr": 0.1}}) as log:
        log({"step": 3.0, "loss": 0.5})
        run = wandb.run
        assert run is not None
        assert (run.project, run.group, run.name) == ("toy", "run", "run-fold2")
        assert run.config["train"] == {"lr": 0.1}
        assert run.step == 3
    assert wandb.run is None
    (files,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert files.stat().st_size > 0


class Fake:
    """What wandb.init gives, without its service."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, Any], int]] = []
        self.finished: list[int | None] = []

    def log(self, row: dict[str, Any], step: int) -> None:
        self.rows.append((row, step))

    def finish(self, exit_code: int | None = None) -> None:
        self.finished.append(exit_code)


@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt()])
def test_the_tracker_is_closed_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    fake = Fake()
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    if error is None:
        with tracking("wandb", tmp_path, "toy", "run", 0, {}) as log:
            log({"step": 7.0, "loss": 1.0})
        assert fake.rows == [({"step": 7.0, "loss": 1.0}, 7)]
        assert fake.finished == [None]
    else:
        with pytest.raises(type(error)), tracking("wandb", tmp_path, "toy", "run", 0, {}):
            raise error
        assert fake.finished == [1]


def test_without_an_answer_of_the_server_it_goes_on_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake()
    modes: list[str] = []

    def init(*, mode: str, settings: wandb.Settings, **_: Any) -> Fake:
        modes.append(mode)
        assert settings.init_timeout == module.SERVER_SECONDS <= 30
        if mode == "online":
            raise CommError("Timed out\nwhile retrying")
        return fake

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb, "init", init)
    with tracking("wandb", tmp_path, "toy", "run", 0, {}) as log:
        log({"step": 1.0})
    assert modes == ["online", "offline"]
    assert len(fake.rows) == 1


def test_a_key_that_is_refused_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise AuthenticationError("invalid\nkey")

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb, "init", init)
    said = r"^wandb does not start \(invalid key\); set WANDB_MODE=offline, or say tracking=none$"
    with pytest.raises(RunError, match=said), tracking("wandb", tmp_path, "toy", "run", 0, {}):
        pass
