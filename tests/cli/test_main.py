from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalist import __version__
from medalist.errors import DataError, MedalistError

CONFIG = "configs/toy_nuclei/demo.yaml"
INTERRUPTED = "interrupted; all files are complete; run the same command to resume"
Command = Callable[..., Any]


@pytest.fixture
def failing(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes `medalist show` raise this."""

    def fail_with(error: BaseException) -> None:
        def load(*_: object) -> None:
            raise error

        monkeypatch.setattr("medalist.kinds.load_settings", load)

    return fail_with


def test_a_users_mistake_is_one_line_and_2(medalist: Command, failing: Any) -> None:
    failing(DataError("the csv\n  is\tgone"))
    ended = medalist("show", CONFIG)
    assert (ended.code, ended.line, ended.out) == (2, "the csv is gone", "")


def test_our_fault_is_one_line_and_1(medalist: Command, failing: Any) -> None:
    failing(TypeError("unsupported\noperand"))
    ended = medalist("show", CONFIG)
    assert ended.code == 1 and ended.out == ""
    assert ended.line == "this is a bug in medalist: TypeError: unsupported operand; --debug shows where"


def test_ctrl_c_is_one_line_and_130(medalist: Command, failing: Any) -> None:
    failing(KeyboardInterrupt())
    ended = medalist("show", CONFIG)
    assert (ended.code, ended.line) == (130, INTERRUPTED)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_machine_refuses_is_no_fault_of_ours(medalist: Command, failing: Any, number: int) -> None:
    failing(OSError(number, os.strerror(number), "runs/x"))
    ended = medalist("show", CONFIG)
    assert (ended.code, ended.line) == (2, f"runs/x: {os.strerror(number)}; correct this and run the command again")


def test_other_trouble_of_the_system_is_ours(medalist: Command, failing: Any) -> None:
    failing(OSError(errno.EBADF, "Bad file descriptor"))
    assert medalist("show", CONFIG).code == 1


@pytest.mark.parametrize("error", [DataError("gone"), TypeError("bad"), OSError(errno.ENOSPC, "full")])
def test_debug_shows_where(medalist: Command, failing: Any, error: Exception) -> None:
    failing(error)
    for words in (("--debug", "show", CONFIG), ("show", CONFIG, "--debug"), ("show", "--debug", "--quiet", CONFIG)):
        ended = medalist(*words)
        assert ended.code == (1 if isinstance(error, TypeError) else 2)
        assert ended.err.startswith("Traceback") and "test_main.py" in ended.err
        assert ended.err.splitlines()[-1].startswith("medalist: ")
    assert "Traceback" not in medalist("show", CONFIG).err


def test_flags_may_stand_behind_the_command(medalist: Command, at_home: Path) -> None:
    ended = medalist("show", CONFIG, "--quiet", "train.epochs=3", "--debug")
    assert ended.code == 0 and "epochs: 3" in ended.out and ended.err == ""


@pytest.mark.parametrize("text", ["[bold]x[/]", ":car:", "50%", "\x1b[31mred", "é", "a" * 3000, "x\u202ey\u200b\x07"])
def test_hostile_names_are_printed_as_they_are_or_not_at_all(medalist: Command, failing: Any, text: str) -> None:
    failing(MedalistError(f"no file {text}"))
    line = medalist("show", CONFIG).line
    assert line.isprintable()
    if text.isprintable():
        assert line == f"no file {text}"


@pytest.mark.parametrize(
    "words",
    [
        ("trian",),
        ("show",),
        ("show", CONFIG, "--what"),
        ("train", CONFIG, "--fold", "x"),
        ("weights", "lst"),
        ("--runs",),
    ],
)
def test_words_that_are_not_understood_are_2(medalist: Command, at_home: Path, words: tuple[str, ...]) -> None:
    ended = medalist(*words)
    assert ended.code == 2 and ended.out == ""
    assert "Traceback" not in ended.err and "Error" in ended.err


def test_help_and_version(medalist: Command) -> None:
    assert medalist("--help").code == 0
    assert medalist("version").out == f"{__version__}\n"
    for command in ("check", "folds", "show", "diff", "train", "predict", "score", "submit", "validate", "report"):
        ended = medalist(command, "--help")
        assert ended.code == 0 and len(ended.out.splitlines()) > 4


def test_nothing_of_torch_is_imported_to_start() -> None:
    code = "import sys, medalist.cli.main; sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'cv2')))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_real_ctrl_c_leaves_a_run_that_goes_on(untrained: Any, leftovers: Callable[[Path], list[str]]) -> None:
    command = [
        "--runs",
        str(untrained.runs),
        "train",
        str(untrained.config),
        "train.epochs=500",
        "checkpoint.steps=1",
        "--name",
        "tiny",
    ]
    code = "from medalist.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command, "--data", str(untrained.data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    fold = untrained.runs / "toy_nuclei" / "tiny" / "fold0"
    try:
        while not (fold / "metrics.jsonl").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == f"medalist: {INTERRUPTED}\n"
    assert leftovers(untrained.runs) == [] and untrained.run.trained_folds() == []
    from medalist.engine.checkpoint import load_state

    kept, damaged = load_state(fold)
    assert kept is not None and kept.batches >= 1 and not damaged
