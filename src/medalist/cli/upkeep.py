"""`medalist index verify`, `repair`, `snapshot` and `compact`: the care of folders of indexes and galleries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medalist.cli import arrays, galleries
from medalist.cli.galleries import GalleryFolder, Threads
from medalist.cli.indexes import Target, find_index
from medalist.cli.session import counted, say, session
from medalist.errors import SearchError


def add_to(group: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (verify, repair, snapshot, compact):
        group.command()(command)


def verify(context: typer.Context, folder: Target, gallery: GalleryFolder = None) -> None:
    """Read every byte of an index's folder, and print a line for each damage. With damage the exit code is 2."""
    from medalist.search import Index
    from medalist.search.gallery import Gallery

    shared = session(context)
    name, path = find_index(shared, folder, gallery)
    found = Index.verify(path)
    for line in found:
        say(shared.console, line)
    if found:
        raise SearchError(
            f"{name}: damaged, {counted(len(found), 'finding')}; run medalist index repair {name}, or go back to a "
            "snapshot"
        )
    if galleries.is_gallery(name):
        Gallery.open(name)
    say(shared.console, f"{name}: nothing is wrong")


def repair(context: typer.Context, folder: Target, gallery: GalleryFolder = None, threads: Threads = None) -> None:
    """Repair a damaged folder as far as its bytes allow, and print what was done and what is lost."""
    from medalist.search import Index

    shared = session(context)
    name, path = find_index(shared, folder, gallery)
    done = Index.repair(path, threads=threads)
    for line in done:
        say(shared.console, line)
    with Index.open(path, read_only=True) as index:
        say(shared.console, f"{name}: {'repaired' if done else 'nothing to repair'}, {counted(len(index), 'vector')}")


def snapshot(
    context: typer.Context,
    folder: Target,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="The folder to write, new or empty.")],
    gallery: GalleryFolder = None,
) -> None:
    """Copy an index's folder in its present state, also while another process writes to it."""
    from medalist.search import Index
    from medalist.search.gallery import Gallery

    shared = session(context)
    name, path = find_index(shared, folder, gallery)
    arrays.refuse_there(out)
    arrays.make_parents(out)
    if galleries.is_gallery(name):
        count = len(Gallery.open(name).snapshot(out))
    else:
        with Index.open(path, read_only=True) as index:
            index.snapshot(out)
            count = len(index)
    say(shared.console, f"{out}: {counted(count, 'vector')} of {name}")


def compact(context: typer.Context, folder: Target, gallery: GalleryFolder = None, threads: Threads = None) -> None:
    """Free the space of deleted vectors, and link and sort vectors that were added late."""
    from medalist.search import Index

    shared = session(context)
    name, path = find_index(shared, folder, gallery)
    before = arrays.size_of(path)
    with Index.open(path, threads=threads) as index:
        dead, count = index.stats().dead, len(index)
        with shared.reporter.progress(f"compacting {name}", count) as bar:
            index.optimize(threads=threads, progress=arrays.moving(bar.advance, count))
    sizes = f"{arrays.size_of(path) / 1e6:.1f} MB, {before / 1e6:.1f} MB before"
    say(shared.console, f"{name}: {counted(count, 'vector')}, {dead} dead ones reclaimed; {sizes}")
