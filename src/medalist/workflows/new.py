"""`medalist new`: look at a downloaded contest, and write a competition folder and a config for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from medalist.discovery.archive import folder_beside, is_archive, unpacked
from medalist.discovery.choose import Answers, chosen
from medalist.discovery.finding import KINDS, Finding
from medalist.discovery.groups import grouped, with_fields
from medalist.discovery.look import look
from medalist.discovery.pictures import Shapes
from medalist.discovery.writing import Places, places_of, write_contest
from medalist.errors import DataError
from medalist.reporter import Reporter
from medalist.runs.opening import open_contest
from medalist.workflows.check import check

DECODED = 2000
"""In its check `new` decodes all images only where there are at most so many, and at most so many masks."""


@dataclass(frozen=True)
class Proposal:
    """What `new` will write: the finding, the sizes of images, and where. data: the contest's folder."""

    name: str
    data: Path
    finding: Finding
    shapes: Shapes
    places: Places

    def rows(self) -> list[list[str]]:
        """What was found, as rows of a table: what, and the answer."""
        found, height_width = self.finding, self.shapes.middle
        sizes = len(self.shapes.sizes)
        size = f"{height_width[1]}x{height_width[0]} in the middle" + (
            f", {sizes} sizes" if sizes > 1 else ", all of them"
        )
        test = "none" if found.test is None else f"{found.test.images.folder} ({len(found.test.images.files):,})"
        return [
            ["kind", f"{found.kind}: {KINDS[found.kind]}"],
            ["training images", f"{found.train.images.folder} ({len(found.train.images.files):,}), {size}"],
            ["truths", found.source],
            ["test images", test],
            ["sample submission", "none" if found.asked is None else found.asked.table.file],
            *[["sure", line] for line in found.evidence],
            *[["not sure", line] for line in found.doubts],
        ]


def propose(name: str, data: Path, answers: Answers) -> Proposal:
    """Look at a contest and say what it probably is; nothing but an unpacked archive is written.

    data: the contest's folder, or an archive, which is unpacked into the folder beside it. Raises ConfigError for a
    name that cannot be used, and DataError for data that cannot be read or understood.
    """
    places = places_of(name)
    data = data.expanduser()
    if data.is_file() and is_archive(data.name):
        data = unpacked(data)
    elif data.is_file():
        raise DataError(f"{data}: no folder and no .zip, .tar, .tar.gz or .tgz")
    elif not data.exists() and folder_beside(data).is_dir():
        data = folder_beside(data)
    data = data.resolve()
    seen = look(data)
    finding = with_fields(seen, grouped(seen, chosen(seen, answers)))
    shapes = seen.shapes(finding.train.images)
    if not shapes.sizes:
        raise DataError(f"{data}: no training image can be read: {shapes.bad[0]}")
    return Proposal(name, data, finding, shapes, places)


def create(proposal: Proposal) -> None:
    """Write the competition folder and the config of a proposal, whole or not at all."""
    write_contest(proposal.name, proposal.data, proposal.finding, proposal.shapes, proposal.places)


def checked(proposal: Proposal, runs: Path, reporter: Reporter) -> Iterator[str]:
    """Run `check` on a contest that was created. Raises DataError, which also says that the files are there.

    A large contest is not decoded whole, and a line says so.
    """
    try:
        contest = open_contest(proposal.name, proposal.data, runs)
        split = contest.split
        many = len(split.all) > DECODED
        if many and proposal.finding.kind in ("mask", "classes", "instances"):
            some = split.train[:: max(1, -(-len(split.train) // DECODED))]
            contest = replace(contest, split=replace(split, train=some))
            yield f"{len(some):,} of {len(split.train):,} training samples are checked; `medalist check` takes all"
        yield from (line for line in check(contest, reporter, images=not many) if not (many and "data hash" in line))
    except DataError as error:
        raise DataError(
            f"{proposal.places.folder} is written, and `check` refuses it: {error}; correct it there, and type: "
            f"medalist check {proposal.name} --data {proposal.data}"
        ) from error
