"""`medalist index build`, `add`, `delete` and `info`: an index of vectors in a file, or in a folder that can change."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from medalist.cli import arrays, galleries
from medalist.cli.console import ConsoleReporter
from medalist.cli.galleries import Fields, Folder, GalleryFolder, Kinds, Place, SkipBad, Threads, Where
from medalist.cli.session import Session, counted, say, session, table
from medalist.errors import SearchError

if TYPE_CHECKING:
    from rich.console import Console

    from medalist.search import Index, Stats
    from medalist.search.checks import Fsync

group = typer.Typer(no_args_is_help=True, help="An index of vectors for search.")

Ids = Annotated[
    Path | None,
    typer.Option(
        "--ids", help="An id for each vector: .npy (integers or strings), .csv with a column id, .txt a line each."
    ),
]
Sync = Annotated[
    str | None,
    typer.Option("--fsync", help="When a folder is synced to disk: always, interval (the default) or os."),
]
Target = Annotated[str, typer.Argument(metavar="FOLDER|RUN", help="The folder of an index or a gallery; or a run.")]


@group.command()
def build(
    context: typer.Context,
    vectors: Annotated[
        Path, typer.Argument(metavar="VECTORS.npy|RUN", help="Floats or integers [n, dim]; or a run, with --gallery.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="NAME.ann makes a file; a name without suffix makes a folder. Default for a run: RUN/gallery.",
        ),
    ] = None,
    gallery: Place = None,
    fields: Fields = None,
    kind: Kinds = None,
    skip_bad: SkipBad = False,
    metric: Annotated[str, typer.Option(help="cosine, ip (inner product) or l2.")] = "cosine",
    ids: Ids = None,
    refine: Annotated[
        str, typer.Option(help="How vectors are kept: float32, or float16 in half the space.")
    ] = "float32",
    fsync: Sync = None,
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Seed of the build; threads do not change it.")] = 0,
) -> None:
    """Make an index of an array of vectors, or a run's gallery from images."""

    kinds = arrays.said_kinds(kind)
    if vectors.suffix != ".npy" and not vectors.is_file():
        if ids is not None or fsync is not None or (metric, refine, seed) != ("cosine", "float32", 0):
            raise SearchError(
                "--ids, --metric, --refine, --fsync and --seed are for VECTORS.npy; a gallery always uses cosine"
            )
        galleries.build(session(context), str(vectors), gallery, out, fields, kinds, skip_bad, threads)
        return
    if gallery is not None or skip_bad:
        raise SearchError(f"{vectors}: --gallery and --skip-bad need a run, not an array of vectors")
    if out is None:
        raise SearchError(
            "-o is missing: type the file or folder to write, such as -o vectors.ann, or -o FOLDER to add to it later"
        )
    arrays.refuse_over(out, vectors, ids, fields)
    console = session(context).console
    began = time.monotonic()
    values = arrays.read_vectors(vectors)
    labels = None if ids is None else arrays.read_ids(ids)
    files = {"vectors": vectors, "ids": ids}
    with ConsoleReporter(console).progress(f"indexing {vectors.name}", len(values)) as bar, arrays.naming(files):
        schema, told = arrays.read_columns(fields, labels, len(values), kinds)
        options: dict[str, Any] = {"metric": metric, "refine": refine, "seed": seed, "fields": schema}
        moving = arrays.moving(bar.advance, len(values))
        with _made(out, values.shape[1], options, fsync) as index:
            index.add(labels, values, told, threads=threads, progress=moving)
    written = f"{arrays.size_of(out) / 1e6:.1f} MB, built in {time.monotonic() - began:.1f} s"
    say(console, f"{out}: {counted(len(values), 'vector')} of {values.shape[1]}, {metric}; {written}")


