"""Folds: balance, stability, and what is refused."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medalist.errors import FoldError
from medalist.folds.folds import (
    Folds,
    check_folds,
    make_folds,
    read_folds,
    read_folds_table,
    rehash,
    summary,
    write_folds,
)
from medalist.folds.settings import FoldsConfig
from medalist.records import Sample


def sample(name: str, group: str | None = None, stratum: str | None = None) -> Sample:
    return Sample(name, (Path(f"{name}.png"),), (8, 8), group=group, stratum=stratum)


def spread(counts: list[int]) -> int:
    return max(counts) - min(counts)


def made(n: int = 3, seed: int = 7) -> Folds:
    return make_folds([sample(f"s{i}", f"g{i // 2}", "ab"[i % 2]) for i in range(20)], FoldsConfig(n=n, seed=seed))


def test_plain_folds_differ_by_one_at_most() -> None:
    folds = make_folds([sample(f"s{i}") for i in range(23)], FoldsConfig(n=5, seed=1))
    assert sorted(len(folds.held_out(k)) for k in range(5)) == [4, 4, 5, 5, 5]
    assert folds.seed == 1


def test_stratified_folds_hold_equal_shares_of_each_stratum_even_of_a_tiny_one() -> None:
    samples = [sample(f"s{i}", stratum="rare" if i < 3 else "common" if i < 50 else "other") for i in range(80)]
    rows = summary(make_folds(samples, FoldsConfig(n=5, seed=0)))
    for stratum in ("rare", "common", "other"):
        assert spread([row.strata[stratum] for row in rows]) <= 1
    assert spread([row.samples for row in rows]) <= 1
    assert sum(row.samples for row in rows) == 80


def test_without_stratified_the_strata_are_not_recorded() -> None:
    folds = make_folds([sample(f"s{i}", stratum="x") for i in range(6)], FoldsConfig(n=2, stratified=False))
    assert set(folds.stratum.values()) == {""}


def test_large_groups_are_spread_with_their_strata() -> None:
    draw = random.Random(3)
    samples = []
    for g in range(60):
        stratum = "abc"[draw.choices(range(3), (8, 3, 1))[0]]
        samples += [sample(f"{g}-{i}", f"g{g}", stratum) for i in range(draw.choice((1, 1, 2, 4, 16)))]
    folds = make_folds(samples, FoldsConfig(n=4, seed=0))
    check_folds(folds, samples)
    rows = summary(folds)
    total = Counter(s.stratum for s in samples)
    assert all(abs(row.samples - len(samples) / 4) <= 0.12 * len(samples) / 4 for row in rows)
    assert all(abs(row.strata["a"] - total["a"] / 4) <= 0.12 * total["a"] / 4 for row in rows)
    assert sum(row.groups for row in rows) == 60


def test_groups_given_replace_the_samples_own() -> None:
    samples = [sample(f"s{i}", f"own{i}") for i in range(8)]
    folds = make_folds(samples, FoldsConfig(n=2), {"s0": "field", "s7": "field", "s3": "field"})
    assert folds.fold["s0"] == folds.fold["s7"] == folds.fold["s3"]
    assert folds.group == {f"s{i}": "field" if i in (0, 3, 7) else "" for i in range(8)}
    check_folds(folds, samples, {"s0": "field", "s7": "field"})


def test_a_lone_sample_is_not_in_the_group_that_has_its_name() -> None:
    samples = [sample("a"), sample("b", "a"), sample("c", "a")]
    folds = make_folds(samples, FoldsConfig(n=2))
    assert folds.fold["b"] == folds.fold["c"] != folds.fold["a"]
    assert [row.groups for row in summary(folds)] == [1, 1]


def test_grouped_false_splits_groups_and_says_so_only_where_asked() -> None:
    samples = [sample(f"s{i}", "one") for i in range(6)]
    folds = make_folds(samples, FoldsConfig(n=3, grouped=False))
    assert [len(folds.held_out(k)) for k in range(3)] == [2, 2, 2]
    check_folds(folds, samples, grouped=False)
    with pytest.raises(FoldError, match="group 'one' is split"):
        check_folds(folds, samples)


@given(
    rows=st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(["", "x", "y", "z"])), min_size=4),
    n=st.integers(2, 5),
    seed=st.integers(-5, 5),
    stratified=st.booleans(),
    grouped=st.booleans(),
    shuffle=st.randoms(use_true_random=False),
)
def test_any_samples_disjoint_complete_group_safe_and_stable(
    rows: list[tuple[str, str]], n: int, seed: int, stratified: bool, grouped: bool, shuffle: random.Random
) -> None:
    samples = [sample(f"s{i}", group if group != "a" else None, s) for i, (group, s) in enumerate(rows)]
    config = FoldsConfig(n=n, seed=seed, stratified=stratified, grouped=grouped)
    units = len({s.group or (s.id,) for s in samples}) if grouped else len(samples)
    if units < n:
        with pytest.raises(FoldError, match=f"form only {units}"):
            make_folds(samples, config)
        return
    folds = make_folds(samples, config)
    other = list(samples)
    shuffle.shuffle(other)
    again = make_folds(other, config)
    assert again == folds and again.hash == folds.hash
    check_folds(folds, samples, grouped=grouped)
    for k in range(n):
        held, training = set(folds.held_out(k)), set(folds.training(k))
        assert held and training and not held & training and held | training == {s.id for s in samples}
    if not grouped and stratified:
        for stratum in {s.stratum for s in samples}:
            assert spread([row.strata[stratum or ""] for row in summary(folds)]) <= 1


def test_the_seed_and_only_the_content_change_the_hash() -> None:
    assert made(seed=1).fold != made(seed=2).fold
    assert made(seed=1).hash != made(seed=2).hash
    folds = made()
    turned = Folds(dict(reversed(folds.fold.items())), folds.group, folds.stratum, folds.n, folds.seed)
    assert turned.hash == folds.hash
    moved = Folds({**folds.fold, "s0": (folds.fold["s0"] + 1) % 3}, folds.group, folds.stratum, folds.n, folds.seed)
    assert moved.hash != folds.hash


def test_the_folds_are_the_same_on_every_machine() -> None:
    """A change here makes every user's runs foreign to his folds: say so in the changelog."""
    folds = make_folds([sample(f"s{i}", stratum="ab"[i % 2]) for i in range(8)], FoldsConfig(n=2, seed=2018))
    assert folds.held_out(0) == HELD_OUT


