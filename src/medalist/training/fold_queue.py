"""A queue of folds: each fold is trained by one Ray task, on this machine or on a cluster, several at a time.

A task trains the one fold of a request in the process of its Ray worker, and each task gets a new process. When a
worker is killed, its training is killed with it. Ray then starts another worker, up to RETRIES times, which resumes
from the fold's last state. A job that ends with an error, such as a user's mistake, is not tried again. Each job writes
its own train.log.

A cluster needs the same installation on every node, and one file system with the same paths, because the working
folder, the runs, the data and the config are opened by path. The user starts the nodes (`ray start`), and the queue
leaves them running.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import psutil

from medalist.errors import ConfigError, RunError, users_line
from medalist.kinds import kind_of
from medalist.reporter import LineReporter, Reporter
from medalist.runs.runs import Run
from medalist.runs.setup import TrainSetup
from medalist.training.queue_status import ATTEMPT, JobEnd, QueueDisplay, QueueJob, QueueWatch, attempts
from medalist.training.ray_environment import starting_ray
from medalist.training.request import TrainRequest

Work = Callable[[TrainRequest, Reporter], object]
"""A function that trains a request; it raises MedalistError."""

RETRIES = 3
"""How often Ray starts a job again after its worker was lost."""

GRACE_SECONDS = 10.0
"""How long jobs may take to end by themselves after Ctrl-C, and how long a retry waits for the process before it."""

SHOW_SECONDS = 1.0
"""The table is updated at this interval."""

STORE_BYTES = 80_000_000
"""The size of Ray's shared memory, close to Ray's minimum, because tasks return only three small values."""

LONGEST_FOLDER = 40
"""From this length of the temporary folder's path on, the paths of Ray's sockets would be too long for Unix."""


@dataclass(frozen=True)
class Shares:
    """How a queue divides the machines: `workers` jobs at a time, each with `processors` (threads) and `gpus`."""

    workers: int
    processors: int
    gpus: float


def divide(wanted: int | None, jobs: int, processors: int, largest: int, gpus: int) -> Shares:
    """Divide `processors` (at most `largest` on one node) and `gpus` among workers.

    wanted: the number of workers; None = one for each GPU, or one for each processor where there is no GPU. There are
    never more workers than jobs. Where there are more workers than GPUs, the workers share the GPUs evenly.
    """
    workers = max(1, min(wanted or gpus or processors, jobs))
    share = max(1, min(processors // workers, largest))
    return Shares(workers, share, 1.0 / -(-workers // gpus) if gpus else 0.0)


@dataclass(eq=False)
class FoldQueue:
    """A queue on Ray. Ray is started with the first jobs and ended with the block; `run` may be called several times.

    work: the function that trains a job; it is called in another process. workers: jobs at a time; None = as many as
    fit. address: the address of a Ray cluster; None = start Ray on this machine until the block ends, listening only on
    the loopback interface. display: makes the display of one run of the queue.
    """

    work: Work
    workers: int | None
    address: str | None
    display: Callable[[], QueueDisplay]
    _folder: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False)
    _others: set[psutil.Process] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End Ray, or leave the cluster. No process of Ray that was started here is left on this machine."""
        if self._others is None:
            return
        import ray

        started = set(psutil.Process().children(recursive=True)) - self._others
        ray.shutdown()
        self._others = None
        if self.address is None:
            for process in psutil.wait_procs(started, GRACE_SECONDS)[1]:
                process.kill()
        if self._folder is not None:
            self._folder.cleanup()

    def run(self, jobs: Sequence[QueueJob]) -> list[JobEnd]:
        """Run the jobs, and return how each ended, in the order of `jobs`. Ctrl-C ends the running jobs and is raised.

        Raises ConfigError where there is no cluster at the address, and RunError where Ray does not start or ends.
        """
        if not jobs:
            return []
        self._start()
        import ray
        from ray.exceptions import RayError

        shares = self._shares(len(jobs))
        task = ray.remote(max_calls=1)(train_job).options(
            max_retries=RETRIES, num_cpus=shares.processors, num_gpus=shares.gpus, name="medalist train"
        )
        threads = _own_threads() or shares.processors
        waiting, running = deque(range(len(jobs))), dict[Any, int]()
        watch = QueueWatch(jobs, shares.workers)
        with self.display() as display:
            try:
                while waiting or running:
                    while waiting and len(running) < shares.workers:
                        number = waiting.popleft()
                        job = task.remote(jobs[number], self.work, str(Path.cwd()), threads, watch.since(number))
                        running[job] = number
                    for done in ray.wait(list(running), num_returns=1, timeout=SHOW_SECONDS)[0]:
                        number = running.pop(done)
                        watch.ends[number] = _end(done, jobs[number], watch.since(number))
                        display.end(jobs[number], watch.ends[number])
                    display.show(watch.status)
            except RayError as error:
                raise RunError(f"Ray ended ({_one_line(error)}); run the same command to resume") from None
            finally:
                _cancel(list(running))
        return [watch.ends[number] for number in range(len(jobs))]

    def _start(self) -> None:
        if self._others is not None:
            return
        import ray

        others = set(psutil.Process().children(recursive=True))
        settings: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        if self.address is None:
            self._folder = _short_folder()
            settings |= {
                "address": "local",
                "num_cpus": processors(),
                "object_store_memory": STORE_BYTES,
                "_temp_dir": self._folder.name,
                "_node_ip_address": "127.0.0.1",
                "_system_config": {"task_oom_retries": RETRIES, "worker_niceness": 0},
            }
        else:
            settings = {"address": self.address, "log_to_driver": False, "logging_level": "ERROR"}
        with starting_ray(self.address is None):
            try:
                ray.init(**settings)
            except (ConnectionError, RuntimeError, ValueError) as error:
                if self.address is None:
                    raise RunError(f"Ray does not start here: {_one_line(error)}") from None
                raise ConfigError(
                    f"no Ray cluster at --ray {self.address} ({_one_line(error)}); start one with ray start --head"
                ) from None
        self._others = others

    def _shares(self, jobs: int) -> Shares:
        import ray

        known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        nodes = [node["Resources"] for node in known if node["Alive"]]
        cores = [int(node.get("CPU", 0)) for node in nodes]
        return divide(self.workers, jobs, sum(cores), max(cores, default=1), int(sum(n.get("GPU", 0) for n in nodes)))


