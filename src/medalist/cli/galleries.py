"""`medalist embed` and what `index` and `search` do with a run: galleries of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medalist.cli.state import RunName, State, say, state, table
from medalist.errors import SearchError

if TYPE_CHECKING:
    from rich.console import Console

Threads = Annotated[int | None, typer.Option("--threads", help="Threads; default: all processors.")]
Images = Annotated[list[Path] | None, typer.Option("--image", metavar="FILE", help="An image to ask with; repeatable.")]
Where = Annotated[
    str | None, typer.Option("--where", metavar="EXPR", help="Only rows such as: species = whale and depth < 200")
]
GalleryFolder = Annotated[
    Path | None, typer.Option("--gallery", metavar="FOLDER", help="The gallery; default: RUN/gallery.")
]
Picture = Annotated[
    Path | None, typer.Option("--picture", metavar="GRID.png", help="Draw each query and its hits there.")
]
GroupBy = Annotated[
    str | None, typer.Option("--group-by", metavar="FIELD", help="The best of each value of a field, as of identity.")
]
Place = Annotated[
    Path | None,
    typer.Option("--gallery", metavar="DIR|CSV", help="Images: all below a folder, or a csv of id, path and fields."),
]
Fields = Annotated[
    Path | None, typer.Option("--fields", metavar="FILE.csv", help="More fields by the column id, such as identity.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, and list them.")]
Folder = Annotated[Path | None, typer.Option("--images", metavar="DIR|CSV", help="Images: all below a folder.")]


@dataclass(frozen=True)
class Asking:
    """What is asked of a gallery."""

    images: tuple[Path, ...]
    k: int
    where: str | None
    group_by: str | None
    recall: float | None
    exact: bool
    threads: int | None


def embed(
    context: typer.Context,
    run: RunName,
    images: Folder = None,
    listed: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Images: a csv with the columns id and path.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="VECTORS.npy", help="Default: RUN/vectors.npy.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help="The network of one fold; default: all trained folds.")] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Turn images into unit vectors: an .npy, and a .json beside it that tells their ids and what made them."""
    from medalist.runs import find_run
    from medalist.search.embeddings import beside, write_embeddings
    from medalist.stages.gallery import embed_images, find_images

    if (images is None) == (listed is None):
        raise SearchError("say which images: --images DIR, or --csv FILE with the columns id and path")
    shared = state(context)
    found = find_run(run, shared.runs)
    path = found.folder / "vectors.npy" if out is None else out
    beside(path)  # refuses a wrong name before the work
    place = images or listed
    assert place is not None
    embeddings, left_out = embed_images(found, find_images(place), shared.console, fold, skip_bad)
    write_embeddings(path, embeddings)
    tell_left_out(shared.console, left_out)
    say(shared.console, f"{path}: {len(embeddings)} vectors of {embeddings.dim} by {embeddings.named}")


def build(
    shared: State,
    name: str,
    place: Path | None,
    out: Path | None,
    fields: Path | None,
    skip_bad: bool,
    threads: int | None,
) -> None:
    """`medalist index build RUN --gallery ...`."""
    from medalist.runs import find_run
    from medalist.stages.gallery import build_gallery, gallery_folder

    run = find_run(name, shared.runs)
    if place is None:
        raise SearchError(f"{name}: say which images: --gallery DIR, or a csv with the columns id and path")
    made, left_out = build_gallery(
        run, place, gallery_folder(run, out), shared.console, fields=fields, skip_bad=skip_bad, threads=threads
    )
    tell_left_out(shared.console, left_out)
    say(shared.console, f"{made.folder}: {len(made)} vectors of {made.dim} by {made.embeddings.named}")


def add(
    context: typer.Context,
    run: RunName,
    images: Folder = None,
    gallery: GalleryFolder = None,
    fields: Fields = None,
    skip_bad: SkipBad = False,
    threads: Threads = None,
) -> None:
    """Embed more images into a run's gallery."""
    from medalist.runs import find_run
    from medalist.stages.gallery import add_images, gallery_folder

    shared = state(context)
    if images is None:
        raise SearchError("say which images: --images DIR, or --images FILE.csv with the columns id and path")
    found = find_run(run, shared.runs)
    folder = gallery_folder(found, gallery)
    made, left_out = add_images(
        found, images, folder, shared.console, fields=fields, skip_bad=skip_bad, threads=threads
    )
    tell_left_out(shared.console, left_out)
    say(shared.console, f"{made.folder}: {len(made)} vectors now")


def remove(
    context: typer.Context,
    run: RunName,
    ids: Annotated[list[str] | None, typer.Option("--id", help="The id of a vector; repeatable.")] = None,
    identities: Annotated[
        list[str] | None, typer.Option("--identity", help="All vectors whose field `identity` is this; repeatable.")
    ] = None,
    gallery: GalleryFolder = None,
    threads: Threads = None,
) -> None:
    """Take vectors out of a run's gallery."""
    from medalist.runs import find_run
    from medalist.search.gallery import Gallery
    from medalist.stages.gallery import gallery_folder

    shared = state(context)
    if not ids and not identities:
        raise SearchError("say what goes: --id ID, or --identity NAME")
    held = Gallery.open(gallery_folder(find_run(run, shared.runs), gallery))
    going = dict.fromkeys([*(ids or ()), *(name for who in identities or () for name in held.ids_of(who))])
    made = held.remove(list(going), threads=threads)
    say(shared.console, f"{made.folder}: {len(going)} taken out, {len(made)} vectors now")


def search(shared: State, name: str, asking: Asking, folder: Path | None, picture: Path | None) -> None:
    """`medalist search RUN --image ...`."""
    from medalist.runs import find_run
    from medalist.search.index import processors
    from medalist.stages.gallery import draw_hits, gallery_folder, search_images, told, write_picture

    if picture is not None and picture.suffix.lower() != ".png":
        raise SearchError(f"{picture}: expected a name that ends in .png")
    if asking.exact and asking.recall is not None:
        raise SearchError("--exact finds all; leave out --recall")
    if asking.k == 0:
        raise SearchError("k=0: no answer is asked for; type -k 1 or more")
    run = find_run(name, shared.runs)
    gallery, answers = search_images(
        run,
        asking.images,
        gallery_folder(run, folder),
        shared.console,
        k=asking.k,
        where=asking.where,
        group_by=asking.group_by,
        recall=asking.recall,
        exact=asking.exact,
        threads=processors() if asking.threads is None else asking.threads,
    )
    for found in answers:
        columns, rows = told(gallery, found)
        if rows:
            table(shared.console, str(found.query), columns, rows)
        else:
            say(shared.console, f"{found.query}: no answer among {len(gallery)} vectors")
    if picture is not None:
        write_picture(picture, draw_hits(gallery, answers))
        say(shared.console, f"{picture}: {len(answers)} queries with their hits")


def is_gallery(path: Path) -> bool:
    """Whether a folder is that of a gallery."""
    return (path / "gallery.json").is_file()


def tell(console: Console, folder: Path) -> Path:
    """Print what a gallery is of, and give the file of its index."""
    from medalist.search.gallery import Gallery

    gallery = Gallery.open(folder)
    rows: list[list[object]] = [["vectors", len(gallery)], ["made by", gallery.embeddings.named]]
    rows += [["removed", len(gallery.removed)], ["fields", ", ".join(gallery.fields.column_names)]]
    table(console, str(folder), ["what", "found"], rows)
    return folder / f"index-{gallery.number}.ann"


def tell_left_out(console: Console, lines: list[str]) -> None:
    """Print what --skip-bad left out."""
    for line in lines:
        say(console, f"left out: {line}")
