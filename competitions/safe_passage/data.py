"""Read the contest's files: two folders of large photos, and a csv with a row for each photo and class of vehicle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.codecs.boxes import PIXELS
from medalist.files import read_table
from medalist.formats.points import PointsFormat
from medalist.formats.submission import shortened
from medalist.layouts.box_files import BoxList
from medalist.layouts.faults import refuse
from medalist.records import Split

CLASSES = ("A", "B", "C", "D", "E", "F", "G", "H", "I")
RADII = (12, 30, 30, 30, 30, 30, 30, 40, 45)
TABLE = "trainingObservations.csv"


def read(root: Path) -> Split:
    """Read the samples under `root`. Raises one DataError for all bad files of a step.

    The csv has the middles of vehicles; a box is the square of the class's radius around one. The group is the square
    of the map, such as TQ2379 of TQ2379_0_0, so that neighbouring photos share a fold.
    """
    train = layouts.images_in_folder(root, "training")
    sizes = {sample.id: sample.size for sample in layouts.with_sizes(train)}
    split = layouts.read_split(
        train=train,
        test=layouts.images_in_folder(root, "test"),
        annotations=_squares(root / TABLE, sizes),
    )
    return replace(split, train=tuple(replace(one, group=one.id.partition("_")[0]) for one in split.train))


def _squares(path: Path, sizes: dict[str, tuple[int, int]]) -> dict[str, tuple[str, ...]]:
    form = PointsFormat(classes=CLASSES, radii=RADII)
    boxes, faults, known = BoxList(CLASSES, "refused"), list[str](), dict[str, None]()
    for number, row in enumerate(read_table(path, form.columns), start=2):
        name, label = row["image"].rpartition(".")[0], row["class"]
        known[name] = None
        points = form.points(row["detections"].strip(), sizes.get(name, (10**6, 10**6)))
        if label not in CLASSES:
            faults.append(f"row {number}, column class, value '{shortened(label)}': no class")
        elif isinstance(points, str):
            faults.append(f"row {number}, column detections: {points}")
        else:
            radius = RADII[CLASSES.index(label)]
            for x, y in points:
                words = [str(value) for value in (x - radius, y - radius, x + radius, y + radius)]
                boxes.add(f"row {number}", name, label, words)
    refuse(str(path), faults, "correct the rows")
    return boxes.texts(str(path), PIXELS, known=list(known))
