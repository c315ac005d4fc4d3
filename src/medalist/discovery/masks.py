"""Evidence of masks and objects: run-length codes in tables, and mask files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medalist.codecs.images import image_size, read_image
from medalist.discovery.finding import ClassCodes, Codes, Finding, Kind, Part
from medalist.discovery.look import Look
from medalist.discovery.pictures import ImageSet, words_of
from medalist.discovery.rle_order import LOOKED, Coded, Reading, reading_of
from medalist.discovery.tables import EMPTY, Match, Table, by_number
from medalist.errors import DataError

_CODE = re.compile(r" *[0-9]{1,12} +[0-9]{1,12}(?: +[0-9]{1,12} +[0-9]{1,12})* *")
_CODE_WORDS = frozenset(("rle", "encoded", "pixels", "encoding", "segmentation", "mask", "rles", "predicted"))
_MOST_CLASSES = 100
_SURE, _PROBABLE = 0.9, 0.7


@dataclass(frozen=True)
class _Column:
    """A column of run-length codes: the cell of an image without anything, and whether its name says what it is."""

    name: str
    empty: str
    named: bool


def find_codes(look: Look) -> Iterator[Finding]:
    """Yield a finding for each table with run-length codes of training images."""
    for table in look.data_tables:
        for column in _code_columns(table):
            best = best_set(look, table)
            if best is not None:
                found = _of_codes(look, table, column, *best)
                if found is not None:
                    yield found


def best_set(look: Look, table: Table) -> tuple[ImageSet, Match] | None:
    """Return the image set of the training part that a table names best, with the column; None where there is none."""
    ranked = [(match, images) for images in look.training_sets if (match := look.match(table, images)) is not None]
    if not ranked:
        return None
    match, images = max(ranked, key=lambda pair: (pair[0].share, pair[1].for_training, pair[0].found))
    return images, match


def code_empty(cells: Sequence[str]) -> str | None:
    """Return the cell that means nothing in a column of run-length codes; None where it is no such column."""
    rest = {cell for cell in cells if not _CODE.fullmatch(cell)}
    if len(rest) > 1 or rest == set(cells) or not rest <= set(EMPTY):
        return None
    return next(iter(rest), "")


def _code_columns(table: Table) -> Iterator[_Column]:
    for name in table.columns:
        cells = table.some(name)
        empty = code_empty(cells)
        if empty is None:
            continue
        named = bool(words_of(name) & _CODE_WORDS)
        numbers = [np.array(cell.split(), np.int64) for cell in cells if cell != empty][:200]
        rising = all((np.diff(one[::2]) > 0).all() for one in numbers)
        large = max(int(one.max()) for one in numbers) > 2000
        if rising and (named or large):
            yield _Column(name, empty, named)


def _of_codes(look: Look, table: Table, column: _Column, images: ImageSet, match: Match) -> Finding | None:
    part = Part(images, match.key, match.prefix)
    names = [match.name(cell) for cell in table.cells(match.column)]
    coded = [
        (name, row[column.name])
        for name, row in zip(names, table.rows, strict=True)
        if row[column.name] != column.empty
    ]
    reading = _reading(look, part, coded)
    partial = len(set(names)) < len(part.ids)
    rows, different = len(names), len(set(names))
    evidence = [
        f"{table.file}: {match.found:,} of {match.of:,} names in '{match.column}' are images of {images.folder}",
        f"'{column.name}' holds run-length codes"
        + (f", and '{column.empty}' where there is nothing" if column.empty else ""),
    ]
    doubts = list(reading.doubts)
    if partial:
        doubts.append(
            f"{len(part.ids) - different:,} images have no row in {table.file}: read as images without anything"
        )
    classes = _class_column(table, match, column.name)
    if classes is not None:
        return _of_classes(look, table, column, match, part, classes, reading, partial, evidence, doubts)
    per_object = rows > different
    kind: Kind = "instances" if per_object else "mask"
    if per_object:
        evidence.append(f"{rows:,} rows of {different:,} images: a row for each object")
        extra = [name for name in table.others(match.column, column.name) if words_of(name) & {"class", "category"}]
        doubts += [f"objects have a class in '{name}', which is not read: instances have no classes" for name in extra]
        doubts += ["codes of one image may also be parts of one mask: --kind mask"]
    else:
        evidence.append("one row for each image: one mask")
    truth = Codes(table.file, (match.column, column.name), "object" if per_object else "image",
                  reading.order, reading.base, column.empty, partial)  # fmt: skip
    weight = _SURE if column.named else _PROBABLE
    return Finding(kind, truth, table.file, part, (*evidence, *reading.evidence), weight, tuple(doubts))


def as_one_mask(found: Finding) -> Finding:
    """Return a finding of objects with one mask for each image in their place."""
    assert isinstance(found.truth, Codes)
    doubts = tuple(line for line in found.doubts if "--kind mask" not in line)
    return Finding("mask", found.truth, found.source, found.train, found.evidence, found.weight - 0.1, doubts)


def _reading(look: Look, part: Part, coded: Sequence[tuple[str, str]]) -> Reading:
    known = [(part.file(name), text) for name, text in _spread(coded, 4 * LOOKED)]
    codes: list[Coded] = []
    for path, text in known:
        if path is not None and len(codes) < LOOKED:
            codes.append(Coded(" ".join(text.split()), image_size(look.root / path), path))
    if not codes:
        raise DataError("no run-length code belongs to an image that is there")
    return reading_of(codes, lambda path: read_image(look.root / path))


def _spread(values: Sequence[tuple[str, str]], most: int) -> Sequence[tuple[str, str]]:
    return values[:: max(1, -(-len(values) // most))]


@dataclass(frozen=True)
class _Classes:
    """The classes of rows: the column, or None where the ids have them; and how they are written."""

    column: str | None
    names: tuple[str, ...]


def _class_column(table: Table, match: Match, code: str) -> _Classes | None:
    """The column of classes: few values, each at most once for an image; None where there are no classes."""
    ids = table.cells(match.column)
    if match.joiner:
        names = sorted({cell.rpartition(match.joiner)[2] for cell in ids}, key=by_number)
        return _Classes(None, tuple(names)) if 1 < len(names) <= _MOST_CLASSES else None
    for column in table.others(match.column, code):
        cells = table.cells(column)
        names = sorted(set(cells), key=by_number)
        pairs = Counter(zip(ids, cells, strict=True))
        said = bool(words_of(column) & {"class", "label", "category", "classes"})
        if 1 < len(names) <= _MOST_CLASSES and max(pairs.values()) == 1 and (said or len(pairs) > len(set(ids))):
            if "" in names or not said:
                continue
            return _Classes(column, tuple(names))
    return None


def _of_classes(
    look: Look,
    table: Table,
    column: _Column,
    match: Match,
    part: Part,
    classes: _Classes,
    reading: Reading,
    partial: bool,
    evidence: list[str],
    doubts: list[str],
) -> Finding:
    """A finding of a mask of classes, from a row for each image and class."""
    columns = (match.column, *((classes.column,) if classes.column else ()), column.name)
    shared = _overlap(look, table, column, match, part, reading)
    if shared:
        doubts.append(f"pixels of several classes, as in {shared}: the later class counts there")
    where = f"'{classes.column}'" if classes.column else f"the ends of '{match.column}'"
    evidence.append(f"{where} name {len(classes.names)} classes: {', '.join(classes.names[:8])}")
    background = "background" if "background" not in classes.names else "nothing"
    truth = ClassCodes(table.file, columns, (background, *classes.names), reading.order, reading.base, column.empty,
                       bool(shared), partial)  # fmt: skip
    return Finding("classes", truth, table.file, part, (*evidence, *reading.evidence), _SURE, tuple(doubts))


def _overlap(look: Look, table: Table, column: _Column, match: Match, part: Part, reading: Reading) -> str:
    """The first image, of those that are looked at, in which classes share a pixel; "" where there is none."""
    codes: dict[str, list[str]] = {}
    for row in table.rows:
        if row[column.name] != column.empty:
            codes.setdefault(match.name(row[match.column]), []).append(row[column.name])
    several = [(name, texts) for name, texts in codes.items() if len(texts) > 1 and part.file(name)]
    for name, texts in several[:: max(1, -(-len(several) // 300))]:
        runs = np.concatenate([np.array(text.split(), np.int64).reshape(-1, 2) for text in texts])
        runs = runs[np.argsort(runs[:, 0], kind="stable")]
        if (runs[1:, 0] < runs[:-1].sum(axis=1)).any():
            return name
    return ""
