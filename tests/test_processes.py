from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medalist.errors import RunError
from medalist.processes import Place, alone_in, place, start

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MEDALIST_PARENT")
Command = Callable[[str], None]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the place (rank, number of processes) of the process that runs the tests."""
    for name in (*VARIABLES, "OMP_NUM_THREADS", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """command(text): `start` runs this Python text; sys.argv has `-m medalist` and the arguments."""

    def stands_for(text: str) -> None:
        script = tmp_path / "python"
        script.write_text(f"#!{sys.executable}\nimport json, os, signal, sys, time\nfrom pathlib import Path\n{text}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        monkeypatch.chdir(tmp_path)

    return stands_for


def set_place(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_one_process_has_no_variables() -> None:
    assert place() == Place(0, 1, 1) and place().machines == 1


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    set_place(monkeypatch, LOCAL_RANK="1", RANK="5", WORLD_SIZE="8", LOCAL_WORLD_SIZE="4")
    assert place() == Place(5, 8, 4) and place().machines == 2
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert place() == Place(5, 8, 8) and place().machines == 1


def test_a_rank_of_another_tool_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters set some of these variables in every job."""
    set_place(monkeypatch, RANK="3", WORLD_SIZE="8")
    assert place() == Place()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"RANK": "0"},
        {"WORLD_SIZE": "2"},
        {"RANK": "one", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": ""},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "0"},
        {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "3"},
        {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "0"},
        {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "-2"},
        {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "8"},
        {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "two"},
    ],
    ids=lambda values: " ".join(f"{name}={value}" for name, value in values.items()) or "none",
)
def test_places_that_cannot_be(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    set_place(monkeypatch, LOCAL_RANK="0", **values)
    with pytest.raises(RunError) as caught:
        place()
    assert "\n" not in str(caught.value) and "RANK" in str(caught.value)


def test_each_process_knows_its_place(command: Command, tmp_path: Path) -> None:
    command(
        "names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')\n"
        "said = {name: os.environ[name] for name in names} | {'words': sys.argv[1:]}\n"
        "Path(f\"said{os.environ['RANK']}\").write_text(json.dumps(said))"
    )
    assert start(["train", "a b", "--fold", "0"], 3) == 0
    said = [json.loads((tmp_path / f"said{rank}").read_text()) for rank in range(3)]
    for rank, one in enumerate(said):
        assert (one["RANK"], one["LOCAL_RANK"]) == (str(rank), str(rank))
        assert (one["WORLD_SIZE"], one["LOCAL_WORLD_SIZE"], one["MASTER_ADDR"]) == ("3", "3", "127.0.0.1")
        assert one["words"] == ["-m", "medalist", "train", "a b", "--fold", "0"]
    assert len({one["MASTER_PORT"] for one in said}) == 1 and int(said[0]["MASTER_PORT"]) > 0
    assert not any(name in os.environ for name in VARIABLES)


@pytest.mark.parametrize("own", [None, "5"])
def test_cores_are_shared(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    command("Path('threads' + os.environ['RANK']).write_text(os.environ['OMP_NUM_THREADS'])")
    assert start([], 2) == 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert (tmp_path / "threads0").read_text() == (own or str(max(1, cores // 2)))


@pytest.mark.parametrize(("system", "name"), [("linux", "lo"), ("darwin", "lo0"), ("win32", None)])
def test_processes_of_one_machine_stay_on_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, name: str | None
) -> None:
    monkeypatch.setattr("medalist.processes.sys.platform", system)
    command("Path('name').write_text(str(os.environ.get('GLOO_SOCKET_IFNAME')))")
    assert start([], 1) == 0
    assert (tmp_path / "name").read_text() == str(name)


def test_the_exit_code_is_that_of_the_first_that_goes_wrong(command: Command, tmp_path: Path) -> None:
    """The other processes would run for an hour; they get a signal to end."""
    command(
        "if os.environ['RANK'] == '1':\n"
        "    while len(list(Path('.').glob('ready*'))) < 2: time.sleep(0.01)\n"
        "    sys.exit(2)\n"
        "def end(*_):\n"
        "    Path('ended' + os.environ['RANK']).touch()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "Path('ready' + os.environ['RANK']).touch()\n"
        "time.sleep(3600)"
    )
    assert start([], 3) == 2
    assert sorted(path.name for path in tmp_path.glob("ended*")) == ["ended0", "ended2"]


def test_those_that_do_not_listen_are_killed(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.processes.GRACE_SECONDS", 0.2)
    command(
        "if os.environ['RANK'] == '1':\n"
        "    while not Path('deaf').exists(): time.sleep(0.01)\n"
        "    sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "Path('new').write_text(str(os.getpid()))\n"
        "Path('new').rename('deaf')\n"
        "time.sleep(3600)"
    )
    assert start([], 2) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "deaf").read_text()), 0)


def test_a_killed_process_is_named(command: Command) -> None:
    """It is also named if another process ends with its own error because of it."""
    command("if os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(3600)")
    with pytest.raises(RunError) as caught:
        start([], 2)
    assert str(caught.value) == (
        "process 1 of 2 was ended by signal 9 (SIGKILL); all files are complete; run the same command to resume"
    )


def test_our_own_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert start(["version"], 2) == 0
    first, second = capfd.readouterr().out.split()
    assert first == second


def test_our_own_mistakes_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert start(["score"], 1) == 2
    assert capfd.readouterr().err


def test_processes_end_with_the_one_that_started_them(command: Command, tmp_path: Path) -> None:
    """They end for any end of the starting process, because no other process would end them."""
    python = sys.executable
    command(
        "from medalist.processes import ending_with_parent\n"
        "with ending_with_parent():\n"
        "    rank = os.environ['RANK']\n"
        "    Path('new' + rank).write_text(str(os.getpid()))\n"
        "    Path('new' + rank).rename('pid' + rank)\n"
        "    time.sleep(3600)"
    )
    parent = f"import sys; sys.executable = {sys.executable!r}; from medalist.processes import start; start([], 2)"
    process = subprocess.Popen([python, "-c", parent], cwd=tmp_path)
    try:
        pids = [int(waited_for(tmp_path / f"pid{rank}").read_text()) for rank in range(2)]
    finally:
        process.kill()
        process.wait()
    for pid in pids:
        gone(pid)


@pytest.mark.parametrize(("signalled", "code"), [(False, 0), (True, 143)])
def test_the_last_steps_of_a_process_are_not_interrupted(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], signalled: bool, code: int
) -> None:
    """No signal interrupts them after the block while the interpreter ends, or after a first signal ended the block."""
    command(
        "import atexit\n"
        "from medalist.processes import ending_with_parent\n"
        "def last():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    Path('last').write_text('')\n"
        "atexit.register(last)\n"
        "with ending_with_parent():\n"
        f"    if {signalled}:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(3600)\n"
    )
    assert start([], 1) == code
    assert (tmp_path / "last").exists() and capfd.readouterr().err == ""


def waited_for(path: Path) -> Path:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)
    return path


