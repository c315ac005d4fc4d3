"""A gallery: one folder with vectors, ids, fields and their provenance. It can be changed while it is searched.

    gallery/gallery.json    the provenance of the vectors, and the name of the index folder in use; written last, whole
    gallery/index/          `medalist.search.Index`: vectors, ids as strings, and fields by `medalist.search.fields`

A process that searches opens the gallery read-only, and sees its state of that moment. A process that adds or deletes
locks the index until its change is written. When a gallery is built again, the new index folder lies beside the old one
until gallery.json names the new one.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from medalist.errors import SearchError
from medalist.files import read_json, refuse_newer, write_json
from medalist.search.answers import Hits
from medalist.search.asking import Where, as_filter
from medalist.search.checks import Plan
from medalist.search.embeddings import (
    Embeddings,
    name_of,
    read_embeddings,
    refuse_other_space,
    shown,
    space_of,
    texts,
    write_embeddings,
)
from medalist.search.fields import IDENTITY, Columns, kinds_of, values_of
from medalist.search.filters import Among, AnyOf, Filter, HasId
from medalist.search.ids import INTEGERS, STRINGS
from medalist.search.index import Index
from medalist.search.schema import FieldKind
from medalist.system import held_folder

__all__ = ["Embeddings", "Gallery", "read_embeddings", "write_embeddings"]

FILE = "gallery.json"
FORMAT = "medalist gallery 2"
TWICE = "{} ids are there already: {}; delete them first"
BUILD = "build it again with medalist index build RUN --gallery IMAGES"

_INDEX = re.compile(r"index(-[0-9a-f]+)?")
_BEFORE = re.compile(r"(vectors|index|fields)-[0-9]+\.(npy|json|ann|parquet)")  # files of format 1

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class Gallery:
    """The state of a gallery's folder when it was opened; `add` and `delete` return the next state.

    index: opened read-only, so it can be searched while the folder changes, and does not stop other processes.
    made_by: the provenance, as in Embeddings. name: the name of the index's folder.
    """

    folder: Path
    index: Index = field(repr=False)
    made_by: Mapping[str, str]
    name: str

    @classmethod
    def create(
        cls,
        folder: Path,
        embeddings: Embeddings,
        columns: Columns | None = None,
        *,
        kinds: Mapping[str, str] | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Gallery:
        """Make the folder of a gallery, or replace the gallery that is there: as a whole, or not at all.

        columns: cells as text, in the order of the embeddings. They become fields, of the kinds in `kinds` (by name),
        else of the kinds found from the cells. Raises SearchError for a folder of other files, and for unfit cells.
        """
        refuse_full(folder)
        schema = kinds_of(columns or {}, kinds)
        values = values_of(columns or {}, schema, embeddings.ids)
        fresh = not folder.exists()
        with _alone_in(folder):
            # The new name is random, so that a process that has read the old gallery.json never opens the new index.
            path = folder / (f"index-{secrets.token_hex(4)}" if (folder / FILE).exists() else "index")
            try:
                shutil.rmtree(path, ignore_errors=True)  # a killed build may have left files there
                with Index.create(path, embeddings.dim, fields=schema) as index:
                    index.add(list(embeddings.ids), embeddings.vectors, values, threads=threads, progress=progress)
                    index.checkpoint()
                write_json(folder / FILE, _told(embeddings, path.name))
            except BaseException:
                shutil.rmtree(path, ignore_errors=True)
                if fresh:
                    with contextlib.suppress(OSError):
                        folder.rmdir()
                raise
            _clear(folder, path.name)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Gallery:
        """Open a gallery's folder for searching. Raises SearchError where it is missing, damaged or no gallery."""
        told = read_told(folder)
        path = folder / told["index"]
        try:
            index = Index.open(path, read_only=True)
        except SearchError as error:
            if read_told(folder)["index"] != path.name:  # the gallery was built again in between
                return cls.open(folder)
            raise error if path.is_dir() else SearchError(f"{path}: no such folder; {BUILD}") from error
        if (index.dim, index.metric) != (told["dim"], "cosine") or (len(index) and id_kind(index) != STRINGS):
            raise SearchError(f"{folder}: the index {index!r} does not fit {FILE}; {BUILD}")
        return cls(folder, index, told["made_by"], told["index"])

    def __len__(self) -> int:
        """The number of vectors that can be found."""
        return len(self.index)

    @property
    def dim(self) -> int:
        """The number of components of a vector."""
        return self.index.dim

    @property
    def fields(self) -> dict[str, FieldKind]:
        """The kind of each field, in the order of the columns that it was built with."""
        return self.index.fields

    @property
    def space(self) -> str:
        """The embedding space of the vectors: see Embeddings.space."""
        return space_of(self.made_by)

    @property
    def named(self) -> str:
        """How messages name this gallery."""
        return f"gallery {self.folder} of {name_of(self.made_by)}"

    def search(
        self,
        queries: Embeddings | ArrayLike,
        k: int = 10,
        where: Where | None = None,
        *,
        recall: float | None = None,
        plan: Plan | None = None,
        min_score: float | None = None,
        group_by: str | None = None,
        per: int = 1,
        threads: int = 1,
    ) -> Hits:
        """Return the k nearest vectors of each query.

        queries: unit vectors [n, dim], one of [dim], or Embeddings; SearchError where the space of these is another.
        The other arguments are those of `Index.search`. Ids are strings, "" where padded.
        """
        if isinstance(queries, Embeddings):
            refuse_other_space(queries, self)
            queries = queries.vectors
        hits = self.index.search(
            queries, k, where=where, recall=recall, plan=plan, min_score=min_score, group_by=group_by, per=per,
            threads=threads,
        )  # fmt: skip
        # An index without vectors does not know yet that its ids will be strings.
        return hits if hits.ids.dtype.kind == "U" else hits._replace(ids=np.full(hits.ids.shape, "", "U1"))

    def add(
        self,
        embeddings: Embeddings,
        columns: Columns | None = None,
        *,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Gallery:
        """Add vectors to the folder, all or none, and return the gallery with them. Fields not given have no value.

        Raises SearchError for another dimension or embedding space, for ids that are in the gallery already, and for
        columns that are no fields.
        """
        refuse_other_space(embeddings, self)
        values = values_of(columns or {}, self.fields, embeddings.ids)
        with self._writing() as index:
            there = set(index.ids().tolist())
            twice = [name for name in embeddings.ids if name in there]
            if twice:
                raise SearchError(f"{self.folder}: {TWICE.format(len(twice), shown(twice))}")
            index.add(list(embeddings.ids), embeddings.vectors, values, threads=threads, progress=progress)
        return Gallery.open(self.folder)

    def delete(
        self, ids: Sequence[str] = (), *, identities: Sequence[str] = (), where: Where | None = None
    ) -> tuple[Gallery, int]:
        """Delete vectors as `delete_from` does; return the gallery without them, and how many were deleted."""
        with self._writing() as index:
            count = delete_from(index, ids, identities, where)
        return Gallery.open(self.folder), count

    def snapshot(self, folder: Path) -> Gallery:
        """Copy the gallery, as it was when opened, into a missing or empty folder, and return the copy.

        Raises SearchError where the folder is not empty.
        """
        _make(folder)
        if any(folder.iterdir()):
            raise SearchError(f"{folder}: is not empty; give another folder")
        self.index.snapshot(folder / "index")
        write_json(folder / FILE, {**read_told(self.folder), "index": "index"})
        return Gallery.open(folder)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Index]:
        """Yield the folder's index, opened for writing. No other process can write to it until the block ends."""
        self._refuse_replaced()
        with Index.open(self.folder / self.name) as index:
            try:
                yield index
            except SearchError:
                self._refuse_replaced()  # its files are gone, which the index can only tell in other words
                raise
        self._refuse_replaced()  # if the gallery was built again in between, the new one lacks this change

    def _refuse_replaced(self) -> None:
        told = read_told(self.folder)
        if (told["index"], told["made_by"]) != (self.name, self.made_by):
            raise SearchError(f"{self.folder}: the gallery was built again by another process; run the command again")


