"""The usual ways a contest lies on disk: images in folders, and a csv of run-length codes beside them.

A contest's `read` is a few calls from here:

    return read_split(
        train=images_in_folder(root, "train_images"),
        test=images_in_folder(root, "test_images"),
        annotations=read_annotations(root / "train.csv", "id", "rle_mask", row_per="image"),
        order=ids_in(root / "sample_submission.csv", "id"),
    )

and its `truth` is one: `return mask(root / "train.csv", sample)`, or `instances(...)`. A contest of identities
lists its samples by a csv: `listed(root / "train.csv", "id", lambda name: root / "train" / name, identity="label")`.
Everything wrong with the files of one step is told in one DataError, not only the first fault.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.rle import RleError, decode_labels, decode_mask
from medalist.errors import DataError
from medalist.files import image_size, read_image, read_table
from medalist.records import Instances, Mask, Sample, Split
from medalist.submission import shown

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SHOWN = 10
"""How many faults an error names before it only counts the rest."""

Images = Sequence[tuple[str, Path]]
"""The id and the file of each image, sorted by id."""

Look = Callable[[NDArray[np.uint8]], str]
"""The stratum of an image uint8[H, W, 3]."""


def images_in_folder(root: Path, part: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[tuple[str, Path]]:
    """List the images `root/part/<id>.<suffix>`, sorted by id; other files are passed over.

    Raises DataError where the folder is missing or holds no image, and where two files have one id.
    """
    named: dict[str, Path] = {}
    faults = []
    for path in _entries(root, part):
        if path.suffix.lower() in suffixes:
            if path.stem in named:
                faults.append(f"'{path.name}' and '{named[path.stem].name}' have the same id '{path.stem}'")
            named[path.stem] = path
    _refuse(f"{root / part}", faults, "keep one file an id")
    return _not_empty(root / part, named, f"<id>{'|'.join(suffixes)}")


def folder_per_image(root: Path, part: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[tuple[str, Path]]:
    """List the images `root/part/<id>/images/<one file>`, sorted by id; other folders are passed over.

    Raises DataError where the folder is missing or holds no image, and names every <id> whose `images`
    folder has no image or more than one.
    """
    named: dict[str, Path] = {}
    faults = []
    for folder in _entries(root, part):
        if not folder.is_dir():
            continue
        inside = folder / "images"
        files = sorted(inside.iterdir()) if inside.is_dir() else []
        images = [path for path in files if path.suffix.lower() in suffixes and not path.name.startswith(".")]
        if len(images) == 1:
            named[folder.name] = images[0]
        else:
            faults.append(f"{folder.name}/images holds {len(images) or 'no'} image{'s' * (len(images) > 1)}")
    _refuse(f"{root / part}", faults, "there must be exactly one image in each; download the contest again")
    return _not_empty(root / part, named, "<id>/images/<id>.png")


def read_annotations(
    path: Path,
    id_column: str,
    rle_column: str,
    row_per: Literal["object", "image"] = "object",
    empty: str = "",
) -> dict[str, tuple[str, ...]]:
    """Read a csv of run-length codes: image id -> its codes in file order, not decoded yet.

    row_per: "object" where an image has a row for each object, "image" where it has exactly one.
    empty: the cell of an image in which nothing is marked; such an image gets no code at all.
    Raises DataError for other columns, a second row of an image where there must be one, and an empty row
    beside rows with objects.
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
    _refuse(f"{path}", faults, "take the row out")
    return {name: tuple(code for code in codes if code != empty) for name, codes in found.items()}


def ids_in(path: Path, id_column: str) -> list[str]:
    """Return the ids of a csv, each once, in the order of their first row: the order of the submission.

    Raises DataError for a csv that is missing, malformed or without this column.
    """
    return list(dict.fromkeys(row[id_column] for row in read_table(path, (id_column,))))


def read_split(
    train: Images,
    test: Images,
    annotations: Mapping[str, Sequence[str]],
    order: Sequence[str],
    *,
    look: Look | None = None,
    white: int = 65535,
) -> Split:
    """Join images, annotations and the order of the submission into samples.

    Train samples are sorted by id, test samples stand in `order`. `look` gives the stratum of an image from
    its pixels; every image is decoded for it, so it costs some ms an image. `white` is the value of a 16-bit
    image that is shown as white. Raises DataError that names every id with an annotation and no image, or the
    reverse (so too for `order` and the test images), every id in both parts, and every image that cannot be
    read.
    """
    paths = {"train": dict(train), "test": dict(test)}
    _same_ids("train image", paths["train"], "row in the annotations", annotations)
    _same_ids("test image", paths["test"], "row in the sample submission", order)
    both = sorted(paths["train"].keys() & paths["test"].keys())
    _refuse("ids in both the train and the test part", both, "an image belongs to one part")
    named = [*sorted(train), *((name, paths["test"][name]) for name in order)]
    seen = _see(named, look, white)
    samples = [
        Sample(id=name, images=(path,), size=size, stratum=stratum)
        for (name, path), (size, stratum) in zip(named, seen, strict=True)
    ]
    return Split(
        train=tuple(_annotated(sample, annotations[sample.id]) for sample in samples[: len(train)]),
        test=tuple(samples[len(train) :]),
    )


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
) -> tuple[Sample, ...]:
    """List the samples of a csv with a row an image, in the order of its rows, or in `order`.

    image: id -> its file. identity, group, stratum: the columns that say them, the identity as `annotation`; one column
    may say several; an empty group or stratum is none. meta: columns that are kept as text.
    Raises DataError that names every row whose id is empty, stands twice, or leads out of the contest's folder, and
    every empty identity; then every id that is in `order` and not in the csv, or the reverse; then every image that
    cannot be read.
    """
    columns = [id_column, *(column for column in (identity, group, stratum) if column is not None), *meta]
    rows: dict[str, dict[str, str]] = {}
    faults = []
    for number, row in enumerate(read_table(path, columns), start=2):
        name = row[id_column]
        where = f"row {number}, column {id_column}, value '{shown(name)}'"
        if name in rows:
            faults.append(f"{where}: a second row for this id")
        elif not name.strip() or not name.isprintable() or ".." in Path(name).parts or Path(name).is_absolute():
            faults.append(f"{where}: no id of an image")
        if identity is not None and not row[identity].strip():
            faults.append(f"row {number}, column {identity}: an image without an identity")
        rows[name] = row
    _refuse(f"{path}", faults, "take the row out, or download the contest again")
    if order is not None:
        _same_ids("row in the list of images", rows, "row in the sample submission", order)
    named = [(name, image(name)) for name in (rows if order is None else order)]
    return tuple(
        replace(
            sample,
            annotation=() if identity is None else (rows[sample.id][identity],),
            group=None if group is None else rows[sample.id][group] or None,
            stratum=None if stratum is None else rows[sample.id][stratum] or None,
            meta={column: rows[sample.id][column] for column in meta},
        )
        for sample in with_sizes(named)
    )


