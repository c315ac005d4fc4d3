"""What every command shares: where runs lie and how to speak."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medalist.cli.console import ConsoleReporter

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to the config.")]
Data = Annotated[
    str | None,
    typer.Option("--data", help="The contest's folder; else the config's data:, else $MEDALIST_DATA/NAME."),
]
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A file under configs/.")]
Devices = Annotated[
    int,
    typer.Option(min=1, max=1024, help="Processes on this machine, one a GPU; torchrun and fabric run start them too."),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: its folder, COMPETITION/RUN, or its name.")]

FIGURE = re.compile(r"-?[0-9./]*")
"""A cell that counts as a figure: a number, a share such as 2/5, or nothing."""


@dataclass(frozen=True)
class Session:
    """The console of this process, the folder of all runs, and the words that the command was typed in."""

    console: Console
    runs: Path
    words: tuple[str, ...] = ()

    @property
    def reporter(self) -> ConsoleReporter:
        """What work speaks to."""
        return ConsoleReporter(self.console)


def session(context: typer.Context) -> Session:
    """What the top-level options made."""
    found = context.obj
    assert isinstance(found, Session)
    return found


def spread(here: Session, devices: int) -> None:
    """Where a command wants several devices and is not yet one of their processes: start those, and exit with them."""
    from medalist.processes import place, start

    if devices > 1 and place().world == 1:
        raise typer.Exit(start(here.words, devices))


def say(console: Console, text: str) -> None:
    """A plain line; what users named is never read as markup, and paths are not wrapped."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def table(console: Console, title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table under its title; columns of figures are right, others left."""
    say(console, title)  # not the table's own title, which is folded at the table's width
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        figures = all(FIGURE.fullmatch("" if row[number] is None else str(row[number])) for row in rows)
        made.add_column(column, justify="right" if figures else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    console.print(made)