def delete_from(
    index: Index, ids: Sequence[str | int], identities: Sequence[str] = (), where: Where | None = None
) -> int:
    """Delete in one change the rows with one of these ids or identities, and the rows that match a filter.

    identities: values of the field `identity`; SearchError where the index has no such field. Returns how many rows
    were deleted. Ids that are not in the index are no error.
    """
    if identities and IDENTITY not in index.fields:
        raise SearchError(f"there is no field '{IDENTITY}'; build it with --fields FILE.csv that has it")
    each: list[Filter] = []
    if ids and len(index):
        each.append(HasId(tuple(dict.fromkeys(ids))))
    if identities:
        each.append(Among(IDENTITY, tuple(dict.fromkeys(identities))))
    if where is not None:
        each.append(as_filter(where, index.fields, id_kind(index)))
    return index.delete(where=AnyOf(tuple(each))) if each else 0


def id_kind(index: Index) -> int:
    """Return the kind of an index's ids, STRINGS or INTEGERS; INTEGERS for row numbers and for an empty index."""
    return STRINGS if index.scroll(limit=1).ids.dtype.kind == "U" else INTEGERS


def _told(embeddings: Embeddings, name: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dim": embeddings.dim,
        "space": embeddings.space,
        "made_by": dict(embeddings.made_by),
        "index": name,
    }


