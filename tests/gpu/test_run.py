"""What `make test-gpu` says of a machine, and how it ends."""

from __future__ import annotations

import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).with_name("run.py")


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    return runpy.run_path(str(RUN))


def test_all_that_a_python_has_not_stands_in_one_line_and_the_code_is_2() -> None:
    ended = subprocess.run([sys.executable, "-I", "-S", str(RUN)], capture_output=True, text=True, check=False)
    first, missing, last = ended.stdout.splitlines()
    assert ended.returncode == 2 and not ended.stderr
    assert first.endswith("none of the packages") and "PYTHON=" in last
    assert missing.startswith("test-gpu: missing: torch>=2.11, ") and missing.endswith(", triton; left out: everything")


def test_what_is_missing_is_told_with_what_is_left_out(run: dict[str, Any]) -> None:
    here = {one.module: one.module not in ("typer", "rich", "triton") for one in run["PACKAGES"]}
    found, *lines = run["survey"](run["PACKAGES"], here, "python")
    assert "torch " in found and "typer" not in found
    assert lines[:2] == [
        "missing: typer, rich; left out: the commands",
        "missing: triton; left out: torch.compile on a GPU",
    ]
    assert len(run["survey"](run["PACKAGES"], dict.fromkeys(here, True), "python")) == 1


@pytest.mark.parametrize(("text", "expected"), [("2.11.0+cu130", (2, 11, 0)), ("2.14.0rc1", (2, 14, 0)), ("of x", ())])
def test_versions_are_numbers(run: dict[str, Any], text: str, expected: tuple[int, ...]) -> None:
    assert run["numbers"](text) == expected


def test_an_older_version_counts_as_missing(run: dict[str, Any]) -> None:
    assert run["is_there"](run["Package"]("pytest", ("pytest",), (1,)))
    assert not run["is_there"](run["Package"]("pytest", ("pytest",), (1000,)))
    assert not run["is_there"](run["Package"]("no_such_module", ("pytest",)))


def test_a_package_that_lacks_one_of_its_own_is_told(
    run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text("import what_it_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    whole, half = run["Package"]("json", ("json",)), run["Package"]("half_there", ("half-there",))
    assert run["broken"]([whole]) == []
    assert run["broken"]([whole, half]) == ["half_there cannot be imported: No module named 'what_it_needs'"]


def test_slow_files_come_last_and_several_gpus_need_the_core(run: dict[str, Any]) -> None:
    here = {one.module: True for one in run["PACKAGES"]}
    files = [Path(name).name for name in run["tests_for"](here, 1, core=True)]
    assert files[-2:] == list(run["LAST"]) and set(files) == {path.name for path in RUN.parent.glob("test_*.py")}
    assert Path(run["tests_for"](here, 2, core=True)[-1]).name == "test_devices.py"
    assert len(run["tests_for"](here, 2, core=False)) == len(files)
    assert run["tests_for"]({**here, "pytest": False}, 2, core=True) == []


def test_a_command_is_ended_when_the_time_is_up(run: dict[str, Any]) -> None:
    assert run["run_for"]([sys.executable, "-c", "raise SystemExit(3)"], 60, {}) == 3
    began = time.monotonic()
    assert run["run_for"]([sys.executable, "-c", "import time; time.sleep(60)"], 1, {}) is None
    assert time.monotonic() - began < 30


def test_a_processor_gets_no_gpu_and_nobody_a_network(run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    found = run["environment_of"]("cpu")
    assert found["CUDA_VISIBLE_DEVICES"] == "" and "CUDA_VISIBLE_DEVICES" not in run["environment_of"]("cuda")
    assert found["PYTHONPATH"].split(":") == [str(RUN.parents[2] / "src"), "/elsewhere"]
    assert found["MEDALIST_OFFLINE"] == "1"
