"""`medalist plan`: estimate the cost of a training before it starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from medalist.cli.session import ConfigFile, Data, Overrides, load_config, say, session, table
from medalist.errors import ConfigError

if TYPE_CHECKING:
    from medalist.runs.plans import Option, Plan

NAMES = {
    "reading": "reading images",
    "training": "training",
    "validation": "validation",
    "oof": "OOF prediction",
    "test": "test prediction",
}


def add_to(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(plan)


def plan(
    context: typer.Context,
    config: ConfigFile,
    overrides: Overrides = None,
    data: Data = None,
    fold: Annotated[list[int] | None, typer.Option(help="A fold; repeatable; default: all.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The run's name; default: the config's name and the changes.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Seconds that the measurement may take.")] = 60.0,
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="Processes that train a fold together.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=10_000, help="Folds that are trained at a time.")] = 1,
) -> None:
    """Measure a minute of the training. Print the time, memory and disk that all of it needs, and faster options."""
    started = time.perf_counter()
    from medalist.kinds import kind_of
    from medalist.processes import place
    from medalist.runs.plans import PlanRequest
    from medalist.training.request import TrainRequest
    from medalist.training.start import checked

    here = session(context)
    if place().world > 1:
        raise ConfigError("medalist plan measures on one process; start it without torchrun, and type --devices N")
    changes = tuple(overrides or ())
    settings = load_config(here, config, changes)
    setup = checked(TrainRequest(settings, config, changes, data, tuple(fold or ()), name, here.runs))
    request = PlanRequest(devices, workers, seconds)
    made = kind_of(settings).training().forecast(setup, request, started, here.reporter)
    show(here.console, made)
    say(here.console, f"plan in {setup.run.folder / 'plan.json'}, after {made.probe_seconds:.0f} s")


def show(console: Console, made: Plan) -> None:
    """Print a plan as tables and lines."""
    from medalist.runs.plans import BY_FOLD, PARTS, clock, in_bytes

    rows: list[list[Any]] = []
    for part in PARTS:
        each = [clock(found[part]) for found in made.by_fold.values()] if part in BY_FOLD else [""] * len(made.folds)
        rows.append([NAMES[part], *each, clock(made.seconds[part])])
    each = [clock(sum(found.values())) for found in made.by_fold.values()]
    rows.append(["all", *each, clock(made.whole)])
    table(console, "time, h:mm:ss", ["", *(f"fold {fold}" for fold in made.folds), "sum"], rows)
    what = "GPU" if made.machine["gpus"] else "CPU"
    say(console, f"{made.compute / 3600:.2f} {what} hours; done after {clock(made.wall)}" + _concurrency(made))
    device = f", device {in_bytes(made.device_bytes)}" if made.device_bytes else ""
    say(console, f"peak memory of a process: host {in_bytes(made.host_bytes)}{device}")
    disk = made.disk
    say(
        console, f"disk: checkpoints {in_bytes(disk['checkpoints'])}, predictions up to {in_bytes(disk['predictions'])}"
    )
    if made.options:
        shown = [_option(option, made.whole) for option in made.options]
        table(console, "options, measured", ["option", "all", "gain", ""], shown)
    for note in made.notes:
        say(console, f"note: {note}")


def _concurrency(made: Plan) -> str:
    parts = [f"{made.folds_at_once} folds at a time"] if made.folds_at_once > 1 else []
    parts += [f"{made.processes} processes a fold"] if made.processes > 1 else []
    return f" with {', '.join(parts)}" if parts else ""


def _option(option: Option, whole: float) -> list[Any]:
    from medalist.runs.plans import clock

    if option.seconds is None:
        return [option.change, "", "", option.note]
    return [option.change, clock(option.seconds), f"{100 * option.gain(whole):+.0f} %", option.note]
