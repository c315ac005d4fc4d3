"""Answer any images, and write the answers in forms that other programs read. Torch-free.

OUT/masks/NAME.png or OUT/masks.csv, OUT/boxes.json (COCO), OUT/labels.csv, OUT/rankings.csv or OUT/vectors.npy, and
OUT/overlays/NAME.png. The tables are written last, so a folder with its table is whole.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.rle import encode_labels, encode_mask
from medalist.competition import Competition
from medalist.errors import DataError, MedalistError
from medalist.files import write_json, written
from medalist.records import Answer, Boxes, Instances, Labels, Mask, Prediction, Ranking, VectorPrediction
from medalist.report.box_pictures import box_picture
from medalist.report.classes import class_picture, classes_up_to
from medalist.report.pictures import captioned, fit_image, outline
from medalist.reporter import Reporter
from medalist.workflows.galleries import find_images, write_picture

Pixels = NDArray[np.uint8]

MaskForm = Literal["png", "rle"]

LARGEST_PICTURE = 1600
"""The most pixels of the longer side of an overlay."""

SMALLEST_PICTURE = 256
"""The fewest pixels of the longer side of an overlay; smaller images are enlarged."""

MOST_OBJECTS = 65_535
"""The most objects of an image in a PNG of 16 bits."""

SHOWN = 5


def images_of(places: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the images of folders, image files, and csv files of ids and paths, each with its name.

    Names are those of files without suffix; where two are the same, the name of the folder or file that was given comes
    before. Raises DataError where there is no image, where two have one name, or where a csv has a name that is no name
    of a file below a folder.
    """
    found: list[tuple[str, Path]] = []
    for place in places:
        if place.is_dir() or place.suffix.lower() == ".csv":
            found += find_images(place).files
        elif place.is_file():
            found.append((place.stem, place))
        else:
            raise DataError(f"{place}: no such file or folder")
    times = Counter(name for name, _ in found)
    named = [(name if times[name] == 1 else f"{path.parent.name}/{path.name}", path) for name, path in found]
    twice = next((name for name, count in Counter(name for name, _ in named).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"two images have the name '{twice:.80}'; give their folders one by one, with another -o each")
    for name, path in named:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in name:
            raise DataError(f"{path}: '{name:.80}' is no name for a file; give another id")
    return named


def refuse_full(folder: Path) -> None:
    """Raise MedalistError where a folder for answers holds something already, or is a file."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MedalistError(f"{folder} is there already; name a folder that is not there")


@dataclass(eq=False)
class AnswerFiles:
    """The files of the answers to several images, written to a folder one after another.

    classes: the contest's names of labels or boxes. masks: the form of masks. overlays: whether pictures are drawn.
    """

    folder: Path
    competition: Competition
    masks: MaskForm = "png"
    overlays: bool = True
    rows: list[list[Any]] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    table: str = ""
    pictures: list[dict[str, Any]] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """The contest's classes of labels, boxes or masks; empty where it has none."""
        return tuple(getattr(self.competition.submission, "classes", None) or self.competition.classes)

    def add(self, name: str, path: Path, image: Pixels, answer: Answer | VectorPrediction) -> None:
        """Write the answer to an image, or keep it for the table, and draw it."""
        match answer:
            case Mask():
                self._add_mask(name, answer)
            case Instances():
                self._add_instances(name, answer)
            case Boxes():
                self._add_boxes(path, image, answer)
            case Labels():
                self._add_labels(name, answer)
            case Ranking():
                self._tell("rankings.csv", ["image", "names", "confidence"])
                confidence = "" if answer.confidence is None else f"{answer.confidence:.6f}"
                self.rows.append([name, " ".join(answer.names), confidence])
            case VectorPrediction():
                self._tell("vectors.csv", ["row", "image"])
                self.rows.append([len(self.vectors), name])
                self.vectors.append(answer.vector)
            case _:
                assert_never(answer)
        if self.overlays and not isinstance(answer, VectorPrediction):
            write_picture(self.folder / "overlays" / f"{name}.png", self._overlay(image, answer))

    def finish(self) -> list[Path]:
        """Write the tables of all images, and return the paths of all that was written."""
        if self.pictures:
            write_json(self.folder / "boxes.json", self._coco())
        if self.vectors:
            with written(self.folder / "vectors.npy") as temporary, temporary.open("wb") as file:
                np.save(file, np.stack(self.vectors))
        if self.table and not self.pictures:
            with (
                written(self.folder / self.table) as temporary,
                temporary.open("w", newline="", encoding="utf-8") as file,
            ):
                csv.writer(file, lineterminator="\n").writerows([self.header, *self.rows])
        return sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))

    def _tell(self, table: str, header: list[str]) -> None:
        self.table, self.header = table, header

    def _add_mask(self, name: str, answer: Mask) -> None:
        if self.masks == "png":
            height, width = answer.size
            picture = Image.frombytes("P", (width, height), np.ascontiguousarray(answer.classes).tobytes())
            picture.putpalette(_palette())
            self._png(name, picture)
            return
        self._tell("masks.csv", ["image", "class", "height", "width", "rle"])
        for number in np.unique(answer.classes[answer.classes > 0]).tolist():
            named = self.competition.classes[number] if number < len(self.competition.classes) else number
            self.rows.append([name, named, *answer.size, encode_mask(answer.classes == number)])

    def _add_instances(self, name: str, answer: Instances) -> None:
        if self.masks == "png":
            if answer.count > MOST_OBJECTS:
                raise DataError(f"{name}: {answer.count} objects do not fit into a PNG of 16 bits; type --as rle")
            self._png(name, Image.fromarray(answer.labels.astype(np.uint16)))
            return
        self._tell("masks.csv", ["image", "object", "height", "width", "rle"])
        for number, code in enumerate(encode_labels(answer.labels), start=1):
            self.rows.append([name, number, *answer.size, code])

    def _png(self, name: str, picture: Image.Image) -> None:
        with written(self.folder / "masks" / f"{name}.png") as temporary:
            picture.save(temporary, format="PNG")

    def _add_labels(self, name: str, answer: Labels) -> None:
        probabilities = [] if answer.probabilities is None else [f"{one:.6f}" for one in answer.probabilities.tolist()]
        columns = list(self.classes) if len(probabilities) == len(self.classes) else []
        self._tell("labels.csv", ["image", "labels", *columns])
        self.rows.append([name, " ".join(answer.names), *(probabilities if columns else [])])

    def _add_boxes(self, path: Path, image: Pixels, answer: Boxes) -> None:
        number = len(self.pictures) + 1
        self.pictures.append({"id": number, "file_name": str(path), "height": image.shape[0], "width": image.shape[1]})
        for (x1, y1, x2, y2), label, score in zip(
            answer.xyxy.tolist(), answer.labels.tolist(), answer.scores.tolist(), strict=True
        ):
            width, height = x2 - x1, y2 - y1
            self.rows.append([number, label + 1, [x1, y1, width, height], width * height, score])

    def _coco(self) -> dict[str, Any]:
        names = ("image_id", "category_id", "bbox", "area", "score")
        return {
            "images": self.pictures,
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.classes, start=1)],
            "annotations": [
                {"id": number, **dict(zip(names, row, strict=True)), "iscrowd": 0}
                for number, row in enumerate(self.rows, start=1)
            ],
        }

    def _overlay(self, image: Pixels, answer: Answer) -> Pixels:
        side = min(LARGEST_PICTURE, max(SMALLEST_PICTURE, *image.shape[:2]))
        match answer:
            case Mask():
                classes = classes_up_to(self.competition, int(answer.classes.max(initial=0)))
                return (
                    outline(image, answer, side=side)
                    if classes is None
                    else class_picture(image, answer, classes, side)
                )
            case Instances():
                return outline(image, answer, side=side)
            case Boxes():
                return box_picture(image, answer, self.classes, side)
            case Labels() | Ranking():
                return captioned(fit_image(image, side), ", ".join(answer.names) or "no label")
            case _:
                assert_never(answer)


