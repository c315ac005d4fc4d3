"""Ray is started in a process of its own, in a network namespace that has nothing but the loopback interface."""

from __future__ import annotations

import contextlib
import errno
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

from medalist.errors import TrainingError
from medalist.files import sha256_file
from medalist.kinds import load_settings, parse_settings
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.stores.maps import MapStore
from medalist.training.fold_queue import FoldQueue, Shares, _worked, divide, processors, train_job
from medalist.training.queue_status import ATTEMPT, LineDisplay, QueueJob
from medalist.training.request import TrainRequest
from medalist.training.train import train_request

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


SETTINGS = parse_settings(
    "{competition: toy_nuclei, model: {kind: unet, encoder: test_resnet, channels: [body]}, "
    "loss: {bce: 1.0}, decide: {kind: threshold}}",
    "a.yaml",
)


def simple_job(tmp_path: Path) -> QueueJob:
    root = tmp_path / "runs"
    return QueueJob(TrainRequest(SETTINGS, Path("a.yaml"), (), None, (0,), "a", root), Run(root / "toy" / "a"))


def test_how_a_job_ended_is_told_and_stands_in_its_log(tmp_path: Path) -> None:
    def worked(error: BaseException | None) -> tuple[str | None, str]:
        def work(request: TrainRequest, reporter: Reporter) -> None:
            reporter.say("epoch 1")
            if error is not None:
                raise error

        log = io.StringIO()
        return _worked(simple_job(tmp_path), work, log), log.getvalue()

    assert worked(None) == (None, "epoch 1\n")
    nan = TrainingError("the loss is nan")
    assert worked(nan) == ("the loss is nan", "epoch 1\nmedalist: the loss is nan\n")
    line, log = worked(OSError(errno.ENOSPC, "No space left on device", "x.png"))
    assert line is not None and line.startswith("x.png: No space left on device") and f"medalist: {line}" in log


def test_what_is_our_fault_is_raised_with_its_traceback_in_the_log(tmp_path: Path) -> None:
    def work(error: BaseException) -> Callable[[TrainRequest, Reporter], None]:
        def broken(request: TrainRequest, reporter: Reporter) -> None:
            raise error

        return broken

    log = io.StringIO()
    with pytest.raises(ZeroDivisionError):
        _worked(simple_job(tmp_path), work(ZeroDivisionError("of ours")), log)
    assert log.getvalue().startswith("Traceback") and "ZeroDivisionError: of ours" in log.getvalue()
    log = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        _worked(simple_job(tmp_path), work(KeyboardInterrupt()), log)
    assert log.getvalue().startswith("medalist: interrupted; ") and log.getvalue().count("\n") == 1


def test_a_node_without_the_files_says_so(tmp_path: Path) -> None:
    code, line, _ = train_job(simple_job(tmp_path), lambda request, reporter: 0, str(tmp_path / "nowhere"), 1, 0)
    assert code == 2 and "nowhere: No such file or directory; the nodes of a Ray cluster need the same files" in line


def test_no_jobs_start_nothing() -> None:
    with FoldQueue(lambda request, reporter: 0, None, None, lambda: LineDisplay(lambda line: None)) as queue:
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
        ended = subprocess.run(words, check=False, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=600)
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
    assert code == 2 and line.startswith("no data folder ") and line.endswith("(from --data or data:); type --data DIR")
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
    config, root = home / "tiny.yaml", home / "runs"
    request = TrainRequest(load_settings(config, overrides), config, overrides, data, (fold,), name, root)
    return QueueJob(request, Run(root / "toy_nuclei" / name))


def weights(run: Run) -> dict[str, list[Any]]:
    """Of each fold what its training and its prediction left."""
    found: dict[str, list[Any]] = {}
    for fold in (0, 1):
        rows = [json.loads(line) for line in (run.fold_folder(fold) / "metrics.jsonl").read_text().splitlines()]
        for row in rows:
            del row["seconds"]
        part = MapStore(run.folder / "oof").part(f"fold{fold}")
        assert part is not None
        oof = [MapStore(run.folder / "oof").read(name, part.columns).maps.tobytes().hex()[:2000] for name in part.ids]
        found[str(fold)] = [sha256_file(run.checkpoint(fold, "last")), rows, oof]
    return found


def pid_of(job: QueueJob) -> int:
    """The process of the newest attempt, as soon as it has begun to train."""
    deadline = time.monotonic() + 200
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
    said: list[str] = []
    jobs = [job(home, data, "queued", fold, *LONGER) for fold in (0, 1)]
    wrong, stopped = job(home, str(home / "nowhere"), "wrong", 0), job(home, data, "stopped", 0, *LONGER)
    killed: list[int] = []

    def kill() -> None:
        killed.append(pid_of(jobs[0]))
        os.kill(killed[0], signal.SIGKILL)

    def interrupt() -> None:
        pid_of(stopped)
        os.kill(os.getpid(), signal.SIGINT)

    interrupted = False
    with FoldQueue(train_request, 2, None, lambda: LineDisplay(said.append)) as queue:
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
        "said": said,
        "interrupted": interrupted,
        "left": [process.pid for process in started if process.is_running()],
        "half_written": [str(path) for path in stopped.run.folder.rglob(".*") if path.is_file()],
        "stopped_trained": stopped.run.trained_folds(),
        "stopped_log": stopped.log.read_text(),
    }


def cluster(home: Path, data: str) -> dict[str, Any]:
    import ray
    from ray.cluster_utils import Cluster

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
    with FoldQueue(train_request, 2, nodes.address, lambda: LineDisplay(lambda line: None)) as queue:
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
