"""What comes with the package: it is found where the user's folder has no such file, and never instead of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medalist import shipped
from medalist.config.finding import base_file, config_file
from medalist.errors import ConfigError
from medalist.kinds import load_settings

PROJECT = Path(__file__).parent.parent


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shipped configs; the working folder is an empty one beside them."""
    folder = tmp_path / "package" / "configs"
    for name in ("base/small.yaml", "base/large.yaml", "whales/tiny.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    monkeypatch.setattr("medalist.config.finding.shipped_folder", lambda name: tmp_path / "package" / name)
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    return folder


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_this_checkout_ships_what_it_has() -> None:
    assert shipped.shipped_folder("competitions") == PROJECT / "competitions"
    assert shipped.shipped_folder("configs") == PROJECT / "configs"


def test_a_wheel_has_it_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "medalist"
    (package / "shipped" / "configs").mkdir(parents=True)
    (tmp_path / "competitions").mkdir()  # it lies where a checkout has it, but this is no checkout
    monkeypatch.setattr(shipped, "__file__", str(package / "shipped.py"))
    assert shipped.shipped_folder("configs") == package / "shipped" / "configs"
    assert shipped.shipped_folder("competitions") is None


def test_a_shipped_config_is_found_by_the_path_that_a_checkout_has(configs: Path) -> None:
    assert config_file(Path("configs/whales/tiny.yaml")) == configs / "whales" / "tiny.yaml"


def test_a_config_of_the_user_comes_first(configs: Path) -> None:
    mine = written(Path("configs/whales/tiny.yaml"))
    assert config_file(mine) == mine


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("configs/whales/tinny.yaml", "; did you mean configs/whales/tiny.yaml?"),
        ("whales/tiny.yaml", ""),
        ("/configs/whales/tiny.yaml", ""),
        ("configs/../configs/whales/tiny.yml", "; did you mean configs/../configs/whales/tiny.yaml?"),
        ("configs", ""),
    ],
)
def test_other_paths_are_refused(configs: Path, typed: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_file(Path(typed))
    assert str(error.value) == f"no config file {typed}{hint}"


def test_a_base_of_the_user_comes_first_and_shipped_ones_are_known(configs: Path) -> None:
    path = written(Path("configs/whales/mine.yaml"))
    assert base_file(path, "small") == configs / "base" / "small.yaml"
    mine = written(Path("configs/base/small.yaml"))
    assert base_file(path, "small") == mine.resolve()
    assert base_file(path, "large") == configs / "base" / "large.yaml"
    with pytest.raises(ConfigError, match=r"base = 'smal' is not known; allowed: small, large; did you mean 'small'"):
        base_file(path, "smal")


@pytest.mark.parametrize("base", [3, None, ["small"], {"small": 1}])
def test_a_base_is_a_name(configs: Path, base: object) -> None:
    with pytest.raises(ConfigError, match="is not known; allowed: large, small"):
        base_file(Path("x.yaml"), base)


def test_a_users_folder_needs_no_bases_of_its_own(tmp_path: Path, chdir: Callable[[Path], None]) -> None:
    path = written(tmp_path / "configs" / "pits" / "unet.yaml")
    path.write_text("base: segment\ncompetition: pits\nmodel: {channels: [damage]}\ndecide: {kind: threshold}\n")
    chdir(tmp_path)
    assert load_settings(Path("configs/pits/unet.yaml")).competition == "pits"
    assert load_settings(Path("configs/toy_nuclei/demo.yaml")).competition == "toy_nuclei"


@pytest.fixture
def chdir(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    return monkeypatch.chdir
