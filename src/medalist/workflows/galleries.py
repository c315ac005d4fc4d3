"""`medalist embed`, and `index build`, `index add` and `search` with a run: from image files to galleries and hits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from medalist.codecs.images import read_image
from medalist.errors import DataError, SearchError
from medalist.files import read_table, written
from medalist.kinds import embedding_of, run_settings
from medalist.report.pictures import GAP, PAPER, Picture, fit_image, grid
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.search.checks import Plan
from medalist.search.embeddings import Embeddings, name_of, refuse_twice, shown, space_of
from medalist.search.fields import ID, IDENTITY, PATH, Columns, as_cell, kinds_of, read_fields, values_of
from medalist.search.gallery import TWICE, Gallery, refuse_full
from medalist.search.ids import LONGEST_ID
from medalist.search.unmatched import unmatched

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Suffixes of the image files that are found in a folder; upper case counts too."""

LABEL = "label"
"""The field that names what is seen, in a gallery without identities."""

SIDE = 168
"""Height and width of a picture in the grid, in pixels."""
COLUMNS = 6
"""Pictures in a row of the grid, the picture of the query included."""
MOST_DRAWN = 59
"""The most hits of one query that the grid shows."""


@dataclass(frozen=True)
class Source:
    """Images with their ids, and the other columns of their csv: texts by column, in the order of the files."""

    files: tuple[tuple[str, Path], ...]
    columns: Columns

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the files."""
        return tuple(name for name, _ in self.files)

    def without(self, kept: Sequence[str]) -> Columns:
        """Return the columns of the files whose ids are `kept`, in that order, with their absolute paths as `path`."""
        row_of = {name: row for row, (name, _) in enumerate(self.files)}
        rows = [row_of[name] for name in kept]
        cells = {name: [column[row] for row in rows] for name, column in self.columns.items()}
        return {**cells, PATH: [str(self.files[row][1].resolve()) for row in rows]}


@dataclass(frozen=True)
class Found:
    """The hits of one query image: ids and cosines, the closest first."""

    query: Path
    ids: tuple[str, ...]
    scores: tuple[float, ...]


def find_images(place: Path) -> Source:
    """Return all images below a folder, or the images that a csv with the columns `id` and `path` lists.

    In a folder, ids are file names without suffix; where two of them are the same, all ids are paths relative to the
    folder. Hidden files are left out. In a csv, paths are relative to the csv's folder, and other columns are fields.
    Raises DataError where there are no images, or where the csv is wrong.
    """
    if place.is_file():
        return _listed(place)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder or csv")
    paths = sorted(
        path
        for path in place.rglob("*")
        if path.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in path.relative_to(place).parts)
        and path.is_file()
    )
    if not paths:
        raise DataError(f"{place}: no images below it; looked for {', '.join(ENDINGS)}")
    stems = [path.stem for path in paths]
    if max(Counter(stems).values()) > 1:
        stems = [path.relative_to(place).as_posix() for path in paths]
    return Source(tuple(zip(stems, paths, strict=True)), {})


def _listed(path: Path) -> Source:
    rows = read_table(path, [ID, PATH])
    if not rows:
        raise DataError(f"{path}: no rows; expected a csv with the columns {ID},{PATH}")
    for number, row in enumerate(rows, start=2):
        for name in (ID, PATH):
            if not row[name] or "\0" in row[name]:
                raise DataError(f"{path}, row {number}: the cell of '{name}' is empty or holds a NUL")
        if len(row[ID]) > LONGEST_ID or not row[ID].isprintable():
            rule = f"1 to {LONGEST_ID} printable letters"
            raise DataError(f"{path}, row {number}, column {ID}, value {row[ID]!r:.60}: expected {rule}")
        try:
            (path.parent / row[PATH]).is_file()
        except OSError as error:  # a name that the file system does not allow
            raise DataError(f"{path}, row {number}, column {PATH}: {error.strerror}; name an image") from error
    try:
        refuse_twice([row[ID] for row in rows])
    except SearchError as error:
        raise DataError(f"{path}: {error}") from error
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in (ID, PATH)}
    return Source(tuple((row[ID], path.parent / row[PATH]) for row in rows), columns)


def embed_images(
    run: Run, source: Source, reporter: Reporter, fold: int | None = None, skip_bad: bool = False
) -> tuple[Embeddings, list[str]]:
    """Embed the images of a source with a run. Return the embeddings, and a line for each image that was left out.

    Raises DataError where no image is left.
    """
    settings = run_settings(run)
    embedding = embedding_of(run, settings)
    embeddings, left_out = embedding.embed_files(run, settings, source.files, reporter, fold=fold, skip_bad=skip_bad)
    if not len(embeddings):
        raise DataError(f"none of {len(source.files)} images can be read: {'; '.join(left_out[:3])}")
    return embeddings, left_out


def gallery_folder(run: Run, folder: Path | None) -> Path:
    """Return `folder`, or the default folder of a run's gallery where `folder` is None."""
    return run.folder / "gallery" if folder is None else folder


