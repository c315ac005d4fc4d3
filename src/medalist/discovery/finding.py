"""What a contest probably is, as values: where its images and truths lie, with the evidence and the doubts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from medalist.codecs.boxes import BoxCoordinates
from medalist.codecs.rle import Order
from medalist.discovery.pictures import ImageSet
from medalist.discovery.tables import Key, Match, Table

Kind = Literal["mask", "classes", "instances", "boxes", "label", "ordinal", "labels", "identities"]
"""What a contest asks for: one mask, a mask of classes, objects, boxes, one label, a grade, several labels, or who or
what is seen."""

KINDS: dict[Kind, str] = {
    "mask": "a mask of one class for each image",
    "classes": "a mask of several classes for each image",
    "instances": "separate objects in each image",
    "boxes": "boxes of objects",
    "label": "one label for each image",
    "ordinal": "a grade for each image",
    "labels": "any number of labels for each image",
    "identities": "who or what is seen, ranked by likeness",
}


@dataclass(frozen=True)
class Part:
    """A part of the contest: its images, and how their ids are written. prefix: of ids that are paths."""

    images: ImageSet
    key: Key = "stem"
    prefix: str = ""

    def file(self, name: str) -> str | None:
        """The path of the image with this id; None where there is none."""
        return self._by_id.get(name)

    @property
    def ids(self) -> list[str]:
        """The ids of the images, in the order of their names."""
        return list(self._by_id)

    @cached_property
    def _by_id(self) -> dict[str, str]:
        match self.key:
            case "stem":
                return dict(self.images.files)
            case "name":
                return {path.rpartition("/")[2]: path for path in self.images.files.values()}
            case "path":
                return {path.removeprefix(self.prefix): path for path in self.images.files.values()}


@dataclass(frozen=True)
class Codes:
    """Run-length codes of one class in a csv. empty: the cell of an image without anything."""

    file: str
    columns: tuple[str, str]
    row_per: Literal["image", "object"]
    order: Order = "column"
    base: int = 1
    empty: str = ""
    partial: bool = False


@dataclass(frozen=True)
class ClassCodes:
    """Run-length codes in a csv with a row for each image and class. columns: image, class, code; or two, if joined.

    overlap: whether some pixels are of several classes. partial: whether some images have no row.
    """

    file: str
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    order: Order = "column"
    base: int = 1
    empty: str = ""
    overlap: bool = False
    partial: bool = False


@dataclass(frozen=True)
class MaskFiles:
    """A mask file for each image: `folder/**/<id><ending>.png`.

    values: the numbers of its classes, empty for one class. colours: in their place, the colours. threshold: of masks
    whose values are not two. partial: whether some images have no mask.
    """

    images: ImageSet
    ending: str = ""
    values: tuple[int, ...] = ()
    colours: tuple[tuple[int, int, int], ...] = ()
    void: tuple[int, ...] = ()
    threshold: int | None = None
    partial: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names for the classes, which the masks do not say: the first one is the background where it is 0 or black."""
        values = self.values or range(len(self.colours))
        first = bool(self.colours) or 0 in values
        return tuple("background" if first and place == 0 else f"class_{value}" for place, value in enumerate(values))


@dataclass(frozen=True)
class ObjectMasks:
    """A mask file for each object, `folder/<id>/<inside>/*.png`."""

    folder: str
    inside: str


@dataclass(frozen=True)
class BoxFiles:
    """An xml (Pascal VOC) or a txt (YOLO) for each image, in one folder."""

    folder: str
    form: Literal["voc", "yolo"]
    classes: tuple[str, ...]
    coordinates: BoxCoordinates
    partial: bool = False


@dataclass(frozen=True)
class CocoFile:
    """A json in the form of COCO. base: the folder in which its file names lie. test, test_base: those of the test
    images, or "".
    """

    file: str
    base: str
    classes: tuple[str, ...]
    categories: tuple[int, ...]
    test: str = ""
    test_base: str = ""


@dataclass(frozen=True)
class BoxTable:
    """A csv with a row for each box. columns: its four numbers, or one column that has them as a list."""

    file: str
    id_column: str
    columns: str | tuple[str, str, str, str]
    classes: tuple[str, ...]
    coordinates: BoxCoordinates
    label_column: str | None = None
    annotator: str | None = None
    nothing: str | None = None
    partial: bool = False


@dataclass(frozen=True)
class LabelColumn:
    """The labels of each image in one cell of a csv. separator: None where each image has one label."""

    file: str
    id_column: str
    column: str
    classes: tuple[str, ...]
    separator: str | None = None


@dataclass(frozen=True)
class ClassColumns:
    """A 0/1 column of a csv for each class."""

    file: str
    id_column: str
    classes: tuple[str, ...]
    exactly_one: bool


@dataclass(frozen=True)
class ClassFolders:
    """A folder of images for each class."""

    folder: str
    classes: tuple[str, ...]
    unique: bool
    """Whether names of files differ between folders; if not, ids are `class/name`."""


@dataclass(frozen=True)
class ClassNames:
    """The class is the beginning of the name of each file, as in cat.12.jpg. sign: what stands behind it."""

    folder: str
    classes: tuple[str, ...]
    sign: str


@dataclass(frozen=True)
class Identities:
    """The identity of each image in a csv.

    depth: the most names of an answer. new: the name for identities that are not known, or None. confident: whether an
    answer is one name with its confidence. samples: whether answers name images of the gallery, which are the images
    of the test part that the sample submission does not ask for, or all images that it asks for.
    """

    file: str
    id_column: str
    column: str
    depth: int
    new: str | None = None
    confident: bool = False
    samples: bool = False


Truth = (
    Codes | ClassCodes | MaskFiles | ObjectMasks | BoxFiles | CocoFile | BoxTable
    | LabelColumn | ClassColumns | ClassFolders | ClassNames | Identities
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """The sample submission: the table, and its column of ids; match is None where no test image is there."""

    table: Table
    match: Match | None

    @property
    def id_column(self) -> str:
        """The column of the ids."""
        return self.table.columns[0] if self.match is None else self.match.column


@dataclass(frozen=True)
class Group:
    """A column whose values are never split over folds, of a csv with a row for each training image."""

    file: str
    id_column: str
    column: str


@dataclass(frozen=True)
class Finding:
    """One reading of a contest.

    kind, truth: what it asks for, and where the truths lie. source: the file or folder of the truths. train, test: its
    images; no test part where no image of it is there. asked: the sample submission. group: a column of groups.
    fields: whether pixels show that images belong together. evidence, doubts: lines for the user.
    weight: how sure it is, 0..1.
    """

    kind: Kind
    truth: Truth
    source: str
    train: Part
    evidence: tuple[str, ...]
    weight: float
    doubts: tuple[str, ...] = ()
    test: Part | None = None
    asked: Asked | None = None
    group: Group | None = None
    fields: bool = False
