"""A contest as commands use it: the competition with its samples, how it is evaluated, and its folds."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medalist.competition import Competition, find_groups
from medalist.contents import CACHE, hash_bytes, hash_files
from medalist.errors import FoldError, RunError
from medalist.files import read_json, sha256_json, write_json
from medalist.folds.folds import Folds, check_folds, make_folds, read_folds, read_folds_table, rehash, write_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.box_words import sized
from medalist.reading import TABLE_BYTES, read_bytes
from medalist.records import Answer, Grouping, Sample, Split

if TYPE_CHECKING:
    from medalist.formats.submission import AnyFormat


LOOKED_AT = ".images.json"
"""The suffix of the file beside the folds that says in which images groups were looked for."""


@dataclass(frozen=True)
class Contest:
    """A competition with its data.

    data: the data folder.
    """

    competition: Competition
    data: Path
    split: Split

    def truth(self, sample: Sample) -> Answer:
        """Return the truth of a training sample. Raises DataError as `Competition.checked_truth` does."""
        return self.competition.checked_truth(self.data, sample)

    def truths(self, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Return the truths of training samples, by sample id."""
        return {sample.id: self.truth(sample) for sample in samples}

    @property
    def reference(self) -> Path | None:
        """The contest's own sample submission; None where it has none."""
        name = self.competition.sample_submission
        return None if name is None else self.data / name

    @property
    def evaluation(self) -> Evaluation:
        """How the contest is evaluated: sample by sample, or by queries of a gallery."""
        if self.competition.retrieval is not None:
            from medalist.retrieval import contests  # imported here: only contests of identities need that room

            return contests
        return _BySample()


class Evaluation(Protocol):
    """What a contest asks in a fold and in the test part."""

    def fold_truths(self, contest: Contest, folds: Folds, chosen: Sequence[int]) -> dict[str, Answer]:
        """Return the truths on which these folds are scored, by the id of the sample or query."""
        ...

    def perfect(self, contest: Contest) -> Perfect:
        """Return truths and perfect answers for the training part, which `medalist check` scores."""
        ...

    def format_of_test(self, contest: Contest) -> AnyFormat:
        """Return the format of the test part, which knows the names that may be answered there."""
        ...


@dataclass(frozen=True, eq=False)
class Perfect:
    """Truths with perfect answers, as `medalist check` uses them.

    form: the format of the answers. lines: what was found while the answers were made, for the user to read.
    called: the name of the answers in the output. test_line: what the output says of the test part.
    """

    truths: Mapping[str, Answer]
    answers: Mapping[str, Answer]
    form: AnyFormat
    lines: Sequence[str] = ()
    called: str = "perfect answers"
    test_line: str = "valid"


@dataclass(frozen=True)
class _BySample:
    """The evaluation of a contest in which each sample has its own truth and its own answer."""

    def fold_truths(self, contest: Contest, folds: Folds, chosen: Sequence[int]) -> dict[str, Answer]:
        held_out = {name for fold in chosen for name in folds.held_out(fold)}
        return contest.truths([sample for sample in contest.split.train if sample.id in held_out])

    def perfect(self, contest: Contest) -> Perfect:
        truths = contest.truths(contest.split.train)
        return Perfect(truths, truths, sized(contest.competition.submission, contest.split.train))

    def format_of_test(self, contest: Contest) -> AnyFormat:
        return sized(contest.competition.submission, contest.split.test)


def folds_path(contest: Contest, config: FoldsConfig, root: Path) -> Path:
    """Return the file in which these folds of this contest are kept; the file name says how the folds were made."""
    kinds = f"{'g' if config.grouped else ''}{'s' if config.stratified else ''}"
    ids = sha256_json([sample.id for sample in sorted(contest.split.train, key=lambda sample: sample.id)])[:8]
    return root / contest.competition.name / "folds" / f"n{config.n}-seed{config.seed}-{kinds or 'plain'}-{ids}.csv"


def contest_folds(contest: Contest, config: FoldsConfig, root: Path) -> Folds:
    """Return the folds: those of the user's file, else those that were made before, else new folds, which are written.

    Where the contest looks for groups in the images, the images of folds that were made before are hashed, and groups
    are looked for again where images or the rule have changed since. Raises FoldError where the folds do not fit the
    samples, or split a group of today; it names the file, and how to make it again.
    """
    if config.file is not None:
        folds = read_folds_table(config.file)
        # The user's table may split a group that is only visible in the pixels.
        found = find_groups(contest.competition, contest.split) if config.grouped else None
        check_folds(folds, contest.split.train, found.group_of if found else None, grouped=config.grouped)
        return folds
    path = folds_path(contest, config, root)
    if path.exists():
        folds = read_folds(path)
        _check_again(contest, config, root, path, folds)
        return folds
    found = find_groups(contest.competition, contest.split) if config.grouped else None
    folds = make_folds(contest.split.train, config, found.group_of if found else None)
    if found:
        _write_groups(path, found, _looked_at(contest, root))
    write_folds(path, folds)
    return folds


