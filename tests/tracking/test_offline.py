"""With MEDALIST_OFFLINE=1 the tracker of every config, wandb by default, asks no network for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medalist.tracking import wandb as module
from medalist.tracking.wandb import _mode, forget_superseded, import_wandb

TRAINS = """
import sys, time
from pathlib import Path
from medalist.tracking.wandb import wandb_rows

with wandb_rows(Path(sys.argv[1]), project="p", group="g", name="n", id="0123456789abcdef", config={}) as write:
    for step in range(8):  # without the switch the first query comes after some seconds
        write({"step": float(step), "loss": 2.0})
        time.sleep(1.5)
"""


@pytest.fixture(autouse=True)
def keyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user who has logged in, and whose environment gets its old values back."""
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)


def test_offline_counts_more_than_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDALIST_OFFLINE", raising=False)
    assert _mode() == "online"
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    assert _mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert _mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert _mode() == "disabled"


def test_wandb_reports_no_errors_to_its_makers_where_the_network_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.env import error_reporting_enabled

    monkeypatch.delenv("MEDALIST_OFFLINE", raising=False)
    import_wandb()
    assert error_reporting_enabled()
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    import_wandb()
    assert not error_reporting_enabled()


def test_only_superseded_files_that_were_not_uploaded_are_deleted(tmp_path: Path) -> None:
    names = ["offline-run-1-abc", "offline-run-2-abc", "offline-run-3-abc", "offline-run-1-xyz"]
    for name in names:
        (tmp_path / "wandb" / name / "files").mkdir(parents=True)
    (tmp_path / "wandb" / names[1] / "run-abc.wandb.synced").touch()

    class Own:
        id, dir = "abc", str(tmp_path / "wandb" / names[2] / "files")

    forget_superseded(tmp_path, Own())  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "wandb").iterdir()) == sorted(names[1:])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_no_socket_leads_outside_of_this_machine(tmp_path: Path) -> None:
    trace, fold = tmp_path / "trace", tmp_path / "fold0"
    fold.mkdir()
    watch = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace)]
    environment = {**os.environ, "MEDALIST_OFFLINE": "1"}
    subprocess.run([*watch, sys.executable, "-c", TRAINS, str(fold)], env=environment, timeout=300, check=True)
    assert list(fold.glob("wandb/offline-run-*/*.wandb"))
    calls = [line for line in trace.read_text(errors="replace").splitlines() if "sa_family=AF_INET" in line]
    assert [line for line in calls if not re.search(r'"(127\.[0-9.]+|::1|::ffff:127\.[0-9.]+)"', line)] == []


def test_the_module_reads_the_one_switch() -> None:
    """The same that forbids the search for weights."""
    from medalist.models.weights import offline

    assert module.offline is offline
