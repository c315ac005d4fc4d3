"""`medalist`: the commands, the exit codes, and the one place that catches all exceptions.

Exit codes: 0 done, 1 a fault of medalist, 2 the user's mistake (one line), 130 interrupted, 141 when nobody reads the
output any more.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from medalist import __version__
from medalist.cli import (
    contests,
    debugging,
    exports,
    inspection,
    kaggle,
    new,
    planning,
    queueing,
    retrieval,
    storing,
    training,
    weights,
)
from medalist.cli.console import BROKEN_PIPE, PlainConsole
from medalist.cli.session import Session
from medalist.competition import contests_fault
from medalist.errors import users_line
from medalist.processes import ending_with_parent, place
from medalist.processors import sleep_soon
from medalist.reporter import printable
from medalist.system import hold_standard_streams, print_unknown_letters

INTERRUPT = 130
"""The exit code after Ctrl-C: 128 plus the number of the signal."""

ANYWHERE = ("--debug", "--quiet")
"""Flags that may also stand after the command, because people type them there."""

INTERRUPTED = "interrupted; all files are complete; run the same command to resume"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,  # prints or installs a shell's completion only where the user types the option for it
    rich_markup_mode=None,
    help="From a competition's data to a validated submission, with a score that can be trusted.",
)
for room in (training, exports, planning, queueing, debugging, new, contests, inspection, retrieval, storing):
    room.add_to(app)
app.add_typer(weights.app, name="weights")
app.add_typer(kaggle.app, name="kaggle")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def top(
    context: typer.Context,
    runs: Annotated[Path, typer.Option(envvar="MEDALIST_RUNS", help="The folder of all runs.")] = Path("runs"),
    quiet: Annotated[bool, typer.Option("--quiet", help="Plain lines without a bar.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    asked_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Make the session that all commands share."""
    del debug, asked_version  # `run` reads --debug, because it prints the traceback
    # A pipe or a log file has no width, and lines must not be wrapped there.
    width = None if sys.stdout.isatty() else 200
    terminal = False if quiet else None
    # Of several processes only the first prints; errors are printed by the process in which they happen.
    console = PlainConsole(width=width, force_terminal=terminal, emoji=False, quiet=place().rank > 0)
    context.obj = Session(console, runs, context.obj or ())


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command("help")
def print_help(
    words: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND]", help="As in: help index build.")] = None,
) -> None:
    """Print the help of a command, or of all commands."""
    _command()([*(words or ()), "--help"], prog_name="medalist")


def main() -> None:
    """Run the command line and exit."""
    hold_standard_streams()
    if "--debug" not in sys.argv:
        # What a library's object could not do at its end would follow the line of an error as a traceback.
        sys.unraisablehook = lambda unraisable: None
    sleep_soon()  # no command has imported torch yet
    print_unknown_letters()
    with ending_with_parent():
        code = _flushed(run(sys.argv[1:]))
    raise SystemExit(code)


def _flushed(code: int) -> int:
    """Write what is left of the output, and return the exit code.

    What cannot be written is given up here, because Python would try it again at its end, with a traceback.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE if isinstance(error, BrokenPipeError) else _fail(f"the output: {error.strerror}", code or 2)
    return code


def run(arguments: Sequence[str]) -> int:
    """Run one command, and return its exit code. An error is printed as one line on the standard error."""
    flags = [flag for flag in ANYWHERE if flag in arguments]
    debug = "--debug" in flags
    with warnings.catch_warnings():
        warnings.showwarning = _note
        return _run(arguments, flags, debug)


def _run(arguments: Sequence[str], flags: Sequence[str], debug: bool) -> int:
    output = sys.stdout
    try:
        words = [*flags, *(word for word in arguments if word not in ANYWHERE)]
        _command()(words, prog_name="medalist", obj=tuple(words))
    except SystemExit as end:  # typer ends with it, also after a usage error (2) or an interrupt (130)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if sys.stdout is not output:  # typer has replaced it, because nobody reads it any more
            return BROKEN_PIPE
        return _fail(INTERRUPTED, code) if code == INTERRUPT else code
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, INTERRUPT)
    except Exception as error:  # noqa: BLE001  # every error of a command is printed as one line here
        if debug:
            traceback.print_exc()
        line = users_line(error) or contests_fault(error)
        if line is not None:
            return _fail(line, 2)
        reason = str(error)[:300]
        return _fail(f"this is a bug in medalist: {type(error).__name__}: {reason}; --debug shows where", 1)
    return 0


@cache
def _command() -> Callable[..., object]:
    """Return all commands. They are built only once, because building takes longer than most commands.

    The cache helps where one process runs several commands.
    """
    return typer.main.get_command(app)


def _note(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as one line, without its place in the code."""
    sys.stderr.write(f"medalist: note: {_printed(str(message))}\n")


def _fail(line: str, code: int) -> int:
    """Print one line on the standard error and return `code`; characters that cannot be printed become blanks."""
    sys.stderr.write(f"medalist: {_printed(line)}\n")
    return code


def _printed(text: str) -> str:
    return printable(" ".join(text.split()))
