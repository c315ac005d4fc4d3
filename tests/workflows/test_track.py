from __future__ import annotations

import io
import json
import logging
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2 as records

from medalist.kinds import answering_of, run_settings
from medalist.records import Answer
from medalist.report.labels import shows_nothing
from medalist.report.page import extremes
from medalist.reporter import SilentReporter
from medalist.runs.runs import Run
from medalist.tasks.protocols import Oof
from medalist.tasks.segment import report as segment_report
from medalist.tasks.segment.objects import wrong_pixels
from medalist.tracking.mark import read_mark
from medalist.workflows.score import oof_of_scores, score_run
from medalist.workflows.track import _of_one_size, figures

Records = dict[str, list[Any]]


def finished(path: Path) -> Records:
    """The records of a .wandb file by kind, once wandb's process has written its end; see tests/engine."""
    for _ in range(600):
        if "exit" in (found := written(path)):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} has no end")


def written(path: Path) -> Records:
    data, at, whole, found = path.read_bytes(), 7, b"", Records()
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:  # the rest of a block is padding
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = records.Record()
            record.ParseFromString(whole)
            name, whole = record.WhichOneof("record_type"), b""
            found.setdefault(name, []).append(getattr(record, name))
    return found


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data of wandb"))  # not the user's


def tracked(run: Run, kind: str) -> None:
    """Say in the run's config, as a user would, where it is tracked."""
    path = run.folder / "config.yaml"
    path.write_text(path.read_text().replace("tracking: none", f"tracking: {kind}"))


def tables(run: Run) -> list[dict[str, Any]]:
    files = sorted(run.folder.glob("wandb/offline-run-*/files/media/table/*.table.json"))
    return [json.loads(path.read_text()) for path in files]


def pair(oof: Oof, name: str) -> tuple[Answer, Answer]:
    return oof.truths[name], oof.answers[name]


def assert_same(files: list[Path], pictures: list[Any]) -> None:
    assert len(files) == len(pictures)
    for path, picture in zip(files, pictures, strict=True):
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), picture)


def test_without_a_tracker_nothing_is_logged(toy: Any, quiet: SilentReporter) -> None:
    score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)
    assert not list(toy.run.folder.glob("wandb")) and not list(toy.run.folder.glob("tens*"))
    assert not (toy.run.folder / "tracking.json").exists()


