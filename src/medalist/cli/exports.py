"""The command export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from medalist.cli.session import Data, Overrides, RunName, say, session
from medalist.errors import ConfigError


def add_to(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(export)


def export(
    context: typer.Context,
    run: RunName,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The new folder; an older export is replaced.")
    ] = None,
    to: Annotated[str, typer.Option("--to", metavar="onnx|torch", help="The format.")] = "onnx",
    precision: Annotated[
        str, typer.Option(metavar="fp32|fp16|int8", help="For onnx; int8 is calibrated on the training part.")
    ] = "fp32",
    fold: Annotated[list[int] | None, typer.Option(help="A fold; repeatable; default: all that are trained.")] = None,
    exporter: Annotated[
        str,
        typer.Option(metavar="both|dynamo|torchscript", help="torch's exporter; both: the second if the first fails."),
    ] = "both",
    samples: Annotated[
        int, typer.Option(min=0, help="Held-out samples that are compared with the run; 0 takes all.")
    ] = 64,
    data: Data = None,
) -> None:
    """Write a run's networks for a service without torch. A file that says something else than the run is refused.

    predict.* may be changed, such as predict.tta=none. Then: from medalist.deploy import Deployed; Deployed.open(DIR).
    """
    from medalist.exporting.export import ExportRequest, Target
    from medalist.exporting.export import export as write_export
    from medalist.exporting.onnx_files import Exporter, Precision
    from medalist.predictor import open_run
    from medalist.runs.opening import open_run_contest

    if output is None:
        raise ConfigError("-o is missing: name the new folder, such as -o exported")
    formats: dict[str, Target] = {name: name for name in get_args(Target)}
    precisions: dict[str, Precision] = {name: name for name in get_args(Precision)}
    exporters: dict[str, tuple[Exporter, ...]] = {name: (name,) for name in get_args(Exporter)}
    exporters["both"] = get_args(Exporter)
    for option, word, known in (
        ("to", to, formats),
        ("precision", precision, precisions),
        ("exporter", exporter, exporters),
    ):
        if word not in known:
            raise ConfigError(f"--{option} {word!r:.40}: expected {', '.join(known)}")
    here = session(context)
    request = ExportRequest(formats[to], precisions[precision], exporters[exporter], samples)
    predictor = open_run(
        run, runs=here.runs, folds=fold or None, device="cpu", precision="32-true", changes=overrides or ()
    )
    contest = open_run_contest(predictor.run, predictor.settings.competition, data, here.runs)
    made = write_export(predictor, contest, output, request, here.reporter)
    figures = made.figures
    if figures.score is None:
        judged = f"no {figures.measure} is compared ({made.described.undecided or 'too few samples'})"
    else:
        judged = f"{figures.measure}: {figures.score:.4f}, of the run {figures.run_score:.4f}"
    say(
        here.console,
        f"{made.folder}: {made.described.model} by {made.exporter}, folds "
        f"{', '.join(map(str, made.described.folds))}; on {figures.samples} held-out samples outputs "
        f"differ by {figures.outputs:.1e}, predictions by {figures.predictions:.1e}; {judged}",
    )
