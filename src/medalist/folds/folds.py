"""Folds: which sample is held out in which fold. They are made once, are the same on every machine, and have a hash.

One greedy assignment makes plain, grouped and stratified folds, and folds that are both: it takes the largest groups
first, and puts each group into the fold where the balance of strata and sizes suffers least. It is our own code,
because the splitters of scikit-learn depend on the order of rows and on NumPy's random stream, and warn about strata
smaller than `n`. Ties are decided by a hash of (seed, group), so the order of rows, the platform and the versions of
libraries cannot change the folds.

The file is a csv with the columns id, fold, group, stratum below one line `# sha256=… n=5 seed=2018`
(`pandas.read_csv(path, skiprows=1)`). An empty group or stratum means none.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medalist.errors import FoldError
from medalist.files import reason, sha256_json, written
from medalist.folds.settings import FoldsConfig
from medalist.reading import TABLE_BYTES, read_bytes
from medalist.records import Sample

_COLUMNS = ("id", "fold", "group", "stratum")
_MARK = re.compile(r"# sha256=([0-9a-f]{64}) n=([0-9]{1,6}) seed=(-?[0-9]{1,20}|none)")
_NAMED = 5  # the most ids that an error names


@dataclass(frozen=True)
class Folds:
    """The fold (0..n-1), group and stratum of each sample id; the three mappings have the same keys.

    An empty group or stratum means none. `seed` is None for folds of a user's own table.
    """

    fold: Mapping[str, int]
    group: Mapping[str, str]
    stratum: Mapping[str, str]
    n: int
    seed: int | None

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of n, the seed and all rows in the order of their ids."""
        rows = [[name, self.fold[name], self.group[name], self.stratum[name]] for name in sorted(self.fold)]
        return sha256_json({"n": self.n, "seed": self.seed, "rows": rows})

    def fold_of(self, name: str) -> int:
        """Return the fold in which the sample of this id is held out; FoldError where it is in no fold."""
        if name not in self.fold:
            raise FoldError(f"sample '{name}' is in no fold; make the folds again (delete the folds file)")
        return self.fold[name]

    def held_out(self, k: int) -> tuple[str, ...]:
        """Return the sorted ids that are held out in fold k; FoldError where there is no fold k."""
        self._check(k)
        return tuple(sorted(name for name, fold in self.fold.items() if fold == k))

    def training(self, k: int) -> tuple[str, ...]:
        """Return the sorted ids that the network of fold k is trained on; FoldError where there is no fold k."""
        self._check(k)
        return tuple(sorted(name for name, fold in self.fold.items() if fold != k))

    def _check(self, k: int) -> None:
        if not 0 <= k < self.n:
            raise FoldError(f"fold {k} does not exist; runs have folds 0..{self.n - 1}")


@dataclass(frozen=True)
class FoldSummary:
    """The contents of one fold: the number of its samples, of its groups, and of its samples by stratum.

    A sample without a group counts as one group.
    """

    fold: int
    samples: int
    groups: int
    strata: Mapping[str, int]


def make_folds(samples: Sequence[Sample], config: FoldsConfig, groups: Mapping[str, str] | None = None) -> Folds:
    """Assign the samples to `config.n` folds. The result does not depend on the order of the samples.

    groups: group by id, which replaces the samples' own groups; each id that is not in it is its own group.
    Raises FoldError for repeated ids, and for fewer groups than folds. Strata may be smaller than n.
    """
    _unique(sample.id for sample in samples)
    group = {s.id: (_group(s, groups) if config.grouped else "") for s in samples}
    stratum = {s.id: (s.stratum or "" if config.stratified else "") for s in samples}
    members: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in sorted(group):  # the key has two parts, because the id of a lone sample may be the name of a group
        members[("group", group[name]) if group[name] else ("sample", name)].append(name)
    if len(members) < config.n:
        raise FoldError(
            f"{config.n} folds need {config.n} groups, but {len(samples)} samples form only {len(members)}; "
            f"set folds.n to {len(members)} or less, or folds.grouped to false"
        )
    fold = _deal(members, stratum, config)
    return Folds(fold, group, stratum, config.n, config.seed)


