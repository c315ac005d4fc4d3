"""A drawn contest of four kinds of bodies with three questions, and tiny trainings of it that tests share."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from medalist.contest import Contest
from medalist.layouts.drawing import identity_picture, write_picture
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run, find_run

COMPETITION = '''
"""Bodies of four kinds: one label (log loss), several labels (F1), grades (kappa)."""
from functools import partial
from pathlib import Path
from medalist.competition import Competition
from medalist.formats.labels import LabelFormat, LabelsFormat
from medalist.formats.probabilities import ProbabilityFormat
from medalist.layouts.label_tables import certain_truth, label_truth, labelled
from medalist.layouts.tables import listed
from medalist.metrics.labels import f1, log_loss, quadratic_kappa
from medalist.records import Split

CLASSES = ("ant", "bee", "cat", "dog")

def read(data: Path, column: str, separator: str | None) -> Split:
    train = labelled(data / "train.csv", "id", lambda name: data / f"{name}.png", column, separator=separator,
                     classes=CLASSES)
    return Split(train, listed(data / f"{column}_submission.csv", "id", lambda name: data / f"{name}.png"))

COMPETITION = Competition("bodies", partial(read, column="label", separator=None), certain_truth(CLASSES),
    log_loss(CLASSES), ProbabilityFormat("id", classes=CLASSES, total=1.0), sample_submission="label_submission.csv")
TRACKS = {
    "several": Competition("bodies.several", partial(read, column="labels", separator=" "), label_truth,
        f1(CLASSES, "macro", zero_division=None), LabelsFormat(("id", "labels"), classes=CLASSES),
        sample_submission="labels_submission.csv"),
    "grades": Competition("bodies.grades", partial(read, column="label", separator=None), label_truth,
        quadratic_kappa(CLASSES), LabelFormat(("id", "label"), classes=CLASSES),
        sample_submission="grades_submission.csv"),
}
'''
CLASSES = ("ant", "bee", "cat", "dog")
BASE = """\
folds: {n: 2, seed: 1}
image: {size: [32, 32]}
augment: [{HorizontalFlip: {p: 0.5}}]
model: {encoder: test_resnet, weights: none}
train: {epochs: 1, batch: 8, schedule: constant, warmup: 0.0MIX}
tracking: none
"""
CONFIGS = {
    "bodies": BASE.replace("MIX", ", mix: [{kind: mixup}, {kind: cutmix}]")
    + "competition: bodies\ntask: {kind: classify}\nloss: {kind: cross_entropy, smoothing: 0.1}\n"
    "predict: {tta: mirror}\n",
    "bodies.several": BASE.replace("MIX", "")
    + "competition: bodies.several\ntask: {kind: classify, mode: multi}\nloss: {kind: asymmetric}\n"
    "decide: {kind: thresholds, least: 1}\nsampler: {kind: balanced}\n",
    "bodies.grades": BASE.replace("MIX", "")
    + "competition: bodies.grades\ntask: {kind: classify, mode: ordinal}\nloss: {kind: coral}\n"
    "decide: {kind: regression}\n",
}
TRAIN, TEST = 24, 6


@dataclass(frozen=True)
class Bodies:
    """A project folder with the contest, its data, a config for each question, and runs with the name `tiny`."""

    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    def config(self, name: str) -> Path:
        return self.home / f"{name}.yaml"

    def run(self, name: str) -> Run:
        return find_run(f"{name}/tiny", self.runs)

    def contest(self, name: str) -> Contest:
        with contextlib.chdir(self.home):
            return open_contest(name, str(self.data), self.runs)


def draw(home: Path) -> Bodies:
    bodies = Bodies(home)
    (home / "competitions" / "bodies").mkdir(parents=True)
    (home / "competitions" / "bodies" / "__init__.py").write_text(COMPETITION)
    train, ids = ["id,label,labels"], []
    for number in range(TRAIN + TEST):
        who, name = number % 4, f"b{number:02}"
        write_picture(bodies.data / f"{name}.png", identity_picture(3, who, number, (32, 32)))
        if number < TRAIN:
            # Every dog has the label cat too, and every third ant has no label.
            several = {0: "" if number % 3 == 0 else "ant", 1: "bee", 2: "cat", 3: "cat dog"}[who]
            train.append(f"{name},{CLASSES[who]},{several}")
        else:
            ids.append(name)
    (bodies.data / "train.csv").write_text("\n".join(train) + "\n")
    one = [f"{name},ant" for name in ids]
    rows = {"label": [f"{name},1,0,0,0" for name in ids], "labels": one, "grades": one}
    heads = {"label": "id,ant,bee,cat,dog", "labels": "id,labels", "grades": "id,label"}
    for column, lines in rows.items():
        (bodies.data / f"{column}_submission.csv").write_text("\n".join([heads[column], *lines]) + "\n")
    for name, text in CONFIGS.items():
        bodies.config(name).write_text(text)
    return bodies


@pytest.fixture(scope="session")
def drawn_bodies(tmp_path_factory: pytest.TempPathFactory) -> Bodies:
    """Return the project without trained runs. Tests must not change it."""
    return draw(tmp_path_factory.mktemp("bodies"))


@pytest.fixture(scope="session")
def trained_bodies(drawn_bodies: Bodies) -> Bodies:
    """Train both folds of each question with the command. Tests must not change the runs."""
    from medalist.cli.main import run

    with contextlib.chdir(drawn_bodies.home), contextlib.redirect_stdout(io.StringIO()):
        for name in CONFIGS:
            assert run(["--debug", "train", f"{name}.yaml", "--data", "data", "--name", "tiny"]) == 0
    return drawn_bodies


@pytest.fixture
def bodies(trained_bodies: Bodies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bodies:
    """Return a copy of the project, which a test may change, and make it the working folder."""
    for variable in ("MEDALIST_DATA", "MEDALIST_RUNS"):
        monkeypatch.delenv(variable, raising=False)
    shutil.copytree(trained_bodies.home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return Bodies(tmp_path / "home")


@pytest.fixture
def settings_of(drawn_bodies: Bodies) -> Callable[..., object]:
    """Return a function that reads a config with overrides."""
    from medalist.kinds import load_settings

    return lambda name, *changes: load_settings(drawn_bodies.config(name), changes)
