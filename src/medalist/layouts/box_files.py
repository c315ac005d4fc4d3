"""Read boxes as contests store them: Pascal VOC's xml, COCO's json, YOLO's txt, or a csv with a row for each box.

Each reader returns the annotation of each image id: a text for each box, "x1 y1 x2 y2 mark label", with corners in
continuous pixels (`medalist.records.Boxes`). The mark is `-`, `crowd`, `difficult`, or `@` and the name of the
annotator. Give the annotations to `layouts.read_split`, and `box_truth(CLASSES)` to the Competition as `truth`.

A reader raises one DataError for all boxes of its files that are no boxes: numbers that are not finite, swapped
corners, and labels that are no class. Boxes without an area are kept in the annotation, so that `medalist check` can
name them, and are left out of the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeTree
from numpy.typing import NDArray

from medalist.codecs.boxes import NUMBER, PIXELS, VOC, YOLO, BoxCoordinates, with_area
from medalist.errors import DataError
from medalist.files import read_table, reason
from medalist.formats.labels import hold_classes, unknown_rule
from medalist.formats.submission import shortened
from medalist.layouts.faults import SHOWN, refuse
from medalist.layouts.folders import Images
from medalist.reading import read_bytes, read_text
from medalist.records import Boxes, Sample

XML_BYTES = 64 * 1024**2
"""The largest xml or txt file of one image's boxes."""

Unknown = Literal["refused", "left_out"]
"""What happens to boxes whose label is no class: they are refused, or kept in the annotation and left out of truths."""

Annotations = dict[str, tuple[str, ...]]
"""The texts of the boxes of each image id."""

CROWD, DIFFICULT, PLAIN, BY = "crowd", "difficult", "-", "@"


class AnnotatedBox(NamedTuple):
    """One box of an annotation: its corners in continuous pixels, its mark, and its label as text."""

    corners: tuple[float, float, float, float]
    mark: str
    label: str


@dataclass
class BoxList:
    """Boxes as they are read, with their faults.

    classes: the labels of the contest. unknown: what happens to other labels.
    """

    classes: Sequence[str]
    unknown: Unknown
    names: list[str] = field(default_factory=list)
    numbers: list[tuple[float, ...]] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, where: str, name: str, label: str, words: Sequence[str], mark: str = PLAIN) -> None:
        """Add a box of the image `name`. words: its four numbers as text; where: its place, for errors."""
        bad = next((word for word in words if not NUMBER.fullmatch(word)), None)
        if bad is not None:
            what = f"'{shortened(bad)}' is not a finite number" if bad else "one of its four numbers is missing"
            self.faults.append(f"{where}: {what}")
        elif label not in self.classes and self.unknown == "refused":
            rule = unknown_rule(label, dict.fromkeys(self.classes), len(self.faults) < SHOWN)
            self.faults.append(f"{where}: label '{shortened(label)}': {rule}")
        else:
            self.names.append(name)
            self.numbers.append(tuple(map(float, words)))
            self.marks.append(mark)
            self.labels.append(label)
            self.places.append(where)

    def texts(
        self,
        source: str,
        coordinates: BoxCoordinates,
        sizes: Mapping[str, tuple[int, int]] | None = None,
        known: Sequence[str] = (),
    ) -> Annotations:
        """Return the annotations by image id, with an empty one for each of `known` that has no box.

        sizes: (height, width) by id, for normalised coordinates. source: the file or folder, for the error. Raises
        DataError, which names all faults.
        """
        numbers = np.array(self.numbers, np.float64).reshape(-1, 4)
        with np.errstate(over="ignore", invalid="ignore"):  # 1e999 is infinite, and refused below
            corners = self._corners(numbers, coordinates, sizes)
        far = np.any(~(np.abs(corners) < 1e7), axis=1)
        swapped = (corners[:, 2:] < corners[:, :2]).any(axis=1)
        for row in np.flatnonzero(far | swapped).tolist():
            said = f"{', '.join(coordinates.names)} = {', '.join(f'{value:g}' for value in self.numbers[row])}"
            self.faults.append(f"{self.places[row]}: {said}: {'too large' if far[row] else 'the corners are swapped'}")
        refuse(source, self.faults, "correct the boxes, or leave them out of the file")
        found: dict[str, list[str]] = {name: [] for name in known}
        for name, four, mark, label in zip(self.names, corners.tolist(), self.marks, self.labels, strict=True):
            found.setdefault(name, []).append(f"{' '.join(f'{value:.12g}' for value in four)} {mark} {label}")
        return {name: tuple(texts) for name, texts in found.items()}

    def _corners(
        self,
        numbers: NDArray[np.float64],
        coordinates: BoxCoordinates,
        sizes: Mapping[str, tuple[int, int]] | None,
    ) -> NDArray[np.float64]:
        if not coordinates.normalised:
            return coordinates.corners(numbers, None)
        assert sizes is not None, "normalised coordinates need sizes="
        lost = sorted({name for name in self.names if name not in sizes})
        refuse("boxes without an image", [f"'{shortened(name)}'" for name in lost], "download the contest again")
        rows = [coordinates.corners(numbers[row : row + 1], sizes[name]) for row, name in enumerate(self.names)]
        return np.concatenate(rows) if rows else numbers


