from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.errors import ConfigError, RunError
from medalist.files import sha256_file
from medalist.kinds import run_settings
from medalist.reporter import SilentReporter
from medalist.runs.runs import manifest_hash
from medalist.stores.maps import MapStore
from medalist.tasks.segment.predict import predict
from medalist.tasks.segment.tiled import TilePredictor
from medalist.workflows.score import changed_settings


def test_training_has_predicted_what_each_fold_held_out(trained: Any, at_home: Path) -> None:
    run, contest = trained.run, trained.contest()
    for fold in (0, 1):
        part = MapStore(run.folder / "oof").part(f"fold{fold}")
        assert part is not None
        assert sorted(part.ids) == list(run.folds().held_out(fold))
        assert part.columns == ("body", "border")
        assert part.made_by == {
            f"fold{fold}": sha256_file(run.checkpoint(fold, "last")),
            "predict": json.dumps({"scales": [1.0], "tta": "none"}),
            "data": manifest_hash(contest.split),
        }
    for sample in contest.split.train:
        maps = MapStore(run.folder / "oof").read(sample.id, ("body", "border")).maps
        assert maps.shape == (2, *sample.size) and maps.min() < maps.max()


def test_the_test_part_is_the_mean_of_the_folds(
    trained: Any, at_home: Path, quiet: SilentReporter, tmp_path: Path
) -> None:
    shutil.copytree(trained.runs, tmp_path / "runs")
    toy = type(trained)(trained.data, trained.config, tmp_path / "runs")
    run, contest = toy.run, toy.contest()
    predict(run, run_settings(run), contest, None, quiet)
    both = {sample.id: MapStore(run.folder / "test").read(sample.id, ("a", "b")).maps for sample in contest.split.test}
    part = MapStore(run.folder / "test").part("test")
    assert part is not None and part.ids == tuple(both) and {"fold0", "fold1"} <= part.made_by.keys()
    alone = []
    for fold in (0, 1):  # the other one put aside
        hidden = run.checkpoint(1 - fold, "last")
        hidden.rename(hidden.with_suffix(".aside"))
        predict(run, run_settings(run), contest, None, quiet)
        alone.append({name: MapStore(run.folder / "test").read(name, ("a", "b")).maps.astype(int) for name in both})
        hidden.with_suffix(".aside").rename(hidden)
    for name, maps in both.items():
        mean = (alone[0][name] + alone[1][name]) / 2
        assert np.abs(maps - mean).max() <= 1  # each was rounded
    assert any((alone[0][name] != alone[1][name]).any() for name in both)