def read_told(folder: Path) -> dict[str, Any]:
    """Read gallery.json; its `index` is the name of the index folder. SearchError where it is missing or damaged."""
    path = folder / FILE
    if not path.is_file():
        raise SearchError(f"{folder} is no gallery: it has no {FILE}; run medalist index build RUN --gallery IMAGES")
    told = read_json(path, SearchError)
    refuse_newer(told, path, FORMAT, SearchError)
    if isinstance(told, dict) and told.get("format") == "medalist gallery 1":
        raise SearchError(f"{folder}: a gallery of an earlier version; {BUILD}")
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise SearchError(f"{path}: not of a gallery, or damaged; {BUILD}")
    made_by, name = texts(told.get("made_by"), path, "made_by"), told.get("index")
    if not isinstance(name, str) or not _INDEX.fullmatch(name) or type(told.get("dim")) is not int:
        raise SearchError(f"{path}: 'index' or 'dim' is damaged; {BUILD}")
    if told.get("space") != space_of(made_by):
        raise SearchError(f"{path}: 'space' is not that of 'made_by'; {BUILD}")
    return {**told, "made_by": made_by}


def refuse_full(folder: Path) -> None:
    """Raise SearchError where a path exists and is not a folder, or is a folder with other files than a gallery's."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SearchError(f"{folder}: not a folder")
    names = [path.name for path in folder.iterdir()]
    if FILE not in names and not all(_INDEX.fullmatch(name) or _BEFORE.fullmatch(name) for name in names):
        raise SearchError(f"{folder}: the folder has other files and is no gallery; give another folder with -o")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(f"cannot write {folder}: {error.strerror}") from error


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder while a gallery is built in it; it is made where it is missing. The lock ends with the process."""
    _make(folder)
    with held_folder(folder) as held:
        if not held:
            raise SearchError(f"{folder}: is being built by another process; wait until it ends")
        yield


def _clear(folder: Path, name: str) -> None:
    """Remove old indexes and files of older formats. What cannot be removed is left there, because it does no harm."""
    for path in folder.iterdir():
        if _BEFORE.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()
        elif _INDEX.fullmatch(path.name) and path.name != name:
            shutil.rmtree(path, ignore_errors=True)
