"""`medalist embed`, and the commands `index` and `search` with a run: galleries of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medalist.cli.session import RunName, Session, counted, say, session, table
from medalist.errors import SearchError

if TYPE_CHECKING:
    from rich.console import Console

Threads = Annotated[int | None, typer.Option("--threads", help="Threads; default: all processors.")]
Images = Annotated[list[Path] | None, typer.Option("--image", metavar="FILE", help="A query image; repeatable.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="EXPR",
        help="Filter by fields: 'species in [whale] and depth < 200 and place within 50 km of 54.3,10.1'",
    ),
]
GalleryFolder = Annotated[
    Path | None, typer.Option("--gallery", metavar="FOLDER", help="The gallery; default: RUN/gallery.")
]
Picture = Annotated[
    Path | None, typer.Option("--picture", metavar="GRID.png", help="Draw each query and its hits there.")
]
GroupBy = Annotated[
    str | None, typer.Option("--group-by", metavar="FIELD", help="Only the best of each value of FIELD, as identity.")
]
Per = Annotated[int | None, typer.Option("--per", metavar="M", help="With --group-by: answers for each value.")]
MinScore = Annotated[
    float | None, typer.Option("--min-score", metavar="S", help="Only answers with at least this score.")
]
PlanName = Annotated[
    str | None,
    typer.Option(
        "--plan", metavar="P", help="Search plan: scan, walk, bridge or exact; default: chosen automatically."
    ),
]
Place = Annotated[
    Path | None,
    typer.Option("--gallery", metavar="DIR|CSV", help="Images: all below a folder, or a csv of id, path and fields."),
]
Fields = Annotated[
    Path | None,
    typer.Option("--fields", metavar="FILE.csv", help="A csv with a column id and more fields, such as identity."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="FIELD=KIND",
        help="Kind of a field, if its cells do not show it: tag, bool, int, float, datetime, geo or id; repeatable.",
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, and list them.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--images", metavar="DIR|CSV", help="Images: all below a folder, or a csv with the columns id and path."
    ),
]


@dataclass(frozen=True)
class Asking:
    """The options of a search, which become the arguments of `Index.search` beside the queries."""

    k: int
    where: str | None
    group_by: str | None
    per: int | None
    min_score: float | None
    recall: float | None
    ef: int | None
    plan: str | None
    exact: bool
    threads: int | None

    def checked(self) -> Asking:
        """Return the options with --exact as a plan. Raises SearchError for options that exclude each other."""
        if self.exact and (self.ef, self.recall, self.plan) != (None, None, None):
            raise SearchError("--exact finds all; leave out --ef, --recall and --plan")
        if self.per is not None and self.group_by is None:
            raise SearchError("--per needs --group-by FIELD")
        return replace(self, plan="exact", exact=False) if self.exact else self

    @property
    def how(self) -> dict[str, Any]:
        """The options as arguments of `Gallery.search`, which has no `ef` (and without k)."""
        from medalist.search.checks import processors

        return {
            "where": self.where,
            "group_by": self.group_by,
            "per": 1 if self.per is None else self.per,
            "min_score": self.min_score,
            "recall": self.recall,
            "plan": self.plan,
            "threads": processors() if self.threads is None else self.threads,
        }


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
    """Embed images as unit vectors: an .npy, and a .json beside it with their ids and embedding space."""
    from medalist.files import refuse_unwritable
    from medalist.runs.runs import find_run
    from medalist.search.embeddings import beside, write_embeddings
    from medalist.workflows.galleries import embed_images, find_images

    if (images is None) == (listed is None):
        raise SearchError("images are missing; type --images DIR, or --csv FILE with the columns id and path")
    shared = session(context)
    found = find_run(run, shared.runs)
    path = found.folder / "vectors.npy" if out is None else out
    beside(path)  # a wrong name or place is refused before the network runs
    refuse_unwritable(path)
    place = images or listed
    assert place is not None
    embeddings, left_out = embed_images(found, find_images(place), shared.reporter, fold, skip_bad)
    write_embeddings(path, embeddings)
    tell_left_out(shared.console, left_out)
    say(shared.console, f"{path}: {counted(len(embeddings), 'vector')} of {embeddings.dim} by {embeddings.named}")


def build(
    shared: Session,
    name: str,
    place: Path | None,
    out: Path | None,
    fields: Path | None,
    kinds: Mapping[str, str],
    skip_bad: bool,
    threads: int | None,
) -> None:
    """Run `medalist index build RUN --gallery ...`."""
    from medalist.runs.runs import find_run
    from medalist.search.embeddings import name_of
    from medalist.workflows.galleries import build_gallery, gallery_folder

    run = find_run(name, shared.runs)
    if place is None:
        raise SearchError(f"{name}: images are missing; type --gallery DIR, or a csv with the columns id and path")
    made, left_out = build_gallery(
        run, place, gallery_folder(run, out), shared.reporter, fields=fields, kinds=kinds, skip_bad=skip_bad,
        threads=threads,
    )  # fmt: skip
    tell_left_out(shared.console, left_out)
    say(shared.console, f"{made.folder}: {counted(len(made), 'vector')} of {made.dim} by {name_of(made.made_by)}")


def add(
    shared: Session,
    name: str,
    images: Path | None,
    gallery: Path | None,
    fields: Path | None,
    skip_bad: bool,
    threads: int | None,
) -> None:
    """Run `medalist index add RUN --images ...`."""
    from medalist.runs.runs import find_run
    from medalist.workflows.galleries import add_images, gallery_folder

    if images is None:
        raise SearchError(
            f"{name}: nothing to add is given; for a folder type VECTORS.npy; for a run type --images DIR, or --images "
            "FILE.csv with the columns id and path"
        )
    found = find_run(name, shared.runs)
    folder = gallery_folder(found, gallery)
    made, left_out = add_images(
        found, images, folder, shared.reporter, fields=fields, skip_bad=skip_bad, threads=threads
    )
    tell_left_out(shared.console, left_out)
    say(shared.console, f"{made.folder}: {counted(len(made), 'vector')} now")


def search(
    shared: Session, name: str, images: tuple[Path, ...], asking: Asking, folder: Path | None, picture: Path | None
) -> None:
    """Run `medalist search RUN --image ...`."""
    from medalist.runs.runs import find_run
    from medalist.search.unmatched import unmatched
    from medalist.workflows.galleries import answer_table, draw_hits, gallery_folder, search_images, write_picture

    if picture is not None and picture.suffix.lower() != ".png":
        raise SearchError(f"{picture}: expected a name that ends in .png")
    if asking.k == 0:
        raise SearchError("k=0: no answer is asked for; type -k 1 or more")
    run = find_run(name, shared.runs)
    place = gallery_folder(run, folder)
    gallery, answers = search_images(run, images, place, shared.reporter, k=asking.k, **asking.how)
    for found in answers:
        columns, rows = answer_table(gallery, found)
        if rows:
            table(shared.console, str(found.query), columns, rows)
        else:
            say(shared.console, f"{found.query}: no answer among {counted(len(gallery), 'vector')}")
    for line in unmatched(gallery.index, asking.where):
        say(shared.console, line)
    if picture is not None:
        write_picture(picture, draw_hits(gallery, answers))
        say(shared.console, f"{picture}: {counted(len(answers), 'query', 'queries')} with their hits")


def is_gallery(path: Path) -> bool:
    """Whether a folder holds a gallery."""
    return (path / "gallery.json").is_file()


def tell(console: Console, folder: Path) -> Path:
    """Print the size of a gallery and what made its vectors, and return the folder of its index."""
    from medalist.search.embeddings import name_of
    from medalist.search.gallery import Gallery

    gallery = Gallery.open(folder)
    table(console, str(folder), ["what", "found"], [["vectors", len(gallery)], ["made by", name_of(gallery.made_by)]])
    return folder / gallery.name


def tell_left_out(console: Console, lines: list[str]) -> None:
    """Print a line for each image that --skip-bad left out."""
    for line in lines:
        say(console, f"left out: {line}")
