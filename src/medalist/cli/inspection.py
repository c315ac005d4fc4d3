"""Commands that show configs, runs and this machine; only `card` writes a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medalist.cli.session import ConfigFile, Data, Overrides, RunName, load_config, say, session, table
from medalist.kinds import run_settings

Side = Annotated[str, typer.Argument(help="A config file or a run.")]


def add_to(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(show)
    app.command()(diff)
    app.command()(board)
    app.command()(card)
    app.command()(doctor)


def show(context: typer.Context, config: ConfigFile, overrides: Overrides = None) -> None:
    """Print the resolved config, after its augmentation, its encoder's name and its own parts are checked too."""
    from medalist.competition import load_competition
    from medalist.config import dump_config, own_parts_in
    from medalist.data.transforms import check_public

    here = session(context)
    settings = load_config(here, config, overrides or ())
    check_public(settings.augment)
    if settings.pretrained is not None and settings.pretrained.in_timm:
        from medalist.models.encoders import check_encoder

        check_encoder(settings.pretrained.encoder)
    if any(own_parts_in(settings)):
        from medalist.parts import check_parts, parts_of

        check_parts(settings, parts_of(load_competition(settings.competition)))
    say(here.console, dump_config(settings).rstrip())


def diff(context: typer.Context, first: Side, second: Side) -> None:
    """Show the keys at which two runs or configs differ."""
    from medalist.config import differences
    from medalist.errors import RunError
    from medalist.experiment import Experiment
    from medalist.kinds import load_settings
    from medalist.runs.runs import find_run

    here = session(context)

    def side(name: str) -> Experiment:
        if Path(name).is_file():
            return load_settings(Path(name))
        try:
            return run_settings(find_run(name, here.runs))
        except RunError:
            if Path(name).suffix in (".yaml", ".yml"):  # tried after runs: a run can be called x+folds.file=mine.yaml
                return load_settings(Path(name))
            raise

    found = differences(side(first), side(second))
    if found:
        table(here.console, f"{first} | {second}", ["key", "first", "second"], [list(row) for row in found])
    else:
        say(here.console, "no difference")


def board(
    context: typer.Context,
    competition: Annotated[str | None, typer.Argument(help="Only this contest.")] = None,
) -> None:
    """List all runs with score, standard errors, cost, and the changes of each against its parent run."""
    from medalist.workflows.board import COLUMNS, KAGGLE, board_rows, refuse_unknown

    here = session(context)
    rows = board_rows(here.runs, competition)
    if rows:
        # Kaggle's scores take no room before the first submission, as errors of runs need it.
        shown = [at for at, name in enumerate(COLUMNS) if name not in KAGGLE or any(row[at] for row in rows)]
        columns = [COLUMNS[at] for at in shown]
        table(here.console, str(here.runs), columns, [[row[at] for at in shown] for row in rows])
    elif competition is None:
        say(here.console, f"no runs under {here.runs}; begin with medalist train CONFIG")
    else:
        refuse_unknown(here.runs, competition)
        say(here.console, f"no runs of {competition} under {here.runs}; begin with medalist train CONFIG")


def card(context: typer.Context, run: RunName) -> None:
    """Write a page on a run for people, in Markdown and HTML: data, folds, network, what was tried, what failed."""
    from medalist.runs.runs import find_run
    from medalist.workflows.card import write_card

    here = session(context)
    say(here.console, f"{write_card(find_run(run, here.runs), here.runs)}")


def doctor(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Run to compare with this machine and its files.")
    ] = None,
    data: Data = None,
) -> None:
    """Describe this machine; with RUN, list the differences from the machine and files that made the run."""
    from medalist.errors import RunError
    from medalist.runs.runs import find_run
    from medalist.training.doctor import compare, examine

    here = session(context)
    if run is None:
        table(here.console, "this machine", ["what", "found"], examine(here.runs))
        return
    found = find_run(run, here.runs)
    differences = compare(found, data, here.runs)
    if differences.rows:
        table(here.console, f"{found.competition}/{found.name}", ["what", "the run", "here"], differences.rows)
    say(here.console, "nothing else differs" if differences.rows else "nothing differs")
    if differences.damaged:
        raise RunError(f"{found.folder} is damaged: {'; '.join(differences.damaged)}; train those folds again")
