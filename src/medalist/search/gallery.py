"""A gallery: vectors of named things, what is known of each, and what made them, as one folder that is live.

    gallery/gallery.json    what made the vectors, and which folder below is in force; written last, whole
    gallery/index/          `medalist.search.Index`: vectors, ids as strings, and fields by `medalist.search.fields`

Who searches opens it for reading only and sees what was there then; who adds or deletes holds it for that moment.
Where a gallery is built again, the new index lies beside the old one until gallery.json names it.
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
from medalist.files import read_json, write_json
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
    """What a folder held when it was opened; `add` and `delete` give the next one.

    index: opened for reading only, so it goes on answering while the folder changes, and is in nobody's way.
    made_by: as Embeddings has it. name: of the folder of the index.
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
        """Make the folder of a gallery, or replace the one that is there: as a whole, or not at all.

        columns: cells as text, in the order of the embeddings; they become fields, of the kinds that their cells tell
        or that `kinds` says by name. Raises SearchError where the folder holds other things, and for cells.
        """
        refuse_full(folder)
        schema = kinds_of(columns or {}, kinds)
        values = values_of(columns or {}, schema, embeddings.ids)
        fresh = not folder.exists()
        with _alone_in(folder):
            # A name that never was: who has read an old gallery.json must not find a new index.
            path = folder / (f"index-{secrets.token_hex(4)}" if (folder / FILE).exists() else "index")
            try:
                shutil.rmtree(path, ignore_errors=True)  # of a build that was killed
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
        """Open a folder for searching; SearchError where it is missing, damaged or no gallery."""
        told = read_told(folder)
        path = folder / told["index"]
        try:
            index = Index.open(path, read_only=True)
        except SearchError as error:
            if read_told(folder)["index"] != path.name:  # it was built anew in between
                return cls.open(folder)
            raise error if path.is_dir() else SearchError(f"{path}: no such folder; {BUILD}") from error
        if (index.dim, index.metric) != (told["dim"], "cosine") or (len(index) and id_kind(index) != STRINGS):
            raise SearchError(f"{folder}: {index!r} is not the one that {FILE} tells of; {BUILD}")
        return cls(folder, index, told["made_by"], told["index"])

    def __len__(self) -> int:
        """Vectors that can be found."""
        return len(self.index)

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self.index.dim

    @property
    def fields(self) -> dict[str, FieldKind]:
        """The kind of each field, in the order of the columns that it was built with."""
        return self.index.fields

    @property
    def space(self) -> str:
        """Which vectors can be compared with these: see Embeddings.space."""
        return space_of(self.made_by)

    @property
    def named(self) -> str:
        """How messages call it."""
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
        """The k nearest of each query, unit vectors [n, dim] or one [dim], or Embeddings, whose space is checked.

        All else is as in `Index.search`. Ids are strings, "" where padded.
        """
        if isinstance(queries, Embeddings):
            refuse_other_space(queries, self)
            queries = queries.vectors
        hits = self.index.search(
            queries, k, where=where, recall=recall, plan=plan, min_score=min_score, group_by=group_by, per=per,
            threads=threads,
        )  # fmt: skip
        # An index without vectors does not know yet of what kind its ids will be.
        return hits if hits.ids.dtype.kind == "U" else hits._replace(ids=np.full(hits.ids.shape, "", "U1"))

    def add(
        self,
        embeddings: Embeddings,
        columns: Columns | None = None,
        *,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Gallery:
        """Add vectors to the folder, all or none, and give the gallery as it is then; fields not given are missing.

        Raises SearchError for another dimension or space, for ids that are there, and for columns that are no fields.
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
        """Take vectors out of the folder as `delete_from` does; the gallery as it is then, and how many went."""
        with self._writing() as index:
            count = delete_from(index, ids, identities, where)
        return Gallery.open(self.folder), count

    def snapshot(self, folder: Path) -> Gallery:
        """Copy the gallery as it was opened into a folder that is missing or empty, and give the copy."""
        _make(folder)
        if any(folder.iterdir()):
            raise SearchError(f"{folder}: is not empty; give another folder")
        self.index.snapshot(folder / "index")
        write_json(folder / FILE, {**read_told(self.folder), "index": "index"})
        return Gallery.open(folder)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Index]:
        """The index of the folder, this process being the only one that writes it."""
        self._refuse_replaced()
        with Index.open(self.folder / self.name) as index:
            yield index
        self._refuse_replaced()  # what was written would be lost with the old index

    def _refuse_replaced(self) -> None:
        told = read_told(self.folder)
        if (told["index"], told["made_by"]) != (self.name, self.made_by):
            raise SearchError(f"{self.folder}: was built anew meanwhile; run the command again")


def delete_from(
    index: Index, ids: Sequence[str | int], identities: Sequence[str] = (), where: Where | None = None
) -> int:
    """Delete at once what has one of these ids, or of these values of the field `identity`, or is meant by a filter.

    How many went; ids that are not there are no error. SearchError where identities are asked for and no such field is.
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
    """STRINGS or INTEGERS, row numbers among them: what the ids of an index are; INTEGERS where it holds none."""
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
    """What gallery.json says, `index` as the folder's name; SearchError where it is missing or not of a gallery."""
    path = folder / FILE
    if not path.is_file():
        raise SearchError(f"{folder} is no gallery: it has no {FILE}; run medalist index build RUN --gallery IMAGES")
    told = read_json(path, SearchError)
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
    """Raise SearchError for what is no folder, or a folder of other things than a gallery."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SearchError(f"{folder}: not a folder")
    names = [path.name for path in folder.iterdir()]
    if FILE not in names and not all(_INDEX.fullmatch(name) or _BEFORE.fullmatch(name) for name in names):
        raise SearchError(f"{folder}: holds other files, and no gallery; give -o another folder")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(f"cannot write {folder}: {error.strerror}") from error


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, against others that build in it; until this process ends."""
    _make(folder)
    with held_folder(folder) as held:
        if not held:
            raise SearchError(f"{folder}: is being built by another process; wait until it ends")
        yield


def _clear(folder: Path, name: str) -> None:
    """Remove indexes that are not in force, and files of former formats; what cannot be removed is in nobody's way."""
    for path in folder.iterdir():
        if _BEFORE.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()
        elif _INDEX.fullmatch(path.name) and path.name != name:
            shutil.rmtree(path, ignore_errors=True)
