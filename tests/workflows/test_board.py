from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from medalist.files import read_json, write_json
from medalist.runs.runs import Run
from medalist.workflows.board import COLUMNS, board_rows

SCORES: dict[str, Any] = {"decide": {}, "by_sample": {}}
COST = '{"train_seconds": 1.5, "oof_seconds": 2, "host_bytes": 1, "device_bytes": 0, "processes": 1}'


def entry(toy: Any, name: str, overrides: tuple[str, ...] = (), value: float | None = None, age: int = 0) -> Run:
    """A run beside `tiny` with these overrides, `age` seconds younger, with a score where there is a value."""
    folder = toy.runs / "toy_nuclei" / name
    if not folder.exists():
        shutil.copytree(toy.run.folder, folder, ignore=shutil.ignore_patterns("oof", "test", "*.safetensors"))
    text = (folder / "config.yaml").read_text()
    changes = {
        "lr": ("lr: 0.001", "lr: 0.1"),
        "seed": ("seed: 2018", "seed: 7"),
        "x": ("tracking: none", "tracking: wandb"),
    }
    for override in overrides:
        old, new = changes[override]
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "config.yaml").write_text(text)
    lock = read_json(folder / "lock.json")
    write_json(folder / "lock.json", {**lock, "overrides": list(overrides)})
    moment = 1_700_000_000 + age
    os.utime(folder / "lock.json", (moment, moment))
    if value is not None:
        oof = {"value": value, "folds": {"0": value}, "folds_of": 2, "parts": {}, "standard_error": None}
        write_json(folder / "scores.json", {"oof": oof, **SCORES})
    return Run(folder)


def rows_of(toy: Any, competition: str | None = None) -> dict[str, dict[str, str]]:
    rows = board_rows(toy.runs, competition)
    assert all(len(row) == len(COLUMNS) for row in rows)
    return {row[0].removeprefix("toy_nuclei/"): dict(zip(COLUMNS, row, strict=True)) for row in rows}


def test_no_runs_no_rows(tmp_path: Path) -> None:
    assert board_rows(tmp_path) == []


def test_the_best_score_stands_first_and_runs_without_one_last(toy: Any) -> None:
    entry(toy, "tiny", age=0)
    for name, value in (("bad", 0.1), ("good", 0.9), ("middle", 0.5)):
        entry(toy, name, value=value)
    assert list(rows_of(toy)) == ["good", "middle", "bad", "tiny"]
    good = rows_of(toy)["good"]
    assert good["OOF"].startswith("0.9000 (tries.json gone") and good["folds"].startswith("1/2;")
    assert rows_of(toy)["tiny"]["OOF"] == "" and rows_of(toy)["tiny"]["folds"] == "2 trained"
    assert rows_of(toy, "other") == {}


def test_the_parent_has_fewer_of_the_same_changes(toy: Any) -> None:
    entry(toy, "tiny", age=5)  # younger than its children: they are ideas on it all the same
    entry(toy, "one", ("lr",), age=1)
    entry(toy, "two", ("lr", "seed", "x"), age=0)
    rows = rows_of(toy)
    assert (rows["one"]["against"], rows["one"]["changed"]) == ("tiny", "train.lr 0.001 → 0.1")
    assert (rows["two"]["against"], rows["two"]["changed"]) == ("one", "seed 2018 → 7")  # how it is tracked is no idea


def test_else_the_parent_is_the_most_alike_of_the_older_ones(toy: Any) -> None:
    entry(toy, "tiny", age=0)
    for name, overrides, age in (("near", ("lr",), 1), ("far", ("seed", "lr"), 2), ("later", ("lr", "seed"), 9)):
        made = entry(toy, name, overrides, age=age)
        lock = read_json(made.folder / "lock.json")
        write_json(made.folder / "lock.json", {**lock, "config_file": f"{name}.yaml", "overrides": []})
        os.utime(made.folder / "lock.json", (1_700_000_000 + age,) * 2)
    rows = rows_of(toy)
    assert [rows[name]["against"] for name in ("tiny", "near", "far", "later")] == ["", "tiny", "near", "far"]
    assert rows["later"]["changed"] == ""


def test_a_long_change_stands_on_the_board(toy: Any) -> None:
    """The name of a run has only a few words of its change, so the board must show the change."""
    entry(toy, "tiny", age=0)
    made = entry(toy, "other", age=1)
    config = made.folder / "config.yaml"
    text = config.read_text()
    assert "augment:\n" in text
    config.write_text(text.replace("augment:\n", "augment:\n" + "- D4: {p: 0.5}\n" * 9))
    told = rows_of(toy)["other"]["changed"]
    assert told.startswith("augment → [{D4: {p: 0.5}}, {D4: {p: 0.5}}") and told.endswith("… (medalist diff shows it)")


def test_the_change_of_a_run_without_a_parent_stands_on_the_board(toy: Any) -> None:
    lock = read_json(toy.run.folder / "lock.json")
    write_json(toy.run.folder / "lock.json", {**lock, "overrides": ["augment=[{D4: {}}]", "seed=3"]})
    assert rows_of(toy)["tiny"]["changed"] == "augment=[{D4: {}}], seed=3"


