"""The file is also the program of one of the processes that its tests start: `test_devices.py FOLDER`.

It runs several commands, one after the other, as their imports take longer than all of them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from medalist.reporter import SilentReporter

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
Command = Callable[..., Any]
WIDE = ("predict.batch=16",)
"""Fewer batches of held-out samples than four processes."""

ALIKE = {"OMP_NUM_THREADS": "1"} | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})
"""Kernels share sums out to threads, so the number of threads is in the last bits of all figures."""

LONG = ("checkpoint.steps=1", "train.epochs=15", "train.batch=1", "train.evaluate_every=0")
"""A training of 90 steps, each of which leaves a state: time enough to do something to it."""


@dataclass(frozen=True)
class Spread:
    """What several processes have left: their folder of runs, and how each command ended in each of them."""

    runs: Path
    ended: list[list[tuple[int, str, str]]]


def work(folder: Path) -> None:
    """Run the commands of a file as one of several processes."""
    from medalist.cli.main import run

    torch.set_num_threads(1)
    ended = []
    for words in json.loads((folder / "commands.json").read_text()):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(words)
        ended.append((code, out.getvalue(), err.getvalue()))
    (folder / f"ended-{os.environ['RANK']}.json").write_text(json.dumps(ended))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def spread(folder: Path, world: int, commands: list[tuple[object, ...]]) -> Spread:
    """Run commands on `world` processes, as torchrun would start them."""
    runs = folder / "runs"
    words = [["--runs", str(runs), "--debug", *map(str, command)] for command in commands]
    (folder / "commands.json").write_text(json.dumps(words))
    shared = ALIKE | {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=PROJECT,
            stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]
    try:
        for process in started:
            _, errors = process.communicate(timeout=400)
            assert process.returncode == 0, errors.decode()
    finally:
        for process in started:
            process.kill()
            process.communicate()
    return Spread(runs, [json.loads((folder / f"ended-{rank}.json").read_text()) for rank in range(world)])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Here as in the other processes: kernels share sums out to threads, so their number is in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whale_config(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config of identities, and its drawn contest."""
    import runpy

    from medalist.competition import load_competition

    home = tmp_path_factory.mktemp("whales")
    text = runpy.run_path(str(PROJECT / "tests" / "conftest.py"))["WHALES"]
    (home / "whales.yaml").write_text(text)
    draw = load_competition("humpback_whale", PROJECT / "competitions").draw
    assert draw is not None
    draw(home / "data", 1)
    return home / "whales.yaml", home / "data"


def commands(toy: Any, whales: tuple[Path, Path]) -> list[tuple[object, ...]]:
    """Train both contests on all processes, and predict with a network that one process has trained."""
    config, data = whales
    return [
        ("train", toy.config, "--data", toy.data, "--name", "spread", *WIDE, "train.batch=1"),
        ("predict", "toy_nuclei/tiny", "--split", "oof", "--data", toy.data, "predict.tta=flips"),
        ("predict", "toy_nuclei/tiny", "--split", "test", "--data", toy.data, *WIDE),
        ("train", config, "--data", data, "--name", "spread", "--fold", 0, "sampler.classes=2"),
        ("train", toy.config, "--data", toy.data, "--fold", 7),
    ]


def made_on(world: int, trained: Any, whales: tuple[Path, Path], home: Path) -> Spread:
    shutil.copytree(trained.runs, home / "runs")
    return spread(home, world, commands(trained, whales))