@contextlib.contextmanager
def _made(out: Path, size: int, options: dict[str, Any], fsync: str | None) -> Iterator[Index]:
    """Yield an empty index, and write it when the block ends without an error.

    It is written to a folder where `out` has no suffix, otherwise to a file.
    """
    from medalist.search import Index

    if not out.suffix:
        policy = checked_fsync(fsync)
        arrays.refuse_there(out)
        with arrays.whole_folder(out) as place, Index.create(place, size, **options, fsync=policy) as index:
            yield index
            index.checkpoint()
        return
    if fsync is not None:
        raise SearchError(f"{out}: is a file, but --fsync is for folders; give -o a name without a suffix")
    index = Index(size, **options)
    yield index
    arrays.make_parents(out)
    index.save(out)


@group.command()
def add(
    context: typer.Context,
    folder: Target,
    vectors: Annotated[
        Path | None, typer.Argument(metavar="VECTORS.npy", help="Floats or integers [n, dim]; for a run use --images.")
    ] = None,
    ids: Ids = None,
    fields: Fields = None,
    upsert: Annotated[bool, typer.Option("--upsert", help="Replace vectors whose ids are in the index.")] = False,
    images: Folder = None,
    gallery: GalleryFolder = None,
    skip_bad: SkipBad = False,
    fsync: Sync = None,
    threads: Threads = None,
) -> None:
    """Add vectors to the folder of an index, or images to a run's gallery."""
    from medalist.search import Index

    shared = session(context)
    if vectors is None:
        if ids is not None or upsert or fsync is not None:
            raise SearchError(f"{folder}: --ids, --upsert and --fsync need VECTORS.npy; for a run type --images IMAGES")
        galleries.add(shared, folder, images, gallery, fields, skip_bad, threads)
        return
    if images is not None or gallery is not None or skip_bad:
        raise SearchError(f"{vectors}: --images, --gallery and --skip-bad need a run, not an array of vectors")
    if ids is None and (upsert or fields is not None):
        raise SearchError("--upsert and --fields need ids; type --ids, such as --ids ids.txt")
    name, path = find_index(shared, folder)
    if name != path:
        raise SearchError(
            f"{name}: a gallery can only hold vectors of its run; type medalist index add RUN --images IMAGES"
        )
    values = arrays.read_vectors(vectors)
    labels = None if ids is None else arrays.read_ids(ids)
    with Index.open(path, fsync=checked_fsync(fsync), threads=threads) as index:
        before = len(index)
        files = {"vectors": vectors, "ids": ids}
        with shared.reporter.progress(f"adding {vectors.name}", len(values)) as bar, arrays.naming(files):
            _, told = arrays.read_columns(fields, labels, len(values), {}, index.fields)
            moving = arrays.moving(bar.advance, len(values))
            if upsert:
                assert labels is not None
                index.upsert(labels, values, told, threads=threads, progress=moving)
            else:
                index.add(labels, values, told, threads=threads, progress=moving)
        new, now = len(index) - before, len(index)
    replaced = f", {len(values) - new} replaced" if upsert else ""
    say(shared.console, f"{name}: {counted(new, 'vector')} added{replaced}, {now} now")


@group.command()
def delete(
    context: typer.Context,
    folder: Target,
    ids: Annotated[list[str] | None, typer.Option("--id", help="The id of a vector; repeatable.")] = None,
    identities: Annotated[
        list[str] | None, typer.Option("--identity", help="All vectors whose field `identity` is this; repeatable.")
    ] = None,
    where: Where = None,
    gallery: GalleryFolder = None,
    fsync: Sync = None,
) -> None:
    """Delete vectors from an index's folder or a run's gallery: all vectors that at least one of the options means."""
    from medalist.search import Index
    from medalist.search.embeddings import shown
    from medalist.search.gallery import delete_from
    from medalist.search.unmatched import unknown_values

    shared = session(context)
    if not ids and not identities and where is None:
        raise SearchError("nothing is selected: type --id ID, --identity NAME or --where EXPR")
    name, path = find_index(shared, folder, gallery)
    with Index.open(path, fsync=checked_fsync(fsync)) as index:
        asked = arrays.typed_ids(index, list(dict.fromkeys(ids or ())))
        missing = [one for one in asked if one not in index]
        notes = unknown_values(index, where)
        count = delete_from(index, asked, identities or (), where)
        now = len(index)
    for line in notes:
        say(shared.console, line)
    if missing:
        say(shared.console, f"{len(missing)} of {len(asked)} ids were not found: {shown(list(map(str, missing)))}")
    say(
        shared.console,
        f"{name}: {count} deleted, {counted(now, 'vector')} now"
        if count
        else f"{name}: nothing to delete, {counted(now, 'vector')}",
    )


