"""Evidence of boxes in a csv with a row for each box; and all evidence of boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.boxes import PIXELS, XYWH, BoxCoordinates
from medalist.codecs.images import image_size
from medalist.discovery.box_files import find_box_files, without_boxes
from medalist.discovery.finding import BoxTable, Finding, Part
from medalist.discovery.look import Look
from medalist.discovery.masks import best_set
from medalist.discovery.tables import EMPTY, NUMBER, Match, Table, by_number

LOOKED = 2000
"""The most boxes whose coordinates are looked at, spread evenly."""

_SURE, _PROBABLE = 0.9, 0.75
_FORMS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "xyxy": (
        ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom"),
        ("x0", "y0", "x1", "y1"), ("xstart", "ystart", "xend", "yend"), ("minx", "miny", "maxx", "maxy"),
    ),
    "xywh": (
        ("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"),
        ("xmin", "ymin", "width", "height"), ("bboxx", "bboxy", "bboxw", "bboxh"),
        ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
    ),
    "cxcywh": (("cx", "cy", "w", "h"), ("xc", "yc", "w", "h"), ("xcenter", "ycenter", "width", "height"),
               ("cx", "cy", "width", "height")),
}  # fmt: skip
_LABELS = ("label", "class", "classname", "category", "labelname", "name", "classid", "categoryid", "type", "species")
_LIST = ("bbox", "box", "boxes", "bboxes")
_BY = ("rad_id", "annotator", "reader", "reader_id", "annotator_id")


def find_boxes(look: Look) -> Iterator[Finding]:
    """Yield a finding for each source of boxes."""
    yield from find_box_files(look)
    for table in look.data_tables:
        found = _of_table(look, table)
        if found is not None:
            yield found


def _plain(column: str) -> str:
    return "".join(letter for letter in column.lower() if letter.isalnum())


def _box_columns(table: Table) -> tuple[str, str | tuple[str, str, str, str]] | None:
    """The form of the boxes, and the four columns or the one column of their numbers; None where there are none."""
    plain = {_plain(column): column for column in reversed(table.columns)}
    for form, ways in _FORMS.items():
        for way in ways:
            if all(name in plain for name in way):
                cells = [cell for name in way for cell in table.some(plain[name]) if cell.strip() not in EMPTY]
                if cells and all(map(NUMBER.fullmatch, map(str.strip, cells))):
                    four = [plain[name] for name in way]
                    return form, (four[0], four[1], four[2], four[3])
    for name in _LIST:
        if name in plain:
            cells = [cell for cell in table.some(plain[name]) if cell.strip() not in EMPTY]
            if cells and all(_numbers_in(cell) is not None for cell in cells):
                return "list", plain[name]
    return None


def _numbers_in(cell: str) -> list[float] | None:
    words = [word.strip() for word in cell.strip().removeprefix("[").removesuffix("]").split(",")]
    return [float(word) for word in words] if len(words) == 4 and all(map(NUMBER.fullmatch, words)) else None


def _of_table(look: Look, table: Table) -> Finding | None:
    columns, best = _box_columns(table), best_set(look, table)
    if columns is None or best is None:
        return None
    images, match = best
    part = Part(images, match.key, match.prefix)
    form, names = columns
    numbers, rows = _numbers(table, names)
    if not len(numbers):
        return None
    coordinates, told = _coordinates(look, part, match, table, form, numbers, rows)
    label = _label_column(table, match, names, _asked_labels(look))
    boxed = set(rows.tolist())
    empty_rows = [row for row in range(len(table.rows)) if row not in boxed]
    labels = Counter(table.rows[row][label] for row in rows.tolist()) if label else Counter()
    nothing = {table.rows[row][label] for row in empty_rows} if label else set()
    ambiguous = [one for one in nothing if one in labels]
    classes = tuple(sorted(labels, key=by_number)) if label else ("object",)
    if "" in classes:
        return None
    by = next((column for column in table.columns if column.lower() in _BY), None)
    partial = match.found < len(part.ids)
    evidence = [
        f"{table.file}: {match.found:,} of {match.of:,} names in '{match.column}' are images of {images.folder}",
        f"{len(numbers):,} boxes of {len(classes)} classes, in {names if isinstance(names, str) else ', '.join(names)}",
        told,
    ]
    doubts = without_boxes(partial)
    if len(nothing) == 1 and not ambiguous:
        evidence.append(f"'{next(iter(nothing))}' in '{label}' says that an image has no box")
    truth = BoxTable(
        table.file, match.column, names, classes, coordinates, label, by,
        next(iter(nothing)) if len(nothing) == 1 and not ambiguous else None, partial,
    )  # fmt: skip
    return Finding("boxes", truth, table.file, part, tuple(evidence), _SURE, tuple(doubts))


def _numbers(table: Table, names: str | tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The four numbers of each box, float64[N, 4], and the row of each."""
    found, rows = [], []
    for number, row in enumerate(table.rows):
        four = _numbers_in(row[names]) if isinstance(names, str) else _four([row[name] for name in names])
        if four is not None:
            found.append(four)
            rows.append(number)
    return np.array(found, np.float64).reshape(-1, 4), np.array(rows, np.int64)


