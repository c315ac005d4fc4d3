"""Training in a queue: the folds of one config (`train`), or of many (`sweep`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from medalist.cli.session import ConfigFile, Data, Session, load_config, say, session, table
from medalist.errors import ConfigError, RunError

if TYPE_CHECKING:
    from medalist.runs.setup import TrainSetup
    from medalist.training.fold_queue import FoldQueue
    from medalist.training.queue_status import QueueDisplay
    from medalist.training.request import TrainRequest


Workers = Annotated[
    str | None,
    typer.Option("--workers", help="Train folds in a queue, this many at a time; auto: one for each GPU or processor."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Address of a Ray cluster; its nodes need this installation and the same files at the same paths.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(sweep)


def parse_folds(text: str) -> tuple[int, ...]:
    """Return the folds in a text: `all` gives an empty tuple, which means all folds; otherwise numbers with commas.

    Raises ConfigError for any other text.
    """
    if text.strip() == "all":
        return ()
    try:
        return tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise ConfigError(f"--folds {text}: type all, or numbers such as 0,2") from None


def parse_workers(text: str | None) -> int | None:
    """Return the number of workers, or None for `auto`, which means as many as fit. Raises ConfigError otherwise."""
    if text is None or text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise ConfigError(f"--workers {text}: type auto, or how many folds may be trained at a time")
    return int(text)


def open_queue(here: Session, workers: str | None, ray: str | None) -> FoldQueue:
    """Return the queue that --workers and --ray describe; nothing is started yet."""
    from medalist.training.fold_queue import FoldQueue
    from medalist.training.train import train_request

    return FoldQueue(train_request, parse_workers(workers), ray, partial(open_display, here))


def open_display(here: Session) -> QueueDisplay:
    """Return a display: a live table on a terminal, plain lines elsewhere."""
    from medalist.training.queue_status import LineDisplay

    if here.console.is_terminal and not here.console.quiet:
        from medalist.cli.queue_display import LiveDisplay

        return LiveDisplay(here.console)
    return LineDisplay(here.reporter.say)


def train_in_queue(
    here: Session, setup: TrainSetup, request: TrainRequest, workers: str | None, ray: str | None
) -> None:
    """Train the unfinished folds of a request in a queue. Raises RunError where a fold failed."""
    from medalist.training.fold_queue import jobs_of

    with open_queue(here, workers, ray) as queue:
        jobs = jobs_of(setup, request)
        if not jobs:
            say(here.console, "all folds are done")
            return
        ends = queue.run(jobs)
    failed = [f"fold {job.fold}: {end.line}" for job, end in zip(jobs, ends, strict=True) if end.code]
    if failed:
        raise RunError(f"{len(failed)} of {len(jobs)} folds failed: {'; '.join(failed)}")


def sweep(
    context: typer.Context,
    config: ConfigFile,
    changes: Annotated[
        list[str], typer.Argument(metavar="KEY=A,B ...", help="Values to try; one value, KEY=A, holds for all runs.")
    ],
    data: Data = None,
    folds: Annotated[str, typer.Option(help="all, or numbers such as 0,2.")] = "all",
    workers: Workers = None,
    ray: RayAddress = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Points that Optuna chooses, also from ranges such as 1e-4..1e-2.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Drop configs whose first fold is clearly behind.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=1_000_000, help="Seed of the points that --trials draws.")] = 0,
) -> None:
    """Train a config with many values of some keys, and compare each with the base on the same folds.

    Each set of values is a run of its own. Run the command again to resume.
    """
    from medalist.training.axes import parse_words
    from medalist.training.fold_queue import processors
    from medalist.training.sweep import COLUMNS, Sweep, sweep_file, sweep_grid, sweep_trials, write_table

    here = session(context)
    fixed, swept = parse_words(changes)
    if not swept:
        raise ConfigError("nothing to sweep; type the values of a key, as train.lr=1e-4,3e-4")
    competition = load_config(here, config, fixed).competition
    with open_queue(here, workers, ray) as queue:
        found = Sweep(config, fixed, data, parse_folds(folds), here.runs, queue.run, here.reporter, prune)
        if trials is None:
            sweep_grid(found, swept)
        else:
            journal = sweep_file(here.runs, competition, config, changes, f".seed{seed}.log")
            sweep_trials(found, swept, trials, seed, journal, queue.workers or processors())
    rows = found.rows()
    path = sweep_file(here.runs, competition, config, changes, ".csv")
    write_table(path, rows)
    table(here.console, f"{competition}: {config.stem}, differences to the base over folds", list(COLUMNS), rows)
    say(here.console, f"table in {path}")
    failed = [point.name for point in found.points.values() if point.state.startswith("failed")]
    if failed:
        raise RunError(f"{len(failed)} of {len(rows)} runs failed: {', '.join(failed)}; the table says why")
