from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refusals import one_line

from medalist.contest import Contest, contest_folds, folds_path, groups_found, keep_edited_folds
from medalist.errors import FoldError, RunError
from medalist.folds.folds import Folds
from medalist.folds.settings import FoldsConfig

CONFIG = FoldsConfig(n=3, seed=5)


@pytest.fixture
def contest(untrained: Any) -> Contest:
    made: Contest = untrained.contest()
    return made


# ------------------------------------------------------------------------------------------------- folds


def test_folds_are_made_once_and_kept(contest: Contest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = contest_folds(contest, CONFIG, tmp_path)
    assert made.n == 3 and made.seed == 5
    assert set(made.fold) == {sample.id for sample in contest.split.train}
    assert folds_path(contest, CONFIG, tmp_path).parent == tmp_path / "toy_nuclei" / "folds"
    monkeypatch.setattr("medalist.contest.make_folds", None)
    monkeypatch.setattr("medalist.contest.find_groups", None)
    assert contest_folds(contest, CONFIG, tmp_path) == made


def test_every_way_to_make_folds_has_its_file(contest: Contest, tmp_path: Path) -> None:
    ways = [CONFIG, FoldsConfig(n=2, seed=5), FoldsConfig(n=3, seed=6), FoldsConfig(n=3, seed=5, grouped=False)]
    ways += [FoldsConfig(n=3, seed=5, stratified=False), FoldsConfig(n=3, seed=5, stratified=False, grouped=False)]
    fewer = Contest(contest.competition, contest.data, type(contest.split)(contest.split.train[1:], ()))
    paths = [folds_path(contest, way, tmp_path) for way in ways] + [folds_path(fewer, CONFIG, tmp_path)]
    assert len(set(paths)) == len(paths)
    shuffled = Contest(contest.competition, contest.data, type(contest.split)(contest.split.train[::-1], ()))
    assert folds_path(shuffled, CONFIG, tmp_path) == paths[0]


def test_groups_that_were_found_are_told_with_their_evidence(contest: Contest, tmp_path: Path) -> None:
    assert groups_found(contest, CONFIG, tmp_path) is None
    made = contest_folds(contest, CONFIG, tmp_path)
    found = groups_found(contest, CONFIG, tmp_path)
    assert found is not None and "groups of several" in found and "evidence: " in found
    path = folds_path(contest, CONFIG, tmp_path).with_suffix(".groups.json")
    assert str(path) in found
    group_of = json.loads(path.read_text())["group_of"]
    assert made.group == {name: group_of[name] for name in made.group}
    assert len(set(group_of.values())) < len(group_of)
    for text in ("", "[]", "{}", '{"group_of": 3, "joins": []}', '{"group_of": {}, "joins": [3]}'):
        path.write_text(text)
        assert path.name in one_line(RunError, lambda: groups_found(contest, CONFIG, tmp_path))


def test_a_stopped_look_for_groups_leaves_no_folds(
    contest: Contest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medalist.contest.write_folds", stop)
    with pytest.raises(KeyboardInterrupt):
        contest_folds(contest, CONFIG, tmp_path)
    assert list(tmp_path.rglob("*.csv")) == []
    monkeypatch.undo()


# ------------------------------------------------------------------------------------------------- a user's folds


def bring(path: Path, folds: Folds, **changes: int) -> FoldsConfig:
    rows = [[name, changes.get(name, fold)] for name, fold in folds.fold.items()]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "fold"], *rows])
    return FoldsConfig(file=path)


def test_a_users_folds_are_taken_with_their_number(contest: Contest, tmp_path: Path) -> None:
    made = contest_folds(contest, FoldsConfig(n=4, seed=1), tmp_path)
    config = bring(tmp_path / "mine.csv", made)
    assert config.n == 5  # the default, which is not used
    taken = contest_folds(contest, config, tmp_path)
    assert taken.n == 4 and taken.fold == made.fold and taken.seed is None


def test_a_users_folds_may_not_split_what_the_pixels_join(contest: Contest, tmp_path: Path) -> None:
    made = contest_folds(contest, CONFIG, tmp_path)
    groups: dict[str, list[str]] = {}
    for name, group in made.group.items():
        groups.setdefault(group, []).append(name)
    one = next(names[0] for group, names in sorted(groups.items()) if group and len(names) > 1)
    config = bring(tmp_path / "mine.csv", made, **{one: (made.fold[one] + 1) % 3})
    message = one_line(FoldError, lambda: contest_folds(contest, config, tmp_path))
    assert "is split" in message and "set folds.grouped to false" in message
    allowed = config.model_copy(update={"grouped": False})
    assert contest_folds(contest, allowed, tmp_path).fold[one] == (made.fold[one] + 1) % 3