def _deal(
    members: Mapping[tuple[str, str], Sequence[str]], stratum: Mapping[str, str], config: FoldsConfig
) -> dict[str, int]:
    """Assign whole groups, the largest first, each to the fold where the balance suffers least."""
    totals = Counter(stratum.values())
    held = [Counter[str]() for _ in range(config.n)]
    sizes = [0] * config.n
    fold: dict[str, int] = {}
    order = [
        (-len(names), sorted(stratum[name] for name in names), _draw(config.seed, key), key)
        for key, names in members.items()
    ]
    for _, strata, _, key in sorted(order):  # lone samples come last, sorted by stratum, so fold sizes differ by one
        brought = Counter(strata)
        # The harm is the growth of sum(held**2) / total, summed over the strata and over the sizes, which count as one
        # more stratum. Terms that are the same for each fold are left out. An empty fold always has the least harm. A
        # rare stratum has the same weight as a common one.
        harm = [
            sum(held[k][name] * count / totals[name] for name, count in brought.items())
            + sizes[k] * len(strata) / len(stratum)
            for k in range(config.n)
        ]
        best = min(range(config.n), key=lambda k: (round(harm[k], 12), _draw(config.seed, (*key, str(k)))))
        held[best] += brought
        sizes[best] += len(strata)
        fold.update(dict.fromkeys(members[key], best))
    return fold


def _draw(seed: int, key: tuple[str, ...]) -> str:
    """Return a pseudo-random text for a seed and a key. It needs no random stream, so the order of calls is free."""
    return hashlib.sha256(repr((seed, key)).encode("utf-8", "surrogatepass")).hexdigest()


