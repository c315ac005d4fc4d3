"""`medalist replay` and `medalist store`: make a submission again, and keep weights and data outside of git."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medalist.cli.contests import Verify
from medalist.cli.session import Data, counted, say, session, table
from medalist.errors import RunError, SubmissionError

app = typer.Typer(no_args_is_help=True, help="Weights, predictions and data in a folder of blobs, outside of git.")

Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN|FILE|DIR ...]", help="What to take; default: all runs."),
]
Stores = Annotated[
    list[Path] | None, typer.Option("--from", metavar="DIR", help="A store; may be given several times.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A store.")]


def add_to(top: typer.Typer) -> None:
    """Add this file's commands."""
    top.command()(replay)
    top.add_typer(app, name="store")


def replay(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A submission that `submit` has written.")],
    data: Data = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Also predict again from the weights, and compare the predictions.")
    ] = False,
    verify: Verify = False,
) -> None:
    """Make a submission again in a temporary folder: byte for byte, or name the first stage that differs and why."""
    from medalist.workflows.replay import replay as run_replay

    here = session(context)
    found = run_replay(file, here.runs, data, predict, here.reporter, verify)
    runs = ", ".join(one.name for one in found.record.runs)
    title = f"{found.record.file} of {found.record.made[:19]} UTC, from {runs}"
    table(here.console, title, ["stage", "", ""], [[one.name, one.state, one.told] for one in found.stages])
    for what, changes in (("version", found.versions), ("machine", found.machine)):
        if changes:
            say(here.console, f"{what}: {', '.join(changes[:MOST])}{' ...' if len(changes) > MOST else ''}")
    if found.fault:
        raise SubmissionError(found.fault)
    what = "file" if file.suffix.lower() == ".zip" else "row"
    say(here.console, f"{file}: {counted(found.record.rows, what)}, made again byte for byte")


MOST = 8
"""The most changed versions that `replay` lists."""


@app.command()
def push(
    context: typer.Context,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The store; a new or empty folder becomes one.")],
    targets: Targets = None,
    name: Annotated[str | None, typer.Option("--name", help="The name of a new store; default: its folder's.")] = None,
) -> None:
    """Copy runs, folders or files into a store, and write a small pointer beside each of them."""
    from medalist.workflows.storing import push as run_push
    from medalist.workflows.storing import targets_of

    here = session(context)
    for line in run_push(targets_of(targets or (), here.runs), to, name, here.reporter):
        say(here.console, line)


@app.command()
def pull(
    context: typer.Context,
    targets: Targets = None,
    stores: Stores = None,
    link: Annotated[bool, typer.Option("--link", help="Hard links, read only, where the disk can; no copies.")] = False,
) -> None:
    """Bring back the files that pointers name and that are missing here. A missing file says who has it."""
    from medalist.workflows.storing import pull as run_pull
    from medalist.workflows.storing import targets_of

    here = session(context)
    for line in run_pull(targets_of(targets or (), here.runs), stores or (), link, here.reporter):
        say(here.console, line)


@app.command()
def status(context: typer.Context, targets: Targets = None, stores: Stores = None) -> None:
    """Say which stored files are here, changed or missing, and what each store has of them."""
    from medalist.workflows.storing import status as run_status
    from medalist.workflows.storing import targets_of

    here = session(context)
    lines = run_status(targets_of(targets or (), here.runs), stores or ())
    rows = [[one.target, one.files, one.here, one.changed, one.missing, one.stores] for one in lines]
    table(here.console, "stored files", ["of", "files", "here", "changed", "missing", "stores"], rows)


@app.command()
def verify(context: typer.Context, store: Folder) -> None:
    """Read every blob of a store, and print a line for each that is damaged. With damage the exit code is 2."""
    from medalist.workflows.storing import verify as run_verify

    here = session(context)
    count, damaged = run_verify(store, here.reporter)
    for line in damaged:
        say(here.console, line)
    if damaged:
        raise RunError(f"{store}: {len(damaged)} of {counted(count, 'blob')} damaged")
    say(here.console, f"{store}: {counted(count, 'blob')}, nothing is wrong")
