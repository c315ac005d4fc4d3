"""A training that is killed by SIGKILL; `benchmarks/kill.py` does it at many more moments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from medalist.files import sha256_file

pytestmark = pytest.mark.slow

CHANGES = ("train.epochs=6", "train.evaluate_every=2", "train.ema=0.9", "checkpoint.steps=1", "checkpoint.minutes=0")


def begun(toy: Any, root: Path) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    words = ["train", toy.config, *CHANGES, "--data", toy.data, "--fold", "0", "--name", "run"]
    command = [sys.executable, "-m", "medalist", "--quiet", "--runs", root, *words]
    with root.with_suffix(".log").open("ab") as log:
        return subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, start_new_session=True)


def newest(fold: Path) -> int:
    """Batches that the newest state has behind it."""
    return max((int(path.stem[6:]) for path in fold.glob("state-*.safetensors")), default=0)


def killed_after(toy: Any, root: Path, batches: int) -> int:
    """Kill it once a state has so many batches behind it; those that the newest one has in the end."""
    fold = root / "toy_nuclei" / "run" / "fold0"
    process = begun(toy, root)
    while newest(fold) < batches:
        assert process.poll() is None, root.with_suffix(".log").read_text()
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before"
    assert not (fold / "last.safetensors").exists()
    return newest(fold)


def left(root: Path) -> dict[str, str]:
    """Hashes of weights and predictions, and of the rows without their times."""
    run = root / "toy_nuclei" / "run"
    files = [*run.glob("fold0/*.safetensors"), *run.glob("oof/[!.]*")]
    lines = (run / "fold0" / "metrics.jsonl").read_text().splitlines()
    rows = [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]
    hashes = {str(path.relative_to(run)): sha256_file(path) for path in files}
    return {**hashes, "rows": json.dumps(rows, sort_keys=True)}


def test_a_killed_training_ends_as_one_that_was_not(untrained: Any, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    alone = begun(untrained, whole)
    first = killed_after(untrained, parts, 2)
    second = killed_after(untrained, parts, first + 2)
    assert 2 <= first < second < 18
    for process, root in ((alone, whole), (begun(untrained, parts), parts)):
        assert process.wait() == 0, root.with_suffix(".log").read_text()
    expected = left(whole)
    assert {"fold0/last.safetensors", "fold0/best.safetensors", "oof/fold0.json", "rows"} < expected.keys()
    assert left(parts) == expected
    assert not list((parts / "toy_nuclei" / "run" / "fold0").glob("*state*"))
