"""A kind of contest that is written here walks all commands: nothing of `src` knows of it but the one table.

Shades: an image has the class whose mean brightness is the nearest one. Nothing in it is learned by gradients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from medalist import kinds
from medalist.codecs.images import read_image
from medalist.contest import Contest
from medalist.errors import ConfigError
from medalist.experiment import Experiment, TaskConfig
from medalist.files import sha256_file
from medalist.kinds import KINDS, Kind
from medalist.layouts.drawing import write_picture
from medalist.records import Labels, TablePrediction
from medalist.report.page import RunReport, write_report
from medalist.reporter import Progress, Reporter
from medalist.runs.plans import BY_FOLD, PARTS, Plan, PlanRequest, write_plan
from medalist.runs.runs import Run, config_hash, find_run
from medalist.runs.setup import TrainSetup
from medalist.stores.store import StoredPart
from medalist.stores.tables import TableStore
from medalist.tasks.protocols import Oof, TestAnswers
from medalist.tasks.scored import through_file
from medalist.tracking.tracking import Log

COMPETITION = '''
"""Dark and light images."""
from pathlib import Path
from medalist.competition import Competition
from medalist.formats.labels import LabelFormat
from medalist.layouts.label_tables import label_truth, labelled
from medalist.layouts.tables import listed
from medalist.metrics.labels import accuracy
from medalist.records import Split

CLASSES = ("dark", "light")

def read(data: Path) -> Split:
    train = labelled(data / "train.csv", "id", lambda name: data / f"{name}.png", "label", classes=CLASSES)
    return Split(train, listed(data / "sample_submission.csv", "id", lambda name: data / f"{name}.png"))

COMPETITION = Competition("shades", read, label_truth, accuracy, LabelFormat(classes=CLASSES))
'''
CONFIG = "competition: shades\nfolds: {n: 2, seed: 1}\ntask: {kind: shades}\ntracking: none\n"


# -------------------------------------------------------------------------------------------- the kind, in 100 lines


class ShadesConfig(TaskConfig):
    kind: Literal["shades"]


class ShadesSettings(Experiment):
    task: ShadesConfig


@dataclass(frozen=True)
class ShadesJob:
    fold: int
    folder: Path
    steps: int
    brightness: Mapping[str, Sequence[float]]


def brightness(contest: Contest, images: Sequence[Path]) -> list[float]:
    return [float(read_image(path, contest.competition.white).mean()) for path in images]


def rehearse(setup: TrainSetup) -> None:
    if not hasattr(setup.contest.competition.submission, "classes"):
        raise ConfigError("task.kind = shades needs a contest of labels")


def open_data(setup: TrainSetup, fabric: Any, reporter: Reporter) -> Callable[[int], ShadesJob]:
    def job(fold: int) -> ShadesJob:
        known = set(setup.folds.training(fold))
        shades: dict[str, list[float]] = {}
        for sample in setup.contest.split.train:
            if sample.id in known:
                shades.setdefault(sample.annotation[0], []).extend(brightness(setup.contest, sample.images))
        return ShadesJob(fold, setup.run.fold_folder(fold), 1, shades)

    return job


def fit(job: ShadesJob, log: Log, progress: Progress) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "metrics.jsonl").write_text(json.dumps({"epoch": 0, "seconds": 0.0}) + "\n")
    means = {name: np.float32([np.mean(shades)]) for name, shades in job.brightness.items()}
    save_file(means, job.folder / "last.safetensors")
    progress.advance(1)


def predict(run: Run, settings: ShadesSettings, contest: Contest, fold: int | None, reporter: Reporter) -> None:
    folds = run.trained_folds() if fold is None else [fold]
    held_out = set() if fold is None else set(run.folds().held_out(fold))
    samples = contest.split.test if fold is None else [one for one in contest.split.train if one.id in held_out]
    means = [load_file(run.checkpoint(one, "last")) for one in folds]
    classes = contest.competition.submission.classes  # type: ignore[attr-defined]
    shades = np.concatenate([brightness(contest, sample.images) for sample in samples])
    values = -np.mean([[np.abs(shades - found[name]) for name in classes] for found in means], axis=0).T
    made = {f"fold{one}": sha256_file(run.checkpoint(one, "last")) for one in folds}
    part = StoredPart(classes, tuple(sample.id for sample in samples), made)
    store, name = (TableStore(run.folder / "test"), "test") if fold is None else (TableStore(run.folder / "oof"), "")
    store.write(name or f"fold{fold}", part, values.astype(np.float32))


def forecast(setup: TrainSetup, request: PlanRequest, started: float, reporter: Reporter) -> Plan:
    by_fold = {str(fold): dict.fromkeys(BY_FOLD, 0.5) for fold in setup.chosen}
    plan = Plan(
        config_hash(setup.settings), "2026-01-01", {"gpus": []}, setup.chosen, 1, 1, dict.fromkeys(PARTS, 1.0), by_fold,
        1.0, 1.0, 1, 0, {"checkpoints": 100, "predictions": 100}, (), {}, ("nothing was measured",), 0.0,
    )  # fmt: skip
    write_plan(setup.run, plan)
    return plan


def debug_subject(setup: TrainSetup, fold: int) -> Any:
    raise ConfigError("task.kind = shades trains no network")


def decided(predictions: Sequence[TablePrediction]) -> list[Labels]:
    return [Labels((one.columns[int(one.values.argmax())],)) for one in predictions]


def oof(run: Run, contest: Contest, settings: Any, reporter: Reporter, figures: Sequence[str] = ()) -> Oof:
    ids = [name for fold in run.trained_folds() for name in run.folds().held_out(fold)]
    samples = [sample for sample in contest.split.train if sample.id in ids]
    store, of = TableStore(run.folder / "oof"), run.folds()
    found = [decided(store.predictions(f"fold{of.fold_of(sample.id)}", [sample.id]))[0] for sample in samples]
    answers = [(sample.id, answer) for sample, answer in zip(samples, found, strict=True)]
    form = contest.competition.submission
    return through_file(run.folder / "oof.csv", contest, form, samples, contest.truths(samples), answers)


def answers_to_test(runs: Sequence[tuple[Run, Any]], contest: Contest, reporter: Reporter) -> TestAnswers:
    ids = [sample.id for sample in contest.split.test]
    found = decided(TableStore(runs[0][0].folder / "test").predictions("test", ids))
    return TestAnswers(contest.competition.submission, zip(ids, found, strict=True))


def made_by(run: Run, contest: Contest | None, part: str) -> Mapping[str, str] | None:
    folder, _, name = part.rpartition("/")
    found = TableStore(run.folder / (folder or name)).part(name)
    return found.made_by if found else None


def write_page(path: Path, run: Run, contest: Contest, settings: Any, oof: Oof, page: RunReport) -> None:
    write_report(path, page)


TRAINING = SimpleNamespace(
    rehearse=rehearse, open_data=open_data, fit=fit, predict=predict, forecast=forecast, debug_subject=debug_subject
)
ANSWERING = SimpleNamespace(
    oof=oof,
    test=answers_to_test,
    made_by=made_by,
    blend_conflict=lambda one, other: None,
    summary=lambda scores: (),
    worst=lambda run, contest, oof: [],
    write_page=write_page,
)

# ------------------------------------------------------------------------------------------------------ and its walk


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own with 12 training and 4 test images; in every third of them the light is misleading."""
    (tmp_path / "competitions" / "shades").mkdir(parents=True)
    (tmp_path / "competitions" / "shades" / "__init__.py").write_text(COMPETITION)
    (tmp_path / "shades.yaml").write_text(CONFIG)
    data = tmp_path / "data"
    rng = np.random.default_rng(5)
    for number in range(16):
        base = 200 if number % 2 else 40
        write_picture(data / f"{number}.png", rng.integers(base - 30, base + 30, (8, 8, 3)).astype(np.uint8))
    rows = [f"{number},{('dark', 'light')[number % 2]}" for number in range(12)]
    (data / "train.csv").write_text("id,label\n" + "\n".join(rows) + "\n")
    (data / "sample_submission.csv").write_text("id,label\n" + "".join(f"{number},dark\n" for number in range(12, 16)))
    shades = Kind(lambda: ShadesSettings, lambda: ANSWERING, lambda: TRAINING)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(kinds, "KINDS", MappingProxyType({**KINDS, "shades": shades}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_kind_without_gradients_walks_all_commands(home: Path, medalist: Callable[..., Any]) -> None:
    checked = medalist("check", "shades", "--data", "data")
    assert checked.code == 0 and "score 1.000000" in checked.out, checked
    planned = medalist("plan", "shades.yaml", "--data", "data")
    assert planned.code == 0 and "nothing was measured" in planned.out, planned
    trained = medalist("train", "shades.yaml", "--data", "data")
    assert trained.code == 0 and find_run("shades/shades", home / "runs").trained_folds() == [0, 1], trained
    again = medalist("train", "shades.yaml", "--data", "data")
    assert again.code == 0, again
    scored = medalist("score", "shades/shades", "--data", "data")
    assert scored.code == 0 and "OOF 1.0000" in scored.out, scored
    submitted = medalist("submit", "shades/shades", "--data", "data", "--output", "out.csv")
    assert submitted.code == 0, submitted
    assert (home / "out.csv").read_text().splitlines() == ["id,label", "12,dark", "13,light", "14,dark", "15,light"]
    reported = medalist("report", "shades/shades", "--data", "data")
    assert reported.code == 0 and "shades" in (home / "runs/shades/shades/report/index.html").read_text(), reported
    board = medalist("board")
    assert board.code == 0 and "shades" in board.out and "1.0000" in board.out, board


def test_what_the_kind_cannot_do_is_said_in_its_own_words(home: Path, medalist: Callable[..., Any]) -> None:
    assert "trains no network" in medalist("debug", "shades.yaml", "--data", "data").line
    line = medalist("train", "shades.yaml", "--data", "data", "task.kind=shde").line
    assert "task.kind = 'shde'" in line and "did you mean 'shades'?" in line
    assert medalist("train", "shades.yaml", "--data", "data").code == 0
    assert "makes no embeddings" in medalist("embed", "shades/shades", "--images", "data").line