def build_gallery(
    run: Run,
    place: Path,
    folder: Path,
    reporter: Reporter,
    *,
    fields: Path | None = None,
    kinds: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    threads: int | None = None,
) -> tuple[Gallery, list[str]]:
    """Embed the images of a gallery with all trained folds, and index them in `folder`.

    Returns the gallery, and a line for each image that was left out. kinds: the kinds of some columns by name; the
    kinds of the other columns are found from their cells (`medalist.search.fields`).
    """
    refuse_full(folder)  # a wrong folder or csv is reported before an hour of embedding
    source = _columns(find_images(place), fields)
    columns = source.without(source.ids)
    schema = kinds_of(columns, kinds)
    values_of(columns, schema, source.ids)
    embeddings, left_out = embed_images(run, source, reporter, skip_bad=skip_bad)
    columns = source.without(embeddings.ids)
    made = Gallery.create(folder, embeddings, columns, kinds=schema, threads=threads)
    return made, left_out


def add_images(
    run: Run,
    place: Path,
    folder: Path,
    reporter: Reporter,
    *,
    fields: Path | None = None,
    skip_bad: bool = False,
    threads: int | None = None,
) -> tuple[Gallery, list[str]]:
    """Embed more images into a gallery that this run made. Return it, and a line for each image that was left out.

    Raises SearchError where an id is in the gallery already.
    """
    gallery = open_gallery(run, folder)
    source = _columns(find_images(place), fields)
    held = set(gallery.index.ids().tolist())
    there = [name for name in source.ids if name in held]
    if there:
        raise SearchError(f"{folder}: {TWICE.format(len(there), shown(there))}")
    values_of(source.columns, gallery.fields, source.ids)
    embeddings, left_out = embed_images(run, source, reporter, skip_bad=skip_bad)
    columns = {name: cells for name, cells in source.without(embeddings.ids).items() if name in gallery.fields}
    return gallery.add(embeddings, columns, threads=threads), left_out


def _columns(source: Source, fields: Path | None) -> Source:
    """Return the source with the columns of another csv added, but not its `path`, because the source has the paths.

    Raises SearchError where both have a column.
    """
    if fields is None:
        return source
    more = read_fields(fields, source.ids)
    both = sorted(set(more) & set(source.columns))
    if both:
        raise SearchError(f"{fields}: the gallery's csv has a column '{both[0]}' too; leave one of them out")
    return Source(source.files, {**source.columns, **{name: cells for name, cells in more.items() if name != PATH}})


def open_gallery(run: Run, folder: Path) -> Gallery:
    """Open a gallery that this run made with its present weights.

    Raises SearchError, which names run and gallery, where other weights made it.
    """
    gallery = Gallery.open(folder)
    settings = run_settings(run)
    made = embedding_of(run, settings).made_of(run, settings, run.trained_folds())
    if space_of(made) != gallery.space:
        raise SearchError(
            f"{gallery.named} cannot be searched by {name_of(made)}: other weights make other vectors; name the run "
            "that made it, or build it again with medalist index build RUN --gallery IMAGES"
        )
    return gallery


