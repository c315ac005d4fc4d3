"""From a drawn contest of boxes to a checked submission."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist import open_run
from medalist.codecs.images import read_image
from medalist.files import read_table
from medalist.postprocess.box_settings import NmsConfig
from medalist.postprocess.boxes import decide
from medalist.records import Boxes, BoxPrediction
from medalist.stores.boxes import BoxStore
from medalist.tasks.detect import answering

from .conftest import Cells

Command = Callable[..., Any]
CLASSES = ("RBC", "WBC", "Platelets")


def test_a_run_is_scored_submitted_reported_and_on_the_board(cells: Cells, medalist: Command, tmp_path: Path) -> None:
    there, csv = ("--runs", cells.runs), tmp_path / "out.csv"
    for words in (
        ("score", "bccd/tiny", "--data", cells.data),
        ("submit", "bccd/tiny", "--data", cells.data, "-o", csv),
        ("validate", csv, "--competition", "bccd", "--data", cells.data),
        ("report", "bccd/tiny", "--data", cells.data),
    ):
        ended = medalist(*there, *words)
        assert ended.code == 0, ended
    scores = cells.run.scores()
    assert scores is not None and len(scores["by_sample"]) == 20 and sorted(scores["oof"]["folds"]) == ["0", "1"]
    assert csv.read_text().startswith("image_id,PredictionString\nBloodImage_00020,")
    page = (cells.run.folder / "report" / "index.html").read_text()
    assert all(name in page for name in CLASSES)
    assert "bccd" in medalist(*there, "board").out
    rows = (cells.run.fold_folder(0) / "metrics.jsonl").read_text()
    assert all(f'"{name}"' in rows for name in ("val_loss", "val_loss_boxes", "map", "map50", "loss_classes"))


def test_oof_boxes_are_of_samples_that_the_fold_has_not_seen(trained_cells: Cells) -> None:
    run, contest = trained_cells.run, trained_cells.contest()
    sizes = {sample.id: sample.size for sample in contest.split.train}
    for fold in (0, 1):
        part, found = BoxStore(run.folder / "oof").read(f"fold{fold}")
        assert part.columns == CLASSES and set(part.ids) == set(run.folds().held_out(fold))
        assert part.made_by.keys() == {f"fold{fold}", "predict", "data"}
        for name, one in zip(part.ids, found, strict=True):
            assert one.sources == 2 and (one.xyxy <= [*sizes[name][::-1], *sizes[name][::-1]]).all()
            assert len(one.labels) <= 2 * 30 and (one.scores >= 0.001).all()


def test_the_test_part_has_the_boxes_of_all_folds_and_views(cells: Cells, medalist: Command) -> None:
    assert medalist("--runs", cells.runs, "predict", "bccd/tiny", "--data", cells.data).code == 0
    part, found = BoxStore(cells.run.folder / "test").read("test")
    assert {one.sources for one in found} == {4} and len(part.ids) == 6
    assert {source for one in found for source in one.source.tolist()} == {0, 1, 2, 3}


def test_python_predicts_what_the_command_predicts(cells: Cells, medalist: Command) -> None:
    assert medalist("--runs", cells.runs, "predict", "bccd/tiny", "--data", cells.data).code == 0
    contest, run = cells.contest(), cells.run
    images = [read_image(sample.images[0], 65535) for sample in contest.split.test[:3]]
    stored = BoxStore(run.folder / "test").predictions("test", [sample.id for sample in contest.split.test[:3]])
    opened = open_run(run.folder)
    for answer, prediction in zip(opened.answer(images), stored, strict=True):
        expected = decide(prediction, opened.settings.decide, CLASSES)  # type: ignore[arg-type]
        assert isinstance(answer, Boxes) and np.array_equal(answer.labels, expected.labels)
        assert answer.xyxy == pytest.approx(expected.xyxy, abs=1e-2)


def test_several_runs_are_joined_as_sources(cells: Cells, medalist: Command, tmp_path: Path) -> None:
    boxes, labels = np.zeros((2, 4), np.float32), np.array([0, 1], np.int32)
    one = BoxPrediction(boxes, labels, np.ones(2, np.float32), np.array([0, 1], np.int16), 2)
    both = answering.joined([one, one, one])
    assert both.sources == 6 and both.source.tolist() == [0, 1, 2, 3, 4, 5] and both.source.dtype == np.int16
    csv = tmp_path / "both.csv"
    ended = medalist("--runs", cells.runs, "submit", "bccd/tiny", "bccd/tiny", "--data", cells.data, "-o", csv)
    assert ended.code == 0 and len(read_table(csv, ("image_id",))) == 6


def test_decisions_may_be_changed_without_predicting_again(cells: Cells, medalist: Command) -> None:
    words = ("--runs", cells.runs, "score", "bccd/tiny", "--data", cells.data, "--keep")
    assert medalist(*words, "decide={kind: nms, iou: 0.5, score: 0.99}").code == 0
    assert {row["PredictionString"] for row in read_table(cells.run.folder / "oof.csv", ("image_id",))} == {""}
    assert "no class 'WBX'" in medalist(*words, "decide={kind: nms, score: {WBX: 0.5}}").line


def test_a_plan_and_a_debugging_of_boxes(drawn_cells: Cells, medalist: Command, tmp_path: Path, at_home: Path) -> None:
    there = ("--runs", tmp_path / "runs")
    planned = medalist(*there, "plan", drawn_cells.config, "--data", drawn_cells.data, "--seconds", "2")
    assert planned.code == 0, planned
    debugged = medalist(*there, "debug", drawn_cells.config, "--data", drawn_cells.data, "--steps", "3")
    assert debugged.code == 0, debugged


def test_tuned_thresholds_are_those_of_the_other_folds_and_go_into_the_submission(
    cells: Cells, medalist: Command, tmp_path: Path
) -> None:
    there, csv = ("--runs", cells.runs), tmp_path / "out.csv"
    how = "decide={kind: nms, iou: 0.5, score: 0.0, tuned: classes}"
    ended = medalist(*there, "score", "bccd/tiny", "--data", cells.data, "--keep", how)
    assert ended.code == 0 and "thresholds for the test part" in ended.out, ended
    scores, run = cells.run.scores(), cells.run
    assert scores is not None and scores["tuning"]["honest"] == pytest.approx(scores["oof"]["value"])
    assert scores["tuning"]["thresholds"].keys() == set(CLASSES) and scores["tuning"]["by_fold"].keys() == {"0", "1"}
    assert medalist(*there, "submit", "bccd/tiny", "--data", cells.data, "-o", csv).code == 0
    found = BoxStore(run.folder / "test").read("test")[1]
    config = NmsConfig(iou=0.5, score=scores["tuning"]["thresholds"])
    for row, prediction in zip(read_table(csv, ("image_id",)), found, strict=True):
        expected = decide(prediction, config, CLASSES)
        assert row["PredictionString"].split()[0::6] == [CLASSES[label] for label in expected.labels]
    scores["predictions"] = {}
    (run.folder / "scores.json").write_text(json.dumps(scores))
    assert (
        "its thresholds were tuned on other predictions"
        in medalist(*there, "submit", "bccd/tiny", "--data", cells.data, "-o", csv).line
    )


def test_a_list_of_classes_that_was_changed_is_refused(cells: Cells, medalist: Command) -> None:
    words = ("--runs", cells.runs, "score", "bccd/tiny", "--data", cells.data)
    for classes, said in (
        (["RBC", "Platelets", "WBC"], "another list of classes (class 1 was 'Platelets' and is 'WBC')"),
        (["RBC"], "another list of classes (1 classes, now there are 3)"),
        (5, "classes.json is no list of classes; restore the file, or train a new run"),
    ):
        (cells.run.folder / "classes.json").write_text(json.dumps(classes))
        ended = medalist(*words)
        assert ended.code == 2 and said in ended.line, ended


def test_a_fold_whose_predictions_are_lost_is_told(cells: Cells, medalist: Command) -> None:
    (cells.run.folder / "oof" / "fold0.parquet").unlink()
    ended = medalist("--runs", cells.runs, "score", "bccd/tiny", "--data", cells.data)
    assert ended.code == 0 and "not in this score: folds 0; type medalist predict bccd/tiny --split oof" in ended.out