def voc_boxes(
    files: Images, classes: Sequence[str], coordinates: BoxCoordinates = VOC, unknown: Unknown = "refused"
) -> Annotations:
    """Read a Pascal VOC xml for each image. files: (id, path), as `layouts.images_in_folder(..., (".xml",))` lists.

    Objects marked `difficult` keep this mark. Entities and document types are refused, because they can make a small
    file large. Raises DataError as the module says, and for files that are no such xml.
    Source: http://host.robots.ox.ac.uk/pascal/VOC/
    """
    boxes = BoxList(classes, unknown)
    for name, path in files:
        try:
            root = SafeTree.fromstring(read_bytes(path, XML_BYTES), forbid_dtd=True)
        except (OSError, SafeTree.ParseError, DefusedXmlException, ValueError) as error:
            what = f"refused: {type(error).__name__}" if isinstance(error, DefusedXmlException) else reason(error)
            boxes.faults.append(f"{path.name}: not xml that can be read ({what})")
            continue
        if root.tag != "annotation":  # it would have no objects, which looks like an image without them
            boxes.faults.append(
                f"{path.name}: begins with <{shortened(root.tag)}>, not with <annotation> as VOC has it"
            )
            continue
        for number, one in enumerate(root.iter("object"), start=1):
            where, hard = f"{path.name}, object {number}", (one.findtext("difficult") or "0").strip()
            words = [(one.findtext(f"bndbox/{key}") or "").strip() for key in ("xmin", "ymin", "xmax", "ymax")]
            if hard not in ("0", "1"):
                boxes.faults.append(f"{where}: difficult is '{shortened(hard)}'; it must be 0 or 1")
                continue
            mark = DIFFICULT if hard == "1" else PLAIN
            boxes.add(where, name, (one.findtext("name") or "").strip(), words, mark)
    source = str(files[0][1].parent) if files else "xml"
    return boxes.texts(source, coordinates, known=[name for name, _ in files])


def yolo_boxes(
    files: Images,
    classes: Sequence[str],
    sizes: Mapping[str, tuple[int, int]],
    coordinates: BoxCoordinates = YOLO,
) -> Annotations:
    """Read a txt for each image with lines "number cx cy w h": the number of the class from 0, and shares of the sides.

    files: (id, path). sizes: (height, width) of each image by id. Raises DataError as the module says, and for lines
    with other than five words.
    """
    boxes = BoxList(classes, "refused")
    for name, path in files:
        try:
            lines = read_text(path, XML_BYTES).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            boxes.faults.append(f"{path.name}: {reason(error)}")
            continue
        for number, line in enumerate(lines, start=1):
            where, words = f"{path.name}, line {number}", line.split()
            if len(words) != 5:
                if words:
                    boxes.faults.append(f"{where}: {len(words)} words; there must be a class and four numbers")
                continue
            place = int(words[0]) if words[0].isascii() and words[0].isdigit() and len(words[0]) < 6 else -1
            if 0 <= place < len(classes):
                boxes.add(where, name, classes[place], words[1:])
            else:
                boxes.faults.append(f"{where}: class '{shortened(words[0])}' is not within 0..{len(classes) - 1}")
    source = str(files[0][1].parent) if files else "txt"
    return boxes.texts(source, coordinates, sizes, known=[name for name, _ in files])


