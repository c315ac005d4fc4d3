"""From a drawn contest of nuclei to a checked submission, by boxes with masks."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist import open_run
from medalist.codecs.images import read_image
from medalist.postprocess.box_instances import decide_instances
from medalist.postprocess.box_settings import MasksConfig
from medalist.records import BoxPrediction, Instances
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run, find_run
from medalist.stores.boxes import BoxStore
from medalist.tasks.detect import answering

from .conftest import PROJECT

Command = Callable[..., Any]
CONFIG = """\
competition: toy_nuclei
folds: {n: 2, seed: 1}
task: {kind: detect}
image: {size: [96, 96], scale: [0.8, 1.25]}
augment: [{D4: {}}]
model:
  {kind: mask_rcnn, encoder: test_resnet, weights: none, finest: 8, coarsest: 32, width: 16, hidden: 32, scales: [2],
   mask_width: 16, mask_depth: 1, proposals: 60, anchors_learned: 64, boxes_learned: 32}
compose: {mosaic: 0.3, paste: 0.3, until: 1.0}
train: {epochs: 1, batch: 5, schedule: constant, warmup: 0.0, lr: 0.003}
predict: {floor: 0.001, most: 20, tta: mirror, batch: 8}
decide: {kind: masks, score: 0.0}
tracking: none
"""
FASTER = "model={kind: faster_rcnn, encoder: test_resnet, weights: none, width: 16, hidden: 32}"


@pytest.fixture(scope="session")
def trained_nuclei(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train both folds with the command; return the folder of the config and of the runs. Tests must not change it."""
    from medalist.cli.main import run

    home = tmp_path_factory.mktemp("nuclei")
    (home / "tiny.yaml").write_text(CONFIG)
    words = ["--runs", str(home / "runs"), "--debug", "train", str(home / "tiny.yaml"), "--data", str(drawn)]
    with contextlib.chdir(PROJECT), contextlib.redirect_stdout(io.StringIO()):
        assert run(words) == 0
    return home


@pytest.fixture
def runs(trained_nuclei: Path, tmp_path: Path, at_home: Path) -> Path:
    """Return a copy of the folder of runs, which a test may change."""
    shutil.copytree(trained_nuclei / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def the_run(runs: Path) -> Run:
    return find_run("toy_nuclei/tiny", runs)


def test_a_run_is_scored_submitted_and_reported(runs: Path, drawn: Path, medalist: Command, tmp_path: Path) -> None:
    there, csv = ("--runs", runs), tmp_path / "out.csv"
    for words in (
        ("score", "toy_nuclei/tiny", "--data", drawn),
        ("submit", "toy_nuclei/tiny", "--data", drawn, "-o", csv),
        ("validate", csv, "--competition", "toy_nuclei", "--data", drawn),
        ("report", "toy_nuclei/tiny", "--data", drawn),
    ):
        ended = medalist(*there, *words)
        assert ended.code == 0, ended
    run = the_run(runs)
    scores = run.scores()
    assert scores is not None and len(scores["by_sample"]) == 26 and sorted(scores["oof"]["folds"]) == ["0", "1"]
    page = (run.folder / "report" / "index.html").read_text()
    assert "in the truth" in page and "missed" in page
    rows = (run.fold_folder(0) / "metrics.jsonl").read_text()
    assert all(f'"{name}"' in rows for name in ("val_loss", "val_loss_masks", "loss_masks", "map50"))
    assert json.loads((run.folder / "classes.json").read_text()) == ["object"]


def test_masks_are_kept_and_python_answers_what_the_command_decides(runs: Path, drawn: Path, medalist: Command) -> None:
    assert medalist("--runs", runs, "predict", "toy_nuclei/tiny", "--data", drawn).code == 0
    run, contest = the_run(runs), open_contest("toy_nuclei", drawn, runs)
    test = contest.split.test
    stored = BoxStore(run.folder / "test").predictions("test", [sample.id for sample in test])
    assert all(one.masks is not None and one.masks.shape[1:] == (28, 28) for one in stored)
    assert [one.size for one in stored] == [sample.size for sample in test] and {one.sources for one in stored} == {4}
    answers = open_run(run.folder).answer([read_image(sample.images[0], 65535) for sample in test])
    for answer, prediction in zip(answers, stored, strict=True):
        expected = decide_instances(prediction, MasksConfig(kind="masks", score=0.0))
        assert isinstance(answer, Instances) and (answer.labels == expected.labels).mean() > 0.99


def test_several_runs_are_joined_with_their_masks(runs: Path) -> None:
    one = BoxPrediction(
        np.zeros((2, 4), np.float32),
        np.zeros(2, np.int32),
        np.ones(2, np.float32),
        np.array([0, 1], np.int16),
        2,
        np.zeros((2, 28, 28), np.uint8),
        (9, 8),
    )
    both = answering.joined([one, one])
    assert both.masks is not None and both.masks.shape == (4, 28, 28) and both.size == (9, 8) and both.sources == 4


def test_a_threshold_is_tuned_on_the_other_fold(runs: Path, drawn: Path, medalist: Command, tmp_path: Path) -> None:
    how = "decide={kind: masks, score: 0.0, tuned: one}"
    ended = medalist("--runs", runs, "score", "toy_nuclei/tiny", "--data", drawn, "--keep", how)
    assert ended.code == 0 and "thresholds for the test part" in ended.out, ended
    scores = the_run(runs).scores()
    assert scores is not None and scores["tuning"]["honest"] == pytest.approx(scores["oof"]["value"])
    assert scores["tuning"]["thresholds"].keys() == {"object"}
    words = ("submit", "toy_nuclei/tiny", "--data", drawn, "-o", tmp_path / "out.csv")
    assert medalist("--runs", runs, *words).code == 0


@pytest.mark.slow
def test_a_plan_and_a_debugging_of_masks(drawn: Path, trained_nuclei: Path, medalist: Command, tmp_path: Path) -> None:
    there, config = ("--runs", tmp_path / "runs"), trained_nuclei / "tiny.yaml"
    planned = medalist(*there, "plan", config, "--data", drawn, "--seconds", "2")
    assert planned.code == 0, planned
    debugged = medalist(*there, "debug", config, "--data", drawn, "--steps", "3")
    assert debugged.code == 0, debugged


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((FASTER, "decide={kind: nms}"), "set model.kind=mask_rcnn and decide.kind=masks"),
        (("decide={kind: nms}",), "set decide.kind=masks"),
    ],
)
def test_other_pairs_of_a_contest_and_a_network_are_refused(
    drawn: Path, tmp_path: Path, medalist: Command, at_home: Path, change: tuple[str, ...], words: str
) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    ended = medalist("--runs", tmp_path / "runs", "train", config, "--data", drawn, *change)
    assert ended.code != 0 and words in ended.line, ended
