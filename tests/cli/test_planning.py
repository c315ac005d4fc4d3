from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalist.runs.plans import plan_error
from medalist.runs.runs import Run

Command = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("short_probes")


def words(toy: Any, *more: object) -> tuple[object, ...]:
    return ("--runs", toy.runs, "plan", toy.config, "--data", toy.data, *more)


def figures(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in figures(part)]
    if isinstance(value, list):
        return [number for part in value for number in figures(part)]
    return [value] if isinstance(value, int | float) else []


def test_a_plan_of_a_tiny_training(medalist: Command, untrained: Any, leftovers: Callable[[Path], list[str]]) -> None:
    ended = medalist(*words(untrained, "--seconds", 12))
    assert (ended.code, ended.err) == (0, ""), ended
    folder = untrained.runs / "toy_nuclei" / "tiny"
    assert [path.name for path in folder.iterdir()] == ["plan.json"] and leftovers(untrained.runs) == []
    made = json.loads((folder / "plan.json").read_text())
    assert made["folds"] == [0, 1] and list(made["by_fold"]) == ["0", "1"]
    assert all(math.isfinite(number) and number >= 0 for number in figures(made["seconds"]))
    for part in ("training", "validation", "oof"):
        assert made["seconds"][part] == pytest.approx(sum(fold[part] for fold in made["by_fold"].values()))
        assert made["seconds"][part] > 0
    assert made["wall"] == pytest.approx(sum(made["seconds"].values())) == made["compute"]
    assert made["measured"]["batches_an_epoch"] == 3  # 13 training samples of the first fold by 4
    assert 1e8 < made["host_bytes"] < 1e11 and made["device_bytes"] == 0
    # Two folds of last, best, and two states of weights and two moments.
    weights = made["disk"]["checkpoints"] / 2 / 8
    assert 1e5 < weights < 1e7
    changes = {option["change"] for option in made["options"]}
    assert {"train.batch=2", "train.batch=8", "train.precision=bf16-mixed"} <= changes
    assert made["machine"]["cores"] >= 1 and made["machine"]["gpus"] == []
    out = ended.out
    for line in ("reading images", "training", "validation", "OOF prediction", "test prediction"):
        assert line in out
    assert "CPU hours; done after 0:0" in out and "peak memory of a process: host" in out and "disk: checkpoints" in out
    assert f"plan in {folder / 'plan.json'}" in out
    # The run is still to be made, and its plan is the one of the training that follows.
    ended = medalist("--runs", untrained.runs, "train", untrained.config, "--data", untrained.data, "--fold", 0)
    assert ended.code == 0
    error = plan_error(Run(folder))
    assert error is not None and error.took > 0
    assert error.planned == pytest.approx(sum(made["by_fold"]["0"].values()))
    assert "planned 0:" in medalist("--runs", untrained.runs, "board").out


def test_a_plan_of_one_fold_on_several_processes_and_lanes(medalist: Command, untrained: Any) -> None:
    ended = medalist(*words(untrained, "--seconds", 3, "--fold", 1, "--devices", 2, "--workers", 2, "--name", "mine"))
    assert (ended.code, ended.err) == (0, "")
    made = json.loads((untrained.runs / "toy_nuclei" / "mine" / "plan.json").read_text())
    assert made["folds"] == [1] and made["processes"] == made["folds_at_once"] == 2
    assert made["compute"] == pytest.approx(2 * sum(made["seconds"].values()))
    assert "with 2 folds at a time, 2 processes a fold" in ended.out
    assert "measured on one process and divided by 2" in ended.out


def test_a_training_that_changes_as_it_goes(medalist: Command, untrained: Any) -> None:
    changes = (
        "train.epochs=4",
        "train.sizes=[{epochs: 2, size: [32, 32]}]",
        "train.freeze=1",
        "train.accumulate=2",
        "train.average={of: last, count: 2}",
        "train.ema=0.9",
        "train.hard=2",
        "loader.cache_mb=0",
        "predict.scales=[1.0, 1.5]",
    )
    ended = medalist(*words(untrained, *changes, "--seconds", 6, "--name", "mine"))
    assert (ended.code, ended.err) == (0, ""), ended
    made = json.loads((untrained.runs / "toy_nuclei" / "mine" / "plan.json").read_text())
    kinds = [(pace["size"], pace["frozen"]) for pace in made["measured"]["paces"]]
    assert kinds[0] == (None, False) and sorted(kinds[1:]) == [([32, 32], False), ([32, 32], True)]
    assert made["measured"]["batches_an_epoch"] == 4  # 3, and one that comes again
    assert any(option["change"].startswith("loader.cache_mb=") for option in made["options"])


def test_a_plan_beside_a_run_changes_nothing_of_it(medalist: Command, toy: Any) -> None:
    before = {path: path.read_bytes() for path in toy.run.folder.rglob("*") if path.is_file()}
    assert medalist(*words(toy, "--seconds", 2)).code == 0
    after = {path: path.read_bytes() for path in toy.run.folder.rglob("*") if path.is_file()}
    (added,) = after.keys() - before.keys()
    assert added.name == "plan.json" and all(after[path] == text for path, text in before.items())
    ended = medalist(*words(toy, "train.lr=0.5", "--name", "tiny", "--seconds", 2))
    assert ended.code == 2 and "was made with other config (train.lr was 0.001, is 0.5)" in ended.line
    assert added.read_bytes() == after[added]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("train.lr=x",), "command line: train.lr = 'x': must be a valid number"),
        (("competition=toy",), "no competition 'toy'"),
        (("--fold", "7"), "fold 7 does not exist; this config has folds 0..1"),
        (("--name", "../x"), "a run cannot be called '../x'"),
        (("--data", "nowhere"), "no data folder nowhere"),
        (("augment=[{D5: {}}]",), "augment[0]: albumentations has no transform 'D5'"),
        (("model.encoder=resnet34", "model.weights=imagenet"), "resnet34"),
        (("augment=[{RandomCrop: {height: 60, width: 60}}]",), "multiples of 32"),
    ],
)
def test_mistakes_are_those_of_train(
    medalist: Command, untrained: Any, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    ended = medalist(*words(untrained, *more))
    assert ended.code == 2 and ended.out == "" and said in ended.line
    assert ended.line == medalist("--runs", untrained.runs, "train", *words(untrained, *more)[3:]).line
    assert not list(untrained.runs.rglob("plan.json"))


def test_several_processes_cannot_measure(medalist: Command, untrained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LOCAL_RANK", "0"), ("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    ended = medalist(*words(untrained))
    assert ended.code == 2 and "start it without torchrun, and type --devices N" in ended.line


def test_bad_images_are_told(medalist: Command, untrained: Any, own_data: Path) -> None:
    for image in own_data.glob("stage1_train/*/images/*.png"):
        text = bytearray(image.read_bytes())
        text[60:200] = bytes(140)
        image.write_bytes(bytes(text))
    ended = medalist(*words(untrained, "folds.grouped=false", "--data", own_data, "--seconds", 2))
    assert ended.code == 2 and "png" in ended.line
    assert not list(untrained.runs.rglob("plan.json"))
