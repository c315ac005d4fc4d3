from __future__ import annotations

import csv
import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from refusals import one_line
from safetensors.numpy import load_file, save_file

from medalist.errors import MedalistError, RunError, SubmissionError
from medalist.files import read_json, sha256_file, write_json
from medalist.formats.rle import RleFormat
from medalist.kinds import run_settings
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import DecideConfig, WatershedConfig
from medalist.records import Answer, Instances, MapPrediction
from medalist.reporter import LineReporter, SilentReporter
from medalist.runs.fold_weights import keep_hashes, note_of
from medalist.runs.runs import Run, find_run
from medalist.stores.maps import MapStore
from medalist.tasks.scored import scored_decide
from medalist.tasks.segment import deciding
from medalist.workflows.score import changed_settings, score_run
from medalist.workflows.submit import submit


@pytest.fixture
def second(toy: Any, predict_anew: Callable[..., None]) -> Run:
    """A second run of the contest, less sure of its objects."""
    shutil.copytree(toy.run.folder, toy.runs / "toy_nuclei" / "second")
    run = find_run("toy_nuclei/second", toy.runs)
    predict_anew(run, toy.contest(), body=140)
    return run


def parsed(toy: Any, path: Path) -> dict[str, Answer]:
    contest = toy.contest()
    found: dict[str, Answer] = contest.competition.submission.parse(path, contest.split.test)
    return found


def same(first: Answer, second: Answer) -> bool:
    assert isinstance(first, Instances) and isinstance(second, Instances)
    return bool(np.array_equal(first.labels, second.labels))


# ------------------------------------------------------------------------------------------------- one run


def test_one_run_is_decided_and_written_in_the_order_of_the_sample(
    toy: Any, quiet: SilentReporter, tmp_path: Path
) -> None:
    path = tmp_path / "s" / "submission.csv"
    rows = submit([toy.run], path, None, toy.runs, quiet)
    with path.open(newline="") as file:
        written = list(csv.reader(file))
    assert len(written) == rows + 1
    with (toy.data / "sample_submission.csv").open(newline="") as file:
        asked = [row[0] for row in csv.reader(file)]
    assert list(dict.fromkeys(row[0] for row in written)) == list(dict.fromkeys(asked))
    config = run_settings(toy.run).decide
    for name, answer in parsed(toy, path).items():
        assert same(answer, decide(MapStore(toy.run.folder / "test").read(name, ("body", "border")), config))
        assert isinstance(answer, Instances) and answer.count == 1


def test_it_is_decided_as_it_was_scored(toy: Any, quiet: SilentReporter, tmp_path: Path) -> None:
    configured = run_settings(toy.run).decide
    assert scored_decide(toy.run, TypeAdapter(DecideConfig), configured) == WatershedConfig()
    settings = changed_settings(toy.run, ["decide.min_size=5000"], "decide")
    score_run(toy.run, toy.contest(), settings, quiet)
    assert scored_decide(toy.run, TypeAdapter(DecideConfig), configured) == WatershedConfig()  # it was a try
    score_run(toy.run, toy.contest(), settings, quiet, keep=True)
    assert scored_decide(toy.run, TypeAdapter(DecideConfig), configured) == WatershedConfig(min_size=5000)
    submit([toy.run], tmp_path / "s.csv", None, toy.runs, quiet)
    assert all(answer.count == 0 for answer in parsed(toy, tmp_path / "s.csv").values())  # type: ignore[union-attr]


def test_a_damaged_decision_is_named(toy: Any, quiet: SilentReporter, tmp_path: Path) -> None:
    score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)
    scores = read_json(toy.run.folder / "scores.json")
    write_json(toy.run.folder / "scores.json", {**scores, "decide": {"kind": "x"}})
    message = one_line(RunError, lambda: submit([toy.run], tmp_path / "s.csv", None, toy.runs, quiet))
    assert "scores.json is damaged; run medalist score again" in message


# ------------------------------------------------------------------------------------------------- predictions


def test_what_is_missing_or_of_other_weights_is_predicted(toy: Any, quiet: SilentReporter, tmp_path: Path) -> None:
    MapStore(toy.run.folder / "test").start("test")
    submit([toy.run], tmp_path / "s.csv", None, toy.runs, quiet)
    part = MapStore(toy.run.folder / "test").part("test")
    assert part is not None and part.made_by["fold1"] == sha256_file(toy.run.checkpoint(1, "last"))
    other = toy.run.checkpoint(1, "last")
    tensors = {name: np.asarray(value * 0.5) for name, value in load_file(other).items()}
    save_file(tensors, other, metadata={"medalist": json.dumps(note_of(1, toy.run.lock()))})
    keep_hashes(toy.run, 1)  # fold 1 was trained again
    submit([toy.run], tmp_path / "s.csv", None, toy.runs, quiet)
    again = MapStore(toy.run.folder / "test").part("test")
    assert again is not None and again.made_by["fold1"] == sha256_file(other) != part.made_by["fold1"]


