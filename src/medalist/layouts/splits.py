"""Make the samples of a contest's parts from images, annotations and the order of the submission."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.images import Orientation, image_size, read_image
from medalist.errors import ConfigError, DataError
from medalist.files import read_table
from medalist.formats.submission import shortened
from medalist.layouts.faults import refuse, same_ids
from medalist.layouts.folders import Images
from medalist.layouts.label_masks import Missing
from medalist.records import Sample, Split

StratumOf = Callable[[NDArray[np.uint8]], str]
"""A function: image uint8[H, W, 3] -> its stratum."""


def read_split(
    train: Images,
    test: Images,
    annotations: Mapping[str, Sequence[str]] | None = None,
    order: Sequence[str] | None = None,
    *,
    masks: Images | Mapping[str, Images] | None = None,
    missing: Missing = "refused",
    root: Path | None = None,
    table: Path | None = None,
    id_column: str = "id",
    group: str | None = None,
    stratum: str | None = None,
    meta: Sequence[str] = (),
    stratum_of: StratumOf | None = None,
    white: int = 65535,
    orientation: Orientation = "shown",
) -> Split:
    """Join images, truths and the order of the submission into samples.

    annotations: the run-length codes of each training image. masks: in their place, the mask file of each training
    image, or several (one for each object); or by class, where each class has a file of its own. `root`, the contest's
    folder, is then needed, and the annotation is the paths of the files inside it; by class it has one for each class,
    in the order of `masks`, and "" where there is none. missing: "background" where an image without a mask, without
    one of a class, or without a row in the annotations has nothing of it. order: the ids of the test images as the
    submission has them; None sorts them.
    table: a csv with a row for each training image, and perhaps for test images, with `id_column`. group, stratum:
    columns of it; an empty cell means none. meta: columns that are kept as text.
    Train samples are sorted by id. `stratum_of` returns the stratum of an image from its pixels, in place of a column.
    With it, every image is decoded, which takes some ms for each image. `white` is the value of a 16-bit image that is
    shown as white, and `orientation` says how EXIF orientations are read; give both as the Competition has them.
    Raises DataError, which names every id with an annotation but no image, or the reverse; every id that only `order`
    or only the test images have; every id in both parts; every training image without a row in the table; and every
    image that cannot be read. Raises ConfigError for arguments that do not go together.
    """
    _refuse_arguments(annotations, masks, root, table, group, stratum, meta, stratum_of)
    paths = {"train": dict(train), "test": dict(test)}
    if masks is not None:
        assert root is not None
        annotations = _mask_files(masks, paths["train"], root, missing)
    else:
        assert annotations is not None
        known = annotations if missing == "refused" else annotations.keys() | paths["train"].keys()
        same_ids("train image", paths["train"], "row in the annotations", known)
    order = sorted(paths["test"]) if order is None else order
    same_ids("test image", paths["test"], "row in the sample submission", order)
    both = sorted(paths["train"].keys() & paths["test"].keys())
    refuse("ids in both the train and the test part", both, "an image belongs to one part")
    columns = {} if table is None else _columns(table, id_column, (group, stratum, *meta), paths["train"])
    named = [*sorted(train), *((name, paths["test"][name]) for name in order)]
    seen = _see(named, stratum_of, white, orientation)
    samples = []
    for (name, path), (size, look) in zip(named, seen, strict=True):
        row = columns.get(name, {})
        samples.append(
            Sample(
                id=name,
                images=(path,),
                size=size,
                annotation=tuple(annotations.get(name, ())) if name in paths["train"] else (),
                group=(row.get(group) or None) if group else None,
                stratum=(row.get(stratum) or None) if stratum else look,
                meta={column: row[column] for column in meta if column in row},
            )
        )
    return Split(train=tuple(samples[: len(train)]), test=tuple(samples[len(train) :]))


def _mask_files(
    masks: Images | Mapping[str, Images], train: Collection[str], root: Path, missing: Missing
) -> dict[str, tuple[str, ...]]:
    """The paths of the mask files of each training image. DataError for masks without an image, and the reverse."""
    remedy = "download the contest again, or type missing='background' in read_split where they have nothing"
    found: dict[str, list[str]] = {name: [] for name in train}
    for kind, listed in masks.items() if isinstance(masks, Mapping) else (("", masks),):
        there = {name for name, _ in listed}
        known = there if missing == "refused" else there | set(train)
        same_ids("train image", train, f"mask of '{kind}'" if kind else "mask", known, remedy)
        for name, path in listed:
            found[name].append(_inside(path, root))
        if isinstance(masks, Mapping):
            several = sorted(name for name, count in Counter(name for name, _ in listed).items() if count > 1)
            refuse(f"several masks of '{kind}'", several, "keep one file for each image and class")
            for name in found.keys() - there:
                found[name].append("")
    return {name: tuple(files) for name, files in found.items()}


def _refuse_arguments(
    annotations: object,
    masks: object,
    root: Path | None,
    table: Path | None,
    group: str | None,
    stratum: str | None,
    meta: Sequence[str],
    stratum_of: StratumOf | None,
) -> None:
    """Raise ConfigError for arguments that do not go together: the code of a contest is the user's."""
    if (annotations is None) == (masks is None):
        raise ConfigError("read_split: give annotations= (run-length codes) or masks= (files), one of them")
    if masks is not None and root is None:
        raise ConfigError("read_split: masks= needs root=, the contest's folder, as in root=data")
    if stratum is not None and stratum_of is not None:
        raise ConfigError("read_split: give stratum= (a column) or stratum_of= (a function of the pixels), one of them")
    refuse_text(meta)
    if table is None and (group or stratum or meta):
        raise ConfigError("read_split: group=, stratum= and meta= are columns of a csv; give it as table=")


