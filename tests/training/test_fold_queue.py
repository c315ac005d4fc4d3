"""Ray is started in a process of its own, in a network namespace that has nothing but the loopback interface."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from rich.console import Console

from medalist.files import sha256_file
from medalist.reporter import SilentReporter
from medalist.runs.runs import Run
from medalist.stores.maps import MapStore
from medalist.training.fold_queue import FoldQueue, Shares, divide, processors, train_job
from medalist.training.queue_status import ATTEMPT, QueueJob

pytestmark = pytest.mark.slow

LOOPBACK = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
LONGER = ("train.epochs=8", "checkpoint.steps=1")
PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("wanted", "jobs", "cores", "largest", "gpus", "shares"),
    [
        (None, 5, 2, 2, 0, Shares(2, 1, 0.0)),
        (None, 1, 8, 8, 0, Shares(1, 8, 0.0)),
        (None, 5, 16, 16, 0, Shares(5, 3, 0.0)),
        (1, 5, 8, 8, 0, Shares(1, 8, 0.0)),
        (8, 8, 4, 4, 0, Shares(8, 1, 0.0)),
        (2, 5, 8, 2, 0, Shares(2, 2, 0.0)),  # four nodes of two: a share must fit into one
        (None, 5, 32, 32, 4, Shares(4, 8, 1.0)),
        (2, 5, 32, 32, 4, Shares(2, 16, 1.0)),
        (3, 5, 32, 32, 2, Shares(3, 10, 0.5)),
        (2, 5, 8, 8, 1, Shares(2, 4, 0.5)),
    ],
)
def test_what_there_is_is_shared(
    wanted: int | None, jobs: int, cores: int, largest: int, gpus: int, shares: Shares
) -> None:
    assert divide(wanted, jobs, cores, largest, gpus) == shares


def test_processors_are_those_of_this_process() -> None:
    assert 1 <= processors() <= len(os.sched_getaffinity(0))


def test_the_last_error_of_this_queue_is_told(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("medalist: old\n")
    since = log.stat().st_size
    assert last_error(log, since) == f"see {log}"
    with log.open("a") as file:
        file.write("epoch 1\nmedalist: first\nmedalist: the loss is nan\nlater\n")
    assert last_error(log, since) == "the loss is nan"


def test_a_node_without_the_files_says_so(tmp_path: Path) -> None:
    job = QueueJob(Path("a.yaml"), (), None, 0, Run(tmp_path / "runs" / "toy" / "a"))
    code, line, _ = train_job(job, lambda words: 0, str(tmp_path / "nowhere"), 1, 0)
    assert code == 2 and "nowhere: No such file or directory; the nodes of a Ray cluster need the same files" in line


def test_no_jobs_start_nothing() -> None:
    with FoldQueue(lambda words: 0, None, None, SilentReporter()) as queue:
        assert queue.run([]) == []
        assert queue._others is None


# What follows runs Ray. `facts` is what the scenario below wrote; each test asserts its part of it.


@pytest.fixture(scope="module")
def play(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    if shutil.which("unshare") is None or subprocess.run([*LOOPBACK, "true"], check=False).returncode:
        pytest.skip("unshare -n is not permitted here, and Ray may not listen on a network")

    def scenario(name: str) -> dict[str, Any]:
        home = tmp_path_factory.mktemp(name)
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONWARNINGS": "error"}
        words = [*LOOPBACK, sys.executable, __file__, name, str(home), str(drawn)]
        env = {**os.environ, **threads}
        ended = subprocess.run(words, check=False, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-6000:]
        facts: dict[str, Any] = json.loads((home / "facts.json").read_text())
        return facts

    return scenario


@pytest.fixture(scope="module")
def facts(play: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return play("local")


def test_folds_of_the_queue_are_those_trained_one_after_another(facts: dict[str, Any]) -> None:
    assert facts["ends"][1] == [0, ""]
    assert facts["queued"]["1"] == facts["plain"]["1"]


def test_a_killed_worker_is_started_again_and_nothing_changes(facts: dict[str, Any]) -> None:
    assert facts["killed"] == 1 and facts["attempts"] == 2
    assert facts["ends"][0] == [0, ""]
    assert facts["queued"]["0"] == facts["plain"]["0"]


def test_a_users_mistake_is_told_once_and_the_others_go_on(facts: dict[str, Any]) -> None:
    code, line = facts["ends"][2]
    assert code == 2 and line.startswith("command line: train.lr = 'x': must be a valid number")
    assert f"wrong fold 0: failed: {line}" in facts["said"]
    assert facts["mistakes"] == 1


def test_ctrl_c_ends_all_processes_and_leaves_whole_files(facts: dict[str, Any]) -> None:
    assert facts["interrupted"] and facts["left"] == [] and facts["half_written"] == []
    assert facts["stopped_trained"] == []
    assert "medalist: interrupted" in facts["stopped_log"]


def test_a_lost_node_takes_its_job_to_another(play: Callable[[str], dict[str, Any]]) -> None:
    facts = play("cluster")
    assert facts["ends"] == [[0, ""], [0, ""]]
    assert facts["attempts"] == [1, 2] and facts["trained"] == [0, 1]
    assert facts["alive"] == 1  # the cluster is the user's: it is left as it is


def job(home: Path, data: str, name: str, fold: int, *overrides: str) -> QueueJob:
    return QueueJob(home / "tiny.yaml", overrides, data, fold, Run(home / "runs" / "toy_nuclei" / name))


def weights(run: Run) -> dict[str, list[Any]]:
    """Of each fold what its training and its prediction left."""
    found: dict[str, list[Any]] = {}
    for fold in (0, 1):
        rows = [json.loads(line) for line in (run.fold_folder(fold) / "metrics.jsonl").read_text().splitlines()]
        for row in rows:
            del row["seconds"]
        part = MapStore(run.folder / "oof").part(f"fold{fold}")
        assert part is not None
        oof = [MapStore(run.folder / "oof").read(name, part.channels).maps.tobytes().hex()[:2000] for name in part.ids]
        found[str(fold)] = [sha256_file(run.checkpoint(fold, "last")), rows, oof]
    return found


def pid_of(job: QueueJob) -> int:
    """The process of the newest attempt, as soon as it has begun to train."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = job.log.read_text() if job.log.exists() else ""
        folder = job.run.fold_folder(job.fold)
        if "epoch 2" in text and ATTEMPT in text and not (folder / "last.safetensors").exists():
            return int(re.findall(rf"{ATTEMPT} .*process (\d+)", text)[-1])
        time.sleep(0.01)
    raise AssertionError("it did not begin to train")