def test_wandb_has_the_scores_and_the_worst_samples(toy: Any, quiet: SilentReporter) -> None:
    run, contest = toy.run, toy.contest()
    tracked(run, "wandb")
    scores = score_run(run, contest, run_settings(run), quiet)
    (file,) = run.folder.glob("wandb/offline-run-*/*.wandb")
    found = finished(file)
    (made,) = found["run"]
    assert (made.project, made.run_group, made.display_name) == ("toy_nuclei", "tiny", "tiny-score")
    assert (made.job_type, made.run_id) == ("score", read_mark(run.folder, "wandb").id)
    config = {item.key: json.loads(item.value_json) for item in made.config.update}
    assert config["train"] == run_settings(run).model_dump(mode="json")["train"]
    summary: dict[str, Any] = {}
    for update in found["summary"]:
        summary |= {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in update.update}
    assert summary["score/oof"] == scores["oof"]["value"]
    assert {summary[f"score/fold{fold}"] for fold in range(2)} == set(scores["oof"]["folds"].values())
    (table,) = tables(run)
    assert table["columns"] == ["id", "fold", "stratum", "score", "truth", "answer", "picture"]
    oof = oof_of_scores(run, contest)
    told = {name: one for name, one in scores["by_sample"].items() if not shows_nothing(*pair(oof, name))}
    worst = extremes(told, wrong={name: wrong_pixels(*pair(oof, name)) for name in told})[0]
    assert [row[0] for row in table["data"]] == worst and len(worst) == 12
    assert [row[3] for row in table["data"]] == [scores["by_sample"][name] for name in worst]
    assert [row[1] for row in table["data"]] == [run.folds().fold_of(name) for name in worst]
    shown = [one.picture for one in answering_of(run).worst(run, contest, oof_of_scores(run, contest))]
    (artifact,) = found["artifact"]  # the table as it is sent, with its pictures
    stored = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    (sent,) = (json.loads(path.read_text()) for name, path in stored.items() if name.endswith(".table.json"))
    assert [row[:6] for row in sent["data"]] == [row[:6] for row in table["data"]]
    assert_same([stored[row[6]["path"]] for row in sent["data"]], shown)
    history = {"/".join(item.nested_key): json.loads(item.value_json) for item in found["history"][-1].item}
    assert history["worst/_type"] == "table-file"
    listed = [file.parent / "files" / name for name in history["worst pictures/filenames"]]
    height, width = (max(picture.shape[side] for picture in shown) for side in (0, 1))
    rests = [((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)) for picture in shown]
    assert_same(listed, [np.pad(one, rest, constant_values=255) for one, rest in zip(shown, rests, strict=True)])
    told = {item.path for files in found["files"] for item in files.files}
    assert {history["worst/path"], *history["worst pictures/filenames"]} <= told


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pictures are enough where their number does not matter: to compress them takes most of the time."""
    monkeypatch.setattr(segment_report, "extremes", lambda by_sample, wrong: extremes(by_sample, 3, wrong))


def test_scoring_again_goes_on_in_the_same_run(
    toy: Any, quiet: SilentReporter, few: None, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The second scoring replaces the files of the first, and nothing of wandb reaches the terminal."""
    tracked(toy.run, "wandb")
    for _ in range(2):
        score_run(toy.run, toy.contest(), run_settings(toy.run), quiet)
    (file,) = toy.run.folder.glob("wandb/offline-run-*/*.wandb")
    assert finished(file)["run"][0].run_id == read_mark(toy.run.folder, "wandb").id
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_pictures_that_are_listed_have_one_size() -> None:
    """Of pictures of other sizes wandb warns on the terminal, and shows them all in the size of the first."""
    pictures = [np.full((height, width, 3), 7, np.uint8) for height, width in ((2, 5), (4, 3))]
    alike = _of_one_size(pictures)
    assert [one.shape for one in alike] == [(4, 5, 3)] * 2
    assert np.array_equal(alike[0][:2], pictures[0]) and (alike[0][2:] == 255).all()
    assert np.array_equal(alike[1][:, :3], pictures[1]) and (alike[1][:, 3:] == 255).all()
    assert _of_one_size([]) == []


def test_tensorboard_has_the_scores_and_the_worst_samples(toy: Any, quiet: SilentReporter, few: None) -> None:
    run, contest = toy.run, toy.contest()
    tracked(run, "tensorboard")
    for _ in range(2):  # scored again it shows the same, not the double
        scores = score_run(run, contest, run_settings(run), quiet)
    events = EventAccumulator(str(run.folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    for name, value in figures(scores).items():
        assert [one.value for one in events.Scalars(name)] == [pytest.approx(value)]
    shown = answering_of(run).worst(run, contest, oof_of_scores(run, contest))
    names = sorted(events.Tags()["images"])
    assert len(names) == len(shown) == 3
    for name, one in zip(names, shown, strict=True):
        assert name.startswith("worst/") and one.id in name
        (image,) = events.Images(name)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), one.picture)


def test_figures_leave_out_what_is_no_number() -> None:
    oof = {"value": 0.5, "mean": 0.4, "standard_error": None, "standard_error_samples": float("nan")}
    oof |= {"folds": {"0": 0.5, "1": 0.3}, "parts": {"ap50": 0.7, "odd": float("inf")}}  # type: ignore[dict-item]
    assert figures({"oof": oof}) == {
        "score/oof": 0.5,
        "score/mean": 0.4,
        "score/fold0": 0.5,
        "score/fold1": 0.3,
        "part/ap50": 0.7,
    }


def test_of_queries_the_names_are_told(whales: Any, quiet: SilentReporter) -> None:
    run, contest = whales.run, whales.contest()
    tracked(run, "wandb")
    scores = score_run(run, contest, run_settings(run), quiet)
    oof = oof_of_scores(run, contest)
    (table,) = tables(run)
    assert table["data"] and len(list(run.folder.glob("wandb/offline-run-*/files/media/images/*"))) == len(
        table["data"]
    )
    for name, _, _, score, truth, answer, _ in table["data"]:
        assert score == scores["by_sample"][name]
        assert truth == ", ".join(oof.truths[name].names[:5]) and truth  # type: ignore[union-attr]
        assert answer == ", ".join(oof.answers[name].names[:5])  # type: ignore[union-attr]
