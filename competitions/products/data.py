"""Read the data set as it is shipped: two lists of photos with their products, and a folder for each kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medalist import layouts
from medalist.errors import DataError
from medalist.files import write_text
from medalist.metrics.retrieval import recall_at
from medalist.reading import TABLE_BYTES, read_text
from medalist.records import Ranking, Score, Split

COLUMNS = "image_id class_id super_class_id path"
CUTS = (1, 10, 100, 1000)


class Line(NamedTuple):
    """One line of a list; `kind` is the folder of the photo, such as bicycle_final."""

    image: str
    product: str
    kind: str
    path: Path


def read(root: Path) -> Split:
    """Read the samples under `root`: ids are image ids, group is the product, stratum and `meta["kind"]` its kind.

    The test part is both queries and gallery. Raises DataError that names the list, the row and the photo.
    """
    trained, asked = list(_lines(root, "train")), list(_lines(root, "test"))
    both = {line.product for line in trained} & {line.product for line in asked}
    if both:
        raise DataError(f"{root / 'Ebay_test.txt'}: product {min(both)} is trained on too; download the lists again")
    samples = layouts.with_sizes([(line.image, line.path) for line in (*trained, *asked)])
    told = [replace(sample, meta={"kind": line.kind}) for sample, line in zip(samples, (*trained, *asked), strict=True)]
    train = [
        replace(sample, annotation=(line.product,), group=line.product, stratum=line.kind)
        for sample, line in zip(told, trained, strict=False)
    ]
    split = layouts.parted(train, told[len(train) :])
    return replace(split, gallery=split.test)


def recall(truths: Mapping[str, Ranking], answers: Mapping[str, Ranking]) -> Score:
    """Return Recall@1, with Recall@1, 10, 100, 1000 as parts: the share of queries with a right answer in the top k."""
    scores = {cut: recall_at(cut)(truths, answers) for cut in CUTS}
    return Score(scores[1].value, {f"recall@{cut}": scores[cut].value for cut in CUTS}, scores[1].by_sample)


def published_truth(root: Path) -> dict[str, Ranking]:
    """Return the right answers of each test photo, from the test list. Do not use them for training or for choices."""
    members: defaultdict[str, list[str]] = defaultdict(list)
    for line in _lines(root, "test"):
        members[line.product].append(line.image)
    return {name: Ranking(tuple(n for n in names if n != name)) for names in members.values() for name in names}


def write_sample_submission(root: Path) -> None:
    """Write `sample_submission.csv`, which the data set does not have: each test photo is answered by the next one."""
    ids = [line.image for line in _lines(root, "test")]
    rows = [f"{name},{other}\n" for name, other in zip(ids, [*ids[1:], ids[0]], strict=True)]
    write_text(root / "sample_submission.csv", "".join(["id,gallery_ids\n", *rows]))


def _lines(root: Path, part: str) -> Iterator[Line]:
    """Return the lines of a list. Each line is checked before it is returned; raises DataError that names its row."""
    path = root / f"Ebay_{part}.txt"
    try:
        lines = read_text(path, TABLE_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); pass the data set's folder with --data") from error
    if not lines or lines[0].split() != COLUMNS.split():
        raise DataError(f"{path}, row 1: expected '{COLUMNS}'")
    seen: dict[str, int] = {}
    for number, text in enumerate(lines[1:], start=2):
        cells = text.split()
        parts = cells[3].split("/") if len(cells) == 4 else []
        if len(parts) != 2 or {"", ".", ".."} & set(parts) or not all(cell.isdecimal() for cell in cells[:3]):
            raise DataError(f"{path}, row {number}: '{text[:80]}' is not three numbers and folder/photo.JPG")
        if cells[0] in seen:
            raise DataError(f"{path}, row {number}: image_id {cells[0]} is already in row {seen[cells[0]]}")
        seen[cells[0]] = number
        yield Line(cells[0], cells[1], parts[0], root / cells[3])
