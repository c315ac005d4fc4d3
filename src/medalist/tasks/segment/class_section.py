"""The sections of a segmentation report about its classes, as values for `classes.html.j2`: plain data to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.report.charts import brief
from medalist.report.classes import Classes, swatch
from medalist.report.page import SamplePicture
from medalist.report.pictures import png_base64
from medalist.tasks.segment.classes import ClassPixels, ClassRow

MOST_MATRIX = 20
"""Classes in the confusion matrix at most: those with the most pixels; the others are put together."""
NAMED = 8
"""A matrix of at most this many classes has their names above its columns, others have numbers alone."""
OTHERS = "others"


@dataclass(frozen=True, eq=False)
class ClassesReport:
    """The classes of a run's masks. pictures: by the number of a class, the samples in which it is worst."""

    classes: Classes
    pixels: ClassPixels
    pictures: Mapping[int, Sequence[SamplePicture]] = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """A class in a legend or a table. image: the swatch as PNG in base64, empty for the background."""

    number: int
    name: str
    image: str


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix.

    share: of the row, in percent, as text. pixels: a short text; words: all of it. alpha: of the colour.
    """

    share: str = ""
    pixels: str = ""
    words: str = ""
    alpha: float = 0.0
    right: bool = False


def class_values(report: ClassesReport) -> dict[str, Any]:
    """Return the values that `classes.html.j2` shows."""
    classes, pixels = report.classes, report.pixels
    keys = [_key(classes, number) for number in range(len(classes.names))]
    rows = pixels.rows()
    known = [row.iou for row in rows if row.iou is not None]
    heads, table = _matrix(pixels.matrix, keys)
    return {
        "keys": keys,
        "legend": [key for key in keys if key.image],
        "void_image": png_base64(swatch(None)) if pixels.void else "",
        "void": pixels.void,
        "void_share": pixels.void / max(1, pixels.void + pixels.judged),
        "judged": pixels.judged,
        "right": int(pixels.matrix.diagonal().sum()),
        "images": len(pixels.names),
        "rows": [(keys[row.number], row, _bar(row)) for row in rows],
        "mean": float(np.mean(known)) if known else None,
        "known": len(known),
        "absent": [keys[row.number].name for row in rows if row.iou is None],
        "heads": heads,
        "named": len(heads) <= NAMED,
        "matrix": table,
        "others": sum(row.iou is not None for row in rows) - sum(key.number >= 0 for key in heads),
        "confusions": [(keys[one.truth], keys[one.answer], one) for one in pixels.confusions()],
        "worst": [(keys[number], rows[number], shown) for number, shown in report.pictures.items() if shown],
    }


def _key(classes: Classes, number: int) -> Key:
    style = classes.style(number)
    return Key(number, classes.names[number], png_base64(swatch(style)) if style else "")


def _bar(row: ClassRow) -> float:
    return round(100 * (row.iou or 0.0), 1)


def _matrix(matrix: NDArray[np.int64], keys: Sequence[Key]) -> tuple[list[Key], list[tuple[Key, str, list[Cell]]]]:
    """Return the classes above the columns, and for each true class its pixels as text and its cells.

    Classes without a pixel in truth and answer are left out. Of more than `MOST_MATRIX` those with the fewest pixels
    are put together as the last row and the last column, whose key has the number -1.
    """
    total = matrix.sum(axis=0) + matrix.sum(axis=1)
    largest = np.argsort(-total, kind="stable")[:MOST_MATRIX]
    kept = np.sort(largest[total[largest] > 0])
    rest = np.setdiff1d(np.flatnonzero(total), kept)
    heads = [keys[at] for at in kept.tolist()]
    groups = [np.array([at]) for at in kept]
    if len(rest):
        heads.append(Key(-1, OTHERS, ""))
        groups.append(rest)
    counts = np.array([[matrix[np.ix_(row, column)].sum() for column in groups] for row in groups], np.int64)
    table = []
    for at, key in enumerate(heads):
        whole = int(counts[at].sum())
        cells = [_cell(int(pixels), whole, key, other) for pixels, other in zip(counts[at], heads, strict=True)]
        table.append((key, brief(whole), cells))
    return heads, table


def _cell(pixels: int, whole: int, truth: Key, answer: Key) -> Cell:
    right = truth.number == answer.number >= 0
    if not pixels:
        return Cell(right=right)
    share = pixels / whole
    told = f"{100 * share:.0f}" if share >= 0.005 else "<1"
    words = f"{truth.name} answered as {answer.name}: {pixels:,} of {whole:,} px, {100 * share:.2f} %"
    return Cell(told, brief(pixels), words, round(0.66 * sqrt(share), 3), right)
