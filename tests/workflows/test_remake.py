"""Folds that were made for an earlier state of a contest are named, and made again on request."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refusals import one_line

from medalist.contest import LOOKED_AT, Contest, contest_folds, folds_path, groups_found, strata_changed
from medalist.errors import FoldError
from medalist.folds.mosaic import field_groups
from medalist.folds.settings import FoldsConfig
from medalist.records import Split
from medalist.workflows.remake import remake_folds

CONFIG = FoldsConfig(n=2, seed=1)


@pytest.fixture
def contest(toy: Any, own_data: Path) -> Contest:
    made: Contest = replace(toy, data=own_data).contest()
    return made


def with_groups(contest: Contest, groups: dict[str, str]) -> Contest:
    """The contest after it has declared groups."""
    train = tuple(replace(sample, group=groups.get(sample.id)) for sample in contest.split.train)
    return replace(contest, split=Split(train, contest.split.test))


def pair_of_two_folds(contest: Contest, root: Path) -> tuple[str, str]:
    folds = contest_folds(contest, CONFIG, root)
    sizes = Counter(folds.group.values())
    alone = [name for name in sorted(folds.fold) if not folds.group[name] or sizes[folds.group[name]] == 1]
    first = alone[0]
    return first, next(name for name in alone if folds.fold[name] != folds.fold[first])


def test_old_folds_under_declared_groups_name_their_file(contest: Contest, tmp_path: Path) -> None:
    root = tmp_path / "new"
    plain = replace(contest, competition=replace(contest.competition, groups=None))
    one, other = pair_of_two_folds(plain, root)
    grouped = with_groups(plain, {one: "field", other: "field"})
    path = folds_path(grouped, CONFIG, root)
    message = one_line(FoldError, lambda: contest_folds(grouped, CONFIG, root))
    assert message.startswith("group 'field' is split: ") and f"{path}, which was made on " in message
    assert "medalist folds CONFIG --remake" in message and "grouped" not in message  # that would invite a leak
    folds = remake_folds(grouped, CONFIG, root)
    assert folds.fold[one] == folds.fold[other] and contest_folds(grouped, CONFIG, root) == folds


def test_folds_from_before_the_contest_looked_for_groups_are_looked_through(contest: Contest, tmp_path: Path) -> None:
    root = tmp_path / "new"
    plain = replace(contest, competition=replace(contest.competition, groups=None))
    shared = contest_folds(contest, CONFIG, tmp_path / "grouped").group
    one, other = next((a, b) for a in shared for b in shared if a < b and shared[a] == shared[b])
    path = folds_path(plain, CONFIG, root)
    contest_folds(plain, CONFIG, root)
    text = path.read_text()
    assert not path.with_suffix(LOOKED_AT).exists()
    split = contest_folds(plain, CONFIG, root).fold
    if split[one] != split[other]:
        message = one_line(FoldError, lambda: contest_folds(contest, CONFIG, root))
        assert "is split" in message and str(path) in message
    assert path.read_text() == text
    assert remake_folds(contest, CONFIG, root).group == shared


def test_twins_that_came_later_are_found(contest: Contest, tmp_path: Path) -> None:
    """The same ids with other pixels: two train images became one picture, and a test image a train image."""
    root = tmp_path / "new"
    one, other = pair_of_two_folds(contest, root)
    before = groups_found(contest, CONFIG, root)
    samples = {sample.id: sample for sample in contest.split.train}
    test = contest.split.test[0].images[0]
    shutil.copy(samples[one].images[0], samples[other].images[0])
    shutil.copy(samples[one].images[0], test)
    message = one_line(FoldError, lambda: contest_folds(contest, CONFIG, root))
    assert "is split" in message and str(folds_path(contest, CONFIG, root)) in message and "--remake" in message
    folds = remake_folds(contest, CONFIG, root)
    assert folds.fold[one] == folds.fold[other] and folds.group[one] == folds.group[other]
    after = groups_found(contest, CONFIG, root)
    assert after != before and "1 of 6 test images share a group with a training image" in str(after)


def test_a_changed_test_image_renews_what_is_said_of_leaks(contest: Contest, tmp_path: Path) -> None:
    root = tmp_path / "new"
    contest_folds(contest, CONFIG, root)
    assert "0 of 6 test images share" in str(groups_found(contest, CONFIG, root))
    shutil.copy(contest.split.train[0].images[0], contest.split.test[0].images[0])
    contest_folds(contest, CONFIG, root)
    assert "1 of 6 test images share" in str(groups_found(contest, CONFIG, root))


def test_unchanged_images_are_not_looked_at_again(
    contest: Contest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = contest_folds(contest, CONFIG, tmp_path / "new")
    monkeypatch.setattr("medalist.contest.find_groups", None)
    assert contest_folds(contest, CONFIG, tmp_path / "new") == folds


def test_another_rule_looks_again(contest: Contest, tmp_path: Path) -> None:
    calls: list[int] = []

    def other_rule(samples: Any) -> Any:
        calls.append(len(samples))
        return field_groups(samples)

    contest_folds(contest, CONFIG, tmp_path / "new")
    changed = replace(contest, competition=replace(contest.competition, groups=other_rule))
    contest_folds(changed, CONFIG, tmp_path / "new")
    contest_folds(changed, CONFIG, tmp_path / "new")
    assert len(calls) == 1


def test_folds_that_runs_use_are_not_made_again(toy: Any, tmp_path: Path, medalist: Callable[..., Any]) -> None:
    words = ("--runs", toy.runs, "folds", toy.config, "--data", toy.data)
    path = folds_path(toy.contest(), CONFIG, toy.runs)
    text = path.read_text()
    ended = medalist(*words, "--remake")
    assert ended.code == 2 and f"{path} is used by toy_nuclei/tiny; delete these runs first" in ended.line
    path.write_text(text.replace(",0,", ",1,", 1))  # edited, and still that of the run
    assert "is used by toy_nuclei/tiny" in medalist(*words, "--remake").line
    assert medalist(*words, "--remake", "--rehash").code == 2
    path.write_text(text)
    shutil.rmtree(toy.run.folder)
    ended = medalist(*words, "--remake")
    assert ended.code == 0 and path.read_text() == text, ended
    own = tmp_path / "mine.csv"
    own.write_text(text)
    ended = medalist(*words, "--remake", f"folds.file={own}")
    assert ended.code == 2 and "is a table of your own" in ended.line


def test_strata_that_changed_are_said(contest: Contest, tmp_path: Path) -> None:
    folds = contest_folds(contest, CONFIG, tmp_path / "new")
    assert not strata_changed(contest, CONFIG, folds)
    train = tuple(replace(sample, stratum="x") for sample in contest.split.train)
    other = replace(contest, split=Split(train, contest.split.test))
    assert strata_changed(other, CONFIG, contest_folds(other, CONFIG, tmp_path / "new"))