def refuse_text(meta: Sequence[str]) -> None:
    """Raise ConfigError where the columns to keep are given as one text, whose letters would be taken for columns."""
    if isinstance(meta, str):
        raise ConfigError(f"meta={meta!r}: give a list of columns, as in meta=[{meta!r}]")


def _inside(path: Path, root: Path) -> str:
    """The path inside the contest's folder, with slashes on every system."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        raise DataError(f"{path} is not inside {root}; give the contest's folder as root") from None


def _columns(
    table: Path, id_column: str, wanted: Sequence[str | None], train: Mapping[str, Path]
) -> dict[str, dict[str, str]]:
    """The row of each id in a table. DataError where a training image has none, or an id has two."""
    rows: dict[str, dict[str, str]] = {}
    faults = []
    for number, row in enumerate(read_table(table, [id_column, *(name for name in wanted if name)]), start=2):
        if row[id_column] in rows:
            faults.append(f"row {number}, column {id_column}, value '{shortened(row[id_column])}': a second row")
        rows[row[id_column]] = row
    faults += [f"no row for the training image '{shortened(name)}'" for name in train if name not in rows]
    refuse(f"{table}", faults, "keep one row for each training image")
    return rows


def with_sizes(named: Images, orientation: Orientation = "shown") -> tuple[Sample, ...]:
    """Return samples of (id, image) in their order. Raises DataError, which names the images that cannot be read."""
    seen = _see(named, None, 65535, orientation)
    return tuple(Sample(name, (path,), size) for (name, path), (size, _) in zip(named, seen, strict=True))


def parted(train: Sequence[Sample], test: Sequence[Sample], gallery: Sequence[Sample] | None = None) -> Split:
    """Return the parts of a contest as a Split. Raises DataError where a part is empty, or an id is in two parts.

    gallery: None where answers name training samples, or the test samples themselves.
    """
    for name, part in (("training part", train), ("test part", test), ("gallery", gallery)):
        if part is not None and not part:
            raise DataError(f"the {name} has no images; download the contest again")
    times = Counter(sample.id for sample in (*train, *test, *(gallery or ())))
    twice = [f"'{shortened(name)}'" for name, count in times.items() if count > 1]
    refuse("ids in two parts of the contest", twice, "an image belongs to one part")
    return Split(tuple(train), tuple(test), tuple(gallery or ()))


def _see(
    named: Images, stratum_of: StratumOf | None, white: int, orientation: Orientation
) -> list[tuple[tuple[int, int], str | None]]:
    """The size and stratum of each image. A few threads read them, because Pillow decodes without the GIL."""

    def see(item: tuple[str, Path]) -> tuple[tuple[int, int], str | None] | str:
        name, path = item
        try:
            if stratum_of is None:
                return image_size(path, orientation), None
            image = read_image(path, white, orientation)
            return (image.shape[0], image.shape[1]), stratum_of(image)
        except DataError as error:
            return f"'{name}': {error}"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        seen = list(pool.map(see, named))
    bad = [fault for fault in seen if isinstance(fault, str)]
    refuse(f"{len(bad)} of {len(named)} images cannot be read", bad)
    return [value for value in seen if not isinstance(value, str)]
