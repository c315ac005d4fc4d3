"""`medalist search`, and the registration of all commands of `medalist index`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medalist.cli import galleries, indexes, upkeep
from medalist.cli.arrays import naming, read_npy, refuse_over
from medalist.cli.console import ConsoleReporter
from medalist.cli.galleries import (
    Asking,
    GalleryFolder,
    GroupBy,
    Images,
    MinScore,
    Per,
    Picture,
    PlanName,
    Threads,
    Where,
)
from medalist.cli.session import counted, say, session
from medalist.errors import SearchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medalist.search import Hits, Index

BLOCK = 1024
"""How many queries are answered before the progress bar moves."""

COLUMNS = ("query", "rank", "id", "score", "distance")


def add_to(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(indexes.group, name="index")
    app.command()(search)
    app.command()(galleries.embed)
    upkeep.add_to(indexes.group)


def search(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE|FOLDER|RUN", help="An index, a gallery's folder; or a run, with --image.")
    ],
    queries: Annotated[
        Path | None, typer.Argument(metavar="QUERIES.npy", help="Floats or integers [n, dim], or one [dim].")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The table to write: .parquet or .csv.")] = None,
    k: Annotated[int, typer.Option("-k", help="Answers for each query.")] = 10,
    image: Images = None,
    where: Where = None,
    group_by: GroupBy = None,
    per: Per = None,
    min_score: MinScore = None,
    recall: Annotated[float | None, typer.Option(help="The recall to aim at; default 0.95.")] = None,
    ef: Annotated[int | None, typer.Option(help="Candidates that the walk keeps; replaces --recall.")] = None,
    plan: PlanName = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every vector: the same as --plan exact.")
    ] = False,
    gallery: GalleryFolder = None,
    picture: Picture = None,
    threads: Threads = None,
) -> None:
    """Find the nearest vectors of each query. Columns: query (its row), rank (from 1), id, score, distance.

    With a run and --image: find the nearest images in the run's gallery.
    """
    from medalist.search.unmatched import unmatched
    from medalist.search.vectors import as_queries

    asking = Asking(k, where, group_by, per, min_score, recall, ef, plan, exact, threads).checked()
    if image:
        if queries is not None or out is not None or ef is not None:
            raise SearchError("--image searches a gallery; QUERIES.npy, -o and --ef cannot be used with it")
        galleries.search(session(context), str(file), tuple(image), asking, gallery, picture)
        return
    if queries is None or out is None:
        raise SearchError(f"{file}: type QUERIES.npy -o ANSWERS.csv for an index, or --image FILE for a run")
    if (gallery, picture) != (None, None):
        raise SearchError("--gallery and --picture need a run and --image FILE")
    if out.suffix not in (".parquet", ".csv"):
        raise SearchError(f"{out}: expected a name that ends in .parquet or .csv")
    refuse_over(out, file, queries)
    console, index = session(context).console, _opened(file, queries)
    how, plans = {**asking.how, "ef": ef}, Counter[str]()
    with naming({"queries": queries}):
        asked, _ = as_queries(read_npy(queries), index.dim, index.metric)
        index.search(asked[:0], k, **how)  # reports wrong options before the search starts
    notes, rows_seen, unlike, reached = unmatched(index, where), 0, 0, list[tuple[int, float]]()

    def answers() -> Iterator[tuple[int, Hits]]:
        nonlocal rows_seen, unlike
        for start in range(0, max(len(asked), 1), BLOCK):  # at least one block, so that no queries give an empty table
            hits = index.search(asked[start : start + BLOCK], k, **how)
            assert hits.plans is not None and hits.cost is not None and hits.unlike is not None
            plans.update(hits.plans.tolist())
            rows_seen += int(hits.cost.sum())
            unlike += int(hits.unlike.sum())
            if hits.recall_estimate is not None:
                reached.append((int(hits.unlike.sum()), hits.recall_estimate))
            yield start, hits
            bar.advance(len(hits.counts))

    with ConsoleReporter(console).progress(f"searching {file.name}", len(asked)) as bar:
        rows = _write(out, answers())
    done = f"{out}: {counted(rows, 'answer')} to {_told_cost(len(asked), len(index), plans, rows_seen)}"
    for line in [*notes, *_told_unlike(unlike, len(asked), ef, reached), done]:
        say(console, line)


def _told_cost(asked: int, rows: int, plans: Counter[str], rows_seen: int) -> str:
    """Return how many queries were answered among how many vectors, by what, with how many rows compared for each."""
    told = ", ".join(f"{plan} ({count})" for plan, count in plans.most_common())
    cost = f"; by {told}, {rows_seen / asked:.0f} rows compared for each" if asked else ""
    return f"{counted(asked, 'query', 'queries')} among {counted(rows, 'vector')}{cost}"


def _told_unlike(unlike: int, asked: int, ef: int | None, reached: Sequence[tuple[int, float]]) -> list[str]:
    """Return a line where many queries are unlike the vectors of the index; one in a hundred members is, too.

    reached: the number of unlike queries and their recall, as estimated, of each block that has an estimate.
    """
    if unlike <= asked / 20:
        return []
    then = "they were searched wider" if ef is None else "recall was not measured for such, so give --recall, not --ef"
    if reached:
        mean = sum(count * share for count, share in reached) / max(sum(count for count, _ in reached), 1)
        then += f", and found {mean:.3f} of their nearest vectors, by an estimate"
    return [
        f"{unlike} of {counted(asked, 'query lies', 'queries lie')} farther out than the vectors of the index; {then}"
    ]


def _opened(file: Path, queries: Path) -> Index:
    """Open the index of a file, a folder or a gallery's folder.

    Raises SearchError where the queries have a .json whose embedding space is not that of the gallery.
    """
    from medalist.search import Index
    from medalist.search.embeddings import read_embeddings, refuse_other_space
    from medalist.search.gallery import Gallery

    if not galleries.is_gallery(file):
        return Index.open(file, read_only=file.is_dir())
    gallery = Gallery.open(file)
    if queries.suffix == ".npy" and queries.with_suffix(".json").is_file():
        refuse_other_space(read_embeddings(queries), gallery)
    return gallery.index


def _write(out: Path, answers: Iterator[tuple[int, Hits]]) -> int:
    """Write the hits block by block to a file, whole or not at all, and return the number of rows."""
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
            # Written as text of float32, because 0.9 would be 0.8999999761581421 as float64.
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
    """Return the columns query, rank, id, score and distance of all hits, one hit in a row."""
    import numpy as np

    ranks = np.arange(hits.ids.shape[1])
    real = ranks < hits.counts[:, None]
    query, rank = np.nonzero(real)
    return [query + start, rank + 1, hits.ids[real], hits.scores[real], hits.distances[real]]
