"""`medalist debug`: inspect a network before its training, or after a training that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medalist.cli.session import ConfigFile, Data, Overrides, load_config, say, session, table


def add_to(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(debug)


def debug(
    context: typer.Context,
    config: ConfigFile,
    overrides: Overrides = None,
    data: Data = None,
    fold: Annotated[int, typer.Option(help="The fold whose network is inspected.")] = 0,
    steps: Annotated[
        int, typer.Option(min=2, max=100_000, help="Steps on one batch, and in the learning-rate range test.")
    ] = 100,
    samples: Annotated[
        str | None, typer.Option(metavar="ID[,ID...]", help="Ids of the training samples of the one batch.")
    ] = None,
    epoch: Annotated[int, typer.Option(min=1, help="Epoch whose order and augmentation are used, counted from 1.")] = 1,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of a run to start from (.safetensors).")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Default: debug/ in the run's folder.")
    ] = None,
) -> None:
    """Inspect a network: shapes, dead units, gradients, overfitting one batch, NaN, learning rates, first batches."""
    from medalist.training.debug import DebugRequest
    from medalist.training.debug import debug as run_debug
    from medalist.training.request import TrainRequest

    here = session(context)
    names = tuple(dict.fromkeys(name.strip() for name in (samples or "").split(",") if name.strip()))
    changes = tuple(overrides or ())
    request = TrainRequest(load_config(here, config, changes), config, changes, data, (fold,), None, here.runs)
    found = run_debug(request, DebugRequest(steps, epoch, names, checkpoint, folder), here.reporter)
    for made in found.tables:
        if not made.folded:
            table(here.console, f"{made.title}. {made.note}", list(made.columns), [list(row) for row in made.rows])
            say(here.console, "")
    for name, text in found.facts:
        say(here.console, f"{name}: {text}")
    say(here.console, "")
    if found.wrong:
        say(here.console, "warnings, worst first")
        for number, line in enumerate(found.wrong, 1):
            say(here.console, f"{number:3}. {line}")
    else:
        say(here.console, "nothing looks wrong")
    say(here.console, f"page {found.page}")
