"""`medalist index` and `medalist search`: an index from an array of vectors or a run's images, and its answers."""

from __future__ import annotations

import contextlib
import csv
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medalist.cli import galleries
from medalist.cli.galleries import Fields, GalleryFolder, GroupBy, Images, Picture, Place, SkipBad, Threads, Where
from medalist.cli.state import say, state, table
from medalist.errors import SearchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medalist.search import Hits, Stats

BLOCK = 1024
"""Queries answered between two steps of the bar."""

COLUMNS = ("query", "rank", "id", "score", "distance")

group = typer.Typer(no_args_is_help=True, help="An index of vectors for search.")
IndexFile = Annotated[Path, typer.Argument(metavar="FILE", help="An index, or the folder of a gallery.")]


def add_to(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(group, name="index")
    app.command()(search)
    app.command()(galleries.embed)
    group.command()(galleries.add)
    group.command()(galleries.remove)


@group.command()
def build(
    context: typer.Context,
    vectors: Annotated[
        Path, typer.Argument(metavar="VECTORS.npy|RUN", help="Floats or integers [n, dim]; or a run, with --gallery.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The index to write; of a run: a folder, default RUN/gallery.")
    ] = None,
    gallery: Place = None,
    fields: Fields = None,
    skip_bad: SkipBad = False,
    metric: Annotated[str, typer.Option(help="cosine, ip (inner product) or l2.")] = "cosine",
    ids: Annotated[
        Path | None,
        typer.Option(
            help="An id for each vector: .npy (integers or strings), .csv with a column id, .txt a line each."
        ),
    ] = None,
    refine: Annotated[
        str, typer.Option(help="How vectors are kept: float32, or float16 in half the space.")
    ] = "float32",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Seed of the build; threads do not change it.")] = 0,
) -> None:
    """Make an index of an array of vectors, or the gallery of a run from images."""
    from medalist.progress import progress
    from medalist.search import Index

    if vectors.suffix != ".npy" and not vectors.is_file():
        if ids is not None or (metric, refine, seed) != ("cosine", "float32", 0):
            raise SearchError("--ids, --metric, --refine and --seed are for VECTORS.npy; a gallery is of cosine")
        galleries.build(state(context), str(vectors), gallery, out, fields, skip_bad, threads)
        return
    if gallery is not None or fields is not None or skip_bad:
        raise SearchError(f"{vectors}: --gallery, --fields and --skip-bad need a run, not an array of vectors")
    if out is None:
        raise SearchError("-o: say where the index shall be written, such as -o vectors.ann")
    _refuse_over(out, vectors, ids)
    console = state(context).console
    values = read_npy(vectors)
    if values.ndim != 2:
        raise SearchError(f"{vectors}: shape {list(values.shape)}, expected [n, dim]")
    labels = None if ids is None else read_ids(ids)
    index = Index(values.shape[1], metric, refine=refine, seed=seed)  # type: ignore[arg-type]  # it refuses others
    began = time.monotonic()
    with progress(console, f"indexing {vectors.name}", len(values)) as bar, _naming({"vectors": vectors, "ids": ids}):
        index.add(labels, values, threads=threads, progress=_moving(bar.advance, len(values)))
    took = time.monotonic() - began
    _make_folder(out)
    index.save(out)
    size = out.stat().st_size
    say(console, f"{out}: {len(index)} vectors of {index.dim}, {metric}; {size / 1e6:.1f} MB, built in {took:.1f} s")


@group.command()
def info(context: typer.Context, file: IndexFile) -> None:
    """Tell what an index holds, its memory by part and its recall."""
    from medalist.search import Index

    console = state(context).console
    if galleries.is_gallery(file):
        file = galleries.tell(console, file)
    stats = Index.open(file).stats()
    table(console, str(file), ["what", "found"], _told(stats))
    if stats.recall:
        # A walk of fewer than 100 is never asked for 100 answers, and was not measured for them.
        rows = [
            [row.ef, f"{row.at_1:.4f}", f"{row.at_10:.4f}", f"{row.at_100:.4f}" if row.ef >= 100 else "–"]
            for row in stats.recall
        ]
        table(console, "recall measured at build", ["ef", "at 1", "at 10", "at 100"], rows)


def search(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE|RUN", help="An index; or a run, with --image.")],
    queries: Annotated[
        Path | None, typer.Argument(metavar="[QUERIES.npy]", help="Floats or integers [n, dim], or one [dim].")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The table to write: .parquet or .csv.")] = None,
    k: Annotated[int, typer.Option("-k", help="Answers for each query.")] = 10,
    image: Images = None,
    where: Where = None,
    gallery: GalleryFolder = None,
    picture: Picture = None,
    group_by: GroupBy = None,
    recall: Annotated[float | None, typer.Option(help="The recall to aim at; default 0.95.")] = None,
    ef: Annotated[int | None, typer.Option(help="Candidates that the walk keeps, in place of a recall.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every vector.")] = False,
    threads: Threads = None,
) -> None:
    """Find the nearest vectors of each query: rows of query (its row), rank (from 1), id, score, distance.

    Or what a run's gallery holds that is nearest to each image.
    """
    from medalist.progress import progress
    from medalist.search import Index
    from medalist.search.index import check_aim, check_k, processors
    from medalist.search.vectors import as_queries

    if image:
        if queries is not None or out is not None or ef is not None:
            raise SearchError("--image: QUERIES.npy, -o and --ef are for an index of vectors; leave them out")
        asking = galleries.Asking(tuple(image), k, where, group_by, recall, exact, threads)
        galleries.search(state(context), str(file), asking, gallery, picture)
        return
    if queries is None or out is None:
        raise SearchError(f"{file}: type QUERIES.npy -o ANSWERS.csv for an index, or --image FILE for a run")
    if (where, gallery, picture, group_by) != (None, None, None, None):
        raise SearchError("--where, --gallery, --picture and --group-by need a run and --image FILE")
    if out.suffix not in (".parquet", ".csv"):
        raise SearchError(f"{out}: expected a name that ends in .parquet or .csv")
    if exact and (ef is not None or recall is not None):
        raise SearchError("--exact finds all; leave out --ef and --recall")
    check_aim(ef, recall)
    check_k(k)
    _refuse_over(out, file, queries)
    console = state(context).console
    index = Index.open(file)
    with _naming({"queries": queries}):
        asked, _ = as_queries(read_npy(queries), index.dim, index.metric)
    workers = processors() if threads is None else threads

    def answers() -> Iterator[tuple[int, Hits]]:
        for start in range(0, max(len(asked), 1), BLOCK):  # once where there is no query, for an empty table
            block = asked[start : start + BLOCK]
            if exact:
                yield start, index.exact(block, k, threads=workers)
            else:
                yield start, index.search(block, k, ef=ef, recall=recall, threads=workers)
            bar.advance(len(block))

    with progress(console, f"searching {file.name}", len(asked)) as bar:
        rows = _write(out, answers())
    say(console, f"{out}: {rows} answers to {len(asked)} queries among {len(index)} vectors")


def read_npy(path: Path) -> NDArray[Any]:
    """An array of a .npy file, mapped, not read; SearchError for anything else."""
    from medalist.search.embeddings import read_npy as mapped

    return mapped(path)


def read_ids(path: Path) -> NDArray[Any] | list[str]:
    """Ids from .npy (integers or strings), from the column `id` of a .csv, or from the lines of a .txt (strings)."""
    from medalist.files import read_table

    if path.suffix == ".npy":
        return read_npy(path)
    if not path.is_file():
        raise SearchError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    if path.suffix == ".csv":
        return [row["id"] for row in read_table(path, ["id"])]
    if path.suffix != ".txt":
        raise SearchError(f"{path}: expected ids in a .npy, .csv or .txt")
    try:
        return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n") if path.stat().st_size else []
    except OSError as error:
        raise SearchError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SearchError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from error


def _refuse_over(out: Path, *read: Path | None) -> None:
    """Refuse to write over what is read."""
    for path in read:
        if path is not None and (out == path or (out.exists() and path.exists() and out.samefile(path))):
            raise SearchError(f"{out}: is read by this command; give -o another name")


def _make_folder(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(f"cannot write {out}: {error.strerror}") from error


@contextlib.contextmanager
def _naming(files: Mapping[str, Path | None]) -> Iterator[None]:
    """Put the file's name before what is said of its content ("vectors, row 3: ...")."""
    try:
        yield
    except SearchError as error:
        file = files.get(re.split("[,:]", str(error), maxsplit=1)[0])
        raise SearchError(f"{file}: {error}" if file else str(error)) from error


def _moving(advance: Callable[[int], None], steps: int) -> Callable[[int, int], None]:
    """Turn 'so many of the graph's vectors are linked' into so many steps of a bar."""
    before = 0

    def report(done: int, total: int) -> None:
        nonlocal before
        now = steps * done // max(total, 1)
        advance(now - before)
        before = now

    return report


def _told(stats: Stats) -> list[list[object]]:
    raw = 4 * stats.dim
    held = stats.bytes_per_vector
    rows: list[list[object]] = [
        ["vectors", stats.count],
        ["dimensions", stats.dim],
        ["metric", stats.metric],
        ["ids", stats.ids],
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


def _write(out: Path, answers: Iterator[tuple[int, Hits]]) -> int:
    """Write answers as they come, whole or not at all, and count their rows."""
    from medalist.files import written

    with written(out) as temporary:
        return (_write_csv if out.suffix == ".csv" else _write_parquet)(temporary, answers)


def _write_csv(path: Path, answers: Iterator[tuple[int, Hits]]) -> int:
    import numpy as np

    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for start, hits in answers:
            columns = _columns(start, hits)
            # Through text of float32: as double, 0.9 would be 0.8999999761581421.
            columns[3:] = [column.astype(np.str_) for column in columns[3:]]
            writer.writerows(zip(*(column.tolist() for column in columns), strict=True))
            count += len(columns[0])
    return count


def _write_parquet(path: Path, answers: Iterator[tuple[int, Hits]]) -> int:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    count, writer = 0, None
    try:
        for start, hits in answers:
            made = pa.table(dict(zip(COLUMNS, _columns(start, hits), strict=True)))
            writer = writer or pq.ParquetWriter(path, made.schema)
            writer.write_table(made)
            count += made.num_rows
    finally:
        if writer is not None:
            writer.close()
    return count


def _columns(start: int, hits: Hits) -> list[NDArray[Any]]:
    """The answers that are there, one a row: query, rank, id, score, distance."""
    import numpy as np

    ranks = np.arange(hits.ids.shape[1])
    real = ranks < hits.counts[:, None]
    query, rank = np.nonzero(real)
    return [query + start, rank + 1, hits.ids[real], hits.scores[real], hits.distances[real]]