@pytest.fixture(scope="module")
def on_one(trained: Any, whale_config: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs in which this process alone has predicted."""
    from medalist.cli.main import run

    home = tmp_path_factory.mktemp("one")
    shutil.copytree(trained.runs, home / "runs")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for command in commands(trained, whale_config)[1:3]:
        with contextlib.chdir(PROJECT), contextlib.redirect_stdout(io.StringIO()):
            assert run(["--runs", str(home / "runs"), *map(str, command)]) == 0
    torch.set_num_threads(before)
    return home / "runs"


@pytest.fixture(scope="module", params=[2, 4])
def on_several(
    request: pytest.FixtureRequest,
    trained: Any,
    whale_config: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Spread:
    """What two and four processes have made."""
    world: int = request.param
    skip_where_gpus_are_fewer(world)
    return made_on(world, trained, whale_config, tmp_path_factory.mktemp(f"on{world}"))


def skip_where_gpus_are_fewer(world: int) -> None:
    """Where there are GPUs these tests are on them, each process on its own."""
    if 0 < torch.cuda.device_count() < world:
        pytest.skip(f"needs {world} GPUs, here are {torch.cuda.device_count()}")


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def weights(folder: Path) -> bytes:
    return (folder / "last.safetensors").read_bytes()


def looked_at_alone(config: Path, data: Path, runs: Path, *overrides: str) -> dict[str, float]:
    """Figures of the weights of fold 0 of the run `spread`, by one process."""
    from medalist.engine.checkpoint import load_weights
    from medalist.engine.devices import open_fabric
    from medalist.engine.job import TrainJob
    from medalist.engine.train import validate_held_out
    from medalist.kinds import kind_of, load_settings
    from medalist.training.request import TrainRequest
    from medalist.training.start import prepare

    with contextlib.chdir(PROJECT):
        settings = load_settings(config, overrides)
        setup = prepare(TrainRequest(settings, config, overrides, str(data), (0,), "spread", runs))
        job = kind_of(settings).training().open_data(setup, open_fabric("32-true"), SilentReporter())(0)
    assert isinstance(job, TrainJob)
    load_weights(job.model, job.folder / "last.safetensors")
    return dict(validate_held_out(job, job.fabric.to_device(job.model)))


def test_each_command_ends_well_and_one_process_speaks(on_several: Spread) -> None:
    first, *others = on_several.ended
    assert [code for code, _, _ in first] == [0, 0, 0, 0, 2]
    assert all(not err for _, _, err in first[:4])
    assert "fold 7 does not exist" in first[4][2].splitlines()[-1]
    for other in others:
        assert other == [[code, "", ""] for code, _, _ in first], "a mistake is told once"


def test_figures_of_training_are_those_of_one_process_to_the_last_bit(
    on_several: Spread, trained: Any, whale_config: tuple[Path, Path]
) -> None:
    """The looks of several processes against one of their weights by this one."""
    found = looked_at_alone(trained.config, trained.data, on_several.runs, *WIDE, "train.batch=1")
    row = rows(on_several.runs / "toy_nuclei" / "spread" / "fold0")[-1]
    assert set(found) == {"val_loss", "val_loss_bce", "dice_body", "dice_border"}
    assert {name: row[name] for name in found} == found
    found = looked_at_alone(*whale_config, on_several.runs, "sampler.classes=2")
    row = rows(on_several.runs / "humpback_whale" / "spread" / "fold0")[-1]
    assert {"val_loss", "recall@1", "map@5"} <= set(found)
    assert {name: row[name] for name in found} == found


@pytest.mark.parametrize("split", ["oof", "test"])
def test_predictions_are_those_of_one_process_to_the_last_byte(on_several: Spread, on_one: Path, split: str) -> None:
    one, several = (files(runs / "toy_nuclei" / "tiny" / split) for runs in (on_one, on_several.runs))
    assert one.keys() == several.keys() and len(one) > 6
    assert [name for name in one if one[name] != several[name]] == []


def test_scores_are_those_of_one_process_to_the_last_bit(
    on_several: Spread, on_one: Path, medalist: Command, at_home: Path, trained: Any
) -> None:
    found = []
    for runs in (on_one, on_several.runs):
        ended = medalist("--runs", runs, "score", "toy_nuclei/tiny", "--data", trained.data)
        assert (ended.code, ended.err) == (0, "")
        found.append(json.loads((runs / "toy_nuclei" / "tiny" / "scores.json").read_text()))
    assert found[0]["oof"] == found[1]["oof"] and found[0]["by_sample"] == found[1]["by_sample"]


def test_vectors_are_those_of_one_process_to_the_last_byte(
    on_several: Spread, whale_config: tuple[Path, Path], medalist: Command, at_home: Path, tmp_path: Path
) -> None:
    spread = on_several.runs / "humpback_whale" / "spread"
    shutil.copytree(spread, tmp_path / "humpback_whale" / "spread")
    own = tmp_path / "humpback_whale" / "spread"
    shutil.rmtree(own / "oof")
    ended = medalist(
        "--runs", tmp_path, "predict", "humpback_whale/spread", "--split", "oof", "--data", whale_config[1]
    )
    assert (ended.code, ended.err) == (0, "")
    assert files(own / "oof") == files(spread / "oof")
    assert any(name.endswith(".npy") for name in files(own / "oof"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "{config}", "train.lr=x"), "train.lr = 'x'"),
        (("train", "nowhere.yaml"), "no config file nowhere.yaml"),
        (("predict", "nowhere"), "nowhere"),
        (("predict", "toy_nuclei/tiny", "train.lr=1"), "only predict.* may be changed here"),
    ],
)
def test_what_the_words_say_wrong_is_told_once_and_before_any_process_starts(
    medalist: Command,
    trained: Any,
    at_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    def start(*_: object) -> int:
        raise AssertionError("processes are started")

    monkeypatch.setattr("medalist.processes.start", start)
    named = [word.format(config=trained.config) for word in words]
    ended = medalist("--runs", trained.runs, *named, "--devices", 2)
    assert ended.code == 2 and said in ended.line


class Training:
    """`medalist train --devices 2` in a session of its own, as a terminal has one."""

    def __init__(self, toy: Any, runs: Path, name: str = "long"):
        self.fold = runs / "toy_nuclei" / name / "fold0"
        words = ("--runs", runs, "train", toy.config, "--data", toy.data, "--fold", 0, "--name", name, *LONG)
        self.words = tuple(map(str, words))
        before = self.batches()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "medalist", *self.words, "--devices", "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=PROJECT,
            env=os.environ | ALIKE,
        )
        while self.batches() <= before and self.process.poll() is None:
            time.sleep(0.02)
        self.others = children(self.process.pid) if self.process.poll() is None else []

    def batches(self) -> int:
        """Those behind the newest state."""
        names = [path.name for path in self.fold.glob("state-*.safetensors")]
        return max((int(re.findall(r"\d+", name)[0]) for name in names), default=-1)

    def end(self) -> tuple[int, str]:
        """Its exit code and its line of error; all of its processes are gone then, within seconds."""
        _, err = self.process.communicate(timeout=300)
        deadline = time.monotonic() + 60
        while any(runs(other) for other in self.others):
            assert time.monotonic() < deadline, "processes are left"
            time.sleep(0.02)
        return self.process.returncode, err


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(scope="module")
def disturbed(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A training that was ended in three ways, and went on each time; what was said, and what other commands saw."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("needs /proc to find the processes")
    skip_where_gpus_are_fewer(2)
    home = tmp_path_factory.mktemp("disturbed")
    found: dict[str, Any] = {"runs": home}
    begun: list[Training] = []

    def begin() -> Training:
        begun.append(Training(trained, home))
        assert len(begun[-1].others) == 2, begun[-1].process.communicate()
        return begun[-1]

    def other(training: Training) -> tuple[int, str]:
        from medalist.cli.main import run

        err = io.StringIO()
        with contextlib.chdir(PROJECT), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            code = run(list(training.words))
        return code, err.getvalue()

    try:
        training = begin()
        for pid in training.others:  # it holds still, while another command tries the same run
            os.kill(pid, signal.SIGSTOP)
        found["second"] = other(training)
        for pid in training.others:
            os.kill(pid, signal.SIGCONT)
        at = training.batches()
        while training.batches() <= at and training.process.poll() is None:
            time.sleep(0.02)
        found["undisturbed"] = training.process.poll()
        os.kill(training.others[1], signal.SIGKILL)
        found["rank killed"] = training.end()
        found["on one"] = other(training)
        training = begin()
        os.killpg(training.process.pid, signal.SIGINT)
        found["interrupted"] = training.end()
        training = begin()
        os.kill(training.process.pid, signal.SIGKILL)
        found["parent killed"] = training.end()
        training = begin()
        found["whole"] = training.end()
        found["fold"] = training.fold
        yield found
    finally:
        for one in begun:
            for pid in (one.process.pid, *one.others):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            one.process.communicate()


def test_a_process_that_is_killed_ends_all_with_one_line(disturbed: dict[str, Any]) -> None:
    assert disturbed["rank killed"] == (
        2,
        "medalist: process 1 of 2 was ended by signal 9 (SIGKILL); all files are complete; run the same command "
        "to resume\n",
    )


def test_ctrl_c_ends_all_with_one_line(disturbed: dict[str, Any]) -> None:
    assert disturbed["interrupted"] == (
        130,
        "medalist: interrupted; all files are complete; run the same command to resume\n",
    )


def test_none_outlives_the_one_that_started_it(disturbed: dict[str, Any]) -> None:
    assert disturbed["parent killed"] == (-signal.SIGKILL, "")


def test_a_second_command_on_the_same_fold_is_refused_and_does_not_disturb(disturbed: dict[str, Any]) -> None:
    code, err = disturbed["second"]
    assert code == 2 and err.count("\n") == 1
    assert re.search(r"fold0 is in use by process \d+ on .+; wait until it ends, or take another --fold\n$", err)
    assert disturbed["undisturbed"] is None


def test_the_state_of_two_processes_is_refused_by_one(disturbed: dict[str, Any]) -> None:
    code, err = disturbed["on one"]
    assert code == 2 and err.count("\n") == 1
    assert "was written by 2 processes, but this training has 1; resume with --devices 2, or delete" in err


def test_a_training_that_was_ended_in_three_ways_has_the_weights_of_one_by_torchrun_that_was_not(
    disturbed: dict[str, Any], trained: Any, tmp_path: Path, leftovers: Callable[[Path], list[str]]
) -> None:
    assert disturbed["whole"] == (0, "")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    torchrun = (*torchrun, "--master-addr", "127.0.0.1", "--master-port", str(free_port()), "-m", "medalist")
    words = ("train", trained.config, "--data", trained.data, "--fold", 0, "--name", "long", *LONG)
    ended = subprocess.run(
        [*torchrun, "--runs", str(tmp_path), *map(str, words)],
        cwd=PROJECT,
        env=os.environ | ALIKE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("epoch 15/15") == 1, "one process speaks"
    fold = tmp_path / "toy_nuclei" / "long" / "fold0"
    assert weights(fold) == weights(disturbed["fold"])

    def told(folder: Path) -> list[dict[str, float]]:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows(folder)]

    assert told(fold) == told(disturbed["fold"])
    assert leftovers(disturbed["runs"]) == []


if __name__ == "__main__":
    work(Path(sys.argv[1]))
