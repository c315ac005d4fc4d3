"""Embeddings: unit vectors with their ids and their provenance, in memory, and on disk as an .npy and a .json file."""

from __future__ import annotations

import tokenize
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medalist.contents import hash_file
from medalist.errors import SearchError
from medalist.files import read_json, refuse_newer, sha256_json, write_json, written
from medalist.reading import open_file
from medalist.search.ids import parse_ids

UNIT = 1e-3
"""How far the length of a unit vector may be from 1. The errors of float16 storage and of sums of folds are smaller."""

RUN = "run"
"""The key of `made_by` that names the run. It is only shown in messages, and is not part of the embedding space."""

FORMAT = "medalist embeddings 1"

_SHOWN = 5  # ids that one message lists
MOST_COPIED = 2**28
"""Up to so many bytes an array is read into memory. A larger one is mapped, so that it need not fit there."""
_BLOCK = 4096  # rows checked at once, so that mapped vectors are never all in memory

_NOT_NPY = (  # errors of NumPy for a damaged or hostile .npy file
    OSError,
    ValueError,
    TypeError,
    EOFError,
    SyntaxError,
    LookupError,
    ArithmeticError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)


class Made(Protocol):
    """Vectors of a known embedding space: Embeddings, or a gallery."""

    @property
    def dim(self) -> int:
        """The number of components of a vector."""

    @property
    def space(self) -> str:
        """A short hash that identifies the embedding space."""

    @property
    def named(self) -> str:
        """How messages name these vectors."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Unit vectors of named things.

    ids: unique texts of 1 to 1024 letters. vectors: float32[N, D], finite, length 1 within 1e-3; a memory map is used
    without a copy. made_by: everything that decides a vector's values (hashes of the weights of each fold, the
    transform); only vectors of equal `made_by` can be compared. Its key `run` may name the run. Raises SearchError
    where one of these rules is broken.
    """

    ids: tuple[str, ...] = field(repr=False)
    vectors: NDArray[np.float32] = field(repr=False)
    made_by: Mapping[str, str]

    def __post_init__(self) -> None:
        """Check ids and vectors, because they may come from a file."""
        check_unit(self.vectors, "vectors")
        found = parse_ids(list(self.ids), len(self.vectors))
        if len(self.vectors) and not isinstance(found, list):
            raise SearchError("ids: integers, expected strings; use str(id)")
        refuse_twice(self.ids)

    def __len__(self) -> int:
        """The number of vectors."""
        return len(self.ids)

    @property
    def dim(self) -> int:
        """The number of components of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def space(self) -> str:
        """A short hash of `made_by` without the run's name. Vectors of the same space can be compared."""
        return space_of(self.made_by)

    @property
    def named(self) -> str:
        """How messages name these vectors: the run where it is known, and the space."""
        return name_of(self.made_by)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each id."""
        return {name: row for row, name in enumerate(self.ids)}

    def take(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return a copy of the vectors of these ids, float32[n, D], in the order of `ids`.

        Raises SearchError, which names the ids that are missing.
        """
        missing = [name for name in ids if name not in self.row_of]
        if missing:
            raise SearchError(f"embeddings: {len(missing)} of {len(ids)} ids are not there: {shown(missing)}")
        rows = np.fromiter((self.row_of[name] for name in ids), np.int64, len(ids))
        return np.asarray(self.vectors[rows])


def space_of(made_by: Mapping[str, str]) -> str:
    """Return the embedding space of `made_by`: the first 12 letters of its SHA-256 as JSON, without the run's name."""
    return sha256_json({key: value for key, value in made_by.items() if key != RUN})[:12]


def name_of(made_by: Mapping[str, str]) -> str:
    """Return the name of vectors for messages: "run whales/tiny (space 0123456789ab)", or only the space."""
    space = f"space {space_of(made_by)}"
    return f"run {made_by[RUN]} ({space})" if made_by.get(RUN) else space


def check_unit(vectors: object, what: str) -> None:
    """Raise SearchError unless `vectors` is float32[n, dim], dim above 0, of finite rows of length 1 within 1e-3."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or not vectors.dtype.isnative:
        kind = vectors.dtype if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise SearchError(f"{what}: {kind}, expected float32[n, dim]; try numpy.asarray(vectors, numpy.float32)")
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise SearchError(f"{what}: shape {list(vectors.shape)}, expected [n, dim]")
    for start in range(0, len(vectors), _BLOCK):
        rows = vectors[start : start + _BLOCK]
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT))  # written with ~ so that NaN is bad too
        if len(bad):
            row, length = start + int(bad[0]), float(lengths[bad[0]])
            fault = f"length {length:.4g}, expected 1" if np.isfinite(length) else "not finite"
            raise SearchError(f"{what}, row {row}: {fault}; divide each vector by its length, leave broken ones out")


def refuse_twice(ids: Sequence[str]) -> None:
    """Raise SearchError, which names the repeated ids, where an id is given more than once."""
    if len(set(ids)) < len(ids):
        twice = [name for name, count in Counter(ids).items() if count > 1]
        raise SearchError(f"ids are repeated: {shown(twice)}; give each vector its own id")


def shown(names: Sequence[str]) -> str:
    """Return the first 5 names as text for one line of a message, and the number of the others."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name)[:60] for name in names[:_SHOWN]) + more


