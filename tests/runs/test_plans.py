from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medalist.errors import RunError
from medalist.runs.plans import (
    Option,
    Plan,
    PlanError,
    clock,
    in_bytes,
    plan_error,
    planned,
    short_clock,
    sorted_options,
    took,
    write_plan,
)


def test_the_fastest_option_stands_first() -> None:
    made = [Option("b", 8, True), Option("none", None, False, "no time"), Option("a", 8, False), Option("c", 2, True)]
    assert [option.change for option in sorted_options(made)] == ["c", "a", "b", "none"]
    assert made[3].gain(10) == pytest.approx(0.8) and made[0].gain(4) == -1


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [(0, "0:00:00", "0:00"), (320.4, "0:05:20", "5:20"), (3599.4, "0:59:59", "59:59"), (3600, "1:00:00", "1:00:00")],
)
def test_clocks(seconds: float, long: str, short: str) -> None:
    assert clock(seconds) == long and short_clock(seconds) == short


def test_bytes_are_told() -> None:
    assert in_bytes(12_345_678) == "12 MB" and in_bytes(2.346e9) == "2.35 GB"


def test_how_far_a_plan_was_off() -> None:
    assert str(PlanError(320, 302)) == "planned 5:20, took 5:02 (-6 %)"
    assert str(PlanError(100, 106.4)) == "planned 1:40, took 1:46 (+6 %)"
    assert PlanError(0, 5).off == 0


def made(run: Any, **changes: Any) -> Plan:
    parts = {"training": 60.0, "validation": 5.0, "oof": 35.0}
    values: dict[str, Any] = {
        "config": run.lock().config,
        "date": "2026-01-01T00:00:00+00:00",
        "machine": {"cores": 2, "threads": 2, "gpus": []},
        "folds": (0, 1),
        "processes": 1,
        "folds_at_once": 1,
        "seconds": {"reading": 1.0, "training": 120.0, "validation": 10.0, "oof": 70.0, "test": 9.0},
        "by_fold": {"0": parts, "1": parts},
        "wall": 210.0,
        "compute": 210.0,
        "host_bytes": 10,
        "device_bytes": 0,
        "disk": {"checkpoints": 5, "predictions": 6},
        "options": (Option("train.batch=8", 5.0, True),),
        "measured": {},
        "notes": (),
        "probe_seconds": 3.0,
    }
    return Plan(**{**values, **changes})


def cost(run: Any, fold: int, train: float, oof: float) -> None:
    value = {"train_seconds": train, "oof_seconds": oof, "host_bytes": 1, "device_bytes": 0, "processes": 1}
    (run.fold_folder(fold) / "cost.json").write_text(json.dumps(value))


def test_a_plan_is_held_against_the_folds_that_are_done(toy: Any) -> None:
    for fold in (0, 1):
        (toy.run.fold_folder(fold) / "cost.json").unlink(missing_ok=True)
    assert plan_error(toy.run) is None
    write_plan(toy.run, made(toy.run))
    assert plan_error(toy.run) is None
    cost(toy.run, 1, 80, 30)
    assert plan_error(toy.run) == PlanError(100, 110)
    cost(toy.run, 0, 60, 20)
    assert plan_error(toy.run) == PlanError(200, 190)
    write_plan(toy.run, made(toy.run, folds=(1,), by_fold={"1": {"training": 1.0, "validation": 2.0, "oof": 3.0}}))
    assert plan_error(toy.run) == PlanError(6, 110)
    write_plan(toy.run, made(toy.run, config="another"))
    assert plan_error(toy.run) is None


def test_a_plan_of_before_calls_validation_looks(toy: Any) -> None:
    write_plan(toy.run, made(toy.run, by_fold={"1": {"training": 1.0, "looks": 2.0, "oof": 3.0}}))
    assert planned(toy.run, toy.run.lock().config) == {1: 6.0}
    both = {"training": 1.0, "validation": 20.0, "looks": 2.0, "oof": 3.0}
    write_plan(toy.run, made(toy.run, by_fold={"1": both}))
    assert planned(toy.run, toy.run.lock().config) == {1: 24.0}


def test_what_a_fold_took(toy: Any) -> None:
    cost(toy.run, 0, 60, 20)
    assert took(toy.run, 0) == 80 and took(toy.run, 7) is None
    for bad in ("nan", "Infinity", "-1", "true", '"1"', "null"):
        path = toy.run.fold_folder(0) / "cost.json"
        path.write_text(path.read_text().replace('"oof_seconds": 20', f'"oof_seconds": {bad.replace("nan", "NaN")}'))
        with pytest.raises(RunError, match=r"cost\.json"):
            took(toy.run, 0)
        cost(toy.run, 0, 60, 20)


def test_no_plan_has_a_figure_that_is_none(toy: Any) -> None:
    before = sorted(toy.run.folder.iterdir())
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_plan(toy.run, made(toy.run, wall=bad))
    assert sorted(toy.run.folder.iterdir()) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        '{"config": "x"}',
        '{"config": "x", "by_fold": []}',
        '{"config": "x", "by_fold": {"0": 3}}',
        '{"config": "x", "by_fold": {"0": {"training": 1, "validation": true, "oof": 1}}}',
        '{"config": "x", "by_fold": {"0": {"training": 1, "looks": true, "oof": 1}}}',
        '{"config": "x", "by_fold": {"0": {"training": 1, "oof": 1}}}',
        "[" * 100_000,
    ],
    ids=range(10),
)
def test_a_damaged_plan_is_one_line(toy: Any, text: str) -> None:
    path: Path = toy.run.folder / "plan.json"
    path.write_text(text)
    with pytest.raises(RunError, match=r"plan\.json"):
        plan_error(toy.run)
