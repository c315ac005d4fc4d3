"""Find what must not be split over folds: a column such as the patient, and images that show the same place."""

from __future__ import annotations

from dataclasses import replace

from medalist.codecs.images import image_size
from medalist.discovery.finding import ClassColumns, ClassFolders, ClassNames, Finding, Group, LabelColumn
from medalist.discovery.look import Look
from medalist.discovery.pictures import words_of
from medalist.discovery.tables import Table
from medalist.errors import DataError
from medalist.folds.mosaic import Fields, find_fields
from medalist.records import Sample

WORDS = frozenset(
    (
        "patient",
        "subject",
        "case",
        "study",
        "series",
        "sequence",
        "video",
        "slide",
        "session",
        "scene",
        "location",
        "farm",
        "field",
        "group",
        "animal",
        "well",
        "plate",
        "experiment",
        "block",
        "donor",
        "specimen",
        "participant",
    )
)
"""Words of columns whose values probably belong together."""

LOOKED = 240
"""The most images whose pixels are compared."""

MOST_IMAGES = 5000
"""The most images of a contest of which the folds may be made from pixels: time grows with the square of the number."""

_MOST_PIXELS = 8_000_000
_OF_LABELS = ("label", "labels", "ordinal")
_ONE_SORT = 0.25  # a larger share of images in one group are pictures of one sort, and not of one place


def grouped(look: Look, finding: Finding) -> Finding:
    """Return the finding with a column of groups, where a table has one for every training image."""
    truth = finding.truth
    if finding.kind == "identities" or isinstance(truth, ClassFolders | ClassNames):
        return finding
    own = truth.file if isinstance(truth, LabelColumn | ClassColumns) else None
    taken = (truth.column,) if isinstance(truth, LabelColumn) else ()
    for table in look.data_tables:
        if own is not None and table.file != own:
            continue
        column, id_column = _group_column(look, finding, table, taken)
        if column is not None and id_column is not None:
            many = len(set(table.cells(column)))
            line = (
                f"'{column}' of {table.file} has {many:,} values for {len(table.rows):,} images: folds keep them whole"
            )
            doubt = f"whether the test part has other values of '{column}'; if not, leave group= out"
            return replace(
                finding,
                group=Group(table.file, id_column, column),
                evidence=(*finding.evidence, line),
                doubts=(*finding.doubts, doubt),
            )
    return finding


def _group_column(look: Look, finding: Finding, table: Table, taken: tuple[str, ...]) -> tuple[str | None, str | None]:
    part = finding.train
    match = look.match(table, part.images)
    if match is None or match.joiner or (match.key, match.prefix) != (part.key, part.prefix):
        return None, None
    ids = table.cells(match.column)
    if len(set(ids)) < len(ids) or match.found < (len(part.ids) if not taken else 1):
        return None, None
    for column in table.others(match.column, *taken):
        cells = table.cells(column)
        if words_of(column) & WORDS and 5 <= len(set(cells)) <= 0.8 * len(cells) and "" not in cells:
            return column, match.column
    return None, None


def with_fields(look: Look, finding: Finding) -> Finding:
    """Return the finding with what the pixels of at most LOOKED training images say of images of one place."""
    images = list(finding.train.images.files.items())
    total = len(images) + (len(finding.test.images.files) if finding.test else 0)
    if finding.kind == "identities" or finding.group is not None:
        return finding
    if total > MOST_IMAGES:
        return _doubted(finding, f"{total:,} images are too many to compare: some may show the same place")
    some = images[:: max(1, -(-len(images) // LOOKED))]
    try:
        samples = [Sample(name, (look.root / path,), image_size(look.root / path)) for name, path in some]
        if any(sample.size[0] * sample.size[1] > _MOST_PIXELS for sample in samples):
            return finding
        found = find_fields(samples)
    except DataError:
        return finding  # `check` names the images that cannot be read
    return _told(finding, found, len(some))


def _doubted(finding: Finding, doubt: str) -> Finding:
    return replace(finding, doubts=(*finding.doubts, doubt))


def _told(finding: Finding, found: Fields, looked: int) -> Finding:
    """The finding with the fields of view that were found among `looked` images."""
    together = sum(map(len, found.shared))
    largest = max(map(len, found.shared), default=0)
    twins = sum(join.rule == "twin" for join in found.joins)
    # Borders that continue are those of tiles; photos of a contest of labels have none.
    if together < 4 or len(found.joins) < 2 or (finding.kind in _OF_LABELS and twins < 2):
        return finding
    told = f"of {looked} images that were compared, {together} show the same place as another one"
    if largest > max(4, _ONE_SORT * looked) or together > 2 * _ONE_SORT * looked:
        return _doubted(finding, f"{told}, too many for tiles or copies: folds do not look at pixels")
    first = found.joins[0]
    line = f"{told} ({first.first} and {first.second}): folds keep them together"
    return replace(finding, fields=True, evidence=(*finding.evidence, line))
