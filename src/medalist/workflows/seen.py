"""Decode all images of a contest once, and note what is worth a word: dark 16-bit values, other pages, near copies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from medalist.codecs.disk import bands
from medalist.codecs.headers import MOST_PIXELS
from medalist.codecs.images import Decoded, decode_image
from medalist.codecs.windows import open_picture
from medalist.competition import Competition
from medalist.contest import Contest
from medalist.errors import DataError
from medalist.folds.mosaic import Floats, near_copies, thumbnail
from medalist.records import Sample
from medalist.reporter import Reporter

THREADS = 2
COMPARED = 2000
"""Images whose thumbnails are compared, spread evenly over all: the time grows with the square of their number."""
_DEPTHS = (255, 1023, 4095, 16383)  # the largest values of 8, 10, 12 and 14 bits
_NAMED = 3


@dataclass(eq=False)
class Seen:
    """What was noted of the images.

    bad: a line for each image that cannot be read. brightest: the largest value of images with 16 bits, and how many
    these are. pages: ids of images with more pages than the one that is read. turned: the EXIF orientation 2..8 of
    images that have one, by id. thumbnails: of the compared images.
    """

    bad: list[str] = field(default_factory=list)
    brightest: int = 0
    deep: int = 0
    pages: list[str] = field(default_factory=list)
    turned: dict[str, int] = field(default_factory=dict)
    thumbnails: dict[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Look:
    """What was noted of the images of one sample."""

    fault: str = ""
    brightest: int | None = None
    pages: bool = False
    turn: int = 1
    thumbnail: Floats | None = None


def see_images(contest: Contest, reporter: Reporter) -> Seen:
    """Decode every image of a contest, and check its size."""
    samples = contest.split.all
    seen = Seen()
    compared: set[str] = set()
    if _no_groups(contest):
        compared = {sample.id for sample in samples[:: max(1, -(-len(samples) // COMPARED))]}

    def look(sample: Sample) -> _Look:
        return _look(contest.competition, sample, sample.id in compared)

    with reporter.progress("decoding images", len(samples)) as bar, ThreadPoolExecutor(THREADS) as pool:
        for sample, found in zip(samples, pool.map(look, samples), strict=True):
            bar.advance()
            if found.fault:
                seen.bad.append(f"sample {sample.id}: {found.fault}")
            if found.brightest is not None:
                seen.brightest, seen.deep = max(seen.brightest, found.brightest), seen.deep + 1
            if found.pages:
                seen.pages.append(sample.id)
            if found.turn != 1:
                seen.turned[sample.id] = found.turn
            if found.thumbnail is not None:
                seen.thumbnails[sample.id] = found.thumbnail
    return seen


def _look(competition: Competition, sample: Sample, compared: bool) -> _Look:
    try:
        if competition.read_image is None and sample.size[0] * sample.size[1] > MOST_PIXELS:
            return _look_by_windows(competition, sample)
        images = _decoded(competition, sample)
    except DataError as error:
        return _Look(str(error))
    for path, image in zip(sample.images, images, strict=competition.read_image is None):
        if image.pixels.shape[:2] != sample.size:
            return _of_another_size(path, image.pixels.shape[:2], sample)
    values = [image.brightest for image in images if image.brightest is not None]
    return _Look(
        brightest=max(values) if values else None,
        pages=any(image.more_pages for image in images),
        turn=images[0].turn if images else 1,
        thumbnail=thumbnail(images[0].pixels) if compared and images else None,
    )


def _look_by_windows(competition: Competition, sample: Sample) -> _Look:
    """Decode the images of a sample that are too large to be read whole, some rows at a time."""
    for path in sample.images:
        with tempfile.TemporaryDirectory() as folder:
            picture = open_picture(path, Path(folder), competition.white, competition.orientation)
            if picture.size != sample.size:
                return _of_another_size(path, picture.size, sample)
            for rows in bands(picture.size):
                picture.window(rows, slice(0, picture.size[1]))
    return _Look()


def _of_another_size(path: Path, size: tuple[int, ...], sample: Sample) -> _Look:
    return _Look(
        f"{path} is {size}, but its size was given as {sample.size} (height, width); if they are exchanged, give "
        "`read` and the Competition the same orientation"
    )


def _decoded(competition: Competition, sample: Sample) -> list[Decoded]:
    if competition.read_image is not None:  # it makes one image of all files
        return [Decoded(competition.image(sample.images[0]), None, False, 1)]
    return [decode_image(path, competition.white, competition.orientation) for path in sample.images]


def implausible_images(contest: Contest, seen: Seen) -> Iterator[str]:
    """Yield a line for each thing about the images that a user should know before training."""
    white = contest.competition.white
    depth = next((one for one in _DEPTHS if seen.brightest <= one), None)
    if seen.deep and depth is not None and white >= 4 * depth:
        shown = (seen.brightest * 255 + white // 2) // white
        yield (
            f"the brightest value of {seen.deep} images with 16 bits is {seen.brightest} of 65535, and white = "
            f"{white}, so they are read nearly black, with {shown} of 255 as the largest value; if they hold "
            f"{depth.bit_length()} bits, type white={depth} in the Competition"
        )
    if seen.pages:
        yield (
            f"{len(seen.pages)} images have several pages, of which only the first full one is read: "
            f"{_some(seen.pages)}; if another is wanted, save it as a file of its own"
        )
    yield from _copies_line(contest, seen)


def _no_groups(contest: Contest) -> bool:
    """Whether nothing keeps near copies in one fold. Contests of identities expect pictures that are alike."""
    competition = contest.competition
    grouped = competition.groups is not None or any(sample.group for sample in contest.split.train)
    return not grouped and competition.retrieval is None


def _copies_line(contest: Contest, seen: Seen) -> Iterator[str]:
    if len(seen.thumbnails) < 2:
        return
    names = list(seen.thumbnails)
    joins = near_copies(names, list(seen.thumbnails.values()))
    train = {sample.id for sample in contest.split.train}
    inside = [join for join in joins if join.first in train and join.second in train]
    across = [join for join in joins if (join.first in train) != (join.second in train)]
    if not inside and not across:
        return
    first = (inside or across)[0]
    yield (
        f"{len(inside)} pairs of training images are near copies of each other, and {len(across)} pairs join training "
        f"and test images (thumbnails of {len(names)} images; for example {first.first} and {first.second}, "
        f"correlation {first.correlation:.3f}), and the contest declares no groups: folds put copies apart, and the "
        "OOF score is then too good; give `read` a group, or the Competition groups=field_groups"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
