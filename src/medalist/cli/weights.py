"""`medalist weights`: pretrained weights, and where they were found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medalist.cli.session import say, session, table

app = typer.Typer(no_args_is_help=True, help="Pretrained weights, and where they were found.")


@app.command("list")
def list_all(context: typer.Context) -> None:
    """List the pretrained weights on this machine; nothing is downloaded."""
    from medalist.models.weights import list_weights

    rows = [[w.name, w.source, f"{w.size / 1e6:.1f} MB", w.sha256[:12], str(w.path)] for w in list_weights()]
    table(
        session(context).console,
        "weights found offline",
        ["name", "source", "size", "sha256", "file"],
        list(rows),
    )


@app.command()
def find(context: typer.Context, name: Annotated[str, typer.Argument(help="A timm encoder.")]) -> None:
    """Find the weights of an encoder: folder, package, then the hub (never with MEDALIST_OFFLINE=1)."""
    from medalist.models.weights import find_weights

    found = find_weights(name)
    say(session(context).console, f"{found.path}  ({found.source}, sha256 {found.sha256})")


@app.command()
def add(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .safetensors or .pth file.")],
    name: Annotated[str | None, typer.Option(help="The encoder it is for; default: the file's name.")] = None,
) -> None:
    """Copy a file into weights/, after a check that it loads and fits."""
    from medalist.models.weights import add_weights

    found = add_weights(file, name)
    say(session(context).console, f"{found.path}  (sha256 {found.sha256})")
