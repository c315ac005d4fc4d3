"""The parts that all commands share: options, the folder of runs, and functions that print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medalist.cli.console import ConsoleReporter
from medalist.errors import ConfigError, MedalistError
from medalist.reporter import printable

if TYPE_CHECKING:
    from medalist.experiment import Experiment

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to the config.")]
Data = Annotated[
    str | None,
    typer.Option("--data", help="The contest's folder; default: data: in the config, or $MEDALIST_DATA/NAME."),
]
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A file under configs/.")]
Devices = Annotated[
    int,
    typer.Option(
        min=1, max=1024, help="Processes on this machine, one for each GPU; torchrun or fabric run can start them too."
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        help="The most memory of the process, such as 4GB: large images are predicted by tiles, and slices in batches, "
        "that fit; the same as predict.memory=4GB. For runs of masks and of boxes."
    ),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: its folder, COMPETITION/RUN, or its name.")]

FIGURE = re.compile(r"-?[0-9./]*")
"""The pattern of a cell that counts as a figure: a number, a share such as 2/5, or an empty cell."""


@dataclass(frozen=True)
class Session:
    """The console of this process, the folder of all runs, and the words of the typed command."""

    console: Console
    runs: Path
    words: tuple[str, ...] = ()

    @property
    def reporter(self) -> ConsoleReporter:
        """The reporter that prints to this console."""
        return ConsoleReporter(self.console)


def session(context: typer.Context) -> Session:
    """Return the session that the top-level options have made."""
    found = context.obj
    assert isinstance(found, Session)
    return found


def load_config(here: Session, config: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read the config that a command names. Raises ConfigError; for a run in its place it says what to type."""
    from medalist.kinds import load_settings

    try:
        return load_settings(config, tuple(overrides))
    except ConfigError:
        if not config.is_file():
            refuse_run(here, config)
        raise


def refuse_run(here: Session, config: Path) -> None:
    """Raise ConfigError where `config` names a run."""
    from medalist.runs.runs import find_run

    try:
        run = find_run(str(config), here.runs)
        lock = run.lock()
    except (MedalistError, OSError):
        return
    again = shlex.join(["medalist", "train", lock.config_file, *lock.overrides, "--name", run.name])
    raise ConfigError(
        f"{config} is a run, not a config; to go on with its training: {again}; to score it: medalist score "
        f"{run.competition}/{run.name}"
    )


def spread(here: Session, devices: int) -> None:
    """Start a process for each of several devices, and exit when they have ended.

    Does nothing with one device, and in a process that was started in this way.
    """
    from medalist.processes import place, start

    if devices > 1 and place().world == 1:
        raise typer.Exit(start(here.words, devices))


def counted(number: int, what: str, several: str = "") -> str:
    """Return a number and what it counts: 1 query, 2 queries. several: the plural, where it is not `what` and an s."""
    return f"{number} {what if number == 1 else several or what + 's'}"


def say(console: Console, text: str) -> None:
    """Print a plain line. Names that users have chosen are never read as markup, and paths are not wrapped."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def table(console: Console, title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table under its title. Columns of figures are aligned right, and other columns left."""
    say(console, title)  # the title of a rich table would be wrapped at the width of the table
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        figures = all(FIGURE.fullmatch("" if row[number] is None else str(row[number])) for row in rows)
        made.add_column(column, justify="right" if figures else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape("" if cell is None else printable(str(cell)).replace("\n", " ")) for cell in row))
    console.print(made)
