from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from medalist.errors import RunError
from medalist.runs.cost import Cost, read_cost, write_cost
from medalist.runs.runs import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with one trained fold, whose epochs took 1.5 and 2.25 seconds."""
    run = Run(tmp_path / "contest" / "run")
    run.fold_folder(1).mkdir(parents=True)
    rows = [{"epoch": 1.0, "seconds": 1.5}, {"epoch": 2.0, "loss": float("nan"), "seconds": 2.25}]
    (run.fold_folder(1) / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_round_trip(run: Run) -> None:
    write_cost(run, 1, 0.12345, 7_000_000, 2)
    cost = read_cost(run, 1)
    assert cost == Cost(3.75, 0.123, cost.host_bytes if cost else 0, 7_000_000, 2)
    assert cost is not None
    now = psutil.Process().memory_info().rss
    assert 0.9 * now <= cost.host_bytes <= 1.1 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert sorted(path.name for path in run.fold_folder(1).iterdir()) == ["cost.json", "metrics.jsonl"]


def test_a_key_of_a_newer_version_is_left_out(run: Run) -> None:
    write_cost(run, 1, 0.5, 0, 1)
    path = run.fold_folder(1) / "cost.json"
    known = read_cost(run, 1)
    path.write_text(json.dumps({**json.loads(path.read_text()), "joules": 3}))
    assert read_cost(run, 1) == known is not None


def test_the_peak_counts_not_what_is_left(run: Run) -> None:
    """A process that had 300 megabytes for a moment."""
    script = f"""
from pathlib import Path
from medalist.runs.runs import Run
from medalist.runs.cost import write_cost
block = bytearray(b"x" * 300_000_000)
del block
write_cost(Run(Path({str(run.folder)!r})), 1, 0.0, 0, 1)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    cost = read_cost(run, 1)
    assert cost is not None and 300_000_000 <= cost.host_bytes < 1_500_000_000


def test_no_cost_is_none(run: Run) -> None:
    assert read_cost(run, 1) is None
    assert read_cost(run, 7) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "null", '{"train_seconds": 1}', '{"train_seconds": 1, "code": 2}', "[" * 100_000],
    ids=["empty", "cut", "list", "number", "null", "parts missing", "odd part", "deep"],
)
def test_a_damaged_cost_is_one_line(run: Run, text: str) -> None:
    path = run.fold_folder(1) / "cost.json"
    path.write_text(text)
    with pytest.raises(RunError) as caught:
        read_cost(run, 1)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_trained_runs_have_one() -> None:
    """Its parts are those that stand in the file."""
    assert list(Cost.__dataclass_fields__) == [
        "train_seconds",
        "oof_seconds",
        "host_bytes",
        "device_bytes",
        "processes",
    ]
