from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
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


@pytest.mark.slow  # a new process; tests/cli/test_training.py has Ctrl-C in this one
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


# ----------------------------------------------------------------------------------- what the machine refuses


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 3.2 TiB for an array"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch.so: failed to map segment from shared object"),
    ],
)
def test_too_little_memory_is_no_fault_of_ours(medalist: Command, failing: Any, error: Exception) -> None:
    """Also a limit on the address space (`ulimit -v`), under which everything else fails in its own way."""
    failing(error)
    ended = medalist("show", CONFIG)
    assert ended.code == 2 and ended.line.startswith("not enough memory") and "ulimit -v" in ended.line


@pytest.mark.parametrize("number", [errno.EFBIG, errno.ENAMETOOLONG, errno.EMFILE, errno.EIO])
def test_limits_on_files_are_no_fault_of_ours(medalist: Command, failing: Any, number: int) -> None:
    failing(OSError(number, os.strerror(number), "runs/x"))
    assert medalist("show", CONFIG).code == 2


def test_a_warning_cannot_write_codes_to_the_terminal(
    medalist: Command, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        warnings.simplefilter("always")
        warnings.warn("\x1b[2Jclean\nline", UserWarning, stacklevel=1)
        raise DataError("x")

    monkeypatch.setattr("medalist.kinds.load_settings", load)
    assert medalist("show", CONFIG).err == "medalist: note:  [2Jclean line\nmedalist: x\n"


def shell(words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell in which $M is the command."""
    environment = {**os.environ, "M": f"{sys.executable} -m medalist", "COLUMNS": "80", **more}
    return subprocess.run(
        ["bash", "-c", words], env=environment, capture_output=True, text=True, timeout=100, check=False
    )


bash = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")


@bash
def test_an_output_that_nobody_reads_ends_the_command_quietly(at_home: Path) -> None:
    # The reader is gone before the command writes.
    ended = shell("(sleep 0.2; $M board; echo $? >&2) | true; (sleep 0.2; $M version; echo $? >&2) | true")
    assert (ended.stdout, ended.stderr) == ("", "141\n141\n")


@bash
def test_a_closed_output_is_no_fault_of_ours(at_home: Path) -> None:
    ended = shell("$M board >&-; echo $?; $M board >/dev/full; echo $?")
    assert ended.stdout == "0\n2\n"
    assert "No space left on device" in ended.stderr and ended.stderr.count("\n") == 1


@bash
def test_a_terminal_without_all_letters_gets_question_marks(at_home: Path, tmp_path: Path) -> None:
    ended = shell("$M board; $M check 'é→'", PYTHONIOENCODING="ascii", MEDALIST_RUNS=str(tmp_path / "é"))
    assert ended.returncode == 2 and "no runs under" in ended.stdout and "?;" in ended.stdout
    assert "no competition '??'" in ended.stderr and ended.stderr.count("\n") == 1


@bash
def test_a_file_that_would_be_too_large_is_no_fault_of_ours(at_home: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from medalist import files; from medalist.cli import main\n"
        "from medalist.workflows import board\n"
        f"board.board_rows = lambda *_: files.write_text(Path({str(tmp_path / 'x')!r}), 'a' * 10**6)\n"
        "raise SystemExit(main.run(['board']))"
    )
    ended = shell(f'ulimit -f 8; {sys.executable} -c "$CODE"', CODE=code)
    assert ended.returncode == 2 and "ulimit -f" in ended.stderr and ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- first words


def test_the_version_is_an_option_too(medalist: Command, at_home: Path) -> None:
    assert medalist("--version").out == medalist("version").out == f"{__version__}\n"


def test_help_of_a_command_is_a_command(medalist: Command, at_home: Path) -> None:
    for words in ((), ("train",), ("index", "build")):
        helped, asked = medalist("help", *words), medalist(*words, "--help")
        assert helped.code == asked.code == 0 and helped.out == asked.out and "Usage: medalist" in helped.out
    assert medalist("help", "trian").code == 2


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_completion_is_printed_and_nothing_is_installed_unasked(
    medalist: Command, at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shellingham.detect_shell", lambda: (name, f"/bin/{name}"))
    ended = medalist("--show-completion")
    assert ended.code == 0 and "_MEDALIST_COMPLETE" in ended.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "show", "plan", "debug", "folds", "sweep"])
def test_a_run_in_the_place_of_a_config_is_told(medalist: Command, trained: Any, at_home: Path, command: str) -> None:
    for name in ("toy_nuclei/tiny", "tiny", trained.run.folder):
        ended = medalist("--runs", trained.runs, command, name, *(["train.lr=1,2"] if command == "sweep" else []))
        assert ended.code == 2 and ended.line.startswith(f"{name} is a run, not a config; to go on with its training: ")
        assert f"medalist train {trained.config} --name tiny" in ended.line


def test_a_config_in_the_place_of_a_run_is_told(medalist: Command, trained: Any, at_home: Path) -> None:
    ended = medalist("--runs", trained.runs, "score", CONFIG)
    assert ended.code == 2 and f"; {CONFIG} is a config: name a run of it" in ended.line


def test_a_setting_in_the_place_of_a_run_is_told(medalist: Command, trained: Any, at_home: Path) -> None:
    ended = medalist("--runs", trained.runs, "submit", "toy_nuclei/tiny", "decide.body=0.4")
    assert ended.code == 2 and "medalist score RUN decide.body=0.4 --keep decides so from then on" in ended.line


def test_an_encoder_that_does_not_exist_is_not_shown(medalist: Command, at_home: Path) -> None:
    ended = medalist("show", CONFIG, "model.encoder=resnet3")
    assert ended.code == 2 and "encoder 'resnet3' is not in timm" in ended.line and "did you mean" in ended.line


def test_the_board_of_an_unknown_contest_names_those_with_runs(medalist: Command, trained: Any, at_home: Path) -> None:
    ended = medalist("--runs", trained.runs, "board", "toy_nucleii")
    assert ended.code == 2 and "did you mean 'toy_nuclei'?" in ended.line
    assert ended.line.endswith(f"contests with runs under {trained.runs}: toy_nuclei")
    ended = medalist("--runs", trained.runs, "board", "dsb2018")
    assert ended.code == 0 and ended.out.startswith(f"no runs of dsb2018 under {trained.runs}")