def refuse_other_space(one: Made, other: Made) -> None:
    """Raise SearchError, which names both, where vectors differ in dimension or in embedding space."""
    if one.dim != other.dim:
        raise SearchError(
            f"vectors of {one.dim} components by {one.named}, and of {other.dim} by {other.named}: "
            "embed both with one run"
        )
    if one.space != other.space:
        raise SearchError(
            f"vectors by {one.named}, and by {other.named}: other weights make other vectors; embed both with one run"
        )


def joined(parts: Sequence[Embeddings]) -> Embeddings:
    """Return all vectors of several Embeddings of one space, in their order.

    Raises SearchError where there are none, where their spaces differ, or where an id is in two of them.
    """
    if not parts:
        raise SearchError("no embeddings to join")
    for part in parts[1:]:
        refuse_other_space(parts[0], part)
    ids = tuple(name for part in parts for name in part.ids)
    return Embeddings(ids, np.concatenate([part.vectors for part in parts]), parts[0].made_by)


def beside(path: Path) -> Path:
    """Return the path of the .json that belongs to an .npy of embeddings. Raises SearchError for another ending."""
    if path.suffix != ".npy":
        raise SearchError(f"{path}: expected a name that ends in .npy")
    return path.with_suffix(".json")


def write_embeddings(path: Path, embeddings: Embeddings, sources: Mapping[str, str] | None = None) -> None:
    """Write vectors to `path` (.npy), then ids and provenance to the .json beside it, with the hash of the .npy.

    sources: the hashes of the code that made the vectors, by file; `medalist embed` records none.

    An interrupt in between leaves an .npy without its .json, which `read_embeddings` refuses. The embeddings may be
    mapped from `path` itself. Raises MedalistError where a file cannot be written.
    """
    note = beside(path)
    with written(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(embeddings.vectors), allow_pickle=False)
        note.unlink(missing_ok=True)  # without the .json nobody reads the new vectors with the old ids
    shape = list(embeddings.vectors.shape)
    told = {"format": FORMAT, "shape": shape, "made_by": dict(embeddings.made_by), "ids": list(embeddings.ids)}
    recorded = {"sources": dict(sources)} if sources else {}
    write_json(note, {**told, **recorded, "files": {path.name: hash_file(path)}})


def read_embeddings(path: Path) -> Embeddings:
    """Read the files of `write_embeddings`, with the vectors as `read_npy` gives them.

    Raises SearchError for anything else.
    """
    note = beside(path)
    vectors = read_npy(path)
    if not note.is_file():
        raise SearchError(f"{note}: not there, so {path} is an array of unknown origin; run medalist embed again")
    told = read_json(note, SearchError)
    refuse_newer(told, note, FORMAT, SearchError)
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise SearchError(f"{note}: expected 'format': '{FORMAT}'; run medalist embed again")
    made_by, ids = texts(told.get("made_by"), note, "made_by"), told.get("ids")
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise SearchError(f"{note}: 'ids' is not a list of strings; run medalist embed again")
    if told.get("shape") != list(vectors.shape):
        raise SearchError(f"{path}: shape {list(vectors.shape)}, but {note.name} says {told.get('shape')!r:.40}")
    try:
        return Embeddings(tuple(ids), vectors, made_by)
    except SearchError as error:
        raise SearchError(f"{path}: {error}") from error


def texts(value: object, path: Path, name: str) -> dict[str, str]:
    """Return a value from a JSON file as a dict of strings. Raises SearchError where it is something else."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise SearchError(f"{path}: '{name}' does not map strings to strings; the file is damaged")
    return dict(value)


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file: read into memory, or memory-mapped where it has more than MOST_COPIED bytes.

    A mapped file must not be overwritten in place, as `numpy.save` does: that would end the process. Raises SearchError
    where the file is missing, is not a .npy file, is cut off, or holds Python objects.
    """
    if not path.is_file():  # opening a pipe would wait
        raise SearchError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    try:
        with open_file(path) as file:
            if file.read(6) != np.lib.format.MAGIC_PREFIX:
                raise SearchError(f"{path}: not a .npy file; write it with numpy.save")
        with np.errstate(over="raise"):  # for a file whose shape is so large that its product overflows
            found = np.load(path, mmap_mode="r", allow_pickle=False)
    except _NOT_NPY as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise SearchError(f"{path}: damaged or not an array of numbers ({reason})") from error
    assert isinstance(found, np.ndarray)
    return found if found.nbytes > MOST_COPIED else np.array(found)
