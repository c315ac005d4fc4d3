"""Commands that make networks and predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medalist.cli.queueing import RayAddress, Workers
from medalist.cli.state import ConfigFile, Data, Devices, Overrides, RunName, say, spread, state
from medalist.errors import ConfigError


def add_to(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(train)
    app.command()(predict)
    app.command()(demo)


def train(
    context: typer.Context,
    config: ConfigFile,
    overrides: Overrides = None,
    data: Data = None,
    fold: Annotated[list[int] | None, typer.Option(help="A fold to train; again for more; default: all.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The run's name; default: the config's name and the changes.")
    ] = None,
    folds: Annotated[str | None, typer.Option(help="The folds to train: all, or numbers such as 0,2.")] = None,
    devices: Devices = 1,
    workers: Workers = None,
    ray: RayAddress = None,
) -> None:
    """Train the folds of a config and predict what each held out. Run it again to go on where it stopped.

    --devices: several processes work on one fold. --workers: several folds at a time, each on a device of its own.
    """
    from medalist.cli.queueing import parse_folds, train_in_queue
    from medalist.settings import EmbedSettings, load_settings

    here = state(context)
    queued = workers is not None or ray is not None
    if queued and devices > 1:
        raise ConfigError("--devices spreads one fold, --workers and --ray spread folds; take one of them")
    if folds and fold:
        raise ConfigError("--fold and --folds say the same; take one of them")
    load_settings(config, tuple(overrides or ()))  # a mistake there is told once, before there are many processes
    spread(here, devices)

    from medalist.training.start import prepare_together, step_line
    from medalist.training.train import train as run_training
    from medalist.workflows.plans import plan_error

    chosen = parse_folds(folds) if folds else tuple(fold or ())
    plan = prepare_together(config, overrides or [], data, chosen, name, here.runs)
    say(here.console, f"run {plan.run.folder}  folds {', '.join(map(str, plan.chosen))} of {plan.folds.n}")
    if isinstance(plan.settings, EmbedSettings):
        seen, whole = plan.settings.image.seen_in_training, plan.settings.image.size
        say(here.console, f"training sees {seen[1]}x{seen[0]}, prediction {whole[1]}x{whole[0]}")
    if set(plan.chosen) - set(plan.run.trained_folds()):
        say(here.console, step_line(plan.settings))
    if queued:
        train_in_queue(here, plan, config, overrides or [], workers, ray)
    else:
        run_training(plan, here.console)
    run = plan.run
    error = plan_error(run)
    if error is not None:
        say(here.console, str(error))
    say(here.console, f"done: {run.folder}; next: medalist score {run.competition}/{run.name}")


def predict(
    context: typer.Context,
    run: RunName,
    overrides: Overrides = None,
    split: Annotated[Literal["test", "oof"], typer.Option(help="Which samples.")] = "test",
    data: Data = None,
    devices: Devices = 1,
) -> None:
    """Predict the test part with all trained folds, or the held-out samples of each. predict.* may be changed."""
    from medalist.runs import find_run
    from medalist.settings import EmbedSettings
    from medalist.workflows.score import open_run_contest, run_settings

    here = state(context)
    found = find_run(run, here.runs)
    settings = run_settings(found, overrides or [], "predict")
    contest = open_run_contest(found, data, here.runs)
    spread(here, devices)

    from medalist.tasks.embed.embedding import embed_oof, embed_test
    from medalist.tasks.segment.predict import predict_oof, predict_test

    folds = found.trained_folds() if split == "oof" else []
    if isinstance(settings, EmbedSettings):
        for fold in folds:
            embed_oof(found, settings, contest, fold, here.console)
        if split == "test":
            embed_test(found, settings, contest, here.console)
    else:
        for fold in folds:
            predict_oof(found, settings, contest, fold, here.console)
        if split == "test":
            predict_test(found, settings, contest, here.console)
    say(here.console, f"predictions in {found.folder / split}")


def demo(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="The config to run.")] = Path("configs/toy_nuclei/demo.yaml"),
) -> None:
    """Walk the embedded contest from drawing it to a checked submission and a report."""
    from medalist.training.demo import demo as run_demo

    here = state(context)
    run_demo(config, here.runs, here.console)