def csv_boxes(
    path: Path,
    id_column: str,
    columns: str | tuple[str, str, str, str],
    classes: Sequence[str],
    *,
    label_column: str | None = None,
    annotator: str | None = None,
    nothing: str | None = None,
    coordinates: BoxCoordinates = PIXELS,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    unknown: Unknown = "refused",
) -> Annotations:
    """Read a csv with a row for each box.

    columns: the four columns of its numbers, or one column that has them as "[1, 2, 3, 4]". label_column: None where
    there is one class. annotator: a column that says who drew the box; it becomes the mark. nothing: the label of rows
    that say that an image has no box, such as "No finding"; where there is no such label, a row with empty numbers says
    it. sizes: for normalised coordinates. Raises DataError as the module says.
    """
    assert label_column is not None or len(classes) == 1, "several classes need label_column="
    asked = [id_column, *([columns] if isinstance(columns, str) else columns)]
    asked += [column for column in (label_column, annotator) if column is not None]
    boxes = BoxList(classes, unknown)
    known: dict[str, None] = {}
    for number, row in enumerate(read_table(path, asked), start=2):
        name = row[id_column]
        known[name] = None
        label = classes[0] if label_column is None else row[label_column]
        words = _four(row[columns]) if isinstance(columns, str) else [row[column].strip() for column in columns]
        if (nothing is not None and label == nothing) or (nothing is None and not any(words)):
            continue
        where = f"row {number}"
        if len(words) != 4:
            boxes.faults.append(f"{where}, column {columns}: {len(words)} numbers; there must be four")
            continue
        boxes.add(where, name, label, words, PLAIN if annotator is None else BY + row[annotator].replace(" ", "_"))
    return boxes.texts(str(path), coordinates, sizes, known=list(known))


def annotated(sample: Sample) -> list[AnnotatedBox] | None:
    """Return the boxes of a sample's annotation; None where it is no annotation of boxes."""
    found = []
    for text in sample.annotation:
        words = text.split(" ", 5)
        if len(words) != 6 or not all(map(NUMBER.fullmatch, words[:4])):
            return None
        x1, y1, x2, y2 = map(float, words[:4])
        found.append(AnnotatedBox((x1, y1, x2, y2), words[4], words[5]))
    return found


def box_truth(classes: Sequence[str]) -> Callable[[Path, Sample], Boxes]:
    """Return the `truth` of a Competition of boxes: `truth=box_truth(CLASSES)`. It can be pickled.

    Crowds and difficult objects are `ignored`. Left out are boxes that have no area inside the image, and boxes whose
    label is no class; `medalist check` names them. Boxes that reach over the edge are kept as they are.
    """
    hold_classes(classes)
    return partial(_box_truth, classes=tuple(classes))


def boxes_in(sample: Sample, found: Sequence[AnnotatedBox], classes: Sequence[str]) -> Boxes:
    """Return these boxes of an image as Boxes, without those that `box_truth` leaves out."""
    place = {label: number for number, label in enumerate(classes)}
    kept = [one for one in found if one.label in place]
    corners = np.array([one.corners for one in kept], np.float64).reshape(-1, 4).astype(np.float32)
    inside = with_area(corners, sample.size)
    labels = np.array([place[one.label] for one in kept], np.int32)[inside]
    ignored = np.array([one.mark in (CROWD, DIFFICULT) for one in kept], np.bool_)[inside]
    scores = np.ones(len(labels), np.float32)
    return Boxes(corners[inside], labels, scores, ignored if ignored.any() else None)


def _box_truth(data: Path, sample: Sample, classes: tuple[str, ...]) -> Boxes:
    found = annotated(sample)
    if found is None:
        raise DataError(f"sample {sample.id}: its annotation is no text of boxes; use a reader of layouts.box_files")
    return boxes_in(sample, found, classes)


def _four(cell: str) -> list[str]:
    """The numbers of a cell such as "[1, 2, 3, 4]"."""
    return [word.strip() for word in cell.strip().removeprefix("[").removesuffix("]").split(",") if word.strip()]
