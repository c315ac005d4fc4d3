"""The files that the commands of an index read (arrays, ids, fields in a csv), and the paths that they write to."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalist.errors import SearchError
from medalist.files import LONGEST_NAME
from medalist.system import WINDOWS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medalist.search import Index
    from medalist.search.schema import FieldKind, Schema

    Labels = NDArray[Any] | list[str]


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file, mapped where it is large. Raises SearchError where that is not possible."""
    from medalist.search.embeddings import read_npy as mapped

    return mapped(path)


def read_vectors(path: Path) -> NDArray[Any]:
    """Return the array [n, dim] of a .npy file, as `read_npy` does. Raises SearchError for another file or shape."""
    values = read_npy(path)
    if values.ndim != 2:
        raise SearchError(f"{path}: shape {list(values.shape)}, expected [n, dim]")
    return values


def read_ids(path: Path) -> Labels:
    """Read ids from a .npy (integers or strings), the column `id` of a .csv, or the lines of a .txt (strings).

    Raises SearchError for any other file.
    """
    from medalist.files import read_table
    from medalist.reading import TABLE_BYTES, read_bytes

    if path.suffix == ".npy":
        return read_npy(path)
    if not path.is_file():
        raise SearchError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    if path.suffix == ".csv":
        return [row["id"] for row in read_table(path, ["id"])]
    if path.suffix != ".txt":
        raise SearchError(f"{path}: expected ids in a .npy, .csv or .txt")
    try:
        text = read_bytes(path, TABLE_BYTES).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        return text.removesuffix("\n").split("\n") if text else []
    except OSError as error:
        raise SearchError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SearchError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from error


def typed_ids(index: Index, words: Sequence[str]) -> list[str] | list[int]:
    """Return typed ids as strings, or as integers where the ids of the index are integers.

    Raises SearchError where an id must be an integer and is not. An integer outside of int64 is left out.
    """
    from medalist.search.gallery import id_kind
    from medalist.search.ids import STRINGS

    if not len(index) or id_kind(index) == STRINGS:
        return list(words)
    for word in words:
        if not re.fullmatch("-?[0-9]{1,40}", word, re.ASCII):
            raise SearchError(f"--id {word!r:.60}: ids of this index are whole numbers")
    return [int(word) for word in words if -(2**63) <= int(word) < 2**63]


def said_kinds(words: Sequence[str] | None) -> dict[str, str]:
    """Return the kinds of fields by name from the words of --kind, such as depth=int."""
    found: dict[str, str] = {}
    for word in words or ():
        name, sign, kind = word.rpartition("=")
        if not sign or not name or name in found:
            fault = f"'{name}' is given twice" if name in found else "expected FIELD=KIND, such as depth=int"
            raise SearchError(f"--kind {word!r:.60}: {fault}")
        found[name] = kind
    return found


def read_columns(
    path: Path | None, labels: Labels | None, n: int, kinds: Mapping[str, str], schema: Schema | None = None
) -> tuple[dict[str, FieldKind], dict[str, list[Any]] | None]:
    """Return the kinds and the values of the fields of `n` vectors, read from a csv whose rows are found by id.

    labels: the ids of the vectors; None = 0 to n - 1. schema: the kinds of an existing index. Without a schema, a kind
    is that in `kinds`, or is found from the cells. Without a csv there are no fields.
    """
    from medalist.search.fields import kinds_of, read_fields, values_of
    from medalist.search.ids import parse_ids

    if path is None:
        if kinds:
            raise SearchError("--kind needs --fields FILE.csv")
        return {}, None
    checked = parse_ids(labels, n)
    names = list(map(str, range(n))) if checked is None else list(map(str, checked))
    columns = read_fields(path, names)
    try:
        made = kinds_of(columns, kinds) if schema is None else dict(schema)
        return made, values_of(columns, made, names)
    except SearchError as error:
        raise SearchError(f"{path}: {error}") from error


def refuse_over(out: Path, *read: Path | None) -> None:
    """Raise SearchError where `out` is one of the files that the command reads."""
    for path in read:
        if path is not None and (out == path or (out.exists() and path.exists() and out.samefile(path))):
            raise SearchError(f"{out}: is read by this command; give -o another name")


def make_parents(out: Path) -> None:
    """Make the parent folders of `out`. Raises SearchError where that is not possible."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(f"cannot write {out}: {error.strerror}") from error


def refuse_there(out: Path) -> None:
    """Raise SearchError where a new index folder `out` has no name, or where `out` exists and is no empty folder."""
    if not out.name:
        raise SearchError(f"{out}: give -o the name of a new folder")
    if out.is_dir() and any(out.iterdir()):
        there = (out / "MANIFEST").is_file()
        hint = "holds an index already; medalist index add adds to it" if there else "is not empty"
        raise SearchError(f"{out}: {hint}; give -o another name")
    if out.exists() and not out.is_dir():
        raise SearchError(f"{out}: is a file; give -o a name that ends in .ann, or another one for a folder")


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary path beside `out`, where the block makes a folder.

    The folder becomes `out` when the block ends without an error; otherwise it is deleted.
    """
    make_parents(out)
    name = out.name if len(os.fsencode(out.name)) <= LONGEST_NAME else "folder"
    temporary = out.with_name(f".{secrets.token_hex(4)}-{name}")
    try:
        yield temporary
        if WINDOWS and out.is_dir():  # it is empty; a rename on Windows does not replace it
            out.rmdir()
        temporary.rename(out)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            raise SearchError(f"cannot write {out}: {error.strerror}") from error
        raise


@contextlib.contextmanager
def naming(files: Mapping[str, Path | None]) -> Iterator[None]:
    """Put a file's name before a SearchError about its content, such as "vectors, row 3: ..."."""
    try:
        yield
    except SearchError as error:
        file = files.get(re.split("[,:]", str(error), maxsplit=1)[0])
        raise SearchError(f"{file}: {error}" if file else str(error)) from error


def moving(advance: Callable[[int], None], steps: int) -> Callable[[int, int], None]:
    """Return a function that takes (vectors linked, vectors in total) and moves a bar of `steps` steps."""
    before = 0

    def report(done: int, total: int) -> None:
        nonlocal before
        now = steps * done // max(total, 1)
        advance(now - before)
        before = now

    return report


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.iterdir())
