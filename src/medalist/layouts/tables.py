"""Read tables of a contest: annotations, the order of the submission, and lists of images with their columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from medalist.codecs.images import Orientation
from medalist.files import read_table
from medalist.formats.submission import shortened
from medalist.layouts.faults import refuse, same_ids
from medalist.layouts.splits import refuse_text, with_sizes
from medalist.records import Sample


def read_annotations(
    path: Path,
    id_column: str,
    rle_column: str,
    row_per: Literal["object", "image"] = "object",
    empty: str = "",
) -> dict[str, tuple[str, ...]]:
    """Read a csv of run-length codes: return the codes of each image id in file order, not decoded.

    row_per: "object" where an image has a row for each object, "image" where it has exactly one row.
    empty: the cell of an image without objects; such an image gets no codes.
    Raises DataError for missing columns, for a second row of an image where there must be one, and for an image that
    has an empty row and another row.
    """
    found: dict[str, list[str]] = {}
    faults = []
    for number, row in enumerate(read_table(path, (id_column, rle_column)), start=2):
        name, code = row[id_column], row[rle_column]
        codes = found.get(name)
        if codes is None:
            found[name] = [code]
            continue
        if row_per == "image":
            faults.append(f"row {number}, column {id_column}, value '{name}': a second row for this image")
        elif code == empty or codes[0] == empty:
            faults.append(f"row {number}, column {id_column}, value '{name}': an empty row beside another row")
        codes.append(code)
    refuse(f"{path}", faults, "take the row out")
    return {name: tuple(code for code in codes if code != empty) for name, codes in found.items()}


def read_annotations_by_class(
    path: Path,
    columns: tuple[str, ...],
    class_ids: Sequence[str],
    *,
    empty: str = "",
    joiner: str = "_",
) -> dict[str, tuple[str, ...]]:
    """Read a csv of run-length codes with a row for each image and class: the codes of each image id, one a class.

    columns: those of the image, of the class and of the code; or two, where the first one joins image and class by
    `joiner`. class_ids: how the classes after the background are written, in their order. The codes of an image are in
    this order too, and "" for a class without a row, or with the cell `empty`.
    Raises DataError for missing columns, a row of no class, and a second row of an image and class.
    """
    assert len(columns) in (2, 3), columns
    found: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    faults = []
    for number, row in enumerate(read_table(path, columns), start=2):
        name, one = row[columns[0]], row[columns[-2]]
        if len(columns) == 2:
            one = next((known for known in class_ids if name.endswith(joiner + known)), "")
            name = name.removesuffix(joiner + one) if one else name
        if one not in class_ids:
            where = f"row {number}, column {columns[-2]}, value '{shortened(row[columns[-2]])}'"
            faults.append(f"{where}: no class; there are {', '.join(class_ids)}")
            continue
        codes = found.setdefault(name, [""] * len(class_ids))
        if (name, one) in seen:
            faults.append(f"row {number}, column {columns[0]}, value '{shortened(name)}': a second row of class {one}")
        seen.add((name, one))
        code = row[columns[-1]]
        codes[class_ids.index(one)] = "" if code == empty else code
    refuse(f"{path}", faults, "take the row out")
    return {name: tuple(codes) for name, codes in found.items()}


def ids_in(path: Path, id_column: str) -> list[str]:
    """Return the ids of a csv, each once, in the order of their first rows, which is the order of the submission.

    Raises DataError for a csv that is missing, malformed or without this column.
    """
    return list(dict.fromkeys(row[id_column] for row in read_table(path, (id_column,))))


def listed(
    path: Path,
    id_column: str,
    image: Callable[[str], Path],
    *,
    identity: str | None = None,
    group: str | None = None,
    stratum: str | None = None,
    meta: Sequence[str] = (),
    order: Sequence[str] | None = None,
    orientation: Orientation = "shown",
) -> tuple[Sample, ...]:
    """List the samples of a csv with a row for each image, in the order of its rows, or in `order`.

    image: id -> its file. identity, group, stratum: the names of their columns, which may be the same column; the
    identity becomes the `annotation`, and an empty group or stratum means none. meta: columns that are kept as text.
    orientation: how EXIF orientations are read, as the Competition has it.
    Raises DataError, which names every row whose id is empty, repeated, or a path out of the contest's folder, and
    every empty identity; then every id that only `order` or only the csv has; then every image that cannot be read.
    """
    refuse_text(meta)
    columns = [id_column, *(column for column in (identity, group, stratum) if column is not None), *meta]
    rows: dict[str, dict[str, str]] = {}
    faults = []
    for number, row in enumerate(read_table(path, columns), start=2):
        name = row[id_column]
        where = f"row {number}, column {id_column}, value '{shortened(name)}'"
        if name in rows:
            faults.append(f"{where}: a second row for this id")
        elif not name.strip() or not name.isprintable() or ".." in Path(name).parts or Path(name).is_absolute():
            faults.append(f"{where}: no id of an image")
        if identity is not None and not row[identity].strip():
            faults.append(f"row {number}, column {identity}: an image without an identity")
        rows[name] = row
    refuse(f"{path}", faults, "take the row out, or download the contest again")
    if order is not None:
        same_ids("row in the list of images", rows, "row in the sample submission", order)
    named = [(name, image(name)) for name in (rows if order is None else order)]
    return tuple(
        replace(
            sample,
            annotation=() if identity is None else (rows[sample.id][identity],),
            group=None if group is None else rows[sample.id][group] or None,
            stratum=None if stratum is None else rows[sample.id][stratum] or None,
            meta={column: rows[sample.id][column] for column in meta},
        )
        for sample in with_sizes(named, orientation)
    )