def jobs_of(setup: TrainSetup, request: TrainRequest) -> list[QueueJob]:
    """Return a job for each chosen fold of a request that is not both trained and predicted."""
    run, answering = setup.run, kind_of(setup.settings).answering()
    trained = run.trained_folds()
    done = [fold for fold in trained if answering.made_by(run, setup.contest, f"oof/fold{fold}") is not None]
    at = Run(run.folder.resolve())
    return [
        QueueJob(request.of_fold(fold, setup.contest.data, run.name), at) for fold in setup.chosen if fold not in done
    ]


def train_job(job: QueueJob, work: Work, here: str, threads: int, since: int) -> tuple[int, str, float]:
    """Train one fold in this process, which is a Ray worker. Return (code, line of the error, seconds).

    code: 0 done, 2 the user's mistake. here: the working folder of the queue. since: the length of the log in bytes
    before the queue began. Any other error is a fault of medalist; it is raised, with its traceback in the log.
    """
    started = time.monotonic()
    try:
        os.chdir(here)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        log = job.log.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        where = f"{error.filename}: {error.strerror}"
        line = f"on {socket.gethostname()}: {where}; the nodes of a Ray cluster need the same files at the same paths"
        return 2, line, 0.0
    _use_threads(threads)
    with log, redirect_stdout(log), redirect_stderr(log):
        for descriptor in (1, 2):  # catches also what libraries print outside of Python
            os.dup2(log.fileno(), descriptor)
        number = attempts(job.log, since) + 1
        at = time.strftime("%Y-%m-%d %H:%M:%S")
        log.write(f"{ATTEMPT} {number} at {at} on {socket.gethostname()}, process {os.getpid()}, threads {threads}\n")
        while True:
            mistake = _worked(job, work, log)
            # The process of a lost attempt may hold the fold for some seconds, until it notices that it is lost.
            if mistake is None or number == 1 or time.monotonic() - started >= GRACE_SECONDS:
                break
            time.sleep(1.0)
    return 0 if mistake is None else 2, mistake or "", time.monotonic() - started


def _worked(job: QueueJob, work: Work, log: TextIO) -> str | None:
    """Do the work once. Return the line of a user's mistake, or None where the work ended well."""
    try:
        work(job.request, LineReporter(lambda line: print(line, file=log)))
    except KeyboardInterrupt:  # Ray raises it in a job that the user has stopped
        log.write("medalist: interrupted; all files are complete; run the same command to resume\n")
        raise
    except Exception as error:
        line = users_line(error)
        if line is None:
            traceback.print_exc(file=log)
            raise
        log.write(f"medalist: {line}\n")
        return line
    return None


def processors() -> int:
    """Return the number of physical cores that this process may use; the hardware threads of one core count once."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _use_threads(threads: int) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # for the processes that this process starts
        os.environ[name] = str(threads)
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def _own_threads() -> int | None:
    """Return the number of threads that the user has set by OMP_NUM_THREADS, or None; the queue keeps that number."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else None


def _end(done: Any, job: QueueJob, since: int) -> JobEnd:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return JobEnd(*ray.get(done))
    except RayTaskError as error:
        return JobEnd(1, f"{_one_line(error.cause)}; see {job.log}", 0.0)
    except RayError as error:
        tried = attempts(job.log, since)
        line = f"its worker was lost {tried} times ({type(error).__name__}); see {job.log}, and run the command again"
        return JobEnd(2, line, 0.0)


def _cancel(running: list[Any]) -> None:
    """End the running jobs. They are interrupted first, so that no file is left half-written, and then killed."""
    if not running:
        return
    import ray

    for job in running:
        ray.cancel(job)
    _, left = ray.wait(running, num_returns=len(running), timeout=GRACE_SECONDS)
    for job in left:
        ray.cancel(job, force=True)
    if left:
        ray.wait(left, num_returns=len(left), timeout=GRACE_SECONDS)


def _short_folder() -> tempfile.TemporaryDirectory[str]:
    usual = tempfile.gettempdir()
    place = None if len(usual) < LONGEST_FOLDER or sys.platform == "win32" else "/tmp"
    return tempfile.TemporaryDirectory(prefix="ray-", dir=place, ignore_cleanup_errors=True)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