def with_sizes(named: Images) -> tuple[Sample, ...]:
    """Samples of (id, image) in their order; DataError names every image that cannot be read."""
    seen = _see(named, None, 65535)
    return tuple(Sample(name, (path,), size) for (name, path), (size, _) in zip(named, seen, strict=True))


def parted(train: Sequence[Sample], test: Sequence[Sample], gallery: Sequence[Sample] | None = None) -> Split:
    """Join the parts of a contest; DataError where one of them is empty, or an id stands in two.

    gallery: None where the training samples, or the test samples themselves, are what answers name.
    """
    for name, part in (("training part", train), ("test part", test), ("gallery", gallery)):
        if part is not None and not part:
            raise DataError(f"the {name} has no images; download the contest again")
    times = Counter(sample.id for sample in (*train, *test, *(gallery or ())))
    twice = [f"'{shown(name)}'" for name, count in times.items() if count > 1]
    _refuse("ids that stand in two parts of the contest", twice, "an image belongs to one part")
    return Split(tuple(train), tuple(test), tuple(gallery or ()))


def instances(source: Path, sample: Sample, order: Literal["column", "row"] = "column", base: int = 1) -> Instances:
    """Decode a sample's annotation, one code an object, to int32[H, W] with objects numbered in file order.

    `source` is the csv, for the error: a DataError that names the csv, the image, the object and the rule.
    """
    try:
        return Instances(decode_labels(sample.annotation, sample.size, order, base))
    except RleError as error:
        raise DataError(f"{source}: image {sample.id}: {error}") from error


def mask(source: Path, sample: Sample, order: Literal["column", "row"] = "column", base: int = 1) -> Mask:
    """Decode a sample's annotation to one binary mask uint8[H, W]; several codes of an image are joined.

    `source` is the csv, for the error. Raises DataError that names the csv, the image and the rule.
    """
    classes = np.zeros(sample.size, np.uint8)
    try:
        for code in sample.annotation:
            classes |= decode_mask(code, sample.size, order, base)
    except RleError as error:
        raise DataError(f"{source}: image {sample.id}: {error}") from error
    return Mask(classes)


def _entries(root: Path, part: str) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"no folder {root}; pass the folder of the downloaded contest with --data")
    if not (root / part).is_dir():
        raise DataError(f"no folder '{part}' in {root}; pass the folder of the downloaded contest with --data")
    return sorted(path for path in (root / part).iterdir() if not path.name.startswith("."))


def _not_empty(folder: Path, named: Mapping[str, Path], form: str) -> list[tuple[str, Path]]:
    if not named:
        raise DataError(f"no images in {folder}; expected {form}")
    return sorted(named.items())


def _refuse(where: str, faults: Sequence[str], remedy: str) -> None:
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(f"{where}: {'; '.join(faults[:SHOWN])}{more} ({remedy})")


def _same_ids(one: str, left: Iterable[str], other: str, right: Iterable[str]) -> None:
    left, right = set(left), set(right)
    faults = [f"'{name}' has a {other} but no {one}" for name in sorted(right - left)]
    faults += [f"'{name}' is a {one} without a {other}" for name in sorted(left - right)]
    _refuse("images and csv do not fit", faults, "download the contest again")


def _see(named: Images, look: Look | None, white: int) -> list[tuple[tuple[int, int], str | None]]:
    """Size and stratum of each image, by a few threads (Pillow decodes outside the interpreter's lock)."""

    def see(item: tuple[str, Path]) -> tuple[tuple[int, int], str | None] | str:
        name, path = item
        try:
            if look is None:
                return image_size(path), None
            image = read_image(path, white)
            return (image.shape[0], image.shape[1]), look(image)
        except DataError as error:
            return f"'{name}': {error}"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        seen = list(pool.map(see, named))
    bad = [fault for fault in seen if isinstance(fault, str)]
    _refuse(f"{len(bad)} of {len(named)} images cannot be read", bad, "download them again")
    return [value for value in seen if not isinstance(value, str)]


def _annotated(sample: Sample, codes: Sequence[str]) -> Sample:
    return Sample(sample.id, sample.images, sample.size, tuple(codes), sample.group, sample.stratum, sample.meta)
