"""Replays of submissions: equal ones, and ones that differ, each with the stage and the cause that are named."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import one_line
from safetensors.numpy import save_file

from medalist.contest import Contest, contest_folds
from medalist.errors import DataError, RunError
from medalist.files import read_json, sha256_file, write_json
from medalist.folds.folds import write_folds
from medalist.kinds import load_settings
from medalist.records import MapPrediction
from medalist.reporter import LineReporter, SilentReporter
from medalist.runs.contest_files import hash_contest, seal, write_hashes
from medalist.runs.fold_weights import keep_hashes, note_of
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run, create_run, make_lock
from medalist.runs.submission_record import FOLDER, read_record, record_path
from medalist.runs.surroundings import Surroundings, surroundings
from medalist.stores.maps import MapStore
from medalist.tasks.segment import deciding
from medalist.workflows.replay import Replay, replay
from medalist.workflows.score import changed_settings, score_run
from medalist.workflows.storing import push, targets_of
from medalist.workflows.submit import submit

TINY = """\
competition: toy_nuclei
folds: {n: 2, seed: 1}
augment: [{RandomCrop: {height: 64, width: 64}}]
model:
  {kind: unet, encoder: test_resnet, weights: none, channels: [body, border], decoder_channels: [8, 8, 4, 4, 4]}
loss: {bce: 1.0}
train: {epochs: 1, batch: 4, schedule: constant, warmup: 0.0}
predict: {tta: none}
decide: {kind: watershed}
tracking: none
"""

Anew = Callable[..., None]


@pytest.fixture(scope="module")
def made(drawn: Path, predict_anew: Anew, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a submission, and a run that no training has made.

    Its weights are numbers, and its predictions are drawn, so torch is not needed.
    """
    home = tmp_path_factory.mktemp("made")
    shutil.copytree(drawn, home / "data")
    (home / "tiny.yaml").write_text(TINY)
    with contextlib.chdir(Path(__file__).parents[2]):
        settings, contest = load_settings(home / "tiny.yaml"), open_contest("toy_nuclei", home / "data", home / "runs")
        folds, files = contest_folds(contest, settings.folds, home / "runs"), hash_contest(contest, home / "runs")
        lock = make_lock(settings, contest.split, folds, {}, home / "data", Path("tiny.yaml"), (), contents=seal(files))
        run = Run(home / "runs" / "toy_nuclei" / "tiny")
        write_hashes(run, files)
        create_run(run.folder, settings, lock)
        write_folds(run.folder / "folds.csv", folds)
        for fold in (0, 1):
            write_weights(run, fold, 1.0)
        predict_anew(run, contest)
        submit([run], home / "out" / "submission.csv", None, home / "runs", SilentReporter())
    return home


@dataclass(frozen=True)
class Bare:
    """Copies of data, runs and submission, which a test may change."""

    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def run(self) -> Run:
        return Run(self.runs / "toy_nuclei" / "tiny")

    def contest(self) -> Contest:
        return open_contest("toy_nuclei", self.data, self.runs)


@pytest.fixture
def bare(made: Path, at_home: Path, tmp_path: Path) -> Bare:
    return Bare(Path(shutil.copytree(made, tmp_path / "home")))


def write_weights(run: Run, fold: int, value: float) -> None:
    path = run.checkpoint(fold, "last")
    path.parent.mkdir(exist_ok=True)
    note = {"medalist": json.dumps(note_of(fold, run.lock()))}
    save_file({"weight": np.full(3, value, np.float32)}, path, metadata=note)
    keep_hashes(run, fold)


@pytest.fixture
def file(bare: Bare) -> Path:
    return bare.home / "out" / "submission.csv"


@pytest.fixture
def again(bare: Bare, file: Path, quiet: SilentReporter) -> Callable[[], Replay]:
    return lambda: replay(file, bare.runs, str(bare.data), False, quiet)


def move_object(run: Run) -> None:
    """Predict the first test sample again, with its object at another place."""
    store = MapStore(run.folder / "test")
    part = store.part("test")
    assert part is not None
    maps = store.read(part.ids[0], ("body", "border")).maps
    store.write(part.ids[0], MapPrediction(np.roll(maps, 5, axis=1), ("body", "border")))
    store.finish("test", part)


