"""The commands train, predict and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medalist.cli.queueing import RayAddress, Workers
from medalist.cli.session import (
    ConfigFile,
    Data,
    Devices,
    Memory,
    Overrides,
    RunName,
    load_config,
    say,
    session,
    spread,
    table,
)
from medalist.errors import ConfigError


def add_to(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(train)
    app.command()(predict)
    app.command()(tta)
    app.command()(demo)


def train(
    context: typer.Context,
    config: ConfigFile,
    overrides: Overrides = None,
    data: Data = None,
    fold: Annotated[list[int] | None, typer.Option(help="A fold to train; repeatable; default: all.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The run's name; default: the config's name and the changes.")
    ] = None,
    folds: Annotated[str | None, typer.Option(help="The folds to train: all, or numbers such as 0,2.")] = None,
    devices: Devices = 1,
    workers: Workers = None,
    ray: RayAddress = None,
) -> None:
    """Train the folds of a config, and predict the held-out samples of each fold. Run it again to resume.

    --devices: several processes train one fold. --workers: several folds train at a time, each on its own device.
    """
    from medalist.cli.queueing import parse_folds, train_in_queue
    from medalist.training.request import TrainRequest

    here = session(context)
    queued = workers is not None or ray is not None
    if queued and devices > 1:
        raise ConfigError(
            "--devices splits one fold over processes; --workers and --ray train several folds; use one of them"
        )
    if folds and fold:
        raise ConfigError("--fold and --folds mean the same; use one of them")
    # The config is checked before other processes start, so that an error in it is printed only once.
    settings = load_config(here, config, overrides or ())
    chosen = parse_folds(folds) if folds else tuple(fold or ())
    request = TrainRequest(settings, config, tuple(overrides or ()), data, chosen, name, here.runs)
    spread(here, devices)

    from medalist.runs.plans import plan_error
    from medalist.training.finished import finished

    run = finished(request)
    if run is None:
        from medalist.engine.half_precision import slow_precision
        from medalist.training.start import prepare_together, step_line
        from medalist.training.train import train as run_training

        setup = prepare_together(request)
        run = setup.run
        say(here.console, f"run {run.folder}  folds {', '.join(map(str, setup.chosen))} of {setup.folds.n}")
        if settings.sizes_line:
            say(here.console, settings.sizes_line)
        if set(setup.chosen) - set(run.trained_folds()):
            say(here.console, step_line(settings))
            slow = slow_precision(settings.train.precision)
            if slow:
                say(here.console, slow)
        if queued:
            train_in_queue(here, setup, request, workers, ray)
        else:
            run_training(setup, here.reporter)
    else:
        say(here.console, f"run {run.folder}: nothing is left to do")
    error = plan_error(run)
    if error is not None:
        say(here.console, str(error))
    say(here.console, f"done: {run.folder}; next: medalist score {run.competition}/{run.name}")


def predict(
    context: typer.Context,
    run: RunName,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(metavar="test|oof", help="Which samples.")] = "test",
    data: Data = None,
    devices: Devices = 1,
    memory: Memory = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", metavar="DIR|FILE", help="Any images instead of the contest's; repeatable; needs -o."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="With --images: a folder.")
    ] = None,
    masks: Annotated[str, typer.Option("--as", metavar="png|rle", help="With --images: the form of masks.")] = "png",
    overlays: Annotated[bool, typer.Option(help="With --images: whether answers are also drawn.")] = True,
    skip_bad: Annotated[bool, typer.Option(help="With --images: leave out files that cannot be read.")] = False,
    fold: Annotated[list[int] | None, typer.Option(help="With --images: a fold; repeatable; default: all.")] = None,
) -> None:
    """Predict the test part with all trained folds, or the held-out samples of each fold. predict.* may be changed.

    --images: answer any images, without the contest's data: masks as PNG or RLE, boxes as COCO, labels as csv.
    """
    if images:
        from medalist.cli.images import predict_images

        limits = [] if memory is None else [f"predict.memory={memory}"]
        changes = [*(overrides or []), *limits]
        predict_images(session(context), run, changes, images, output, masks, overlays, skip_bad, fold)
        return
    if output is not None or fold:
        raise ConfigError(
            "-o and --fold are for --images DIR|FILE; without it all predictions stay in the run's folder"
        )
    from medalist.kinds import kind_of
    from medalist.runs.opening import open_run_contest
    from medalist.runs.runs import find_run
    from medalist.runs.sources import predicting_sources, shown, stale_parts
    from medalist.stores.store import start_part
    from medalist.workflows.score import changed_settings

    if split not in ("test", "oof"):
        raise ConfigError(f"--split {split!r:.40}: expected test, or oof for the held-out samples of each fold")
    here = session(context)
    found = find_run(run, here.runs)
    limits = [] if memory is None else [f"predict.memory={memory}"]
    settings = changed_settings(found, [*(overrides or []), *limits], "predict")
    contest = open_run_contest(found, settings.competition, data, here.runs)
    now = predicting_sources(settings.competition, settings.task.kind)
    for part, files in stale_parts(found, split, now).items():
        say(here.console, f"{part} is made again: other code made it, {shown(files)} changed since")
        start_part(found.folder / split, part.partition("/")[2])
    spread(here, devices)
    training = kind_of(settings).training()
    for held_out in found.trained_folds() if split == "oof" else [None]:
        training.predict(found, settings, contest, held_out, here.reporter)
    say(here.console, f"predictions in {found.folder / split}")


def tta(
    context: typer.Context,
    run: RunName,
    overrides: Overrides = None,
    data: Data = None,
    fold: Annotated[list[int] | None, typer.Option(help="A trained fold; repeatable; default: all trained.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Try only this many samples, drawn by a hash.")] = None,
) -> None:
    """Measure on held-out samples what each view of predict.tta gains and costs, and propose a set. Changes nothing.

    Views of your own: medalist tta RUN 'predict.tta=[hflip,{scale: 1.25},{shift: 16},{clahe: 2.0}]'.
    """
    from medalist.errors import RunError
    from medalist.kinds import kind_of
    from medalist.runs.opening import open_run_contest
    from medalist.runs.runs import find_run
    from medalist.workflows.score import changed_settings

    here = session(context)
    found = find_run(run, here.runs)
    settings = changed_settings(found, overrides or [], "predict")
    viewing = kind_of(settings).viewing
    if viewing is None:
        raise RunError(f"{found.folder}: the views of task.kind = {settings.task.kind} cannot be measured")
    contest = open_run_contest(found, settings.competition, data, here.runs)
    only = any(word.startswith("predict.tta=") for word in overrides or ())
    for each in viewing().measure_views(found, settings, contest, only, fold or (), samples, here.reporter):
        table(here.console, each.title, list(each.columns), [list(row) for row in each.rows])
        for line in each.lines:
            say(here.console, line)


def demo(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="The config to run.")] = Path("configs/toy_nuclei/demo.yaml"),
) -> None:
    """Run all steps on an embedded contest, from drawing its images to a checked submission and a report."""
    from medalist.training.demo import demo as run_demo

    here = session(context)
    run_demo(config, here.runs, here.reporter)
