"""Tables of labels: a csv with a row for each image, and its labels in one cell, or a 0/1 column for each class.

By default, the stratum of a sample is the set of its labels, as text, so that folds balance combinations of labels. A
combination may have fewer samples than there are folds: then only some folds get a sample of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from medalist.codecs.images import Orientation
from medalist.errors import DataError
from medalist.files import read_table
from medalist.formats.labels import unknown_rule
from medalist.formats.submission import shortened
from medalist.layouts.faults import SHOWN, refuse
from medalist.layouts.tables import listed
from medalist.records import Labels, Sample

UNLABELLED = "(no labels)"
"""The stratum of samples that have no labels."""
_REMEDY = "correct the row, or download the contest again"
_ZERO_ONE = {"0": False, "1": True, "0.0": False, "1.0": True}


def labelled(
    path: Path,
    id_column: str,
    image: Callable[[str], Path],
    label_column: str,
    *,
    separator: str | None = None,
    classes: Sequence[str] | None = None,
    group: str | None = None,
    stratum: str | None = None,
    meta: Sequence[str] = (),
    order: Sequence[str] | None = None,
    orientation: Orientation = "shown",
) -> tuple[Sample, ...]:
    """List the samples of a csv, as `layouts.tables.listed` does, with their labels as annotation.

    separator: the text between labels in a cell, where an image has any number of labels, also none (an empty cell).
        None where an image has exactly one label, which is then the whole cell.
    classes: the labels of the contest; the annotation has them in this order. None allows any label, and keeps the
        order of the cell.
    stratum: a column; None for the set of labels, joined by the separator.
    Raises DataError, which names every label that is not in `classes` (with its first row, and the most similar class),
    every row that must have one label and has none, and every row with a repeated label, a superfluous separator or
    superfluous white space. Then it raises DataError as `listed` does.
    """
    assert separator is None or separator, "the separator is empty"
    assert classes is None or len(set(classes)) == len(classes), f"classes must be there once: {classes}"
    place = None if classes is None else {name: number for number, name in enumerate(classes)}
    labels: dict[str, tuple[str, ...]] = {}
    faults: list[str] = []
    unknown: dict[str, list[int]] = {}
    for number, row in enumerate(read_table(path, (id_column, label_column)), start=2):
        cell = row[label_column]
        names = [cell] if separator is None else cell.split(separator) if cell else []
        rule = _cell_rule(names, separator)
        if rule:
            faults.append(f"row {number}, column {label_column}, value '{shortened(cell)}': {rule}")
        elif place is not None:
            for name in names:
                if name not in place:
                    unknown.setdefault(name, []).append(number)
        labels[row[id_column]] = tuple(names)
    if place is not None:
        faults += _unknown_faults(unknown, place, label_column)
    refuse(f"{path}", faults, _REMEDY)
    if place is not None:
        labels = {name: tuple(sorted(own, key=place.__getitem__)) for name, own in labels.items()}
    samples = listed(
        path, id_column, image, group=group, stratum=stratum, meta=meta, order=order, orientation=orientation
    )
    return _with_labels(samples, labels, separator or "", stratum is None)


def one_hot_labelled(
    path: Path,
    id_column: str,
    image: Callable[[str], Path],
    classes: Sequence[str],
    *,
    exactly_one: bool = False,
    group: str | None = None,
    stratum: str | None = None,
    meta: Sequence[str] = (),
    order: Sequence[str] | None = None,
    orientation: Orientation = "shown",
) -> tuple[Sample, ...]:
    """List the samples of a csv, as `layouts.tables.listed` does, with the classes whose cell is 1 as annotation.

    classes: the columns, in the order in which the annotation has them. Cells are 0 or 1, or 0.0 or 1.0.
    exactly_one: whether each row must have exactly one 1, as in plant pathology 2020; else it may have any number.
    stratum: a column; None for the set of labels, joined by "|".
    Raises DataError, which names every cell that is neither 0 nor 1, and, with `exactly_one`, every row without exactly
    one 1. Then it raises DataError as `listed` does.
    """
    assert classes and len(set(classes)) == len(classes), f"classes must be there, each once: {classes}"
    assert id_column not in classes, id_column
    labels: dict[str, tuple[str, ...]] = {}
    faults = []
    for number, row in enumerate(read_table(path, (id_column, *classes)), start=2):
        bad = [name for name in classes if row[name] not in _ZERO_ONE]
        faults += [f"row {number}, column {name}, value '{shortened(row[name])}': must be 0 or 1" for name in bad]
        names = tuple(name for name in classes if _ZERO_ONE.get(row[name], False))
        if exactly_one and not bad and len(names) != 1:
            there = f"{len(names)} classes ({shortened(', '.join(names))})" if names else "no class"
            faults.append(f"row {number}: {there}; there must be exactly one")
        labels[row[id_column]] = names
    refuse(f"{path}", faults, _REMEDY)
    samples = listed(
        path, id_column, image, group=group, stratum=stratum, meta=meta, order=order, orientation=orientation
    )
    return _with_labels(samples, labels, "|", stratum is None)


def label_truth(data: Path, sample: Sample) -> Labels:
    """Return the labels of a training sample. Use it as a Competition's `truth=label_truth`. `data` is unused."""
    return Labels(sample.annotation)