def gone(pid: int) -> None:
    """Wait until the process has ended. In some containers a process that no parent waits for stays as a zombie."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} lives on")


HOLD = (
    "import sys, time; from pathlib import Path; from medalist.processes import alone_in\n"
    "with alone_in(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(3600)"
)


def test_a_folder_that_another_process_holds(tmp_path: Path) -> None:
    """The error names the process that holds the folder; when that is killed the folder is free."""
    folder = tmp_path / "run" / "fold0"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        for _ in range(2):  # a refused attempt does not release the lock
            with pytest.raises(RunError) as caught, alone_in(folder):
                raise AssertionError("both hold it")
            assert str(caught.value) == (
                f"{folder} is in use by process {holder.pid} on {socket.gethostname()}; wait until it ends, or take "
                "another --fold"
            )
        with alone_in(tmp_path / "run" / "fold1"):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with alone_in(folder):
        assert (folder / "holder.lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_the_hold_ends_with_the_block(tmp_path: Path) -> None:
    with pytest.raises(KeyError), alone_in(tmp_path):
        raise KeyError
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        holder.wait()


def test_a_loader_process_does_not_hold_on(tmp_path: Path) -> None:
    """The process was forked while the folder was held, and lives longer than its parent."""
    script = (
        "import os, sys, time; from pathlib import Path; from medalist.processes import alone_in\n"
        "with alone_in(Path(sys.argv[1])):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        time.sleep(3600)\n"
        "    print(pid, flush=True)\n"
        "    os._exit(0)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout:
        pid = int(holder.stdout.readline())
    holder.wait()
    try:
        os.kill(pid, 0)  # the process is alive
        with alone_in(tmp_path):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