def write_answers(
    files: Sequence[tuple[str, Path]],
    read: Callable[[Path], Pixels],
    answer: Callable[[Pixels], Answer | Prediction],
    out: AnswerFiles,
    reporter: Reporter,
    skip_bad: bool = False,
) -> list[str]:
    """Answer images one after another, and write what is answered; return a line for each file that was left out.

    read: path -> uint8[H, W, 3]. skip_bad: whether files that cannot be read are left out. Raises DataError for the
    first such file without it, and where no file can be read.
    """
    refuse_full(out.folder)
    bad: list[str] = []
    with reporter.progress("predict images", len(files)) as bar:
        for name, path in files:
            try:
                image = read(path)
            except DataError as error:
                if not skip_bad:
                    raise DataError(f"{error}; type --skip-bad to leave such files out") from error
                bad.append(str(error))
                continue
            found = answer(image)
            assert isinstance(found, Mask | Instances | Boxes | Labels | Ranking | VectorPrediction), type(found)
            out.add(name, path, image, found)
            bar.advance()
    if len(bad) == len(files):
        raise DataError(f"none of {len(files)} files can be read: {_listed(bad)}")
    return bad


def _listed(lines: Sequence[str]) -> str:
    return "; ".join(lines[:SHOWN]) + (f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")


def _palette() -> list[int]:
    """Return a colour for each class of a mask picture, so that it is seen: 0 is black, 1 is white, others differ."""
    colours: list[Iterable[int]] = [(0, 0, 0), (255, 255, 255)]
    colours += [((67 * at) % 256, (131 * at + 85) % 256, (197 * at + 170) % 256) for at in range(2, 256)]
    return [value for colour in colours for value in colour]
