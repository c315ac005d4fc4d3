"""Make the samples of a contest's parts from images, annotations and the order of the submission."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.images import image_size, read_image
from medalist.errors import DataError
from medalist.formats.submission import shortened
from medalist.layouts.faults import refuse, same_ids
from medalist.layouts.folders import Images
from medalist.records import Sample, Split

StratumOf = Callable[[NDArray[np.uint8]], str]
"""A function: image uint8[H, W, 3] -> its stratum."""


def read_split(
    train: Images,
    test: Images,
    annotations: Mapping[str, Sequence[str]],
    order: Sequence[str],
    *,
    stratum_of: StratumOf | None = None,
    white: int = 65535,
) -> Split:
    """Join images, annotations and the order of the submission into samples.

    Train samples are sorted by id; test samples are in the order of `order`. `stratum_of` returns the stratum of an
    image from its pixels. With it, every image is decoded, which takes some ms for each image. `white` is the value of
    a 16-bit image that is shown as white. Raises DataError, which names every id with an annotation but no image, or
    the reverse; every id that only `order` or only the test images have; every id in both parts; and every image that
    cannot be read.
    """
    paths = {"train": dict(train), "test": dict(test)}
    same_ids("train image", paths["train"], "row in the annotations", annotations)
    same_ids("test image", paths["test"], "row in the sample submission", order)
    both = sorted(paths["train"].keys() & paths["test"].keys())
    refuse("ids in both the train and the test part", both, "an image belongs to one part")
    named = [*sorted(train), *((name, paths["test"][name]) for name in order)]
    seen = _see(named, stratum_of, white)
    samples = [
        Sample(id=name, images=(path,), size=size, stratum=stratum)
        for (name, path), (size, stratum) in zip(named, seen, strict=True)
    ]
    return Split(
        train=tuple(_annotated(sample, annotations[sample.id]) for sample in samples[: len(train)]),
        test=tuple(samples[len(train) :]),
    )


def with_sizes(named: Images) -> tuple[Sample, ...]:
    """Return samples of (id, image) in their order. Raises DataError, which names the images that cannot be read."""
    seen = _see(named, None, 65535)
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


def _see(named: Images, stratum_of: StratumOf | None, white: int) -> list[tuple[tuple[int, int], str | None]]:
    """The size and stratum of each image. A few threads read them, because Pillow decodes without the GIL."""

    def see(item: tuple[str, Path]) -> tuple[tuple[int, int], str | None] | str:
        name, path = item
        try:
            if stratum_of is None:
                return image_size(path), None
            image = read_image(path, white)
            return (image.shape[0], image.shape[1]), stratum_of(image)
        except DataError as error:
            return f"'{name}': {error}"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        seen = list(pool.map(see, named))
    bad = [fault for fault in seen if isinstance(fault, str)]
    refuse(f"{len(bad)} of {len(named)} images cannot be read", bad, "download them again")
    return [value for value in seen if not isinstance(value, str)]


def _annotated(sample: Sample, codes: Sequence[str]) -> Sample:
    return Sample(sample.id, sample.images, sample.size, tuple(codes), sample.group, sample.stratum, sample.meta)
