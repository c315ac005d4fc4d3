"""An index in a folder whose process is killed by SIGKILL; `benchmarks/ann/crash.py` does it hundreds of times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ann" / "crash.py"


def killed(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("fsync", ["os", "interval", "always"])
def test_what_was_acknowledged_survives_kills(fsync: str) -> None:
    ended = killed("--kills", "6", "--lives", "3", "--fsync", fsync)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"6 kills, fsync {fsync}" in ended.stdout
    assert "changes: " in ended.stdout


def test_an_index_that_acknowledges_before_it_writes_is_found_out() -> None:
    ended = killed("--kills", "30", "--lie")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "FAULT" in ended.stdout