def local(home: Path, data: str) -> dict[str, Any]:
    from medalist.cli.main import run

    with contextlib.redirect_stdout(io.StringIO()):
        words = ["train", str(home / "tiny.yaml"), *LONGER, "--name", "plain", "--data", data]
        assert run(["--runs", str(home / "runs"), *words]) == 0
    said = io.StringIO()
    jobs = [job(home, data, "queued", fold, *LONGER) for fold in (0, 1)]
    wrong, stopped = job(home, data, "wrong", 0, "train.lr=x"), job(home, data, "stopped", 0, *LONGER)
    killed: list[int] = []

    def kill() -> None:
        killed.append(pid_of(jobs[0]))
        os.kill(killed[0], signal.SIGKILL)

    def interrupt() -> None:
        pid_of(stopped)
        os.kill(os.getpid(), signal.SIGINT)

    interrupted = False
    with FoldQueue(run, 2, None, Console(file=said, width=200)) as queue:
        threading.Thread(target=kill, daemon=True).start()
        ends = queue.run([*jobs, wrong])
        started = psutil.Process().children(recursive=True)
        try:
            threading.Thread(target=interrupt, daemon=True).start()
            queue.run([stopped])
        except KeyboardInterrupt:
            interrupted = True
        started += psutil.Process().children(recursive=True)
    return {
        "ends": [[end.code, end.line] for end in ends],
        "plain": weights(Run(home / "runs" / "toy_nuclei" / "plain")),
        "queued": weights(jobs[0].run),
        "killed": len(killed),
        "attempts": jobs[0].log.read_text().count(ATTEMPT),
        "mistakes": wrong.log.read_text().count(ATTEMPT),
        "said": said.getvalue(),
        "interrupted": interrupted,
        "left": [process.pid for process in started if process.is_running()],
        "half_written": [str(path) for path in stopped.run.folder.rglob(".*") if path.is_file()],
        "stopped_trained": stopped.run.trained_folds(),
        "stopped_log": stopped.log.read_text(),
    }


def cluster(home: Path, data: str) -> dict[str, Any]:
    import ray
    from ray.cluster_utils import Cluster

    from medalist.cli.main import run

    quick = {"health_check_period_ms": 300, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 0}
    small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args={**small, "_system_config": quick})
    other = nodes.add_node(num_cpus=1, object_store_memory=80_000_000)
    jobs = [job(home, data, "queued", 0, "train.epochs=8"), job(home, data, "queued", 1, "train.epochs=8")]

    def kill() -> None:
        nodes_pid = other.all_processes["raylet"][0].process.pid
        for one in jobs:
            if psutil.Process(pid_of(one)).ppid() == nodes_pid:
                lost.append(one.fold)
                nodes.remove_node(other, allow_graceful=False)
                return

    lost: list[int] = []
    with FoldQueue(run, 2, nodes.address, Console(file=io.StringIO())) as queue:
        threading.Thread(target=kill, daemon=True).start()
        ends = queue.run(jobs)
    ray.init(address=nodes.address, log_to_driver=False)
    alive = sum(node["Alive"] for node in ray.nodes())
    ray.shutdown()
    nodes.shutdown()
    return {
        "ends": [[end.code, end.line] for end in ends],
        "attempts": sorted(one.log.read_text().count(ATTEMPT) for one in jobs),
        "trained": jobs[0].run.trained_folds(),
        "alive": alive,
    }


def main() -> None:
    name, home, data = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    sys.path.insert(0, str(PROJECT / "tests"))
    from conftest import TINY

    (home / "tiny.yaml").write_text(TINY)
    found = {"local": local, "cluster": cluster}[name](home, data)
    (home / "facts.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