def certain_truth(classes: Sequence[str]) -> Callable[[Path, Sample], Labels]:
    """Return the `truth` of a Competition that asks for probabilities: `truth=certain_truth(CLASSES)`.

    classes: those of the contest, in the order of its format. The returned function can be pickled. It gives the labels
    of a training sample the probability 1, and the other classes 0, as float64[C], which is the perfect answer. It
    raises DataError for a label that is not in the classes.
    """
    assert classes and len(set(classes)) == len(classes), f"classes must be there, each once: {classes}"
    return partial(_certain_truth, classes=tuple(classes))


def _certain_truth(data: Path, sample: Sample, classes: tuple[str, ...]) -> Labels:
    for name in sample.annotation:
        if name not in classes:
            rule = unknown_rule(name, dict.fromkeys(classes), search=True)
            raise DataError(f"sample {sample.id}, label '{shortened(name)}': {rule}")
    there = [name in sample.annotation for name in classes]
    return Labels(sample.annotation, np.array(there, np.float64))


def _with_labels(
    samples: Sequence[Sample], labels: Mapping[str, tuple[str, ...]], separator: str, stratify: bool
) -> tuple[Sample, ...]:
    """The samples with their labels as annotation, and, with `stratify`, a stratum that is the set of their labels."""
    known: dict[frozenset[str], str] = {}
    for own in labels.values():
        known.setdefault(frozenset(own), separator.join(sorted(own)) or UNLABELLED)
    return tuple(
        replace(
            sample,
            annotation=labels[sample.id],
            stratum=known[frozenset(labels[sample.id])] if stratify else sample.stratum,
        )
        for sample in samples
    )


def _cell_rule(names: Sequence[str], separator: str | None) -> str:
    """The rule that the labels of a cell break, without looking at the classes; or ''."""
    if separator is None and not names[0].strip():
        return "an image without a label"
    if not all(names):
        return f"an extra '{separator}' at place {list(names).index('') + 1}"
    if any(name != name.strip() or not name.isprintable() for name in names):
        return "white space at the end of a label, or an unprintable character"
    twice = next((name for name in names if names.count(name) > 1), None)
    return "" if twice is None else f"the label '{shortened(twice)}' is there twice"


def _unknown_faults(unknown: Mapping[str, Sequence[int]], place: Mapping[str, int], column: str) -> list[str]:
    """A fault for each unknown label, with its first row; only faults that are shown name the most similar class."""
    faults: list[str] = []
    for name, rows in unknown.items():
        more = f" ({len(rows)} rows)" if len(rows) > 1 else ""
        rule = unknown_rule(name, place, len(faults) < SHOWN)
        faults.append(f"row {rows[0]}, column {column}, value '{shortened(name)}'{more}: {rule}")
    return faults