def _check_again(contest: Contest, config: FoldsConfig, root: Path, path: Path, folds: Folds) -> None:
    """Raise FoldError where folds that were made before do not fit the contest of today."""
    made = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d")
    old = (
        f"{path}, which was made on {made} and kept since, does not fit the samples and groups that the contest has "
        "now; make it again: medalist folds CONFIG --remake (refused while runs use it; another folds.seed makes a new "
        "file)"
    )
    check_folds(folds, contest.split.train, grouped=config.grouped, remedy=old)
    if config.grouped and contest.competition.groups is not None:
        now, known = _looked_at(contest, root), path.with_suffix(LOOKED_AT)
        if not known.exists() or read_json(known, FoldError) != now:
            found = find_groups(contest.competition, contest.split)
            assert found is not None
            check_folds(folds, contest.split.train, found.group_of, remedy=old)
            _write_groups(path, found, now)


def _write_groups(path: Path, found: Grouping, looked_at: Mapping[str, Any]) -> None:
    write_json(path.with_suffix(".groups.json"), asdict(found))
    write_json(path.with_suffix(LOOKED_AT), dict(looked_at))


def _looked_at(contest: Contest, root: Path) -> dict[str, Any]:
    """Return the hashes of what groups are found by: the images of the train and test part, and the rule's own text."""
    samples = [*contest.split.train, *contest.split.test]
    seen = hash_files([str(path) for sample in samples for path in sample.images], _cache(contest, root))
    images = {sample.id: [seen[str(path)] for path in sample.images] for sample in samples}
    try:
        rule = hash_bytes(inspect.getsource(contest.competition.groups).encode())  # type: ignore[arg-type]
    except (TypeError, OSError):  # no plain function, such as a partial
        rule = ""
    return {"format": 1, "images": sha256_json(images), "rule": rule}


def _cache(contest: Contest, root: Path) -> Path:
    return root / contest.competition.name / CACHE


def strata_changed(contest: Contest, config: FoldsConfig, folds: Folds) -> bool:
    """Return whether the folds are balanced over other strata than the samples have now, which makes them uneven only.

    False for folds of the user's own table.
    """
    if config.file is not None or not config.stratified:
        return False
    return any(folds.stratum[sample.id] != (sample.stratum or "") for sample in contest.split.train)


def keep_edited_folds(contest: Contest, config: FoldsConfig, root: Path) -> None:
    """Renew the hash of a folds file that was changed by hand, so that it is accepted from now on.

    Raises FoldError where the file is missing, or is the user's own table, which has no hash.
    """
    if config.file is not None and not config.file.is_file():
        raise FoldError(f"no folds file {config.file}; correct the path in folds.file")
    if config.file is not None and not read_bytes(config.file, TABLE_BYTES).startswith(b"# sha256="):
        raise FoldError(f"{config.file} is a table of your own, without a hash: there is nothing to renew")
    rehash(config.file or folds_path(contest, config, root))


def groups_found(contest: Contest, config: FoldsConfig, root: Path) -> str | None:
    """Say in one line which groups were found in the images when the folds were made.

    Returns None where the folds are the user's file, or the contest does not look for groups. Raises RunError where the
    file of groups is damaged.
    """
    path = folds_path(contest, config, root).with_suffix(".groups.json")
    if config.file is not None or not path.exists():
        return None
    found = read_json(path)
    try:
        group_of: dict[str, str] = dict(found["group_of"])
        reasons = Counter(str(why).split(" ")[0] for _, _, why in found["joins"])
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{path} is damaged; delete it and the folds beside it to look for groups again") from None
    sizes = Counter(group_of.values())
    shared = [name for name, group in group_of.items() if sizes[group] > 1]
    trained = {group_of.get(sample.id) for sample in contest.split.train} - {None}
    leaking = sum(group_of.get(sample.id) in trained for sample in contest.split.test)
    return (
        f"groups found in the images: {len(shared)} images in {sum(size > 1 for size in sizes.values())} groups of "
        f"several, joined by {', '.join(f'{name} {count}' for name, count in sorted(reasons.items()))}; {leaking} of "
        f"{len(contest.split.test)} test images share a group with a training image; evidence: {path}"
    )
