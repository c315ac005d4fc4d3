"""A gallery: vectors, their index and what is known of each, as one folder that is searched, added to, taken from.

    gallery/gallery.json           which files below are in force; written last, so that a change counts as a whole
    gallery/vectors-3.npy .json    unit vectors, ids, what made them: `medalist.search.embeddings`
    gallery/index-3.ann            `medalist.search.Index` over them, ids as strings
    gallery/fields-3.parquet       what is known of each: `medalist.search.fields`

Removed rows stay in vectors and index, and are named in gallery.json; every search leaves them out. When more than a
quarter has been removed, the files are written anew without them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import ArrayLike, NDArray

from medalist.errors import SearchError
from medalist.files import read_json, write_json
from medalist.search.answers import Hits
from medalist.search.embeddings import (
    Embeddings,
    beside,
    joined,
    read_embeddings,
    read_npy,
    refuse_other_space,
    shown,
    write_embeddings,
)
from medalist.search.fields import ID, IDENTITY, make_fields, read_parquet, stacked, write_parquet
from medalist.search.index import Index, check_aim, check_k
from medalist.search.select import Ask, choose, exact_among
from medalist.search.vectors import as_queries, whole
from medalist.search.where import matching

__all__ = [
    "Embeddings",
    "Gallery",
    "joined",
    "read_embeddings",
    "read_npy",
    "refuse_other_space",
    "write_embeddings",
]

FILE = "gallery.json"
FORMAT = "medalist gallery 1"
DEAD = 0.25
"""The share of removed rows above which the files are written anew."""

_OURS = re.compile(r"(vectors|index|fields)-[0-9]+\.(npy|json|ann|parquet)")

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class Gallery:
    """What a folder held when it was opened; `add` and `remove` give the next one.

    embeddings: all rows, the removed ones too. fields: a pyarrow.Table with `id` first, row by row as the embeddings.
    removed: ids that are no longer there. A gallery that was opened goes on answering while its folder changes.
    """

    folder: Path
    embeddings: Embeddings
    index: Index
    fields: Any = field(repr=False)
    removed: frozenset[str] = field(repr=False)
    number: int

    @classmethod
    def create(
        cls,
        folder: Path,
        embeddings: Embeddings,
        columns: Mapping[str, Sequence[str]] | None = None,
        *,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Gallery:
        """Make the folder of a gallery, or replace the one that is there, as a whole.

        columns: cells as text, in the order of the embeddings. Raises SearchError where the folder holds other things.
        """
        number = next_number(folder)
        index = Index(embeddings.dim)
        index.add(list(embeddings.ids), embeddings.vectors, threads=threads, progress=progress)
        fields = make_fields(embeddings.ids, columns or {})
        return cls(folder, embeddings, index, fields, frozenset(), number)._written()

    @classmethod
    def open(cls, folder: Path) -> Gallery:
        """Open a folder, vectors mapped; SearchError where it is missing, damaged or no gallery."""
        told = read_told(folder)
        number, removed = told["number"], told["removed"]
        embeddings = read_embeddings(folder / f"vectors-{number}.npy")
        path = folder / f"index-{number}.ann"
        index = Index.open(path)
        if (len(index), index.dim, index.metric) != (len(embeddings), embeddings.dim, "cosine"):
            raise SearchError(f"{path}: {index!r} is not of the {len(embeddings)} vectors beside it; build it again")
        fields = read_parquet(folder / f"fields-{number}.parquet", embeddings.ids)
        unknown = [name for name in removed if name not in embeddings.row_of]
        if unknown:
            raise SearchError(f"{folder / FILE}: removed ids that never were there: {shown(unknown)}; build it again")
        return cls(folder, embeddings, index, fields, frozenset(removed), number)

    def __len__(self) -> int:
        """Vectors that can be found."""
        return len(self.embeddings) - len(self.removed)

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self.embeddings.dim

    @property
    def space(self) -> str:
        """Which vectors can be compared with these: see Embeddings.space."""
        return self.embeddings.space

    @property
    def named(self) -> str:
        """How messages call it."""
        return f"gallery {self.folder} of {self.embeddings.named}"

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Which rows are there: bool[n]."""
        mask = np.ones(len(self.embeddings), np.bool_)
        mask[[self.embeddings.row_of[name] for name in self.removed]] = False
        return mask

    def search(
        self,
        queries: Embeddings | ArrayLike,
        k: int = 10,
        where: str | None = None,
        *,
        recall: float | None = None,
        exact: bool = False,
        group_by: str | None = None,
        per: int = 1,
        threads: int = 1,
    ) -> Hits:
        """The k nearest of each query, unit vectors [n, dim] or one [dim], or Embeddings, whose space is checked.

        where: only rows that it means (`medalist.search.where`); then every such row is compared, so there are never
        fewer answers than k or than match. group_by: a field; at most `per` answers share a value of it, rows with an
        empty cell stand alone. recall, exact: as `Index.search` and `Index.exact`. Hits pad what is not there.
        """
        if isinstance(queries, Embeddings):
            refuse_other_space(queries, self)
            queries = queries.vectors
        matrix, single = as_queries(queries, self.dim, "cosine")
        k, per = check_k(k), whole(per, "per", 1, 2**31)
        check_aim(None, recall)
        mask = self.live if where is None else self.live & matching(where, self.fields)
        rows = np.flatnonzero(mask)
        groups = np.arange(len(mask)) if group_by is None else self._groups(group_by)
        if where is not None:
            found = choose(exact_among(self.embeddings.vectors, rows, threads), matrix, k, groups[rows], per)
            chosen = np.where(found.rows >= 0, rows[found.rows] if len(rows) else -1, -1)
        else:
            groups = np.where(mask, groups, -1)
            found = choose(self._ask(recall, threads), matrix, k, groups, per, exact)
            chosen = found.rows
        names = [self.embeddings.ids[row] if row >= 0 else "" for row in chosen.ravel().tolist()]
        ids = np.array(names, np.str_).reshape(chosen.shape)
        if single:
            return Hits(ids[0], found.scores[0], found.counts[0].reshape(()), "cosine")
        return Hits(ids, found.scores, found.counts, "cosine")

    def ids_of(self, identity: str) -> tuple[str, ...]:
        """Ids whose field `identity` is this; SearchError where there is none."""
        if IDENTITY not in self.fields.column_names:
            raise SearchError(f"{self.folder}: no field '{IDENTITY}'; build it with --fields FILE.csv that has it")
        rows = np.flatnonzero(self.live & (self.fields.column(IDENTITY).to_numpy() == identity))
        if not len(rows):
            raise SearchError(f"{self.folder}: no vector of identity {identity!r:.60}")
        return tuple(self.embeddings.ids[row] for row in rows.tolist())

    def check(self, where: str | None = None, group_by: str | None = None) -> None:
        """Raise SearchError for a `where` or a `group_by` that `search` would refuse."""
        if where is not None:
            matching(where, self.fields)
        if group_by is not None:
            self._groups(group_by)

    def _ask(self, recall: float | None, threads: int) -> Ask:
        row_of = self.embeddings.row_of

        def ask(queries: NDArray[np.float32], k: int, exact: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            if exact:
                hits = self.index.exact(queries, k, threads=threads)
            else:
                hits = self.index.search(queries, k, recall=recall, threads=threads)
            rows = [row_of[name] if name else -1 for name in hits.ids.ravel().tolist()]
            return np.array(rows, np.int64).reshape(hits.ids.shape), hits.scores

        return ask

    def _groups(self, name: str) -> NDArray[np.int64]:
        """A number for each row, shared by rows of one value of a field."""
        if name not in self.fields.column_names:
            raise SearchError(f"no field '{name}' to group by; there are: {', '.join(self.fields.column_names[:20])}")
        cells = self.fields.column(name).combine_chunks()
        codes = pc.fill_null(cells.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        empty = (codes < 0) | (cells.cast("string").fill_null("").to_numpy(zero_copy_only=False) == "")
        return np.where(empty, len(codes) + np.arange(len(codes)), codes)

    def add(
        self,
        embeddings: Embeddings,
        columns: Mapping[str, Sequence[str]] | None = None,
        *,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Gallery:
        """Write the gallery with more vectors, and give it; cells of fields that one side lacks are empty.

        Raises SearchError for another dimension or space, naming both, and for ids that are there, naming them.
        """
        refuse_other_space(embeddings, self)
        twice = [name for name in embeddings.ids if name in self.embeddings.row_of and name not in self.removed]
        if twice:
            raise SearchError(f"{self.folder}: {len(twice)} ids are there already: {shown(twice)}; remove them first")
        base = self
        if any(name in self.removed for name in embeddings.ids):
            base = self._without(self.removed, threads)
        fields = stacked(base.fields, make_fields(embeddings.ids, columns or {}))
        every = joined([base.embeddings, embeddings])
        # Not self.index, from which others may be reading: it stays as it was.
        index = Index.open(self.folder / f"index-{self.number}.ann") if base is self else base.index
        index.add(list(embeddings.ids), embeddings.vectors, threads=threads, progress=progress)
        return Gallery(self.folder, every, index, fields, base.removed, self.number + 1)._written()

    def remove(self, ids: Sequence[str], *, threads: int | None = None) -> Gallery:
        """Write the gallery without these vectors, and give it; SearchError names ids that are not there."""
        missing = [name for name in ids if name not in self.embeddings.row_of or name in self.removed]
        if missing:
            raise SearchError(f"{self.folder}: {len(missing)} of {len(ids)} ids are not there: {shown(missing)}")
        removed = self.removed | set(ids)
        if len(removed) > DEAD * len(self.embeddings):
            return self._without(removed, threads)._written()
        next_one = Gallery(self.folder, self.embeddings, self.index, self.fields, removed, self.number)
        _tell(next_one)
        return next_one

    def _without(self, removed: frozenset[str], threads: int | None) -> Gallery:
        """The gallery with none of these rows in its vectors and its index; nothing is written."""
        rows = np.array([row for name, row in self.embeddings.row_of.items() if name not in removed], np.int64)
        ids = tuple(self.embeddings.ids[row] for row in rows)
        kept = Embeddings(ids, np.asarray(self.embeddings.vectors[rows]), self.embeddings.made_by)
        index = Index(self.dim)
        index.add(list(ids), kept.vectors, threads=threads)
        return Gallery(self.folder, kept, index, self.fields.take(rows), frozenset(), self.number + 1)

    def _written(self) -> Gallery:
        """Write the files of this gallery, tell of them last, and clear those that are no longer in force."""
        path = self.folder / f"vectors-{self.number}.npy"
        write_embeddings(path, self.embeddings)
        self.index.save(self.folder / f"index-{self.number}.ann")
        write_parquet(self.folder / f"fields-{self.number}.parquet", self.fields)
        _tell(self)
        now = {path.name, beside(path).name, f"index-{self.number}.ann", f"fields-{self.number}.parquet"}
        for old in self.folder.iterdir():
            if _OURS.fullmatch(old.name) and old.name not in now:
                with contextlib.suppress(OSError):  # it is in nobody's way
                    old.unlink()
        return self


def _tell(gallery: Gallery) -> None:
    write_json(
        gallery.folder / FILE,
        {
            "format": FORMAT,
            "number": gallery.number,
            "count": len(gallery),
            "dim": gallery.dim,
            "space": gallery.space,
            "made_by": dict(gallery.embeddings.made_by),
            "fields": [name for name in gallery.fields.column_names if name != ID],
            "removed": sorted(gallery.removed),
        },
    )


def read_told(folder: Path) -> dict[str, Any]:
    """What gallery.json says; SearchError where it is missing or not of a gallery."""
    path = folder / FILE
    if not path.is_file():
        raise SearchError(f"{folder} is no gallery: it has no {FILE}; run medalist index build RUN --gallery IMAGES")
    told = read_json(path, SearchError)
    good = isinstance(told, dict) and told.get("format") == FORMAT
    if not good or type(told.get("number")) is not int or not 0 <= told["number"] < 2**62:
        raise SearchError(f"{path}: not of a gallery, or damaged; build it again")
    removed = told.get("removed")
    if not isinstance(removed, list) or not all(isinstance(name, str) for name in removed):
        raise SearchError(f"{path}: 'removed' is not a list of strings; build the gallery again")
    return dict(told)


def next_number(folder: Path) -> int:
    """A number for new files beside those that are in force; SearchError for a folder of other things."""
    if not folder.exists():
        return 0
    if not folder.is_dir():
        raise SearchError(f"{folder}: not a folder")
    names = [path.name for path in folder.iterdir()]
    if names and FILE not in names and not any(_OURS.fullmatch(name) for name in names):
        raise SearchError(f"{folder}: holds other files, and no gallery; give -o another folder")
    taken = [int(re.split("[-.]", name)[1]) for name in names if _OURS.fullmatch(name)]
    return max(taken, default=-1) + 1