def test_a_users_folds_must_hold_every_sample(contest: Contest, tmp_path: Path) -> None:
    made = contest_folds(contest, CONFIG, tmp_path)
    config = bring(tmp_path / "mine.csv", made)
    lines = (tmp_path / "mine.csv").read_text().splitlines()
    (tmp_path / "mine.csv").write_text("\n".join(lines[:-1]))
    assert "in no fold" in one_line(FoldError, lambda: contest_folds(contest, config, tmp_path))
    (tmp_path / "mine.csv").write_text("\n".join([*lines, "x,0"]))
    assert "'x' is in the folds but not in the contest" in one_line(
        FoldError, lambda: contest_folds(contest, config, tmp_path)
    )
    (tmp_path / "mine.csv").unlink()
    assert "no folds file" in one_line(FoldError, lambda: contest_folds(contest, config, tmp_path))


# ------------------------------------------------------------------------------------------------- changed by hand


def test_folds_changed_by_hand_are_kept_when_it_is_said(contest: Contest, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"grouped": False})
    made = contest_folds(contest, config, tmp_path)
    path = folds_path(contest, config, tmp_path)
    one = contest.split.train[0].id
    text = path.read_text().replace(f"{one},{made.fold[one]},", f"{one},{(made.fold[one] + 1) % 3},")
    path.write_text(text)
    assert "--rehash" in one_line(FoldError, lambda: contest_folds(contest, config, tmp_path))
    keep_edited_folds(contest, config, tmp_path)
    kept = contest_folds(contest, config, tmp_path)
    assert kept.fold == {**made.fold, one: (made.fold[one] + 1) % 3}
    assert kept.hash != made.hash


def test_a_group_split_by_hand_is_refused_though_it_is_said(contest: Contest, tmp_path: Path) -> None:
    made = contest_folds(contest, CONFIG, tmp_path)
    path = folds_path(contest, CONFIG, tmp_path)
    grouped = [name for name in made.group if list(made.group.values()).count(made.group[name]) > 1]
    one = grouped[0]
    path.write_text(path.read_text().replace(f"{one},{made.fold[one]},", f"{one},{(made.fold[one] + 1) % 3},"))
    keep_edited_folds(contest, CONFIG, tmp_path)
    assert "is split" in one_line(FoldError, lambda: contest_folds(contest, CONFIG, tmp_path))


def test_there_must_be_a_hash_to_renew(contest: Contest, tmp_path: Path) -> None:
    assert "no folds file" in one_line(FoldError, lambda: keep_edited_folds(contest, CONFIG, tmp_path))
    missing = FoldsConfig(file=tmp_path / "no.csv")
    assert "no folds file" in one_line(FoldError, lambda: keep_edited_folds(contest, missing, tmp_path))
    config = bring(tmp_path / "mine.csv", contest_folds(contest, CONFIG, tmp_path))
    before = (tmp_path / "mine.csv").read_bytes()
    assert "a table of your own" in one_line(FoldError, lambda: keep_edited_folds(contest, config, tmp_path))
    assert (tmp_path / "mine.csv").read_bytes() == before


# ------------------------------------------------------------------------------------------------- sample submission


def test_a_contest_may_have_no_sample_submission(contest: Contest) -> None:
    assert contest.reference == contest.data / "sample_submission.csv"
    without = replace(contest, competition=replace(contest.competition, sample_submission=None))
    assert without.reference is None


# ------------------------------------------------------------------------------------------------- questions


def test_each_sample_is_asked_and_is_perfect_by_its_own_truth(contest: Contest, tmp_path: Path) -> None:
    folds, asks = contest_folds(contest, CONFIG, tmp_path), contest.evaluation
    for chosen in ([0], [2, 0], []):
        ids = {name for fold in chosen for name in folds.held_out(fold)}
        assert asks.fold_truths(contest, folds, chosen).keys() == ids
    perfect = asks.perfect(contest)
    assert list(perfect.answers) == [sample.id for sample in contest.split.train]
    assert contest.competition.score(perfect.truths, perfect.answers).value == 1
    assert perfect.form is asks.format_of_test(contest) is contest.competition.submission


def test_a_contest_of_identities_asks_queries_of_a_gallery(whales: Any) -> None:
    from medalist.retrieval import contests

    assert whales.contest().evaluation is contests
