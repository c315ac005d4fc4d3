"""Find the image sets of a contest: the images of one folder or tree, with their ids, and what their place says.

A folder is read by the words of its name, as people write it: `stage1_train`, `TrainImages`, `JPEGImages`, `gtFine`.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from medalist.codecs.images import image_size
from medalist.discovery.listing import Listing, joined
from medalist.errors import DataError
from medalist.layouts.folders import IMAGE_SUFFIXES, MASK_SUFFIXES

Form = Literal["flat", "per_image", "tree"]

UNREADABLE = {
    ".dcm": "DICOM files", ".dicom": "DICOM files", ".bmp": "BMP images", ".webp": "WebP images",
    ".jp2": "JPEG 2000 images", ".npy": "arrays of NumPy", ".npz": "arrays of NumPy", ".h5": "HDF5 files",
    ".hdf5": "HDF5 files", ".nii": "NIfTI volumes", ".gz": "packed files", ".mha": "volumes", ".mhd": "volumes",
    ".svs": "slides", ".tfrec": "TFRecord files", ".tfrecord": "TFRecord files", ".parquet": "Parquet tables",
    ".mp4": "videos", ".avi": "videos", ".mov": "videos", ".heic": "HEIF images", ".avif": "AVIF images",
}  # fmt: skip
"""Files that hold pictures and are not read as images, by suffix."""

LOOKED = 512
"""The most images of a set whose headers are read."""

TRAIN = frozenset(("train", "training", "trainset", "trn"))
TEST = frozenset(("test", "testing", "testset", "tst"))
VALID = frozenset(("val", "valid", "validation", "dev"))
MASKS = frozenset(
    [
        "mask",
        "masks",
        "label",
        "labels",
        "annotation",
        "annotations",
        "segmentation",
        "segmentations",
        "gt",
        "seg",
        "groundtruth",
        "truth",
        "annots",
        "trainannot",
        "lbl",
    ]
)
_IMAGES = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "photo",
        "photos",
        "picture",
        "pictures",
        "pics",
        "jpeg",
        "jpg",
        "png",
        "tif",
        "frames",
        "query",
        "gallery",
        "index",
        "original",
        "inputs",
    ]
)
_PARTS = TRAIN | TEST | VALID | MASKS | _IMAGES
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def words_of(name: str) -> frozenset[str]:
    """Return the words of a file's, folder's or column's name in lower case, without its numbers."""
    return frozenset(word.lower() for word in _WORD.findall(name))


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one folder or tree.

    folder: its path inside the contest's folder. form: "flat" `folder/<id>.png`, "per_image" `folder/<id>/images/<one
    file>`, "tree" `folder/**/<id>.png`. files: the path of each image by its id, sorted. twice: ids of several files.
    apart: the ending of names that are masks and not images of the set, or "". ending: what every name has behind its
    id, or "".
    """

    folder: str
    form: Form
    files: Mapping[str, str]
    twice: tuple[str, ...] = ()
    apart: str = ""
    ending: str = ""

    @property
    def words(self) -> frozenset[str]:
        """The words of its path."""
        return frozenset(word for part in self.folder.split("/") for word in words_of(part))

    @property
    def for_test(self) -> bool:
        """Whether its path says that it is the test part."""
        return bool(self.words & TEST)

    @property
    def for_training(self) -> bool:
        """Whether its path says that it is the training part."""
        return bool(self.words & TRAIN)

    @property
    def of_masks(self) -> bool:
        """Whether the last part of its path that says more than the part of the contest says that it holds masks."""
        for part in reversed(self.folder.split("/")):
            words = words_of(part)
            if words & (MASKS | _IMAGES):
                return bool(words & MASKS)
        return False

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes of the files as they are written, the most frequent first."""
        return tuple(
            suffix for suffix, _ in Counter(PurePosixPath(p).suffix for p in self.files.values()).most_common()
        )

    def ended(self, ending: str) -> ImageSet:
        """The set of the names with this ending, by their ids, which are without it."""
        kept = {name.removesuffix(ending): path for name, path in self.files.items() if name.endswith(ending)}
        return ImageSet(self.folder, "tree", kept, (), self.apart, ending)

    def without(self, ending: str) -> ImageSet:
        """The set without the ids that have this ending."""
        kept = {name: path for name, path in self.files.items() if not name.endswith(ending)}
        twice = tuple(name for name in self.twice if name in kept)
        return ImageSet(self.folder, self.form, kept, twice, ending)


@dataclass(frozen=True)
class ObjectFiles:
    """Mask files of single objects, `folder/<id>/masks/*.png`. counts: the number of files by id."""

    folder: str
    inside: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Shapes:
    """What the headers of some images say.

    sizes: how often each (height, width) occurs. bad: faults of headers that cannot be read.
    """

    sizes: Mapping[tuple[int, int], int]
    bad: tuple[str, ...] = ()

    @property
    def middle(self) -> tuple[int, int]:
        """(the median height, the median width)."""
        heights = sorted(size[0] for size, count in self.sizes.items() for _ in range(count))
        widths = sorted(size[1] for size, count in self.sizes.items() for _ in range(count))
        return heights[len(heights) // 2], widths[len(widths) // 2]

    @property
    def largest(self) -> tuple[int, int]:
        """The size of the image of most pixels."""
        return max(self.sizes, key=lambda size: size[0] * size[1])


def image_sets(listing: Listing) -> tuple[list[ImageSet], list[ObjectFiles]]:
    """Return the image sets of a contest, and its folders of object masks."""
    found = {
        folder: images
        for folder, names in listing.folders.items()
        if (images := [name for name in names if PurePosixPath(name).suffix.lower() in MASK_SUFFIXES])
    }
    per_image, objects, taken = _per_image(found)
    rest = {folder: names for folder, names in found.items() if folder not in taken}
    return per_image + _by_base(rest), objects


def _per_image(found: Mapping[str, list[str]]) -> tuple[list[ImageSet], list[ObjectFiles], set[str]]:
    """The sets `folder/<id>/images/<one file>`, the masks beside them, and the folders that they are made of."""
    singles: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for folder, names in found.items():
        parts = folder.split("/")
        if len(parts) >= 2 and parts[-1].lower() in ("images", "image") and len(names) == 1:
            parent = "/".join(parts[:-2]) or "."
            singles[parent][parts[-2]] = joined(folder, names[0])
    sets, objects, taken = [], [], set()
    for parent, files in singles.items():
        if parent == "." and files.keys() <= {"train", "test"}:
            continue
        inside = {name: [f for f in found if f.startswith(joined(parent, name) + "/mask")] for name in files}
        if len(files) < 2 and not any(inside.values()):
            continue
        sets.append(ImageSet(parent, "per_image", dict(sorted(files.items()))))
        taken |= {path.rpartition("/")[0] for path in files.values()}
        counts = {name: sum(len(found[folder]) for folder in folders) for name, folders in inside.items()}
        taken |= {folder for folders in inside.values() for folder in folders}
        if any(counts.values()):
            first = next(folders[0] for folders in inside.values() if folders)
            objects.append(ObjectFiles(parent, first.rpartition("/")[2], counts))
    return sets, objects, taken


def _by_base(found: Mapping[str, list[str]]) -> list[ImageSet]:
    """The sets of folders and trees: folders whose names say no part belong to the folder above that says one."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for folder in found:
        parts = folder.split("/")
        while parts and not words_of(parts[-1]) & _PARTS:
            parts.pop()
        groups["/".join(parts) or "."].append(folder)
    sets = []
    for said, folders in groups.items():
        only = said == "." and len(groups) == 1 and len(folders) > 1
        base = posixpath.commonpath(folders) or "." if only else said
        alone = base == "." and (len(folders) == 1 or len(groups) > 1)
        if len(folders) == 1 and (alone or folders[0] == base):
            sets.append(_set_of(folders[0], "flat", found, folders))
        elif alone:
            sets += [_set_of(folder, "flat", found, [folder]) for folder in folders]
        else:
            sets.append(_set_of(base, "tree", found, folders))
    return sets


def _set_of(base: str, form: Form, found: Mapping[str, list[str]], folders: Sequence[str]) -> ImageSet:
    files: dict[str, str] = {}
    twice: list[str] = []
    for folder in sorted(folders):
        for name in found[folder]:
            stem = PurePosixPath(name).stem
            if stem in files:
                twice.append(stem)
            files[stem] = joined(folder, name)
    if twice:  # ids are then paths, as a folder for each class often has the same names
        start = "" if base == "." else f"{base}/"
        paths = [joined(folder, name) for folder in folders for name in found[folder]]
        files = {path.removeprefix(start).rpartition(".")[0]: path for path in paths}
    return ImageSet(base, form, dict(sorted(files.items())), tuple(twice))


def shapes_of(root: Path, paths: Iterable[str]) -> Shapes:
    """Read the headers of at most LOOKED images, spread evenly, in a few threads."""
    every = list(paths)
    some = every[:: max(1, -(-len(every) // LOOKED))]

    def look(path: str) -> tuple[int, int] | str:
        try:
            return image_size(root / path)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        seen = list(pool.map(look, some))
    return Shapes(Counter(one for one in seen if not isinstance(one, str)),
                  tuple(one for one in seen if isinstance(one, str)))  # fmt: skip


def readable(path: str) -> bool:
    """Whether the suffix of a file is that of an image that layouts read."""
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES
