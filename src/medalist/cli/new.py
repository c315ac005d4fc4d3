"""`medalist new`: what was found is shown, asked and written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, get_args

import typer

from medalist.cli.session import say, session, table
from medalist.errors import ConfigError


def add_to(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(new)


def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new folder under competitions/.")],
    data: Annotated[Path, typer.Option("--data", help="The folder of the downloaded contest, or its .zip or .tar.")],
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    kind: Annotated[
        str | None,
        typer.Option(help="mask, classes, instances, boxes, label, ordinal, labels or identities, if found wrongly."),
    ] = None,
    labels: Annotated[str, typer.Option(help="The file or folder of the truths, inside the contest's folder.")] = "",
    images: Annotated[str, typer.Option(help="The folder of the training images, inside the contest's.")] = "",
) -> None:
    """Look at a downloaded contest, say what it is, and write its folder, a config and a test; then check them."""
    from medalist.discovery.choose import Answers
    from medalist.discovery.finding import Kind
    from medalist.workflows.new import checked, create, propose

    here = session(context)
    known = [one for one in get_args(Kind) if one == kind]
    if kind is not None and not known:
        raise ConfigError(f"--kind {kind}: no such kind; there are {', '.join(get_args(Kind))}")
    proposal = propose(name, data, Answers(known[0] if known else None, labels, images))
    table(here.console, f"{proposal.data}", ["", ""], proposal.rows())
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nothing is written, because nobody can be asked here; type --yes, or --kind, --labels")
        if not typer.confirm("Write this?"):
            say(here.console, "nothing is written; --kind, --labels and --images say what was found wrongly")
            return
    create(proposal)
    say(here.console, f"{proposal.places.folder}")
    say(here.console, f"{proposal.places.config}")
    for line in checked(proposal, here.runs, here.reporter):
        say(here.console, line)
    say(here.console, f"decide the lines marked CHOOSE in {proposal.places.folder / '__init__.py'}, then:")
    say(here.console, f"medalist train {proposal.places.config} --fold 0")