@group.command()
def info(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|FOLDER|RUN", help="An index, as a file or a folder, the folder of a gallery; or a run."
        ),
    ],
    gallery: GalleryFolder = None,
) -> None:
    """Show the size of an index, its fields, its memory by part and its recall."""
    console = session(context).console
    is_file = gallery is None and (Path(file).is_file() or Path(file).suffix == ".ann")
    _show(console, Path(file) if is_file else find_index(session(context), file, gallery)[0])


def _show(console: Console, file: Path) -> None:
    from medalist.search import Index

    if galleries.is_gallery(file):
        file = galleries.tell(console, file)
    stats = Index.open(file, read_only=file.is_dir()).stats()
    table(console, str(file), ["what", "found"], _told(stats))
    if stats.recall:
        # A walk with ef below 100 is never used for 100 answers, so recall at 100 was not measured for it.
        rows = [
            [row.ef, f"{row.at_1:.4f}", f"{row.at_10:.4f}", f"{row.at_100:.4f}" if row.ef >= 100 else "–"]
            for row in stats.recall
        ]
        table(console, "recall measured at build", ["ef", "at 1", "at 10", "at 100"], rows)


def find_index(shared: Session, name: str, gallery: Path | None = None) -> tuple[Path, Path]:
    """Return the folder that FOLDER or RUN names, and the folder of its index; for a gallery the two differ.

    Raises SearchError for a file, and RunError where there is no such run.
    """
    from medalist.runs.runs import find_run
    from medalist.search.gallery import read_told
    from medalist.workflows.galleries import gallery_folder

    folder = Path(name)
    if folder.is_file():
        raise SearchError(f"{name}: a file cannot be changed; this command needs a folder, made by -o FOLDER")
    if gallery is None and folder.is_dir() and not (folder / "lock.json").is_file():
        return folder, folder / read_told(folder)["index"] if galleries.is_gallery(folder) else folder
    folder = gallery_folder(find_run(name, shared.runs), gallery)
    return folder, folder / read_told(folder)["index"]


def checked_fsync(fsync: str | None) -> Fsync:
    """Return the policy of --fsync, which is `interval` by default. Raises SearchError for any other word."""
    from medalist.search.checks import Fsync

    for one in get_args(Fsync):
        if one == (fsync or "interval"):
            found: Fsync = one
            return found
    raise SearchError(f"--fsync {fsync!r:.60}: expected {', '.join(get_args(Fsync))}")


def _told(stats: Stats) -> list[list[object]]:
    raw = 4 * stats.dim
    held = stats.bytes_per_vector
    rows: list[list[object]] = [
        ["vectors", stats.count],
        ["dead", f"{stats.dead}, deleted or replaced and not yet reclaimed"],
        ["dimensions", stats.dim],
        ["metric", stats.metric],
        ["ids", stats.ids],
        ["fields", ", ".join(f"{name} ({kind})" for name, kind in stats.fields.items()) or "none"],
        ["loose", f"{stats.loose} rows whose fields are checked one by one"],
        ["refine", stats.refine],
        ["degree", f"{stats.degree_mean:.1f} on average, {stats.degree_max} at most, of {stats.degree}"],
        ["effort", stats.effort],
        ["seed", stats.seed],
        ["linked", f"{stats.linked}, by codes of {stats.bits} bits"],
        ["reachable", f"{stats.reachable} of {stats.count}"],
        ["duplicates", stats.duplicates],
        ["clipped", f"{stats.clipped:.4%} of components"],
        ["kernels", stats.kernels],
        ["memory", f"{held:.0f} bytes a vector, {held / raw:.2f} of float32 vectors alone"],
    ]
    rows += [[f"  {part}", f"{size / 1e6:.2f} MB"] for part, size in stats.memory.items()]
    return rows
