"""Unit vectors with their ids and what made them: a value, and an .npy with a .json beside it."""

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

from medalist.errors import SearchError
from medalist.files import read_json, sha256_json, write_json, written
from medalist.search.ids import parse_ids

UNIT = 1e-3
"""How far the length of a unit vector may be from 1: float16 storage and sums of folds stay well within it."""

RUN = "run"
"""The key of `made_by` that names the run; it is shown to people, and is no part of the space."""

FORMAT = "medalist embeddings 1"

_SHOWN = 5  # ids that one message lists
_BLOCK = 4096  # rows checked at once, so that mapped vectors are never in memory together

_NOT_NPY = (  # what NumPy raises on a damaged or hostile .npy file
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
    """Vectors of which it is known what made them."""

    @property
    def dim(self) -> int:
        """Components of a vector."""

    @property
    def space(self) -> str:
        """A short hash of what made them."""

    @property
    def named(self) -> str:
        """How messages call them."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Unit vectors of named things.

    ids: unique, not empty, 1 to 1024 letters each. vectors: float32[N, D], finite, length 1 within 1e-3; a memory map
    is taken as it is. made_by: what decides a vector (hashes of the weights of each fold, the transform), so that
    vectors of equal `made_by` can be compared with one another; `run` may name the run. Raises SearchError.
    """

    ids: tuple[str, ...] = field(repr=False)
    vectors: NDArray[np.float32] = field(repr=False)
    made_by: Mapping[str, str]

    def __post_init__(self) -> None:
        """Check everything, as vectors come from files too."""
        check_unit(self.vectors, "vectors")
        found = parse_ids(list(self.ids), len(self.vectors))
        if len(self.vectors) and not isinstance(found, list):
            raise SearchError("ids: integers, expected strings; use str(id)")
        refuse_twice(self.ids)

    def __len__(self) -> int:
        """Vectors held."""
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def space(self) -> str:
        """A short hash of `made_by` without the run's name: vectors of one space can be compared."""
        return space_of(self.made_by)

    @property
    def named(self) -> str:
        """How messages call them: the run where it is known, and the space."""
        return name_of(self.made_by)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each id."""
        return {name: row for row, name in enumerate(self.ids)}

    def take(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of these ids in their order, float32[n, D], a copy; SearchError names those that are missing."""
        missing = [name for name in ids if name not in self.row_of]
        if missing:
            raise SearchError(f"embeddings: {len(missing)} of {len(ids)} ids are not there: {shown(missing)}")
        rows = np.fromiter((self.row_of[name] for name in ids), np.int64, len(ids))
        return np.asarray(self.vectors[rows])


def space_of(made_by: Mapping[str, str]) -> str:
    """Twelve letters that stand for what made vectors: sha256 of `made_by` as JSON, without the run's name."""
    return sha256_json({key: value for key, value in made_by.items() if key != RUN})[:12]


def name_of(made_by: Mapping[str, str]) -> str:
    """How messages call vectors: "run whales/tiny (space 0123456789ab)", or the space alone."""
    space = f"space {space_of(made_by)}"
    return f"run {made_by[RUN]} ({space})" if made_by.get(RUN) else space


def check_unit(vectors: object, what: str) -> None:
    """Raise SearchError for anything but float32[n, dim], dim above 0, of finite rows of length 1 within 1e-3."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or not vectors.dtype.isnative:
        kind = vectors.dtype if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise SearchError(f"{what}: {kind}, expected float32[n, dim]; try numpy.asarray(vectors, numpy.float32)")
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise SearchError(f"{what}: shape {list(vectors.shape)}, expected [n, dim]")
    for start in range(0, len(vectors), _BLOCK):
        rows = vectors[start : start + _BLOCK]
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT))  # so that NaN is bad too
        if len(bad):
            row, length = start + int(bad[0]), float(lengths[bad[0]])
            fault = f"length {length:.4g}, expected 1" if np.isfinite(length) else "not finite"
            raise SearchError(f"{what}, row {row}: {fault}; divide each vector by its length, leave broken ones out")


def refuse_twice(ids: Sequence[str]) -> None:
    """Raise SearchError that names ids which stand there twice."""
    if len(set(ids)) < len(ids):
        twice = [name for name, count in Counter(ids).items() if count > 1]
        raise SearchError(f"ids: {len(twice)} stand there more than once: {shown(twice)}; give each its own id")


def shown(names: Sequence[str]) -> str:
    """Some names of many, for one line."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name)[:60] for name in names[:_SHOWN]) + more


def refuse_other_space(one: Made, other: Made) -> None:
    """Raise SearchError, naming both, where vectors differ in dimension or in what made them."""
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
    """All vectors of parts of one space, in their order; SearchError for other spaces, ids that stand there twice."""
    if not parts:
        raise SearchError("no embeddings to join")
    for part in parts[1:]:
        refuse_other_space(parts[0], part)
    ids = tuple(name for part in parts for name in part.ids)
    return Embeddings(ids, np.concatenate([part.vectors for part in parts]), parts[0].made_by)


def beside(path: Path) -> Path:
    """The .json that belongs to an .npy of embeddings; SearchError for another name."""
    if path.suffix != ".npy":
        raise SearchError(f"{path}: expected a name that ends in .npy")
    return path.with_suffix(".json")


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write vectors to `path` (.npy) and ids and provenance to the .json beside it, which is written last.

    An interrupt in between leaves an .npy without its .json, which is read as no embeddings at all. The mapped vectors
    of `path` itself may be written over. Raises MedalistError where the place cannot be written.
    """
    note = beside(path)
    with written(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(embeddings.vectors), allow_pickle=False)
        note.unlink(missing_ok=True)  # from here on until the end, what is there is not whole
    shape = list(embeddings.vectors.shape)
    write_json(
        note,
        {"format": FORMAT, "shape": shape, "made_by": dict(embeddings.made_by), "ids": list(embeddings.ids)},
    )


def read_embeddings(path: Path) -> Embeddings:
    """Read what `write_embeddings` wrote, the vectors mapped; SearchError for anything else, on one line."""
    note = beside(path)
    vectors = read_npy(path)
    if not note.is_file():
        raise SearchError(f"{note}: not there, so {path} is an array of unknown origin; run medalist embed again")
    told = read_json(note, SearchError)
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
    """A mapping of strings to strings out of a JSON file; SearchError for anything else."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise SearchError(f"{path}: '{name}' does not map strings to strings; the file is damaged")
    return dict(value)


def read_npy(path: Path) -> NDArray[Any]:
    """An array of a .npy file, mapped, not read; SearchError for what is none, is cut off, or holds objects."""
    if not path.is_file():  # opening a pipe would wait
        raise SearchError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    try:
        with path.open("rb") as file:
            if file.read(6) != np.lib.format.MAGIC_PREFIX:
                raise SearchError(f"{path}: not a .npy file; write it with numpy.save")
        with np.errstate(over="raise"):  # a shape whose product overflows
            found = np.load(path, mmap_mode="r", allow_pickle=False)
    except _NOT_NPY as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise SearchError(f"{path}: damaged or not an array of numbers ({reason})") from error
    assert isinstance(found, np.ndarray)
    return found