def search_images(
    run: Run,
    images: Sequence[Path],
    folder: Path,
    reporter: Reporter,
    *,
    k: int = 10,
    where: str | None = None,
    group_by: str | None = None,
    per: int = 1,
    min_score: float | None = None,
    recall: float | None = None,
    plan: Plan | None = None,
    threads: int = 1,
) -> tuple[Gallery, list[Found]]:
    """Return the gallery, and its nearest vectors to each image. The options are those of `Index.search`."""
    gallery = open_gallery(run, folder)
    paths = list(dict.fromkeys(images))
    ask = partial(
        gallery.search, k=k, where=where, recall=recall, plan=plan, min_score=min_score, group_by=group_by, per=per,
        threads=threads,
    )  # fmt: skip
    ask(np.empty((0, gallery.dim), np.float32))  # reports wrong options before the network is loaded
    unmatched(gallery.index, where)
    _refuse_bad(paths)
    embeddings, _ = embed_images(run, Source(tuple((str(path), path) for path in paths), {}), reporter)
    hits = ask(embeddings)
    found = []
    for path, ids, scores, count in zip(paths, hits.ids, hits.scores, hits.counts.tolist(), strict=True):
        found.append(Found(path, tuple(ids[:count].tolist()), tuple(scores[:count].tolist())))
    return gallery, found


def _refuse_bad(paths: Sequence[Path]) -> None:
    """Raise one DataError for all images that cannot be read, because a search cannot leave out a query."""
    bad: list[str] = []
    for path in paths:
        try:
            read_image(path)
        except DataError as error:
            bad.append(str(error))
    if bad:
        raise DataError(f"{len(bad)} of {len(paths)} images cannot be read: {'; '.join(bad)}; use other images")


def answer_table(gallery: Gallery, found: Found) -> tuple[list[str], list[list[object]]]:
    """Return the hits as a table: the columns (rank, id, score, all fields but the path), and a row for each hit."""
    names = [name for name in gallery.fields if name != PATH]
    rows = gallery.index.get(list(found.ids))
    told_rows: list[list[object]] = [
        [rank, name, f"{score:.4f}", *(as_cell(row.get(field)) for field in names)]
        for rank, (name, score, row) in enumerate(zip(found.ids, found.scores, rows, strict=True), start=1)
    ]
    return ["rank", "id", "score", *names], told_rows


def draw_hits(gallery: Gallery, answers: Sequence[Found]) -> Picture:
    """Draw a grid of pictures for each query, one grid below another: the query, then its hits.

    Above each hit are its rank, its cosine, and its label (see label_field) or id. An image that cannot be read is a
    gray tile.
    """
    label, grids = label_field(gallery), []
    for found in answers:
        pictures, captions = [_tile(found.query)], [f"query {found.query.name}"]
        rows = gallery.index.get(list(found.ids[:MOST_DRAWN]))
        for rank, (name, score, row) in enumerate(zip(found.ids, found.scores, rows, strict=False), start=1):
            pictures.append(_tile(Path(as_cell(row.get(PATH)) or name)))
            captions.append(f"{rank}  {score:.3f}  {as_cell(row.get(label or IDENTITY)) or name}")
        grids.append(grid(pictures, COLUMNS, captions))
    width = max(one.shape[1] for one in grids)
    padded = []
    for one in grids:
        sheet = np.full((one.shape[0], width, 3), PAPER, np.uint8)
        sheet[:, : one.shape[1]] = one
        padded.append(sheet)
    return np.concatenate(padded)


def label_field(gallery: Gallery) -> str | None:
    """Return the field that says what is seen: `identity`, else `label`, else the tags with the most different values.

    Tags of which each row has its own, as file names are, say nothing. None where there is no such field.
    """
    for name in (IDENTITY, LABEL):
        if name in gallery.fields:
            return name
    tags = [name for name, kind in gallery.fields.items() if kind in ("tag", "id") and name != PATH]
    values = {name: len(gallery.index.facet(name)) for name in tags}
    told = [name for name in tags if 0 < values[name] < len(gallery)]
    return max(told, key=values.__getitem__, default=None)


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture to a PNG file, which is written whole or not at all."""
    with written(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _tile(path: Path) -> Picture:
    try:
        return fit_image(read_image(path), SIDE)
    except DataError:
        return np.full((SIDE, SIDE, 3), GAP, np.uint8)
