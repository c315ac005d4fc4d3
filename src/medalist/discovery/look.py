"""What is known of a contest before anything is concluded: its files, image sets, tables and sample submission."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from medalist.discovery.finding import Asked, Part
from medalist.discovery.listing import Listing, listed
from medalist.discovery.pictures import UNREADABLE, ImageSet, ObjectFiles, Shapes, image_sets, readable, shapes_of
from medalist.discovery.tables import Match, Table, best_match, read_tables
from medalist.errors import DataError

ENDINGS = (
    "_mask", "_masks", "_seg", "_segmentation", "_label", "_labels", "_gt", "_GT", "_L", "_mask1", "-mask", "_Mask",
    "_manual1", "_lab", "_annotation", "_groundtruth", "_gtFine_labelIds", "_gtFine_labelTrainIds",
)  # fmt: skip
"""What the name of a mask has behind the id of its image, where both lie in one folder."""


@dataclass(frozen=True, eq=False)
class Look:
    """A contest's files.

    sets: image sets without masks that lie among their images. masks: the masks that lie in the folder of their images,
    each with its image set and ending. faults: lines about files that cannot be used. matched: what `match` has found.
    """

    listing: Listing
    sets: tuple[ImageSet, ...]
    objects: tuple[ObjectFiles, ...]
    tables: tuple[Table, ...]
    faults: tuple[str, ...]
    among: tuple[tuple[ImageSet, ImageSet, str], ...] = ()
    matched: dict[tuple[str, int], Match | None] = field(default_factory=dict, repr=False)

    @property
    def root(self) -> Path:
        """The contest's folder."""
        return self.listing.root

    @property
    def data_tables(self) -> list[Table]:
        """The tables that are no sample submission."""
        return [table for table in self.tables if not table.for_submission]

    @property
    def training_sets(self) -> list[ImageSet]:
        """The image sets that may be the training part: those of training first, no test part and no masks."""
        sets = [one for one in self.sets if not one.for_test and not one.of_masks]
        return sorted(sets, key=lambda one: (not one.for_training, -len(one.files), one.folder))

    def shapes(self, images: ImageSet) -> Shapes:
        """What the headers of some images say."""
        return shapes_of(self.root, images.files.values())

    def match(self, table: Table, images: ImageSet) -> Match | None:
        """The column of a table that names images of a set."""
        known = (table.file, id(images))
        if known not in self.matched:
            self.matched[known] = best_match(table, images)
        return self.matched[known]

    def asked(self) -> tuple[Asked | None, Part | None]:
        """The sample submission, and the test part that it names; or the set whose place says that it is the test."""
        samples = [table for table in self.tables if table.for_submission]
        others = [one for one in self.sets if not one.of_masks]
        best: tuple[float, Asked, ImageSet] | None = None
        for table in samples:
            for images in others:
                match = self.match(table, images)
                if match is None or (images.for_training and not images.for_test):
                    continue
                rank = match.share + match.found / max(1, len(images.files)) + 0.01 * images.for_test
                if best is None or rank > best[0]:
                    best = (rank, Asked(table, match), images)
        if best is not None:
            _, asked, images = best
            assert asked.match is not None
            return asked, Part(images, asked.match.key, asked.match.prefix)
        tests = [one for one in others if one.for_test]
        part = Part(max(tests, key=lambda one: len(one.files))) if tests and not samples else None
        return (Asked(samples[0], None) if samples else None), part


def look(root: Path) -> Look:
    """List a contest's files and read its tables. Raises DataError where no image or no way to read one is there."""
    listing = listed(root)
    sets, objects = image_sets(listing)
    usable = [one for one in sets if readable(next(iter(one.files.values()))) or one.of_masks]
    if not any(not one.of_masks for one in usable):
        raise DataError(_no_images(listing))
    tables, faults = read_tables(listing)
    if listing.links:
        faults.append(f"{len(listing.links)} links are not followed, the first is {listing.links[0]}")
    counts = listing.suffixes()
    faults += [
        f"{counts[suffix]:,} {what} ({suffix}) are not read"
        for suffix, what in UNREADABLE.items()
        if counts.get(suffix, 0)
    ]
    kept, among = _masks_among(usable)
    return Look(listing, tuple(kept), tuple(objects), tuple(tables), tuple(faults), tuple(among))


def _masks_among(sets: list[ImageSet]) -> tuple[list[ImageSet], list[tuple[ImageSet, ImageSet, str]]]:
    """Part sets in which masks lie beside their images, as `<id>.tif` and `<id>_mask.tif`."""
    kept: list[ImageSet] = []
    among = []
    for one in sets:
        ending = next((e for e in ENDINGS if _halves(one, e)), None)
        if ending is None or one.form == "per_image":
            kept.append(one)
            continue
        images = one.without(ending)
        masks = {name: path for name, path in one.files.items() if name.endswith(ending)}
        kept.append(images)
        among.append((images, replace(one, files=masks, twice=()), ending))
    return kept, among


def _halves(one: ImageSet, ending: str) -> bool:
    ended = [name for name in one.files if name.endswith(ending)]
    return len(ended) > 0.2 * len(one.files) and all(name.removesuffix(ending) in one.files for name in ended)


def _no_images(listing: Listing) -> str:
    counts = listing.suffixes()
    other = {suffix: what for suffix, what in UNREADABLE.items() if counts.get(suffix)}
    archives = sorted(listing.files(".zip", ".tar", ".tgz", ".tar.gz"))
    if archives:
        return f"{listing.root}: no images there, but {archives[0]}; unpack it, or give the archive itself as --data"
    if other:
        suffix, what = max(other.items(), key=lambda item: counts[item[0]])
        return (
            f"{listing.root}: {counts[suffix]:,} {what} ({suffix}), which are not read as images; write PNG files of "
            "them, or write the competition with read_image= (docs/competition.md)"
        )
    found = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in list(counts.items())[:6])
    return f"{listing.root}: no PNG, JPEG or TIFF images there ({found}); give the folder of the unpacked contest"
