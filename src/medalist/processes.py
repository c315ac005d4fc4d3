"""Several processes of one command: the rank of this process, how processes are started, and who holds a folder.

Each process runs the whole command. It reads its rank from the environment variables that torchrun and Fabric's
launcher set too.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medalist import system
from medalist.errors import RunError

PARENT = "MEDALIST_PARENT"
"""The environment variable that holds the sign of life (`system.sign_of_life`) of the starting process."""

GRACE_SECONDS = 10.0
"""How long the other processes may take to end by themselves after one process has ended."""

BROKEN = 0xC0000000
"""The first of the exit codes that Windows gives to a crashed process. Other systems have exit codes up to 255."""

LOOPBACK = {"linux": "lo", "darwin": "lo0"}
"""The network interface by which gloo joins the processes of one machine. On Windows gloo accepts no such name."""

LOST = 75
"""The exit code of a process that ends because it lost another process. The end of the lost process is reported."""


@dataclass(frozen=True)
class Place:
    """The rank of this process, 0..world-1.

    `world` counts the processes of all machines, and `local_world` counts those of this machine.
    """

    rank: int = 0
    world: int = 1
    local_world: int = 1

    @property
    def machines(self) -> int:
        """The number of machines that take part."""
        return self.world // self.local_world


def place() -> Place:
    """Return the place of this process, read from the environment variables that torchrun sets.

    Raises RunError where one of these variables is missing or is no number, or where they contradict each other.
    """
    if "LOCAL_RANK" not in os.environ:
        return Place()
    try:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    except (KeyError, ValueError) as error:
        raise RunError(f"LOCAL_RANK is set, so RANK and WORLD_SIZE must be too ({error}); start by torchrun") from None
    if not 0 <= rank < world or local < 1 or world % local:
        raise RunError(f"RANK {rank}, WORLD_SIZE {world}, LOCAL_WORLD_SIZE {local} do not fit together")
    return Place(rank, world, local)


def start(arguments: Sequence[str], count: int) -> int:
    """Run a medalist command in `count` processes on this machine, and return the exit code.

    When one process fails, the other processes are ended too. Raises RunError where a signal ended that process, or
    where it lost another process.
    """
    command = [sys.executable, "-m", "medalist", *arguments]
    started: list[subprocess.Popen[bytes]] = []
    with system.sign_of_life() as (sign, inherited):
        shared = {**os.environ, **_shared(count), PARENT: sign}
        try:
            for rank in range(count):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                started.append(subprocess.Popen(command, env={**shared, **own}, pass_fds=inherited))
            ended = _first_bad(started)
        finally:
            _end(started)
    if ended is None:
        return 0
    code = started[ended].returncode
    if code == LOST:
        raise RunError(f"process {ended} of {count} lost contact with another process; run the same command again")
    if code < 0:
        raise RunError(
            f"process {ended} of {count} was ended by signal {-code} ({signal.Signals(-code).name}); all files are "
            "complete; run the same command to resume"
        )
    if code >= BROKEN:
        raise RunError(
            f"process {ended} of {count} was ended by Windows ({code:#x}); all files are complete; run the same "
            "command to resume"
        )
    return code


@contextmanager
def ending_with_parent() -> Iterator[None]:
    """End this process as soon as the process that started it is gone. Does nothing where `start` did not start it.

    Ctrl-C reaches all processes of a terminal. Only the starting process obeys it: it prints a line, and ends the
    others by SIGTERM, which raises SystemExit inside the block. A process that is already ending ignores further
    signals, so that its last steps are not interrupted; after GRACE_SECONDS it is killed.
    """
    sign = os.environ.get(PARENT)
    if sign is None:
        yield
        return

    def obey(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    def watch() -> None:
        system.wait_for_end_of(sign)
        system.end_this_process()
        time.sleep(GRACE_SECONDS)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, obey)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes while the block runs.

    The lock ends with this process, also when the process is killed. Raises RunError, which names the holder, where
    another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "holder.lock").open("a+", encoding="utf-8") as file:
        if not system.lock(file):
            file.seek(0)
            holder = " ".join(file.read(200).split()) or "another process"
            raise RunError(f"{folder} is in use by {holder}; wait until it ends, or take another --fold")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _shared(count: int) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    # A value that the user has set stays. Without a value each process would use all cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count)))
    if sys.platform in LOOPBACK:
        said["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", LOOPBACK[sys.platform])
    return said


def _first_bad(started: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for the processes, and return the rank of the one that failed first, or None where all ended well."""
    patience = math.inf
    while True:
        codes = [process.poll() for process in started]
        # A process that fails makes others end with LOST, sometimes before it ends itself. The first cause is named.
        bad = [rank for rank, code in enumerate(codes) if code]
        if bad:
            first = min(bad, key=lambda rank: (codes[rank] == LOST, (codes[rank] or 0) > 0))
            patience = min(patience, time.monotonic() + GRACE_SECONDS)
            if codes[first] != LOST or time.monotonic() >= patience:
                return first
        if all(code == 0 for code in codes):
            return None
        time.sleep(0.05)


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the processes that still run: by SIGTERM, and by SIGKILL where one still runs after GRACE_SECONDS."""
    deadline = time.monotonic() + GRACE_SECONDS
    for process in started:
        if process.poll() is None:
            process.terminate()
    for process in started:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
