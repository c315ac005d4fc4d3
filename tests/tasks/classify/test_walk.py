"""From a drawn contest to checked submissions: one label, several labels, and grades."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.files import read_table
from medalist.metrics.labels import f1
from medalist.records import Labels
from medalist.stores.tables import TableStore
from medalist.tasks.classify import answering

from .conftest import CLASSES, CONFIGS, TRAIN, Bodies

WAYS = list(CONFIGS)


@pytest.mark.parametrize("name", WAYS)
def test_a_run_is_scored_submitted_reported_and_on_the_board(
    name: str, bodies: Bodies, medalist: Callable[..., Any]
) -> None:
    for words in (
        ("score", f"{name}/tiny", "--data", "data"),
        ("submit", f"{name}/tiny", "--data", "data", "-o", "out.csv"),
        ("validate", "out.csv", "--competition", name, "--data", "data"),
        ("report", f"{name}/tiny", "--data", "data"),
    ):
        ended = medalist(*words)
        assert ended.code == 0, ended
    scores = bodies.run(name).scores()
    assert scores is not None and len(scores["by_sample"]) == TRAIN and sorted(scores["oof"]["folds"]) == ["0", "1"]
    page = (bodies.run(name).folder / "report" / "index.html").read_text()
    assert all(label in page for label in CLASSES)
    assert name in medalist("board").out


def test_oof_probabilities_are_a_table_of_samples_that_the_fold_has_not_seen(bodies: Bodies) -> None:
    run = bodies.run("bodies")
    for fold in (0, 1):
        part, values = TableStore(run.folder / "oof").read(f"fold{fold}")
        assert part.columns == CLASSES and set(part.ids) == set(run.folds().held_out(fold))
        assert values.sum(axis=1) == pytest.approx(np.ones(len(values)), abs=1e-5)
        assert part.made_by.keys() == {f"fold{fold}", "predict", "data"}


def test_grades_are_one_column(bodies: Bodies) -> None:
    part, values = TableStore(bodies.run("bodies.grades").folder / "oof").read("fold0")
    assert part.columns == ("grade",) and values.shape == (TRAIN // 2, 1)


def test_test_predictions_are_the_mean_of_the_folds_networks(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    assert medalist("predict", "bodies/tiny", "--data", "data").code == 0
    run = bodies.run("bodies")
    whole = TableStore(run.folder / "test").read("test")[1]
    alone = []
    for fold in (0, 1):
        for path in run.folder.glob("test/*"):
            path.unlink()
        other = run.fold_folder(1 - fold)
        other.rename(run.folder / "aside")
        assert medalist("predict", "bodies/tiny", "--data", "data").code == 0
        alone.append(TableStore(run.folder / "test").read("test")[1])
        (run.folder / "aside").rename(other)
    assert np.mean(alone, axis=0) == pytest.approx(whole, abs=1e-6)
    assert not np.allclose(*alone)


def test_tuned_thresholds_are_those_of_the_other_folds_and_go_into_the_submission(
    bodies: Bodies, medalist: Callable[..., Any]
) -> None:
    name = "bodies.several"
    assert medalist("score", f"{name}/tiny", "--data", "data").code == 0
    scores, run, contest = bodies.run(name).scores(), bodies.run(name), bodies.contest(name)
    assert scores is not None
    tuning = scores["tuning"]
    assert tuning["honest"] == pytest.approx(scores["oof"]["value"])
    answered = answering.oof_predictions(run, contest, [0, 1])
    answers = {}
    for sample_id, values, fold in zip(answered.ids, answered.values, answered.folds.tolist(), strict=True):
        numbers = tuning["by_fold"][str(fold)]
        names = [label for label, value in zip(CLASSES, values, strict=True) if value > numbers[label]]
        answers[sample_id] = Labels(tuple(names or [CLASSES[int(values.argmax())]]))
    metric = f1(CLASSES, "macro", zero_division=None)
    assert metric(answered.truths, answers).value == pytest.approx(scores["oof"]["value"])
    assert medalist("submit", f"{name}/tiny", "--data", "data", "-o", "out.csv").code == 0
    ids = [sample.id for sample in contest.split.test]
    table = TableStore(run.folder / "test").predictions("test", ids)
    rows = read_table(Path("out.csv"), ("id",))
    for row, prediction in zip(rows, table, strict=True):
        expected = [c for c, p in zip(CLASSES, prediction.values, strict=True) if p > tuning["thresholds"][c]]
        assert row["labels"].split() == (expected or [CLASSES[int(prediction.values.argmax())]])


def test_decisions_may_be_changed_without_predicting_again(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    ended = medalist(
        "score", "bodies.several/tiny", "--data", "data", "--keep", "decide={kind: threshold, threshold: 0.0}"
    )
    assert ended.code == 0, ended
    rows = read_table(bodies.run("bodies.several").folder / "oof.csv", ("id",))
    assert {row["labels"] for row in rows} == {" ".join(CLASSES)}
    assert "task.kind" not in ended.out
    line = medalist(
        "score", "bodies.several/tiny", "--data", "data", "decide={kind: thresholds, thresholds: {cow: 1}}"
    ).line
    assert "there is no class 'cow'" in line


def test_kappa_is_not_told_of_strata_that_are_grades(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    for name, strata in (("bodies", 4), ("bodies.grades", 0)):
        assert medalist("score", f"{name}/tiny", "--data", "data").code == 0
        scores = bodies.run(name).scores()
        assert scores is not None and len(scores["oof"]["strata"]) == strata


def test_runs_are_blended_with_equal_weights(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    other = ("bodies.yaml", "--data", "data", "--name", "other", "seed=7", "train.mix=[]")
    assert medalist("train", *other).code == 0
    assert medalist("submit", "bodies/tiny", "bodies/other", "--data", "data", "-o", "out.csv").code == 0
    ids = [sample.id for sample in bodies.contest("bodies").split.test]
    tables = [TableStore(bodies.runs / "bodies" / run / "test").predictions("test", ids) for run in ("tiny", "other")]
    rows = read_table(Path("out.csv"), ("id",))
    for row, one, two in zip(rows, *tables, strict=True):
        mean = (one.values.astype(np.float64) + two.values) / 2
        assert [float(row[name]) for name in CLASSES] == pytest.approx(mean.tolist(), abs=1e-6)


def test_runs_that_do_not_fit_are_not_blended(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    run = bodies.run("bodies.grades")
    twin = run.folder.with_name("twin")
    shutil.copytree(run.folder, twin)
    text = (twin / "config.yaml").read_text()
    assert "kind: coral" in text
    changed = text.replace("kind: coral", "kind: cross_entropy\n  smoothing: 0.0")
    (twin / "config.yaml").write_text(changed)
    line = medalist("submit", "bodies.grades/tiny", "bodies.grades/twin", "--data", "data").line
    assert "one run has grades, the other probabilities" in line
    line = medalist("submit", "bodies/tiny", "bodies.grades/tiny", "--data", "data").line
    assert "different contests" in line


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (("bee", "ant", "cat", "dog"), "in different orders"),
        (("ant", "bee", "cat", "cow"), "different classes cannot be blended"),
    ],
)
def test_predictions_of_other_classes_are_not_blended(
    columns: tuple[str, ...], words: str, bodies: Bodies, medalist: Callable[..., Any]
) -> None:
    run = bodies.run("bodies")
    assert medalist("predict", "bodies/tiny", "--data", "data").code == 0
    shutil.copytree(run.folder, run.folder.with_name("twin"))
    store = TableStore(run.folder.with_name("twin") / "test")
    part, values = store.read("test")
    store.write("test", type(part)(columns, part.ids, part.made_by), values)
    assert words in medalist("submit", "bodies/tiny", "bodies/twin", "--data", "data").line


def test_predictions_that_are_not_numbers_are_refused(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    store = TableStore(bodies.run("bodies").folder / "oof")
    part, values = store.read("fold1")
    values = values.copy()
    values[3, 1] = np.nan
    store.write("fold1", part, values)
    line = medalist("score", "bodies/tiny", "--data", "data").line
    assert f"the numbers of sample {part.ids[3]} are not finite" in line


def test_other_weights_and_nothing_tuned_are_said(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    run = bodies.run("bodies.several")
    line = medalist("submit", "bodies.several/tiny", "--data", "data").line
    assert "run medalist score bodies.several/tiny first" in line
    weights = run.checkpoint(0, "last")
    weights.write_bytes(run.checkpoint(1, "last").read_bytes())
    assert "holds the weights of fold 1" in medalist("score", "bodies.several/tiny", "--data", "data").line


def test_training_again_has_nothing_to_do_and_a_stopped_one_ends_the_same(
    bodies: Bodies, medalist: Callable[..., Any]
) -> None:
    run = bodies.run("bodies")
    again = ("train", "bodies.yaml", "--data", "data", "--name", "tiny")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}
    assert medalist(*again).code == 0
    assert before == {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}
    weights = run.checkpoint(1, "last").read_bytes()
    shutil.rmtree(run.fold_folder(1))
    assert medalist(*again).code == 0
    assert run.checkpoint(1, "last").read_bytes() == weights


@pytest.mark.usefixtures("short_probes")
def test_plan_and_debug_know_the_kind(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    ended = medalist("plan", "bodies.yaml", "--data", "data", "--seconds", "3", "--name", "planned")
    assert ended.code == 0 and "predictions up to" in ended.out, ended
    ended = medalist("debug", "bodies.yaml", "--data", "data", "--steps", "3", "seed=9")
    assert ended.code == 0, ended


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "task.mode=multi",
            "loss.kind = cross_entropy does not fit task.mode = multi; take bce or focal or asymmetric",
        ),
        ("loss={kind: regression}", "does not fit task.mode = single"),
        ("decide={kind: regression}", "decide.kind = regression is for grades"),
        ("train.mix=[{kind: mosaic}]", "a mosaic has no single label"),
        ("loss={kind: cross_entropy, class_weights: {cow: 2}}", "there is no class 'cow'"),
        ("decide={kind: argmax, top: 9}", "decide.top = 9, but there are 4 classes"),
        ("model.pooling=gme", "did you mean 'gem'"),
        ("task.kind=clasify", "did you mean 'classify'?"),
        ("competition=bodies.several", "task.mode allows one"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_training(
    change: str, words: str, bodies: Bodies, medalist: Callable[..., Any]
) -> None:
    assert words in medalist("train", "bodies.yaml", "--data", "data", change).line


def test_a_class_without_training_samples_is_refused_or_allowed(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    """Only one dog is left: the fold that holds it out has none."""
    table = bodies.data / "train.csv"
    lines = table.read_text().splitlines()
    dogs = [line for line in lines if line.split(",")[1] == "dog"]
    table.write_text("\n".join(line for line in lines if line not in dogs[1:]) + "\n")
    words = ("train", "bodies.yaml", "--data", "data", "--name", "rare")
    assert "has no sample of 1 of 4 classes ('dog'), so they would never be learned" in medalist(*words).line
    ended = medalist(*words, "task.absent=allow")
    assert ended.code == 0, ended


def test_a_label_that_is_not_in_the_list_is_named(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    table = bodies.data / "train.csv"
    table.write_text(table.read_text().replace(",bee,", ",beee,", 1).replace("cat dog", "cat cat", 1))
    line = medalist("train", "bodies.yaml", "--data", "data", "--name", "bad").line
    assert "beee" in line and "bee" in line
    line = medalist("train", "bodies.several.yaml", "--data", "data", "--name", "bad").line
    assert "the label 'cat' is there twice" in line


def test_scores_name_no_secret_and_are_json(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    assert medalist("score", "bodies.grades/tiny", "--data", "data").code == 0
    text = (bodies.run("bodies.grades").folder / "scores.json").read_text()
    tuning = json.loads(text)["tuning"]
    assert len(tuning["thresholds"]) == 3 and tuning["thresholds"] == sorted(tuning["thresholds"])


def test_another_list_of_classes_is_refused_wherever_the_run_is_used(
    bodies: Bodies, medalist: Callable[..., Any]
) -> None:
    for name in ("bodies", "bodies.several"):
        assert medalist("score", f"{name}/tiny", "--data", "data").code == 0
    code = Path("competitions/bodies/__init__.py")
    code.write_text(code.read_text().replace('("ant", "bee", "cat", "dog")', '("bee", "ant", "cat", "dog")'))
    words = "was trained on another list of classes (class 0 was 'ant' and is 'bee')"
    commands = (
        ("score", "bodies/tiny"),
        ("submit", "bodies/tiny"),
        ("submit", "bodies.several/tiny"),
        ("predict", "bodies/tiny"),
        ("train", "bodies.yaml", "--name", "tiny"),
    )
    forget(bodies.home)
    for command in commands:
        ended = medalist(*command, "--data", "data")
        assert ended.code == 2 and words in ended.line, (command, ended)


def forget(home: Path) -> None:
    """Let the next command import the competitions of this folder anew, as a command in another process would."""
    here = str(home / "competitions")
    for name in [name for name, module in sys.modules.items() if str(module.__dict__.get("__file__")).startswith(here)]:
        del sys.modules[name]


def test_thresholds_of_other_folds_or_weights_are_not_used(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    run = bodies.run("bodies.several")
    assert medalist("score", "bodies.several/tiny", "--data", "data").code == 0
    scores = run.scores()
    assert scores is not None
    del scores["predictions"]["fold1"]
    (run.folder / "scores.json").write_text(json.dumps(scores))
    assert "was scored on other folds or weights" in medalist("submit", "bodies.several/tiny", "--data", "data").line


def test_a_submission_says_where_it_is_decided_otherwise_than_configured(
    bodies: Bodies, medalist: Callable[..., Any]
) -> None:
    change = "decide={kind: threshold, threshold: 0.9, least: 1}"
    assert medalist("score", "bodies.several/tiny", "--data", "data", change, "--keep").code == 0
    ended = medalist("submit", "bodies.several/tiny", "--data", "data", "-o", "out.csv")
    assert ended.code == 0 and "decide, from score --keep of tiny" in ended.out and "0.9" in ended.out
    assert medalist("report", "bodies.several/tiny", "--data", "data").code == 0
    assert "threshold" in (bodies.run("bodies.several").folder / "report" / "index.html").read_text()


@pytest.mark.parametrize("tuning", [None, 5, {"thresholds": None}, {"thresholds": {"ant": float("nan")}}, []])
def test_damaged_tuning_is_no_fault_of_ours(tuning: object, bodies: Bodies, medalist: Callable[..., Any]) -> None:
    run = bodies.run("bodies.several")
    assert medalist("score", "bodies.several/tiny", "--data", "data").code == 0
    scores = run.scores()
    assert scores is not None
    (run.folder / "scores.json").write_text(json.dumps({**scores, "tuning": tuning}))
    for command in ("submit", "report"):
        assert (
            "nothing was tuned for these classes yet" in medalist(command, "bodies.several/tiny", "--data", "data").line
        )


def test_lost_and_damaged_predictions_are_made_again(bodies: Bodies, medalist: Callable[..., Any]) -> None:
    path = bodies.run("bodies").folder / "oof" / "fold0.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    assert "is damaged" in medalist("score", "bodies/tiny", "--data", "data").line
    path.unlink()
    assert medalist("predict", "bodies/tiny", "--split", "oof", "--data", "data").code == 0
    assert path.read_bytes() == whole
    path.unlink()
    assert medalist("train", "bodies.yaml", "--data", "data", "--name", "tiny").code == 0
    assert path.exists()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("bodies", ("task.mode=ordinal", "loss={kind: regression}", "decide={kind: regression}")),
        ("bodies", ("task.mode=multi", "loss={kind: bce}", "decide={kind: threshold}")),
        ("bodies.grades", ("task.mode=single", "loss={kind: cross_entropy}", "decide={kind: threshold}")),
        ("bodies.grades", ("loss={kind: cross_entropy}", "decide={kind: argmax, top: 3}")),
    ],
)
def test_answers_that_the_format_cannot_write_are_refused_before_training(
    name: str, changes: tuple[str, ...], bodies: Bodies, medalist: Callable[..., Any]
) -> None:
    line = medalist("train", f"{name}.yaml", "--data", "data", "--name", "new", *changes).line
    assert "give answers that the contest does not accept" in line
