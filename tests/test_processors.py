"""Freed memory that stays in the process, and waiting threads that sleep: what is set, and what is left alone."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from medalist import processors
from medalist.processors import collector_paused, keep_buffers, sleep_soon

linux = pytest.mark.skipif(sys.platform != "linux", reason="glibc and libgomp are those of Linux")

FAULTS = """
import resource, sys
from medalist.processors import keep_buffers
if sys.argv[1] == "keep":
    keep_buffers()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    b"x" * 64_000_000
before = faults()
for _ in range(10):
    b"x" * 64_000_000
print(faults() - before)
"""


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*processors.ALLOCATOR_VARIABLES, *processors.WAIT_VARIABLES, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


def python(code: str, *arguments: str, **environment: str) -> str:
    told = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    return told.stdout.strip()


@linux
def test_large_buffers_are_not_faulted_in_again() -> None:
    plain, kept = int(python(FAULTS, "plain")), int(python(FAULTS, "keep"))
    assert kept < 100 < plain


@linux
@pytest.mark.parametrize("name", [*processors.ALLOCATOR_VARIABLES, "GLIBC_TUNABLES"])
def test_the_users_allocator_is_left_alone(name: str) -> None:
    value = "glibc.malloc.trim_threshold=131072" if name == "GLIBC_TUNABLES" else "131072"
    faults, told = python(f"{FAULTS}\nprint(keep_buffers())", "keep", **{name: value}).splitlines()
    assert int(faults) > 100 and told == f"left as {name} says"


@linux
def test_tunables_of_something_else_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
    assert keep_buffers() == "kept by the process (mallopt)"


@linux
def test_another_allocator_is_named_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Jemalloc:
        mallctl = gnu_get_libc_version = staticmethod(lambda: 0)

    monkeypatch.setattr(processors.ctypes, "CDLL", lambda name: Jemalloc())
    assert keep_buffers() == "left to jemalloc"


@linux
def test_another_libc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors.ctypes, "CDLL", lambda name: object())
    assert keep_buffers() == "left to an allocator that is not glibc's"


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_buffers() == "left to this system's allocator"
    assert sleep_soon() == "left to this system's OpenMP"
    assert processors.SPIN_VARIABLE not in os.environ


@linux
def test_threads_sleep_soon_where_torch_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv(processors.SPIN_VARIABLE, "")  # so that it is put back after the test
    monkeypatch.delenv(processors.SPIN_VARIABLE)
    assert sleep_soon() == "GOMP_SPINCOUNT=1000" == sleep_soon()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


@linux
@pytest.mark.parametrize("name", processors.WAIT_VARIABLES)
def test_the_users_threads_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "active")
    assert sleep_soon() == f"{name}=active"


@linux
def test_threads_of_a_loaded_torch_are_not_said_to_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert sleep_soon() == "spin, as torch was imported first; set GOMP_SPINCOUNT=1000 before"
    assert processors.SPIN_VARIABLE not in os.environ


BEFORE = """
import atexit, os, sys
from medalist.cli import main
atexit.register(lambda: print(os.environ["GOMP_SPINCOUNT"], "torch" in sys.modules))
sys.argv[1:] = ["version"]
main.main()
"""


@linux
def test_the_command_line_sets_it_before_torch() -> None:
    assert python(BEFORE).endswith("1000 False")


@pytest.mark.parametrize("running", [True, False])
def test_the_collector_is_paused_and_then_as_before(running: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if running else gc.disable)()
        with pytest.raises(ValueError, match="inside"), collector_paused():
            assert not gc.isenabled()
            raise ValueError("inside")
        assert gc.isenabled() is running
    finally:
        (gc.enable if was else gc.disable)()


RELEASED = """
import psutil
from medalist.processors import keep_buffers, release_buffers
keep_buffers()
def held():
    return psutil.Process().memory_info().rss
blocks = [bytearray(8_000_000) for _ in range(20)]
last = bytearray(8_000_000)
del blocks
full = held()
release_buffers()
print(full - held())
"""


@linux
def test_free_memory_is_returned_before_work_of_another_shape() -> None:
    assert int(python(RELEASED)) > 100_000_000