def test_what_is_there_is_not_predicted_again(
    toy: Any, quiet: SilentReporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.tasks.segment.training.predict", None)
    submit([toy.run], tmp_path / "s.csv", None, toy.runs, quiet)


def test_the_test_part_is_predicted_as_the_score_was(
    toy: Any, quiet: SilentReporter, tmp_path: Path, say_predicted: Callable[..., None]
) -> None:
    say_predicted(toy.run, '{"scales": [1.0], "tta": "flips"}')
    score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)
    MapStore(toy.run.folder / "test").start("test")
    submit([toy.run], tmp_path / "s.csv", None, toy.runs, quiet)
    part = MapStore(toy.run.folder / "test").part("test")
    assert part is not None and part.made_by["predict"] == '{"scales": [1.0], "tta": "flips"}'


def test_a_test_part_predicted_in_another_way_is_told(
    toy: Any, tmp_path: Path, say_predicted: Callable[..., None]
) -> None:
    said: list[str] = []
    loud = LineReporter(said.append)
    score_run(toy.run, toy.contest(), run_settings(toy.run), loud)
    submit([toy.run], tmp_path / "s.csv", None, toy.runs, loud)
    assert not any("note" in line for line in said)
    say_predicted(toy.run, '{"scales": [1.0], "tta": "d4"}')
    submit([toy.run], tmp_path / "s.csv", None, toy.runs, loud)
    assert any(line.startswith("note: tiny was scored with predict ") for line in said)


# ------------------------------------------------------------------------------------------------- blends


def test_a_blend_is_the_mean(toy: Any, second: Run, quiet: SilentReporter, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    submit([toy.run, second], path, None, toy.runs, quiet)
    config = run_settings(toy.run).decide
    for name, answer in parsed(toy, path).items():
        maps = [
            MapStore(run.folder / "test").read(name, ("body", "border")).maps.astype(int) for run in (toy.run, second)
        ]
        mean = MapPrediction(((maps[0] + maps[1] + 1) // 2).astype(np.uint8), ("body", "border"))
        assert same(answer, decide(mean, config))


def test_the_first_run_says_how_a_blend_is_decided(
    toy: Any, second: Run, quiet: SilentReporter, tmp_path: Path
) -> None:
    settings = changed_settings(second, ["decide.body=0.65", "decide.seed=0.66"], "decide")
    score_run(second, toy.contest(), settings, quiet, keep=True)
    counts = []
    for runs in ([toy.run, second], [second, toy.run], [second]):
        submit(runs, tmp_path / "s.csv", None, toy.runs, quiet)
        counts.append({answer.count for answer in parsed(toy, tmp_path / "s.csv").values()})  # type: ignore[union-attr]
    # sure 230 and 140 of 255, together 185: above 0.65, where 140 alone is not
    assert counts == [{1}, {1}, {0}]


def test_runs_that_do_not_fit_are_refused_before_any_work(
    toy: Any, second: Run, quiet: SilentReporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.workflows.submit.open_run_contest", None)

    def refused(*runs: Run) -> str:
        return one_line(RunError, lambda: submit(runs, tmp_path / "s.csv", None, toy.runs, quiet))

    elsewhere = shutil.copytree(toy.run.folder, toy.runs / "ships" / "tiny")
    assert "are runs of different contests; they cannot be blended" in refused(toy.run, Run(elsewhere))
    config = second.folder / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("- body\n  - border", "- border\n  - body"))
    message = refused(toy.run, second)
    assert "predict different channels, body, border and border, body; take runs with the same" in message
    config.write_text(text)
    lock = read_json(second.folder / "lock.json")
    write_json(second.folder / "lock.json", {**lock, "data": "0"})
    assert "were trained on different data; they cannot be blended" in refused(toy.run, second)
    assert not (tmp_path / "s.csv").exists()


# ------------------------------------------------------------------------------------------------- refusals


def test_a_file_that_would_be_refused_does_not_appear(
    toy: Any,
    quiet: SilentReporter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Callable[[Path], list[str]],
) -> None:
    output = tmp_path / "out" / "s.csv"
    submit([toy.run], output, None, toy.runs, quiet)
    good = output.read_bytes()
    honest = RleFormat.rows
    monkeypatch.setattr(RleFormat, "rows", lambda *given: [*honest(*given), *honest(*given)])
    message = one_line(SubmissionError, lambda: submit([toy.run], output, None, toy.runs, quiet))
    assert message.startswith(f"{output}: row 3, ")
    assert output.read_bytes() == good and leftovers(output.parent) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_interrupted_or_full_it_leaves_nothing_partial(
    toy: Any,
    quiet: SilentReporter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Callable[[Path], list[str]],
    stop: Any,
) -> None:
    honest, calls = deciding.decide, []

    def stopped(*given: Any, **named: Any) -> Answer:
        calls.append(given)
        if len(calls) == 5:
            raise stop
        return honest(*given, **named)

    monkeypatch.setattr(deciding, "decide", stopped)
    output = tmp_path / "out" / "s.csv"
    with pytest.raises((KeyboardInterrupt, MedalistError)) as caught:
        submit([toy.run], output, None, toy.runs, quiet)
    assert caught.type is KeyboardInterrupt or str(caught.value).startswith("disk full while writing ")
    assert list(output.parent.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(toy: Any, quiet: SilentReporter, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shutil.rmtree(toy.run.folder / "test")
    for output in (tmp_path, tmp_path / "file" / "s.csv", tmp_path / ("long" * 70)):
        message = one_line(MedalistError, lambda output=output: submit([toy.run], output, None, toy.runs, quiet))
        assert message.startswith("cannot write ")
    assert not (toy.run.folder / "test").exists()  # nothing was predicted for nothing
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