def test_a_fold_that_trains_now_stands_on_the_board(toy: Any) -> None:
    """Without it a training of hours is told as "0 trained", like a run that never began."""
    fold = toy.run.fold_folder(1)
    (fold / "last.safetensors").unlink()
    (fold / "progress.json").write_text('{"done": 3, "total": 9, "left_seconds": 61.0, "title": "x"}')
    told = rows_of(toy)["tiny"]["folds"]
    assert re.fullmatch(r"1 trained; fold 1 after epoch 1, 1:01 left \(0:[0-9]{2} ago\)", told), told


def test_two_runs_of_one_moment_are_not_each_others_parents(toy: Any) -> None:
    entry(toy, "tiny", age=0)
    entry(toy, "a", age=0)
    rows = rows_of(toy)
    assert sorted([rows["a"]["against"], rows["tiny"]["against"]]) == ["", "a"]


def test_the_cost_is_that_of_the_trained_folds(toy: Any) -> None:
    for fold in (0, 1):
        (toy.run.fold_folder(fold) / "cost.json").unlink(missing_ok=True)  # as in runs of older versions
        path = toy.run.fold_folder(fold) / "metrics.jsonl"
        path.write_text(json.dumps({"seconds": 20.25}) + "\n" + json.dumps({"seconds": 1}) + "\n")
    assert rows_of(toy)["tiny"]["seconds"] == "42"
    cost(toy.run, 0, 100, 11.4)  # prediction counts where it is known, and the epochs of the other fold
    assert rows_of(toy)["tiny"]["seconds"] == "133"


def cost(run: Run, fold: int, train: Any, oof: Any) -> None:
    value = {"train_seconds": train, "oof_seconds": oof, "host_bytes": 1, "device_bytes": 0, "processes": 1}
    (run.fold_folder(fold) / "cost.json").write_text(json.dumps(value))


def plan(run: Run, config: str | None = None, **by_fold: Any) -> None:
    """A plan of these folds: f0=..., f1=...: seconds of training, looks 10, OOF 20."""
    folds = {name[1:]: {"training": seconds, "looks": 10, "oof": 20.0} for name, seconds in by_fold.items()}
    value = {"config": run.lock().config if config is None else config, "by_fold": folds}
    (run.folder / "plan.json").write_text(json.dumps(value))


def test_the_plan_stands_beside_what_it_took(toy: Any) -> None:
    for fold in (0, 1):
        (toy.run.fold_folder(fold) / "cost.json").unlink(missing_ok=True)
    assert rows_of(toy)["tiny"]["plan"] == ""
    plan(toy.run, f0=130, f1=170.0)
    assert rows_of(toy)["tiny"]["plan"] == "planned 6:00"  # 160 + 200 seconds, and nothing is known of what it took
    cost(toy.run, 0, 140, 29.6)  # 169.6 of 160 seconds
    assert rows_of(toy)["tiny"]["plan"] == "planned 6:00, off by +6 %"
    cost(toy.run, 1, 150, 2.4)  # 322 of 360
    assert rows_of(toy)["tiny"]["plan"] == "planned 6:00, off by -11 %"
    plan(toy.run, "of another config", f0=1)
    assert rows_of(toy)["tiny"]["plan"] == ""


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("scores.json", "{"),
        ("scores.json", "[]"),
        ("lock.json", "{}"),
        ("config.yaml", "competition: [\n"),
        ("config.yaml", None),
        ("fold0/metrics.jsonl", "x\n"),
        ("fold0/metrics.jsonl", "[3]\n"),
        ("fold0/metrics.jsonl", None),
        ("plan.json", "{"),
        ("plan.json", "[]"),
        ("plan.json", '{"config": 3, "by_fold": {}}'),
        ("plan.json", '{"config": "", "by_fold": {"x": {}}}'),
        ("plan.json", '{"config": "", "by_fold": {"0": {"training": NaN, "looks": 1, "oof": 1}}}'),
        ("plan.json", '{"config": "", "by_fold": {"0": {"training": "1", "looks": 1, "oof": 1}}}'),
        ("fold0/cost.json", "{"),
        ("fold0/cost.json", "[]"),
        ("fold0/cost.json", "{}"),
        ("fold0/cost.json", COST.replace("1.5", "-1")),
        ("fold0/cost.json", COST.replace("1.5", "null")),
    ],
)
def test_a_damaged_run_is_told_and_hides_no_other(toy: Any, file: str, text: str | None) -> None:
    broken = shutil.copytree(toy.run.folder, toy.runs / "toy_nuclei" / "broken")
    if text is None:
        (broken / file).unlink()
    else:
        (broken / file).write_text(text)
    rows = rows_of(toy)
    assert list(rows) == ["tiny", "broken"]
    assert file in rows["broken"]["changed"] and rows["tiny"]["folds"] == "2 trained"