def elsewhere(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let packages or machine be other ones from now on."""
    here = surroundings()
    packages = {**here.packages, **changes.pop("packages", {})}
    machine = {**here.machine, **changes.pop("machine", {})}
    there = Surroundings(here.commit, here.python, packages, machine)
    monkeypatch.setattr("medalist.workflows.replay.surroundings", lambda: there)


def decide_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = deciding.decide

    def other(prediction: MapPrediction, *given: Any, **named: Any) -> Any:
        return honest(replace(prediction, maps=np.roll(prediction.maps, 3, axis=2)), *given, **named)

    monkeypatch.setattr(deciding, "decide", other)


def contents(folder: Path) -> Mapping[str, str]:
    return {str(path): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


# ------------------------------------------------------------------------------------------------- equal


def test_a_submission_has_a_record_and_is_made_again_byte_for_byte(
    bare: Bare, file: Path, again: Callable[[], Replay]
) -> None:
    record = read_record(record_path(bare.runs, "toy_nuclei", sha256_file(file)))
    assert (record.sha256, record.file) == (sha256_file(file), "submission.csv")
    assert record.rows == len(file.read_text().splitlines()) - 1
    (run,) = record.runs
    assert (run.name, run.folder) == ("toy_nuclei/tiny", "toy_nuclei/tiny")
    assert run.weights == {f"fold{fold}": sha256_file(bare.run.checkpoint(fold, "last")) for fold in (0, 1)}
    assert set(run.parts) == {"test"} and len(run.parts["test"].files) == 6
    assert "numpy" in record.surroundings.packages and "stage1_train_labels.csv" not in run.parts
    before = contents(bare.runs) | contents(file.parent)
    found = again()
    assert found.equal and not found.fault and found.first is None
    names = ["data", "config", "folds", "weights", "code", "predictions", "decision", "rows", "bytes"]
    assert [(stage.name, stage.state) for stage in found.stages] == [(name, "same") for name in names]
    assert contents(bare.runs) | contents(file.parent) == before


def test_a_blend_with_a_run_given_twice_is_made_again(
    bare: Bare, quiet: SilentReporter, tmp_path: Path, predict_anew: Anew
) -> None:
    other = Run(shutil.copytree(bare.run.folder, bare.run.folder.with_name("other")))
    predict_anew(other, bare.contest(), body=160)
    submit([other, bare.run, bare.run], tmp_path / "blend.csv", None, bare.runs, quiet)
    found = replay(tmp_path / "blend.csv", bare.runs, str(bare.data), False, quiet)
    assert found.equal and [one.name for one in found.record.runs] == [
        "toy_nuclei/other",
        "toy_nuclei/tiny",
        "toy_nuclei/tiny",
    ]


def test_it_is_decided_as_recorded_where_the_run_was_scored_otherwise_since(
    bare: Bare, quiet: SilentReporter, again: Callable[[], Replay]
) -> None:
    again()
    score_run(
        bare.run, bare.contest(), changed_settings(bare.run, ["decide.min_size=5000"], "decide"), quiet, keep=True
    )
    found = again()
    decision = next(stage for stage in found.stages if stage.name == "decision")
    assert found.equal and decision.state == "same"
    assert "min_size was" in decision.told and "is 5000" in decision.told


def test_what_changed_nothing_is_told_and_the_file_is_equal(
    bare: Bare, again: Callable[[], Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "medalist.workflows.replay_stages.code_facts", lambda settings: {"medalist/postprocess/decide.py": "0"}
    )
    elsewhere(monkeypatch, packages={"numpy": "99.0"})
    found = again()
    assert found.equal and not found.fault
    assert found.first is not None and found.first.name == "code" and "changed since the commit" in found.first.told
    assert found.versions[0].startswith("numpy ") and found.versions[0].endswith(" -> 99.0")


def test_a_record_that_cannot_be_written_stops_nothing(bare: Bare, tmp_path: Path) -> None:
    shutil.rmtree(bare.runs / "toy_nuclei" / FOLDER)
    (bare.runs / "toy_nuclei" / FOLDER).write_text("in the way")
    said: list[str] = []
    submit([bare.run], tmp_path / "s.csv", None, bare.runs, LineReporter(said.append))
    assert (tmp_path / "s.csv").is_file()
    assert [line for line in said if line.startswith("warning: s.csv has no record")]


# ------------------------------------------------------------------------------------------------- what differs


def test_other_data_is_named_by_its_file(bare: Bare, again: Callable[[], Replay]) -> None:
    path = bare.data / "sample_submission.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::-1]]) + "\n")
    found = again()
    assert not found.equal and found.first is not None and found.first.name == "data"
    assert found.cause == "the data: the sample submission"
    assert "differs first at data: the sample submission changed since" in found.fault


def test_an_image_that_changed_is_named(bare: Bare, again: Callable[[], Replay]) -> None:
    image = bare.contest().split.test[0].images[0]
    image.write_bytes(image.read_bytes() + b"\0")
    found = again()
    assert found.first is not None and found.first.name == "data" and image.name in found.first.told


def test_data_that_is_gone_is_named(bare: Bare, again: Callable[[], Replay]) -> None:
    contest = bare.contest()
    shutil.rmtree(contest.split.test[0].images[0].parents[1])
    found = again()
    assert not found.equal and found.first is not None and found.first.name == "data"
    assert "has a row in the sample submission but no test image" in found.first.told
    assert found.stages[-3].told == "not made without the data"


def test_other_weights_are_named(bare: Bare, again: Callable[[], Replay]) -> None:
    write_weights(bare.run, 1, 2.0)
    move_object(bare.run)
    found = again()
    assert not found.equal and found.first is not None and found.first.name == "weights"
    assert "fold 1 was trained again" in found.fault and found.cause == "other weights"


def test_weights_that_are_gone_say_who_has_them(
    bare: Bare, again: Callable[[], Replay], quiet: SilentReporter, tmp_path: Path
) -> None:
    push(targets_of(["toy_nuclei/tiny"], bare.runs), tmp_path / "team", None, quiet)
    bare.run.checkpoint(1, "last").unlink()
    found = again()
    assert found.first is not None and found.first.name == "weights"
    assert "last.safetensors is gone; stores that have had it: team (" in found.first.told
    assert "type: medalist store pull toy_nuclei/tiny" in found.first.told


def test_other_folds_and_another_config_are_named(bare: Bare, again: Callable[[], Replay]) -> None:
    path = bare.run.folder / "folds.csv"
    path.write_text(path.read_text().replace(",0", ",1", 1))
    assert {stage.name for stage in again().stages if stage.state == "differs"} == {"folds"}
    config = bare.run.folder / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1", "epochs: 2"))
    found = again()
    assert found.first is not None and found.first.name == "config" and "was edited since" in found.first.told


def test_predictions_of_another_package_version_are_named(
    bare: Bare, again: Callable[[], Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    move_object(bare.run)
    elsewhere(monkeypatch, packages={"torch": "99.0", "ruff": "99.0"}, machine={"threads": "96"})
    found = again()
    assert not found.equal and found.first is not None and found.first.name == "predictions"
    assert "predicted again with the same weights, data, settings and code" in found.first.told
    was = found.record.surroundings.packages["torch"]
    assert found.cause.startswith(f"package version: torch {was} -> 99.0")


def test_predictions_that_were_changed_by_hand_are_named(bare: Bare, again: Callable[[], Replay]) -> None:
    store = MapStore(bare.run.folder / "test")
    part = store.part("test")
    assert part is not None
    shutil.copy(store.path(part.ids[0]), store.path(part.ids[1]))
    found = again()
    assert not found.equal and found.first is not None and found.first.name == "predictions"
    assert f"{store.path(part.ids[1]).name} changed or replaced" in found.first.told
    assert found.cause == "stored predictions that were changed by hand"


def test_predictions_with_other_settings_are_named(
    bare: Bare, again: Callable[[], Replay], say_predicted: Callable[..., None]
) -> None:
    move_object(bare.run)
    say_predicted(bare.run, '{"scales": [1.0], "tta": "d4"}')
    found = again()
    assert found.first is not None and found.first.name == "predictions"
    assert found.cause == "other settings of predict"


def test_predictions_that_are_gone_are_named(bare: Bare, again: Callable[[], Replay]) -> None:
    MapStore(bare.run.folder / "test").start("test")
    found = again()
    assert found.equal  # the maps themselves are there still
    assert found.first is not None and found.first.name == "predictions" and "test.json is gone" in found.first.told
    shutil.rmtree(bare.run.folder / "test")
    found = again()
    assert not found.equal and "--predict makes it again" in found.fault
    assert [stage.state for stage in found.stages[-3:]] == ["differs", "unknown", "unknown"]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"packages": {"numpy": "99.0"}, "machine": {"threads": "96"}}, "package version: numpy "),
        ({"machine": {"processor": "Other 9000"}}, "another machine: processor "),
        ({}, "unknown: data, config, folds, weights, code, versions and machine are those of the record"),
    ],
)
def test_rows_that_differ_name_the_first_and_a_version_or_the_machine(
    again: Callable[[], Replay], file: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], cause: str
) -> None:
    decide_otherwise(monkeypatch)
    elsewhere(monkeypatch, **changes)
    found = again()
    assert not found.equal and found.first is not None and found.first.name == "rows"
    assert found.first.told.startswith("first differing row 2: '") and "; 6 rows differ" in found.first.told
    assert found.cause.startswith(cause)
    assert found.fault.startswith(f"the replay of {file} differs first at rows: ")


# ------------------------------------------------------------------------------------------------- records


def test_a_changed_file_is_compared_with_the_nearest_record(
    bare: Bare, file: Path, again: Callable[[], Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = file.read_text().splitlines()
    lines[3] = lines[3].rsplit(",", 1)[0] + ",1 1"
    file.write_text("\n".join(lines) + "\n")
    found = again()
    assert found.equal and not found.known
    assert "no record has the hash of" in found.fault and "is made again byte for byte" in found.fault
    assert "first differing row 4: '" in found.fault and "1 row differs" in found.fault
    decide_otherwise(monkeypatch)
    assert "differs first at bytes" in again().fault


def test_without_a_record_it_is_said_what_to_type(bare: Bare, tmp_path: Path, quiet: SilentReporter) -> None:
    (tmp_path / "old.csv").write_text("ImageId,EncodedPixels\n")
    message = one_line(RunError, lambda: replay(tmp_path / "old.csv", bare.runs, None, False, quiet))
    assert "no record of" in message and "medalist --runs DIR replay" in message
    with pytest.raises(DataError, match="No such file"):
        replay(tmp_path / "none.csv", bare.runs, None, False, quiet)


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 99}', '{"format": 1, "sha256": 3}', "shorter", "renamed"])
def test_a_damaged_record_is_named(bare: Bare, file: Path, again: Callable[[], Replay], damage: str) -> None:
    path = record_path(bare.runs, "toy_nuclei", sha256_file(file))
    whole = read_json(path)
    if damage in ("shorter", "renamed"):
        write_json(path, {**whole, "runs": []} if damage == "shorter" else {**whole, "sha256": "0" * 64})
    else:
        path.write_text(damage)
    assert str(path) in one_line(RunError, again)


def test_a_run_that_is_gone_says_what_to_type(bare: Bare, again: Callable[[], Replay]) -> None:
    shutil.rmtree(bare.run.folder)
    message = one_line(RunError, again)
    assert "the run toy_nuclei/tiny is not under" in message and "medalist store pull toy_nuclei/tiny" in message


def test_a_run_and_data_at_another_place_are_found(
    bare: Bare, file: Path, quiet: SilentReporter, tmp_path: Path
) -> None:
    moved, data = tmp_path / "moved", tmp_path / "other"
    file = file.rename(tmp_path / "renamed.csv")
    bare.runs.rename(moved)
    bare.data.rename(data)
    assert replay(file, moved, str(data), False, quiet).equal


# ------------------------------------------------------------------------------------------------- the command


def test_the_command_ends_with_0_only_where_the_bytes_are_equal(
    bare: Bare, file: Path, medalist: Callable[..., Any]
) -> None:
    ended = medalist("--runs", bare.runs, "replay", file)
    assert ended.code == 0 and "made again byte for byte" in ended.out
    move_object(bare.run)
    ended = medalist("--runs", bare.runs, "replay", file)
    assert ended.code == 2 and "differs first at predictions" in ended.line


def test_predictions_are_made_again_from_the_weights(toy: Any, quiet: SilentReporter, tmp_path: Path) -> None:
    path, store = tmp_path / "s.csv", MapStore(toy.run.folder / "test")
    store.start("test")
    submit([toy.run], path, None, toy.runs, quiet)  # the network predicts
    found = replay(path, toy.runs, None, True, quiet)
    assert found.equal and [stage.name for stage in found.stages if stage.state != "same"] == []
    assert "predicted again" in [stage.name for stage in found.stages]
    move_object(toy.run)
    found = replay(path, toy.runs, None, True, quiet)
    assert found.equal and found.first is not None and found.first.name == "predictions"
    record = record_path(toy.runs, "toy_nuclei", sha256_file(path))
    value = read_json(record)
    part = value["runs"][0]["parts"]["test"]
    one = next(iter(part["files"]))
    write_json(record, {**value, "runs": [{**value["runs"][0], "parts": {"test": {**part, "files": {one: "0"}}}}]})
    stage = next(one for one in replay(path, toy.runs, None, True, quiet).stages if one.name == "predicted again")
    assert stage.state == "differs" and stage.told.startswith(
        "1 of 1 files of toy_nuclei/tiny/test differ, by at most "
    )
