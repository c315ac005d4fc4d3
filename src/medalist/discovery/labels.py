"""Evidence of labels: a column of a csv, a 0/1 column for each class, a folder for each class, or names of files."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from medalist.discovery.asking import Ranked, ranked_names
from medalist.discovery.finding import (
    ClassColumns,
    ClassFolders,
    ClassNames,
    Finding,
    Identities,
    Kind,
    LabelColumn,
    Part,
)
from medalist.discovery.look import Look
from medalist.discovery.masks import best_set, code_empty
from medalist.discovery.pictures import ImageSet, words_of
from medalist.discovery.tables import NUMBER, Match, Table, by_number

GRADES = frozenset(
    ("diagnosis", "level", "grade", "severity", "stage", "rating", "isup", "age", "quality", "degree", "score", "kl")
)
"""Words of columns whose whole numbers are probably grades in their order."""

WHO = frozenset(("individual", "identity", "whale", "landmark", "hotel", "person", "pid", "turtle", "product", "group"))
"""Words of columns that probably name who or what is seen."""

_CALLED = (
    frozenset(
        [
            "label",
            "labels",
            "class",
            "classes",
            "target",
            "category",
            "categories",
            "species",
            "breed",
            "tags",
            "tag",
            "attribute",
            "id",
        ]
    )
    | frozenset(["type", "variety", "disease", "name", "genus", "family"])
    | GRADES
    | WHO
)
_ZERO_ONE = frozenset(("0", "1", "0.0", "1.0"))
_SEPARATORS = (" ", "|", ",", ";")
_MOST_CLASSES = 5000
_FEW = 12  # images an identity has on average at most
_NAMED = re.compile(r"([A-Za-z][A-Za-z_ -]*?)([._ -]?)[0-9]+")
_SURE, _PROBABLE, _WEAK = 0.85, 0.7, 0.5


def find_labels(look: Look) -> Iterator[Finding]:
    """Yield a finding for each table, tree of folders or way of names that gives labels."""
    for table in look.data_tables:
        best = best_set(look, table)
        if best is None or best[1].joiner:
            continue
        images, match = best
        if len(set(table.cells(match.column))) < len(table.rows):
            continue  # an image has several rows: codes or boxes
        found = _of_table(look, table, images, match)
        if found is not None:
            yield found
    for images in look.training_sets:
        found = _of_folders(images) if images.form == "tree" else _of_names(look, images)
        if found is not None:
            yield found


# ------------------------------------------------------------------------------------------------- tables


def _of_table(look: Look, table: Table, images: ImageSet, match: Match) -> Finding | None:
    part = Part(images, match.key, match.prefix)
    asked, _ = look.asked()
    wanted = asked.table.others(asked.id_column) if asked else []
    first = f"{table.file}: {match.found:,} of {match.of:,} names in '{match.column}' are images of {images.folder}"
    doubts = []
    if match.found < len(images.files):
        doubts.append(f"{len(images.files) - match.found:,} images have no row in {table.file}: they are left out")
    flags = _flags(table, match, wanted)
    if flags:
        return _of_flags(table, part, match, flags, wanted, first, doubts)
    column = _column(table, match, wanted, doubts)
    if column is None:
        return None
    cells = table.cells(column)
    separator = _separator(table.cells(column))
    if separator is not None:
        names = sorted({name for cell in cells for name in cell.split(separator) if name}, key=by_number)
        several = sum(separator in cell for cell in cells)
        counted = f"{several:,} of {len(cells):,} cells have several, parted by '{separator}'"
        line = f"'{column}' holds {len(names)} labels; {counted}"
        truth = LabelColumn(table.file, match.column, column, tuple(names), separator)
        return Finding("labels", truth, table.file, part, (first, line), _SURE, tuple(doubts))
    return _of_column(look, table, part, match, column, wanted, first, doubts)


def _flags(table: Table, match: Match, wanted: Sequence[str]) -> list[str]:
    """The columns of zeros and ones that are classes: those that the sample submission asks for, or all."""
    found = [name for name in table.others(match.column) if set(table.cells(name)) <= _ZERO_ONE]
    asked = [name for name in wanted if name in found]
    if len(asked) >= 2 and asked == list(wanted):
        return asked
    return found if len(found) >= 3 and not wanted else []


def _of_flags(
    table: Table, part: Part, match: Match, flags: list[str], wanted: Sequence[str], first: str, doubts: list[str]
) -> Finding:
    sums = Counter(sum(row[name] in ("1", "1.0") for name in flags) for row in table.rows)
    one = set(sums) == {1}
    line = f"{len(flags)} columns of 0 and 1 are classes: {', '.join(flags[:6])}" + (
        ", which the sample submission asks for" if wanted else ""
    )
    counted = "every row has exactly one 1" if one else f"rows have {min(sums)} to {max(sums)} ones"
    kind: Kind = "label" if one else "labels"
    truth = ClassColumns(table.file, match.column, tuple(flags), one)
    return Finding(kind, truth, table.file, part, (first, line, counted), _SURE, tuple(doubts))


def _column(table: Table, match: Match, wanted: Sequence[str], doubts: list[str]) -> str | None:
    """The column of the labels: the one that is asked for, or that is called so; adds a doubt where others could be."""
    able = [name for name in table.others(match.column) if _able(table, name)]
    if not able:
        return None
    exact = [name for name in wanted if name in able]
    if exact:
        return exact[0]
    called = [name for name in able if words_of(name) & _CALLED and words_of(name) != {"id"}] or [
        name for name in able if words_of(name) & _CALLED
    ]
    # The sample submission may call it otherwise: `Id,Predicted` asks for `Target`.
    ranked = sorted(called or able, key=lambda name: (not words_of(name) & (GRADES | WHO), able.index(name)))
    if len(ranked) > 1:
        others = ", ".join(f"'{name}'" for name in ranked[1:5])
        doubts.append(f"'{ranked[0]}' is taken for the labels; it may also be {others}")
    return ranked[0]


def _able(table: Table, column: str) -> bool:
    """Whether a column can hold labels: more than one value, no run-length codes, no measures, no paths."""
    cells = table.some(column)
    values = set(table.cells(column))
    if len(values) < 2 or any(len(cell) > 500 for cell in cells) or (len(values) == 2 and "" in values):
        return False
    if all("/" in cell or cell.lower().endswith((".jpg", ".png", ".jpeg", ".tif")) for cell in cells):
        return False
    numbers = [cell for cell in cells if cell]
    fractions = all(map(NUMBER.fullmatch, numbers)) and any("." in cell and not cell.endswith(".0") for cell in numbers)
    if fractions or ("" in values and not any(" " in cell for cell in cells)):
        return False
    code = code_empty(cells)
    return code is None or max(len(cell.split()) for cell in cells) <= 20


def _separator(cells: Sequence[str]) -> str | None:
    """The text between labels of one cell; None where each cell is one label.

    Names with spaces are no several labels: their words do not come in other cells too. So the labels must be fewer
    than the different cells, and most of them must be in several different cells.
    """
    different = set(cells) - {""}
    for sign in _SEPARATORS:
        parted = [cell.split(sign) for cell in different]
        if not any(len(names) > 1 for names in parted) or not all(all(names) for names in parted):
            continue
        if any(len(set(names)) < len(names) or any(name != name.strip() for name in names) for names in parted):
            continue
        times = Counter(name for names in parted for name in names)
        shared = sum(count > 1 for count in times.values())
        if len(times) < len(different) and shared >= 0.5 * len(times):
            return sign
    return None


def _of_column(
    look: Look,
    table: Table,
    part: Part,
    match: Match,
    column: str,
    wanted: Sequence[str],
    first: str,
    doubts: list[str],
) -> Finding | None:
    cells = table.cells(column)
    counts = Counter(cells)
    names = sorted(counts, key=by_number)
    words = words_of(column)
    line = f"'{column}' has {len(names):,} values for {len(cells):,} images: {', '.join(names[:6])}"
    mean = len(cells) / len(names)
    ranked = ranked_names(look, set(names)) if len(wanted) == 1 else None
    who = bool(words & WHO) and mean < 10 * _FEW
    many = len(names) > 100 and mean < _FEW and not all(map(NUMBER.fullmatch, names))
    if len(wanted) < 2 and (ranked is not None or who or many):
        return _of_identities(table, part, match, column, ranked, (first, line), doubts, mean)
    if len(names) > _MOST_CLASSES:
        return None
    if all(name.isascii() and name.isdigit() for name in names):
        grades = [int(name) for name in names]
        ordered = grades == list(range(grades[0], grades[0] + len(grades))) and grades[0] in (0, 1)
        if ordered and 3 <= len(grades) <= 20 and words & GRADES and column in (*wanted, column):
            doubts.append("grades are taken to be in order; if they are names of classes: --kind label")
            evidence = (first, line, f"'{column}' is called as grades are, and its numbers have no gap")
            truth = LabelColumn(table.file, match.column, column, tuple(names))
            return Finding("ordinal", truth, table.file, part, evidence, _PROBABLE, tuple(doubts))
        if ordered and 3 <= len(grades) <= 20:
            doubts.append("the numbers are taken for names of classes; if they are grades in order: --kind ordinal")
    named = bool(words & _CALLED) or column in wanted
    truth = LabelColumn(table.file, match.column, column, tuple(names))
    return Finding("label", truth, table.file, part, (first, line), _PROBABLE if named else _WEAK, tuple(doubts))


def _of_identities(
    table: Table,
    part: Part,
    match: Match,
    column: str,
    ranked: Ranked | None,
    evidence: tuple[str, ...],
    doubts: list[str],
    mean: float,
) -> Finding:
    line = f"an identity has {mean:.1f} images on average, too few for a class each"
    new = next((name for name in set(table.cells(column)) if name.lower().startswith("new")), None)
    doubts.append("whether test identities are all known cannot be seen here; see docs/competition.md, Identities")
    if ranked is None:
        truth = Identities(table.file, match.column, column, 5, new)
        return Finding("identities", truth, table.file, part, (*evidence, line), _SURE - 0.1, tuple(doubts))
    truth = Identities(
        table.file, match.column, column, ranked.depth, ranked.new or new, ranked.confident, ranked.samples
    )
    return Finding("identities", truth, table.file, part, (*evidence, line, ranked.told), _SURE, tuple(doubts))


# ------------------------------------------------------------------------------------------------- folders and names


def _of_folders(images: ImageSet) -> Finding | None:
    """A folder for each class: every image lies in a folder directly below that of the set."""
    start = "" if images.folder == "." else f"{images.folder}/"
    counts: defaultdict[str, int] = defaultdict(int)
    for path in images.files.values():
        parts = path.removeprefix(start).split("/")
        if len(parts) != 2:
            return None
        counts[parts[0]] += 1
    if len(counts) < 2 or len(counts) > 0.5 * len(images.files):
        return None
    names = sorted(counts)
    evidence = (f"{images.folder}/<class>/: {len(names)} folders of images: {', '.join(names[:6])}",)
    doubts = ["folders may also be groups, such as patients or videos, and no classes"] * (len(names) > 200)
    truth = ClassFolders(images.folder, tuple(names), not images.twice)
    weight = _PROBABLE if len(names) <= 200 else _WEAK
    return Finding("label", truth, f"{images.folder}/<class>", Part(images), evidence, weight, tuple(doubts))


def _of_names(look: Look, images: ImageSet) -> Finding | None:
    """The class is the word before the number of each name; only where no table names the images."""
    if any(look.match(table, images) for table in look.data_tables) or images.form != "flat":
        return None
    found = [_NAMED.fullmatch(name) for name in images.files]
    if not all(found):
        return None
    counts = Counter((one[1], one[2]) for one in found if one)
    signs = {sign for _, sign in counts}
    names = sorted(name for name, _ in counts)
    if not 2 <= len(names) <= 200 or len(signs) > 1 or signs == {""} or min(counts.values()) < 2:
        return None
    sign = signs.pop()
    evidence = (f"names in {images.folder} are <class>{sign}<number>: {', '.join(names[:6])}",)
    truth = ClassNames(images.folder, tuple(names), sign)
    return Finding("label", truth, f"{images.folder}/<class>{sign}<number>", Part(images), evidence, _WEAK, ())