def _four(cells: Sequence[str]) -> list[float] | None:
    return [float(cell) for cell in cells] if all(NUMBER.fullmatch(cell.strip()) for cell in cells) else None


def _coordinates(
    look: Look, part: Part, match: Match, table: Table, form: str, numbers: NDArray[np.float64], rows: NDArray[np.int64]
) -> tuple[BoxCoordinates, str]:
    """What four numbers mean, by trying: which reading lies inside the images."""
    shares = bool((numbers <= 1.0).all() and (numbers != np.round(numbers)).any())
    some = slice(None, None, max(1, -(-len(rows) // LOOKED)))
    paths = [part.file(match.name(table.rows[row][match.column])) for row in rows[some].tolist()]
    known = {path: image_size(look.root / path) for path in dict.fromkeys(filter(None, paths))}
    sizes = np.array([known[path][::-1] if path else (np.inf, np.inf) for path in paths], np.float64)
    looked = numbers[some]
    if shares:
        sizes = np.ones_like(sizes)
    corners = float((looked[:, 2:] > looked[:, :2]).all(axis=1).mean())
    inside = float(((looked[:, :2] + looked[:, 2:]) <= sizes + 1.5).all(axis=1).mean())
    if form == "list":
        form = "xywh" if corners < 1 or inside == 1 else "xyxy"
    found = {"xyxy": PIXELS, "xywh": XYWH, "cxcywh": BoxCoordinates("cxcywh")}[form]
    if shares:
        found = BoxCoordinates(found.form, normalised=True)
    told = {
        "xyxy": f"the numbers are two corners: the second one is the larger one in {100 * corners:.0f} % of the boxes",
        "xywh": f"the numbers are a corner and a size: they lie inside the image in {100 * inside:.0f} % of the boxes, "
        f"and as a second corner they would be the larger one in {100 * corners:.0f} %",
        "cxcywh": "the numbers are a middle and a size, as their columns are called",
    }[form]
    return found, told + (", as shares of the sides" if shares else "")


def _label_column(table: Table, match: Match, names: str | tuple[str, ...], asked: frozenset[str]) -> str | None:
    """The column of the classes: that whose values the sample submission has, or one that is called so."""
    used = (names,) if isinstance(names, str) else names
    plain = {_plain(column): column for column in table.others(match.column, *used)}
    found = [plain[name] for name in _LABELS if name in plain and len(set(table.cells(plain[name]))) <= 1000]
    said = [column for column in found if asked and asked <= set(table.cells(column))]
    return next(iter((*said, *found)), None)


def _asked_labels(look: Look) -> frozenset[str]:
    """The labels of the boxes in the sample submission, whose cells have six words a box."""
    asked, _ = look.asked()
    if asked is None or len(asked.table.columns) != 2:
        return frozenset()
    cells = [cell.split() for cell in asked.table.some(asked.table.others(asked.id_column)[0])]
    if not any(cells) or any(len(words) % 6 for words in cells):
        return frozenset()
    return frozenset(word for words in cells for word in words[::6])