HELD_OUT = ("s1", "s2", "s3", "s4")


@pytest.mark.parametrize("k", [-1, 3, 7])
def test_a_missing_fold_is_an_error(k: int) -> None:
    folds = made()
    for ask in (folds.held_out, folds.training):
        with pytest.raises(FoldError, match=re.escape(f"fold {k} does not exist; runs have folds 0..2")):
            ask(k)


def test_a_missing_sample_is_an_error() -> None:
    assert made().fold_of("s3") in range(3)
    with pytest.raises(FoldError, match="'s99' is in no fold"):
        made().fold_of("s99")


def test_repeated_ids_are_refused() -> None:
    with pytest.raises(FoldError, match="sample 'x' is more than once"):
        make_folds([sample("x"), sample("x"), sample("y")], FoldsConfig(n=2))


@pytest.mark.parametrize("bad", [{"n": 1}, {"n": 2.5}, {"seeds": 3}, {"seed": "x"}])
def test_bad_configs_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FoldsConfig.model_validate(bad)


AWKWARD = ["#a", 'b"', "c,d", "é", " e ", "f\ng", "# sha256=0 n=2 seed=1", "0"]


def test_round_trip_with_awkward_ids(tmp_path: Path) -> None:
    folds = make_folds([sample(name, stratum=f"{name}/s") for name in AWKWARD], FoldsConfig(n=3, seed=-4))
    path = tmp_path / "new" / "folds.csv"
    write_folds(path, folds)
    assert read_folds(path) == folds == read_folds_table(path)
    assert path.read_text(encoding="utf-8").startswith(f"# sha256={folds.hash} n=3 seed=-4\nid,fold,group,stratum\n")
    assert [p.name for p in path.parent.iterdir()] == ["folds.csv"]


def test_pandas_reads_the_file(tmp_path: Path) -> None:
    folds = made()
    write_folds(tmp_path / "folds.csv", folds)
    table = pd.read_csv(tmp_path / "folds.csv", skiprows=1)
    assert dict(zip(table["id"], table["fold"], strict=True)) == folds.fold
    assert list(table.columns) == ["id", "fold", "group", "stratum"]


def test_a_file_saved_by_a_spreadsheet_is_still_read(tmp_path: Path) -> None:
    folds = made()
    path = tmp_path / "folds.csv"
    write_folds(path, folds)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_folds(path) == folds


