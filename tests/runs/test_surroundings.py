from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from medalist.runs import surroundings as room
from medalist.runs.surroundings import Surroundings, listed, machine_changes, machine_facts, version_changes

WAS = Surroundings("c", "3.12.1", {"numpy": "1.26.4", "My_Package": "1", "zlib-ng": "2"}, {"threads": "2"})


def test_versions_that_differ_are_told_with_what_medalist_asks_for_first() -> None:
    now = replace(WAS, packages={"numpy": "2.1.0", "my-package": "3", "new": "1"}, python="3.13.0")
    assert version_changes(WAS, now) == [
        "Python 3.12.1 -> 3.13.0",
        "numpy 1.26.4 -> 2.1.0",
        "My_Package 1 -> 3",
        "zlib-ng 2 -> not installed",
    ]
    assert version_changes(WAS, WAS) == [] == machine_changes(WAS, WAS)


def test_a_machine_that_differs_is_told() -> None:
    now = replace(WAS, machine={"threads": "96", "GPUs": "1 x Fast"})
    assert machine_changes(WAS, now) == ["GPUs unknown -> 1 x Fast", "threads 2 -> 96"]


def test_many_changes_are_counted() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c", "d", "e", "f"]) == "a, b, c, d and 2 more"


def test_gpus_are_named_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("Fast 1", "Fast 1", "Slow 2")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text(f"Model: \t\t {name}\nIRQ: 7\n")
    monkeypatch.setattr(room, "GPUS", tmp_path)
    assert machine_facts()["GPUs"] == "2 x Fast 1, 1 x Slow 2"
    monkeypatch.setattr(room, "GPUS", tmp_path / "none")
    assert machine_facts()["GPUs"] == "none"


def test_replay_and_store_need_no_torch() -> None:
    code = (
        "import sys, medalist.workflows.replay, medalist.workflows.storing; "
        "from medalist.runs.surroundings import surroundings; surroundings(); "
        "print([name for name in ('torch', 'torchvision', 'timm') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
