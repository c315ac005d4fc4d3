"""Write files whole or not at all; read text, JSON and csv; hash files. Errors name the broken file in one line."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medalist import __version__, system
from medalist.errors import DataError, MedalistError, RunError
from medalist.reading import JSON_BYTES, TABLE_BYTES, open_file, read_bytes

MOST_COLUMNS = 100_000
"""The most columns of a csv."""

LONGEST_NAME = 200
"""The most bytes of a file's name that the name of its temporary file holds too; file systems allow 255 in all."""

LONGEST_CELL = 2**25
"""The most letters of a cell of a csv. The run-length code of a mask of 10^9 pixels has a few million."""


@contextmanager
def written(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); it is renamed to `path` when the block ends without error.

    After any exception, Ctrl-C too, the temporary file is deleted and `path` is unchanged. Makes parent folders.
    flush: the file, and then its name in the folder, are on the disk when the block has ended, so that a power cut
    leaves the old file or the new one. Without it a power cut may leave an empty file; it is for files of which there
    are thousands and whose hash is kept elsewhere, and for those that can be made again. Raises MedalistError where the
    disk is full or the file cannot be written.
    """
    _refuse_device(path)
    name = path.name if len(path.name.encode(errors="surrogateescape")) <= LONGEST_NAME else path.suffix
    temporary = path.with_name(f".{secrets.token_hex(4)}-{name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        yield temporary
        if flush:
            system.flush_file(temporary)
        system.replace(temporary, path)
        if flush:
            system.flush_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # a disk that cannot be written cannot be cleared either, and the first error says why
            temporary.unlink(missing_ok=True)
        # Some writers (safetensors, torch) raise an error of their own that keeps only the text of the system's error.
        if _disk_full(error) or (isinstance(error, OSError) and error.filename == str(temporary)):
            raise _not_written(path, error) from error
        raise


def refuse_unwritable(path: Path) -> None:
    """Raise MedalistError where it is plain already that `written` will fail.

    Commands that compute for a long time call it before they do.
    """
    _refuse_device(path)
    if path.is_dir():
        raise MedalistError(f"cannot write {path}: it is a folder; name a file")
    folder = next(one for one in (*path.absolute().parents, Path()) if one.exists())
    if not folder.is_dir():
        raise MedalistError(f"cannot write {path}: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MedalistError(f"cannot write {path}: no permission to write into {folder}")


def _refuse_device(path: Path) -> None:
    """Raise MedalistError for a device or a pipe: as root, a rename would put a file in the place of /dev/null.

    And for a name that is too long, before the work that makes the file is done.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise MedalistError(f"cannot write a file of {len(path.name)} letters: {reason(error)}") from None
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise MedalistError(f"cannot write {path}: a device or a pipe, not a file; name a file")


def _disk_full(error: BaseException) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return full or any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EFBIG))


def _not_written(path: Path, error: BaseException) -> MedalistError:
    if os.strerror(errno.EFBIG) in str(error):
        return MedalistError(
            f"{path} would be larger than a file may be here; raise the limit (ulimit -f), or write to another disk"
        )
    if _disk_full(error):
        return MedalistError(f"disk full while writing {path}; free space and run the command again")
    fixed = isinstance(error, OSError) and error.errno == errno.EROFS
    hint = "; make this disk writable, or name a place on another one" if fixed else ""
    return MedalistError(f"cannot write {path}: {reason(error)}{hint}")


def reason(error: BaseException) -> str:
    """Return the message of an exception on one line, without the file name, which the caller prints."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Write UTF-8 text, whole or not at all. Newlines are not translated. flush: see `written`."""
    with written(path, flush=flush) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON. NaN and infinity raise ValueError, because JSON cannot hold them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, error: type[MedalistError] = RunError) -> Any:
    """Read a JSON file; raises `error` where it is missing or is not JSON."""
    try:
        return json.loads(read_bytes(path, JSON_BYTES))
    except OSError as problem:
        raise error(f"{path}: {reason(problem)}") from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"{path}: not JSON ({reason(problem)})") from problem


