"""`medalist`: the commands, the exit codes, and the one place that catches all exceptions.

Exit codes: 0 done, 1 a fault of medalist, 2 the user's mistake (one line), 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from medalist import __version__
from medalist.cli import contests, debugging, inspection, planning, queueing, retrieval, training, weights
from medalist.cli.session import Session
from medalist.errors import users_line
from medalist.processes import ending_with_parent, place
from medalist.processors import sleep_soon
from medalist.system import print_unknown_letters

INTERRUPT = 130
"""The exit code after Ctrl-C: 128 plus the number of the signal."""

ANYWHERE = ("--debug", "--quiet")
"""Flags that may also stand after the command, because people type them there."""

INTERRUPTED = "interrupted; all files are complete; run the same command to resume"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="From a competition's data to a validated submission, with a score that can be trusted.",
)
for room in (training, planning, queueing, debugging, contests, inspection, retrieval):
    room.add_to(app)
app.add_typer(weights.app, name="weights")


@app.callback()
def top(
    context: typer.Context,
    runs: Annotated[Path, typer.Option(envvar="MEDALIST_RUNS", help="The folder of all runs.")] = Path("runs"),
    quiet: Annotated[bool, typer.Option("--quiet", help="Plain lines without a bar.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Make the session that all commands share."""
    del debug  # `run` reads this flag, because it prints the traceback
    # A pipe or a log file has no width, and lines must not be wrapped there.
    width = None if sys.stdout.isatty() else 200
    terminal = False if quiet else None
    # Of several processes only the first prints; errors are printed by the process in which they happen.
    console = Console(width=width, force_terminal=terminal, emoji=False, quiet=place().rank > 0)
    context.obj = Session(console, runs, context.obj or ())


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command line and exit."""
    sleep_soon()  # no command has imported torch yet
    print_unknown_letters()
    with ending_with_parent():
        code = run(sys.argv[1:])
    raise SystemExit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command, and return its exit code. An error is printed as one line on the standard error."""
    flags = [flag for flag in ANYWHERE if flag in arguments]
    debug = "--debug" in flags
    with warnings.catch_warnings():
        warnings.showwarning = _note
        return _run(arguments, flags, debug)


def _run(arguments: Sequence[str], flags: Sequence[str], debug: bool) -> int:
    try:
        words = [*flags, *(word for word in arguments if word not in ANYWHERE)]
        _command()(words, prog_name="medalist", obj=tuple(words))
    except SystemExit as end:  # typer ends with it, also after a usage error (2) or an interrupt (130)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return _fail(INTERRUPTED, code) if code == INTERRUPT else code
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, INTERRUPT)
    except Exception as error:  # noqa: BLE001  # every error of a command is printed as one line here
        if debug:
            traceback.print_exc()
        line = users_line(error)
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
    sys.stderr.write(f"medalist: note: {' '.join(str(message).split())}\n")


def _fail(line: str, code: int) -> int:
    """Print one line on the standard error and return `code`; characters that cannot be printed become blanks."""
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(line.split()))
    sys.stderr.write(f"medalist: {line}\n")
    return code