def test_what_is_done_is_not_done_again(toy: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.tasks.segment.predict.build_model", None)
    run, contest = toy.run, toy.contest()
    predict(run, run_settings(run), contest, 0, quiet)
    predict(run, run_settings(run), contest, None, quiet)


def test_other_settings_predict_anew_and_are_recorded(toy: Any, quiet: SilentReporter) -> None:
    run, contest = toy.run, toy.contest()
    settings = changed_settings(run, ["predict.tta=flips"], "predict")
    predict(run, settings, contest, 0, quiet)
    part, other = MapStore(run.folder / "oof").part("fold0"), MapStore(run.folder / "oof").part("fold1")
    assert part is not None and other is not None
    assert json.loads(part.made_by["predict"])["tta"] == "flips"
    assert json.loads(other.made_by["predict"])["tta"] == "none"
    # The batch changes no prediction, and so predicts nothing anew.
    before = MapStore(run.folder / "oof").path(part.ids[0]).stat().st_mtime_ns
    predict(run, changed_settings(run, ["predict.tta=flips", "predict.batch=1"], "predict"), contest, 0, quiet)
    assert MapStore(run.folder / "oof").path(part.ids[0]).stat().st_mtime_ns == before


def test_a_stopped_prediction_does_not_pass_for_the_old_one(
    toy: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch, leftovers: Callable[[Path], list[str]]
) -> None:
    run, contest = toy.run, toy.contest()
    settings = changed_settings(run, ["predict.tta=flips"], "predict")
    honest, calls = MapStore.write, []

    def stop(*given: Any) -> None:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        honest(*given)

    monkeypatch.setattr(MapStore, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        predict(run, settings, contest, 0, quiet)
    assert MapStore(run.folder / "oof").part("fold0") is None and leftovers(run.folder) == []
    monkeypatch.setattr(MapStore, "write", honest)
    predict(run, settings, contest, 0, quiet)
    assert MapStore(run.folder / "oof").part("fold0") is not None


TILED = ["predict.tile={size: 64, overlap: 32}"]


def test_large_images_are_predicted_by_tiles(toy: Any, quiet: SilentReporter, leftovers: Any) -> None:
    run, contest = toy.run, toy.contest()
    store = MapStore(run.folder / "test")
    samples = contest.split.test
    assert any(max(sample.size) > 64 for sample in samples)
    store.start("test")  # those of the fixture are drawn
    for changes in ([], TILED):
        predict(run, changed_settings(run, changes, "predict"), contest, None, quiet)
        part = store.part("test")
        assert part is not None
        maps = {sample.id: store.read(sample.id, ("body", "border")).maps for sample in samples}
        assert all(maps[sample.id].shape[1:] == sample.size for sample in samples)
        if not changes:
            whole = maps
            assert "tile" not in part.made_by["predict"]
    assert json.loads(part.made_by["predict"])["tile"] == {"size": 64, "overlap": 32, "window": "gaussian"}
    apart = np.mean([np.abs(maps[name].astype(int) - whole[name]).mean() for name in maps])
    assert 0 < apart < 20  # a network that sees more than a tile, in a tile
    assert leftovers(run.folder) == []


def test_memory_chooses_tiles_that_are_recorded(
    toy: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, contest = toy.run, toy.contest()
    monkeypatch.setattr("medalist.tasks.segment.memory.WHOLE_SIDES", ())
    monkeypatch.setattr("medalist.tasks.segment.memory.SIDES", (64,))
    monkeypatch.setattr("medalist.tasks.segment.memory.MEASURED", (32, 64))
    settings = changed_settings(run, ["predict.memory=50GB"], "predict")
    MapStore(run.folder / "oof").start("fold0")  # else the old ones are kept, which were predicted without tiles
    predict(run, settings, contest, 0, quiet)
    part = MapStore(run.folder / "oof").part("fold0")
    assert part is not None
    made = json.loads(part.made_by["predict"])
    assert made["tile"] == {"size": 64, "overlap": 16, "window": "gaussian"} and "memory" not in made
    monkeypatch.setattr("medalist.tasks.segment.predict.build_model", None)
    predict(run, settings, contest, 0, quiet)  # done already, with whatever tiles


def test_the_command_takes_a_limit_of_memory(
    toy: Any, medalist: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.tasks.segment.memory.SIDES", (256, 128))  # so much memory has room for 2048 pixels
    monkeypatch.setattr("medalist.tasks.segment.memory.MEASURED", (64, 128))
    words = ("--runs", toy.runs, "predict", "toy_nuclei/tiny", "--data", toy.data, "--memory")
    assert medalist(*words, "1MB").code == 0  # they are there already
    MapStore(toy.run.folder / "test").start("test")
    assert medalist(*words, "1 elephant").line.endswith("type 4GB or 900MB")
    said = medalist(*words, "1MB")
    assert said.code == 2 and "predict.memory = 1MB is too small" in said.line
    done = medalist(*words, "60GB")
    assert done.code == 0 and "peak memory" in done.out and "of 60GB" in done.out


def test_images_that_are_too_large_are_told_before_anything_is_predicted(
    toy: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.tasks.segment.predict.MOST_PIXELS", 1000)
    run, contest = toy.run, toy.contest()
    settings = changed_settings(run, ["predict.tta=flips"], "predict")
    with pytest.raises(
        ConfigError, match=r"^sample .* has .* pixels \(6 of 6 samples are so large\).*type --memory 4GB"
    ):
        predict(run, settings, contest, None, quiet)


@pytest.mark.parametrize("stops", [1, 3])
def test_a_stopped_prediction_of_tiles_leaves_nothing(
    toy: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch, leftovers: Callable[[Path], list[str]], stops: int
) -> None:
    run, contest = toy.run, toy.contest()
    monkeypatch.setattr("medalist.tasks.segment.tiled.IN_MEMORY", 0)
    honest, calls = TilePredictor._forward, []

    def stop(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == stops:
            raise KeyboardInterrupt
        return honest(*given)

    monkeypatch.setattr(TilePredictor, "_forward", stop)
    before = sorted(path.name for path in (run.folder / "test").iterdir())
    with pytest.raises(KeyboardInterrupt):
        predict(run, changed_settings(run, TILED, "predict"), contest, None, quiet)
    assert MapStore(run.folder / "test").part("test") is None and leftovers(run.folder) == []
    assert sorted(path.name for path in (run.folder / "test").iterdir()) == [
        one for one in before if one != "test.json"
    ]


def test_without_a_trained_fold_nothing_can_be_predicted(toy: Any, quiet: SilentReporter) -> None:
    for fold in (0, 1):
        toy.run.checkpoint(fold, "last").unlink()
    with pytest.raises(RunError, match="has no trained fold; run medalist train first"):
        predict(toy.run, run_settings(toy.run), toy.contest(), None, quiet)


def test_a_damaged_checkpoint_is_one_line(toy: Any, quiet: SilentReporter) -> None:
    path = toy.run.checkpoint(0, "last")
    path.write_bytes(path.read_bytes()[:100])
    (toy.run.fold_folder(0) / "weights.json").unlink()  # as in older runs
    with pytest.raises(RunError, match=r"last\.safetensors does not fit") as caught:
        predict(toy.run, run_settings(toy.run), toy.contest(), 0, quiet)
    assert "\n" not in str(caught.value)