def refuse_newer(value: object, path: Path, known: int | str, error: type[MedalistError] = RunError) -> None:
    """Raise `error` where a file has a higher format than `known`, because a newer version of medalist wrote the file.

    value: the content of the file. Its key `format` is a number, or words and a number, as in "medalist gallery 2".
    A file without this key has the format 1.
    """
    known_words, known_number = _parsed_format(known)
    words, number = _parsed_format(value.get("format", 1) if isinstance(value, Mapping) else 1)
    if words == known_words and number > known_number:
        raise error(
            f"{path} is of format {number}, which this version of medalist ({__version__}) does not know; "
            "install a newer medalist"
        )


def _parsed_format(said: object) -> tuple[str, int]:
    """Return the words and the number of a format; 0 where there is no number."""
    found = re.fullmatch("(.*?)([0-9]{1,9})", str(said))
    return (found[1], int(found[2])) if found else (str(said), 0)


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a csv as text: one dict for each row, with every cell as an unchanged string.

    The header must contain `columns`; more columns and any order are allowed. Every row must have as many cells as
    the header. Raises DataError, which names the file and the row. Rows are counted as in a spreadsheet: the header
    is row 1.
    """
    try:
        data = read_bytes(path, TABLE_BYTES)
        data.decode("utf-8-sig")  # spreadsheets write a byte order mark first
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, row {row}: byte {data[error.start]:#04x} is not UTF-8; save it as UTF-8") from error
    rows: list[dict[str, str]] = []
    header: list[str] | None = None
    number = 0
    limit = csv.field_size_limit(LONGEST_CELL)  # the default of 131072 letters is too small for the RLE of a large mask
    try:
        # Decoded again line by line, because the whole text would take up to four bytes for each letter.
        lines = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
        for number, cells in enumerate(csv.reader(lines, strict=True), start=1):
            if header is None:
                header = _checked_header(path, cells, columns)
            elif len(cells) != len(header):
                there = f"{len(cells)} cells ({_short(','.join(cells[:20]))})" if cells else "an empty line"
                raise DataError(
                    f"{path}, row {number}: {there}; expected {len(header)}: {_short(','.join(header[:20]))}"
                )
            else:
                rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}, row {number + 1}: malformed csv ({_csv_fault(error)})") from error
    finally:
        csv.field_size_limit(limit)
    if header is None:
        raise DataError(f"{path}: empty; expected a csv with the columns {_short(','.join(columns), 500)}")
    return rows


def _csv_fault(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a cell has more than {LONGEST_CELL:,} letters; is a quote opened there and never closed?"
    return reason(error)


def _checked_header(path: Path, header: list[str], columns: Sequence[str]) -> list[str]:
    if len(header) > MOST_COLUMNS:
        raise DataError(f"{path}, row 1: {len(header):,} columns; a csv may have at most {MOST_COLUMNS:,}")
    shown = _short(",".join(header)) or "an empty line"
    times = Counter(header)
    missing = [column for column in columns if column not in times]
    if missing:
        wanted = _short(",".join(columns), 500)
        near = get_close_matches(missing[0].strip(), times if len(times) <= 1000 else [], n=1)
        hint = f"; did you mean '{_short(near[0])}'?" if near else ""
        raise DataError(f"{path}, row 1: no column '{missing[0]}' in {shown}; expected {wanted}{hint}")
    twice = next((column for column in header if times[column] > 1), None)
    if twice is not None:
        raise DataError(f"{path}, row 1: column '{_short(twice)}' is there twice: {shown}")
    return header


def _short(text: str, width: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal. Raises DataError where the file cannot be read."""
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it has readinto
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from error


def sha256_json(value: object) -> str:
    """Return the SHA-256 of a value as canonical JSON (sorted keys, no spaces, ASCII), in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