def write_folds(path: Path, folds: Folds) -> None:
    """Write the folds as csv, sorted by id, below a line with their hash."""
    seed = "none" if folds.seed is None else folds.seed
    with written(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# sha256={folds.hash} n={folds.n} seed={seed}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for name in sorted(folds.fold):
            writer.writerow([name, folds.fold[name], folds.group[name], folds.stratum[name]])


def read_folds(path: Path) -> Folds:
    """Read folds that `write_folds` wrote. Raises FoldError where the file is malformed or was edited by hand."""
    text = _text(path)
    mark = _MARK.fullmatch(text.partition("\n")[0].rstrip("\r"))
    if mark is None:
        raise FoldError(
            f"{path}: line 1 must be '# sha256=… n=… seed=…'; for a table of your own, set folds.file to its path"
        )
    folds = _parse(path, text, mark)
    if folds.hash != mark[1]:
        raise FoldError(
            f"{path} was changed after it was made: its content has the hash {folds.hash[:12]}, line 1 has "
            f"{mark[1][:12]}; delete the file, or keep the change with 'medalist folds CONFIG --rehash'"
        )
    return folds


def hashes_of(path: Path) -> set[str]:
    """Return the hashes that runs of a folds file may have: that of its first line, and that of its rows.

    They differ where the file was edited. Rows that cannot be read have none.
    """
    text = _text(path)
    mark = _MARK.fullmatch(text.partition("\n")[0].rstrip("\r"))
    found = set() if mark is None else {mark[1]}
    with suppress(FoldError):
        found.add(_parse(path, text, mark, grow=True).hash)
    return found


def rehash(path: Path) -> Folds:
    """Accept a folds file that was changed by hand: read it, write its present hash into it, and return the folds.

    The number of folds may have grown. Runs that were made with the old hash no longer match the file.
    """
    text = _text(path)
    folds = _parse(path, text, _MARK.fullmatch(text.partition("\n")[0].rstrip("\r")), grow=True)
    write_folds(path, folds)
    return folds


def read_folds_table(path: Path) -> Folds:
    """Read a user's own csv with the columns id and fold, and optional columns group and stratum.

    A file that `write_folds` wrote is read by `read_folds`, which checks its hash. Raises FoldError as `read_folds`
    does.
    """
    text = _text(path)
    return read_folds(path) if text.startswith("# sha256=") else _parse(path, text, None)


def check_folds(
    folds: Folds,
    samples: Sequence[Sample],
    groups: Mapping[str, str] | None = None,
    grouped: bool = True,
    remedy: str | None = None,
) -> None:
    """Raise FoldError where folds and samples differ in their ids, or (with `grouped`) where a group is split.

    The groups are those in the folds, and those of `groups`, or of the samples where `groups` is None. remedy: the end
    of each message; by default it is what helps with a table of the user's own.
    """
    _unique(sample.id for sample in samples)
    ids = {sample.id for sample in samples}
    same = remedy or "make the folds again (delete the folds file) or correct the table"
    if missing := ids - folds.fold.keys():
        raise FoldError(f"{_names(missing)} in no fold; {same}")
    if extra := folds.fold.keys() - ids:
        raise FoldError(f"{_names(extra)} in the folds but not in the contest; {same}")
    if not grouped:
        return
    for group_of in (folds.group, {sample.id: _group(sample, groups) for sample in samples}):
        first: dict[str, str] = {}
        for name in sorted(folds.fold):
            other = first.setdefault(group_of[name], name)
            if group_of[name] and folds.fold[name] != folds.fold[other]:
                raise FoldError(
                    f"group '{group_of[name]}' is split: '{other}' is in fold {folds.fold[other]}, "
                    f"'{name}' in fold {folds.fold[name]}; "
                    f"{remedy or 'put them together, or set folds.grouped to false'}"
                )


def summary(folds: Folds) -> list[FoldSummary]:
    """Return a summary of each fold, in their order; `strata` of each has all strata as keys."""
    strata = sorted(set(folds.stratum.values()))
    table = []
    for k in range(folds.n):
        names = folds.held_out(k)
        count = Counter(folds.stratum[name] for name in names)
        groups = {("group", folds.group[name]) if folds.group[name] else ("sample", name) for name in names}
        table.append(FoldSummary(k, len(names), len(groups), {name: count[name] for name in strata}))
    return table


def _group(sample: Sample, groups: Mapping[str, str] | None) -> str:
    return (sample.group if groups is None else groups.get(sample.id)) or ""


def _unique(names: Iterable[str]) -> None:
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise FoldError(f"{_names(repeated)} more than once among the samples; ids must be unique")


def _names(names: Iterable[str]) -> str:
    ordered = sorted(names)
    shown = ", ".join(f"'{name}'" for name in ordered[:_NAMED])
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return f"sample{'s' if len(ordered) > 1 else ''} {shown}{more} {'are' if len(ordered) > 1 else 'is'}"


def _text(path: Path) -> str:
    try:
        return read_bytes(path, TABLE_BYTES).decode("utf-8-sig")  # spreadsheets write a byte order mark first
    except FileNotFoundError:
        raise FoldError(f"no folds file {path}; make it with 'medalist folds CONFIG'") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FoldError(f"{path} cannot be read as a UTF-8 csv: {reason(error)}") from None


def _parse(path: Path, text: str, mark: re.Match[str] | None, grow: bool = False) -> Folds:
    """Parse and check the rows. n and seed are those of `mark`; with `grow`, or without a mark, the rows decide n."""
    rows = _rows(path, text)
    fold = {row["id"]: int(row["fold"]) for row in rows}
    found = set(fold.values())
    n = int(mark[2]) if mark is not None and not grow else max(found, default=-1) + 1
    if n < 2 or len(found) != n or max(found) != n - 1:
        some = ", ".join(map(str, sorted(found)[:10])) or "none"
        raise FoldError(
            f"{path} must have samples in each of the folds 0..{max(n, 2) - 1}; "
            f"it has the folds: {some}{', …' if len(found) > 10 else ''}"
        )
    seed = None if mark is None or mark[3] == "none" else int(mark[3])
    group, stratum = ({row["id"]: row.get(column, "") for row in rows} for column in ("group", "stratum"))
    return Folds(fold, group, stratum, n, seed)


def _rows(path: Path, text: str) -> list[dict[str, str]]:
    """Read rows as dicts by column name. FoldError unless rows are complete, ids unique, and folds whole numbers."""
    above = 1 if text.startswith("# sha256=") else 0
    reader = csv.reader(io.StringIO(text.partition("\n")[2] if above else text, newline=""), strict=True)
    rows: dict[str, dict[str, str]] = {}
    try:
        header = next(reader, [])
        if len(set(header)) != len(header) or not {"id", "fold"} <= set(header):
            raise FoldError(f"{path}: the header '{','.join(header)[:80]}' must hold id and fold, and each column once")
        for cells in reader:
            where = f"{path}, line {reader.line_num + above}"
            if len(cells) != len(header):
                raise FoldError(f"{where}: {len(cells)} cells where the header has {len(header)}")
            row = dict(zip(header, cells, strict=True))
            if not row["id"]:
                raise FoldError(f"{where}, column id: it is empty")
            if row["id"] in rows:
                raise FoldError(f"{where}, column id: '{row['id']}' is there twice; keep one of the rows")
            if re.fullmatch(r"[0-9]{1,6}", row["fold"]) is None:
                raise FoldError(f"{where}, column fold: '{row['fold'][:40]}' must be a whole number 0, 1, 2, …")
            rows[row["id"]] = row
    except csv.Error as error:
        raise FoldError(f"{path}, line {reader.line_num + above}: not a csv row: {error}") from None
    return list(rows.values())
