"""Choose what a contest is: the best of all findings, or the one that the user names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from medalist.discovery.boxes import find_boxes
from medalist.discovery.finding import (
    KINDS,
    BoxTable,
    ClassCodes,
    ClassColumns,
    ClassFolders,
    ClassNames,
    Codes,
    Finding,
    Identities,
    Kind,
    LabelColumn,
)
from medalist.discovery.labels import find_labels
from medalist.discovery.look import Look
from medalist.discovery.mask_files import find_mask_files
from medalist.discovery.masks import as_one_mask, find_codes
from medalist.errors import ConfigError, DataError
from medalist.formats.submission import shortened

_NEAR = 0.05
"""Findings whose weights differ by less are alike."""

_WORTH = 0.6
"""Other findings of this weight are named."""

_OF_TABLES = (Codes, ClassCodes, BoxTable, LabelColumn, ClassColumns, Identities)


@dataclass(frozen=True)
class Answers:
    """What the user says in place of what would be found. Empty texts and None say nothing.

    labels: the file or folder of the truths. images: the folder of the training images.
    """

    kind: Kind | None = None
    labels: str = ""
    images: str = ""


def chosen(look: Look, answers: Answers) -> Finding:
    """Return the best finding, with the test part.

    Raises DataError where nothing is found, where the truths name images that are not there, and where two files may
    hold the labels. Raises ConfigError where an answer fits no finding.
    """
    narrowed = _narrowed(look, answers)
    found = sorted(_findings(narrowed, answers.kind), key=lambda one: -one.weight)
    if answers.labels:
        wanted = answers.labels.rstrip("/")
        named = [one for one in found if one.source == wanted or one.source.startswith(f"{wanted}/")]
        if not named:
            raise ConfigError(
                f"--labels {wanted}: no truths are found there; they are in: "
                f"{_sources(found) or 'nothing that is known'}"
            )
        found = named
    if answers.kind is not None:
        fitting = [one for one in found if one.kind == answers.kind]
        if not fitting:
            raise ConfigError(
                f"--kind {answers.kind}: nothing of this kind is found; found: "
                + (", ".join(dict.fromkeys(f"{one.kind} in {one.source}" for one in found)) or "nothing")
            )
        found = fitting
    if not found:
        raise DataError(_nothing(look))
    best = found[0]
    _refuse_two(best, found)
    _refuse_names(best)
    _refuse_lost(look, best)
    others = [one for one in found[1:] if one.source != best.source and one.weight >= _WORTH]
    doubts = [f"{one.source} may hold {KINDS[one.kind]} too: --labels {one.source}" for one in others[:3]]
    return _with_test(look, replace(best, doubts=(*best.doubts, *doubts, *look.faults[:5])))


def _narrowed(look: Look, answers: Answers) -> Look:
    if not answers.images:
        return look
    wanted = answers.images.rstrip("/")
    sets = [one for one in look.sets if one.folder == wanted]
    if not sets:
        there = ", ".join(dict.fromkeys(one.folder for one in look.sets))
        raise ConfigError(f"--images {wanted}: no such folder of images in {look.root}; there are: {there}")
    return replace(look, sets=tuple(one for one in look.sets if one.folder == wanted or one.for_test or one.of_masks))


def _findings(look: Look, kind: Kind | None) -> Iterator[Finding]:
    for one in chain(find_codes(look), find_mask_files(look), find_boxes(look), find_labels(look)):
        yield one
        if kind in (None, one.kind):
            continue
        if kind == "mask" and one.kind == "instances" and isinstance(one.truth, Codes):
            yield as_one_mask(one)
        elif {kind, one.kind} == {"label", "ordinal"} and isinstance(one.truth, LabelColumn):
            kept = tuple(line for line in one.doubts if "--kind" not in line)
            yield replace(one, kind=kind, doubts=kept)
        elif kind == "identities" and one.kind in ("label", "ordinal") and isinstance(one.truth, LabelColumn):
            truth = Identities(one.truth.file, one.truth.id_column, one.truth.column, 5)
            yield replace(one, kind=kind, truth=truth)
        elif kind == "label" and isinstance(one.truth, Identities):
            table = next(table for table in look.tables if table.file == one.truth.file)
            classes = tuple(sorted(set(table.cells(one.truth.column))))
            column = LabelColumn(one.truth.file, one.truth.id_column, one.truth.column, classes)
            yield replace(one, kind=kind, truth=column)


def _sources(found: list[Finding]) -> str:
    return ", ".join(dict.fromkeys(one.source for one in found))


def _nothing(look: Look) -> str:
    tables = ", ".join(table.file for table in look.tables[:5]) or "none"
    images = ", ".join(f"{one.folder} ({len(one.files):,})" for one in look.sets[:5])
    faults = f"; {look.faults[0]}" if look.faults else ""
    lost = next((line for one in look.training_sets for line in _unmatched(look, one.folder)), "")
    return f"{look.root}: no truths are found for the images in {images}; csv files: {tables}{lost}{faults}"


def _unmatched(look: Look, folder: str) -> Iterator[str]:
    for table in look.data_tables:
        if not any(look.match(table, one) for one in look.sets):
            cell = shortened(next(iter(table.rows[0].values()), ""))
            yield f"; no column of {table.file} names images ('{cell}' is none of {folder})"


def _refuse_two(best: Finding, found: list[Finding]) -> None:
    """Raise DataError where another table is as likely to hold the truths."""
    if not isinstance(best.truth, _OF_TABLES):
        return
    for other in found[1:]:
        alike = isinstance(other.truth, _OF_TABLES) and best.weight - other.weight < _NEAR
        if alike and other.source != best.source:
            raise DataError(
                f"two files may hold the truths: {best.source} ({KINDS[best.kind]}) and {other.source} "
                f"({KINDS[other.kind]}); type --labels {best.source} or --labels {other.source}"
            )


def _refuse_names(best: Finding) -> None:
    """Raise DataError for names of classes that no format takes."""
    for name in getattr(best.truth, "classes", ()):
        if not name or name != name.strip() or not name.isprintable():
            raise DataError(
                f"{best.source}: the class {ascii(name)[:60]} is empty, has white space at its ends, or a letter that "
                "cannot be printed; correct these cells, or name another file with --labels"
            )


def _refuse_lost(look: Look, best: Finding) -> None:
    """Raise DataError where a table names training images that are not there."""
    if not isinstance(best.truth, _OF_TABLES):
        return
    table = next(table for table in look.tables if table.file == best.truth.file)
    match = look.match(table, best.train.images)
    if match is not None and match.lost:
        lost = ", ".join(f"'{shortened(name)}'" for name in match.lost[:3])
        raise DataError(
            f"{table.file}: {match.of - match.found:,} of {match.of:,} names in '{match.column}' have no image in "
            f"{best.train.images.folder}: {lost}{' …' * (match.of - match.found > 3)}; download the contest again, or "
            "take these rows out"
        )


def _with_test(look: Look, best: Finding) -> Finding:
    asked, test = look.asked()
    doubts = list(best.doubts)
    if (
        test is not None
        and test.images is best.train.images
        and not isinstance(best.truth, LabelColumn | ClassColumns | Identities)
    ):
        raise DataError(
            f"training and test images lie in one folder, {test.images.folder}; move those of the sample submission "
            "into a folder of their own, such as test"
        )
    if test is None:
        doubts.append("no test images are there: `submit` can answer nothing until they are; see `read`")
    if asked is None:
        doubts.append("no sample submission is there, so the form of the submission is a guess: see CHOOSE in the code")
    elif asked.match is not None and asked.match.lost:
        raise DataError(
            f"{asked.table.file}: {asked.match.of - asked.match.found:,} of {asked.match.of:,} test images are not in "
            f"{test.images.folder if test else '?'}, the first is '{shortened(asked.match.lost[0])}'; download the "
            "contest again"
        )
    ending = best.train.images.ending
    if test is not None and ending and all(name.endswith(ending) for name in test.images.files):
        test = replace(test, images=test.images.ended(ending))
    truth = best.truth
    if isinstance(truth, LabelColumn | ClassFolders | ClassNames) and asked is not None:
        columns = tuple(asked.table.others(asked.id_column))
        if set(columns) == set(truth.classes):  # a submission has its columns in this order
            truth = replace(truth, classes=columns)
    return replace(best, truth=truth, test=test, asked=asked, doubts=tuple(doubts))