def edited(change: Callable[[str], str], path: Path) -> Path:
    write_folds(path, made())
    path.write_text(change(path.read_text()))
    return path


def move_s0(text: str) -> str:
    old = made().fold["s0"]
    return text.replace(f"\ns0,{old},", f"\ns0,{(old + 1) % 3},")


def test_an_edited_file_is_refused_until_it_is_rehashed(tmp_path: Path) -> None:
    path = edited(move_s0, tmp_path / "folds.csv")
    with pytest.raises(FoldError, match=r"was changed after.*delete the file.*medalist folds CONFIG --rehash"):
        read_folds(path)
    folds = rehash(path)
    assert read_folds(path) == folds
    assert folds.fold["s0"] != made().fold["s0"] and folds.seed == 7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.replace("n=3", "n=4"), "samples in each of the folds 0..3; it has the folds: 0, 1, 2"),
        (lambda t: t.replace("seed=7", "seed=8"), "was changed after"),
        (lambda t: t.replace("# sha", "#sha"), "line 1 must be"),
        (lambda t: t.partition("\n")[2], "line 1 must be"),
        (lambda t: "", "line 1 must be"),
        (lambda t: t.partition("\n")[0], "must hold id and fold"),
        (lambda t: t.replace("id,fold,group", "id,part,group"), "must hold id and fold"),
        (lambda t: t.replace("id,fold,group", "id,fold,fold"), "each column once"),
        (lambda t: t + "s0,1,,\n", "line 23, column id: 's0' is there twice"),
        (lambda t: t + ",1,,\n", "line 23, column id: it is empty"),
        (lambda t: t + "new,1\n", "line 23: 2 cells where the header has 4"),
        (lambda t: t + "new,1.0,,\n", "column fold: '1.0' must be a whole number"),
        (lambda t: t + "new,-1,,\n", "column fold: '-1'"),
        (lambda t: t + "new,²,,\n", "column fold: '²'"),
        (lambda t: t + "new,99999999999999999999,,\n", "column fold"),
        (lambda t: t + "new,9,,\n", "samples in each of the folds 0..2; it has the folds: 0, 1, 2, 9"),
        (lambda t: t + '"new,1,,\n', "line 23: not a csv row"),
        (lambda t: t + "\n", "line 23: 0 cells"),
    ],
)
def test_malformed_files_are_refused(change: Callable[[str], str], says: str, tmp_path: Path) -> None:
    path = edited(change, tmp_path / "folds.csv")
    with pytest.raises(FoldError) as caught:
        read_folds(path)
    assert says in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FoldError, match="no folds file"):
        read_folds(tmp_path / "folds.csv")
    with pytest.raises(FoldError, match="cannot be read"):
        read_folds(tmp_path)
    (tmp_path / "folds.csv").write_bytes(b"id,fold\n\xff\xfe,0\n")
    with pytest.raises(FoldError, match="UTF-8"):
        read_folds_table(tmp_path / "folds.csv")


def test_a_table_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("fold,id,note\n1,a,x\n0,b,y\n1,c,z\n")
    folds = read_folds_table(path)
    assert (folds.n, folds.seed, folds.held_out(1), folds.training(1)) == (2, None, ("a", "c"), ("b",))
    write_folds(tmp_path / "folds.csv", folds)
    assert read_folds(tmp_path / "folds.csv") == folds
    path.write_text("id,fold\na,0\nb,2\n")
    with pytest.raises(FoldError, match=r"each of the folds 0\.\.2; it has the folds: 0, 2"):
        read_folds_table(path)
    path.write_text("id,fold\na,0\n")
    with pytest.raises(FoldError, match=r"0\.\.1; it has the folds: 0"):
        read_folds_table(path)


def test_check_folds_names_ids_that_differ() -> None:
    samples = [sample(f"s{i}") for i in range(9)]
    folds = make_folds(samples, FoldsConfig(n=3))
    check_folds(folds, samples)
    more = [*samples, *(sample(f"t{i}") for i in range(7))]
    with pytest.raises(FoldError, match=r"samples 't0', 't1', 't2', 't3', 't4' and 2 more are in no fold") as e:
        check_folds(folds, more)
    assert "\n" not in str(e.value)
    with pytest.raises(FoldError, match=r"sample 's4' is in the folds but not in the contest"):
        check_folds(folds, [s for s in samples if s.id != "s4"])
