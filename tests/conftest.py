"""One tiny training that the tests of runs, workflows and commands share, and copies of it that they may change."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from medalist.competition import load_competition
from medalist.contest import Contest
from medalist.files import sha256_file
from medalist.records import Instances, MapPrediction, Sample
from medalist.reporter import SilentReporter
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run, find_run, manifest_hash
from medalist.runs.versions import commit
from medalist.stores.maps import MapStore, StoredPart

# No deadline, because a busy machine may be slow for a moment. More examples: pytest --hypothesis-profile=thorough
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile("quick")

PROJECT = Path(__file__).parent.parent
SEED = 3
CHANNELS = ("body", "border")
AS_CONFIGURED = '{"scales": [1.0], "tta": "none"}'
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


@dataclass(frozen=True)
class Toy:
    """The drawn contest, a config that trains in a second, and a folder of runs with the run `tiny`."""

    data: Path
    config: Path
    runs: Path

    @property
    def run(self) -> Run:
        return find_run("toy_nuclei/tiny", self.runs)

    def contest(self) -> Contest:
        return open_contest("toy_nuclei", self.data, self.runs)


@dataclass(frozen=True)
class Ended:
    """The result of a command: its exit code, its standard output and its standard error."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The only line on the standard error, without its prefix."""
        assert self.err.startswith("medalist: ") and self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.removeprefix("medalist: ").rstrip("\n")


@pytest.fixture(scope="module", autouse=True)
def known_objects() -> None:
    """Let Python's collector pass over the objects of all modules, which the many full collections would visit again.

    What a module of tests has left is collected first, so an error in a `__del__` still shows.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def quick_system() -> Iterator[None]:
    """Leave out what the tests of the suite would repeat thousands of times, and no test is about.

    No test loses power, so none waits for the disk; tests/test_files.py has an fsync of its own. And no package comes
    or goes meanwhile, nor does a commit; every Fabric looks for entry points in all two hundred of them, and every run
    asks git.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda place: None)
        patch.setattr(importlib.metadata, "entry_points", cache(importlib.metadata.entry_points))
        asked = cache(commit)
        for room in ("runs", "surroundings"):
            patch.setattr(f"medalist.runs.{room}.commit", asked)
        yield


@pytest.fixture
def medalist() -> Callable[..., Ended]:
    """Return a function that runs a command in this process."""
    from medalist.cli.main import run

    def command(*words: object) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(word) for word in words])
        return Ended(code, out.getvalue(), err.getvalue())

    return command


@pytest.fixture
def quiet() -> SilentReporter:
    return SilentReporter()


@pytest.fixture
def short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a plan time 8 batches at most, not 60: networks of these tests would fill any time with 60.

    The time that a plan may take can then be long enough for a busy machine.
    """
    monkeypatch.setattr("medalist.planning.probe.MOST", 8)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to the project's checkout, and remove the settings of the user's shell."""
    monkeypatch.chdir(PROJECT)
    for name in ("MEDALIST_DATA", "MEDALIST_RUNS", "MEDALIST_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return PROJECT


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data of the toy contest with 26 train and 6 test images. Tests must not change them."""
    draw = load_competition("toy_nuclei", PROJECT / "competitions").draw
    assert draw is not None
    folder = tmp_path_factory.mktemp("toy_nuclei")
    draw(folder, SEED)
    thin_out(folder)
    return folder


@pytest.fixture(scope="session")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Train both folds of `tiny` with the command. Tests must not change the run."""
    from medalist.cli.main import run

    home = tmp_path_factory.mktemp("trained")
    toy = Toy(drawn, home / "tiny.yaml", home / "runs")
    toy.config.write_text(TINY)
    with contextlib.chdir(PROJECT), contextlib.redirect_stdout(io.StringIO()):
        assert run(["--runs", str(toy.runs), "--debug", "train", str(toy.config), "--data", str(drawn)]) == 0
    return toy


@pytest.fixture(scope="session")
def answered(trained: Toy, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Return a copy of `tiny` with predictions made from most of the truth, so that its scores can be compared."""
    home = tmp_path_factory.mktemp("answered")
    toy = Toy(trained.data, home / "tiny.yaml", home / "runs")
    shutil.copy(trained.config, toy.config)
    shutil.copytree(trained.runs, toy.runs)
    with contextlib.chdir(PROJECT):
        predict_well(toy.run, toy.contest())
    return toy


@pytest.fixture
def untrained(drawn: Path, at_home: Path, tmp_path: Path) -> Toy:
    """Return a config and an empty folder of runs."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    return Toy(drawn, tmp_path / "tiny.yaml", tmp_path / "runs")


@pytest.fixture
def toy(answered: Toy, at_home: Path, tmp_path: Path) -> Toy:
    """Return a run with good predictions, which a test may change."""
    shutil.copytree(answered.runs, tmp_path / "runs")
    shutil.copy(answered.config, tmp_path / "tiny.yaml")
    return Toy(answered.data, tmp_path / "tiny.yaml", tmp_path / "runs")


@pytest.fixture(scope="session")
def predict_anew() -> Callable[..., None]:
    return predict_well


@pytest.fixture
def say_predicted() -> Callable[..., None]:
    return predicted_otherwise


@pytest.fixture
def leftovers() -> Callable[[Path], list[str]]:
    """Return a function that lists the temporary files that were left under a folder."""
    return lambda folder: sorted(str(path) for path in folder.rglob(".*") if path.is_file())


def thin_out(data: Path) -> None:
    """Keep 6 test images and 26 train images, with two groups of several images and some images of each stratum."""
    competition = load_competition("toy_nuclei", PROJECT / "competitions")
    assert competition.groups is not None
    split = competition.read(data)
    group_of = competition.groups(split.train).group_of
    sizes = Counter(group_of.values())
    several = sorted(group for group, size in sizes.items() if size > 1)[:2]
    alone = [sample for sample in split.train if sizes[group_of[sample.id]] == 1]
    kept = [sample for sample in split.train if group_of[sample.id] in several]
    for stratum, count in (("bright_gray", 6), ("colour_stain", 6), ("dark_gray", 26)):
        kept += [sample for sample in alone if sample.stratum == stratum][: min(count, 26 - len(kept))]
    left = {sample.id for sample in (*kept, *split.test[:6])}
    for folder in (*(data / "stage1_train").iterdir(), *(data / "stage1_test").iterdir()):
        if folder.name not in left:
            shutil.rmtree(folder)
    for path in data.glob("*.csv"):
        header, *rows = path.read_text().splitlines()
        path.write_text("\n".join([header, *(row for row in rows if row.partition(",")[0] in left)]) + "\n")


def predicted_otherwise(run: Run, predict: str) -> None:
    """Change the stored predictions so that they seem to be made with other settings of `predict`."""
    for store, names in (
        (MapStore(run.folder / "oof"), ("fold0", "fold1")),
        (MapStore(run.folder / "test"), ("test",)),
    ):
        for name in names:
            part = store.part(name)
            assert part is not None
            store.finish(name, replace(part, made_by={**part.made_by, "predict": predict}))


def predict_well(
    run: Run, contest: Contest, body: int = 230, predict: str = '{"scales": [1.0], "tta": "none"}'
) -> None:
    """Write predictions in the form in which `medalist predict` writes them for the present checkpoints.

    Objects are predicted, but not the borders between touching objects. Every fifth sample has an empty prediction.
    """
    hashes = {f"fold{fold}": sha256_file(run.checkpoint(fold, "last")) for fold in run.trained_folds()}
    rest = {"predict": AS_CONFIGURED, "data": manifest_hash(contest.split)}
    by_id = {sample.id: sample for sample in contest.split.train}
    unseen = set(sorted(by_id)[::5])
    for fold in run.trained_folds():
        ids = run.folds().held_out(fold)
        for name in ids:
            truth = contest.truth(by_id[name])
            assert isinstance(truth, Instances)
            MapStore(run.folder / "oof").write(name, seen(truth.labels, 0 if name in unseen else body))
        made: Mapping[str, str] = {f"fold{fold}": hashes[f"fold{fold}"], **rest}
        order = tuple(sample.id for sample in contest.split.train if sample.id in ids)
        MapStore(run.folder / "oof").finish(f"fold{fold}", StoredPart(CHANNELS, order, made))
    for number, sample in enumerate(contest.split.test):
        MapStore(run.folder / "test").write(sample.id, seen(box(sample, number), body))
    MapStore(run.folder / "test").finish(
        "test", StoredPart(CHANNELS, tuple(sample.id for sample in contest.split.test), {**hashes, **rest})
    )


def seen(labels: NDArray[np.int32], body: int) -> MapPrediction:
    maps = np.zeros((2, *labels.shape), np.uint8)
    maps[0][labels > 0] = body
    return MapPrediction(maps, CHANNELS)


def box(sample: Sample, number: int) -> NDArray[np.int32]:
    labels = np.zeros(sample.size, np.int32)
    labels[10 + number : 30 + number, 20:50] = 1
    return labels


@pytest.fixture
def own_data(drawn: Path, tmp_path: Path) -> Path:
    """Return a copy of the drawn contest, which a test may change."""
    return shutil.copytree(drawn, tmp_path / "data")


WHALES = """\
competition: humpback_whale
folds: {n: 2, seed: 1, stratified: false}
task: {kind: embed, mirrored: true}
image: {size: [32, 48]}
augment: [{HorizontalFlip: {p: 0.0}}]
model: {encoder: test_resnet, weights: none, pooling: avg, dim: 8}
loss: {terms: [{kind: arcface, margin: 0.1, scale: 10, prototypes: 2}, {kind: triplet}]}
sampler: {kind: pxk, classes: 3, per_class: 2}
train: {epochs: 1, schedule: constant, warmup: 0.0}
tracking: none
"""
SIGNS = """\
competition: omniglot.oneshot
folds: {n: 2, seed: 1, stratified: false}
task: {kind: embed, turns: true}
image: {size: [32, 32], invert: true}
augment: [{Affine: {rotate: [-5, 5]}}]
model: {encoder: test_resnet, weights: none, in_channels: 1, pooling: flat, dim: 8}
loss: {terms: [{kind: prototype, shots: 1}]}
sampler: {kind: group, classes: 8, per_class: 2}
train: {epochs: 1, schedule: constant, warmup: 0.0}
decide: {assign: true}
tracking: none
"""


@dataclass(frozen=True)
class Identities:
    """A drawn contest, its config, and a folder of runs with the run `tiny`."""

    name: str
    data: Path
    config: Path
    runs: Path

    @property
    def run(self) -> Run:
        return find_run(f"{self.name}/tiny", self.runs)

    def contest(self) -> Contest:
        return open_contest(self.name, self.data, self.runs)


def make(name: str, text: str, home: Path, run_name: str = "tiny") -> Identities:
    from medalist.cli.main import run

    draw = load_competition(name, PROJECT / "competitions").draw
    assert draw is not None
    made = Identities(name, home / "data", home / f"{run_name}.yaml", home / "runs")
    draw(made.data, 1)
    made.config.write_text(text)
    with contextlib.chdir(PROJECT), contextlib.redirect_stdout(io.StringIO()):
        assert run(["--runs", str(made.runs), "--debug", "train", str(made.config), "--data", str(made.data)]) == 0
    return made


@pytest.fixture(scope="session")
def trained_whales(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    """Return a trained contest of whales. Tests must not change it."""
    return make("humpback_whale", WHALES, tmp_path_factory.mktemp("whales"))


@pytest.fixture(scope="session")
def trained_signs(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    """Return a trained contest of handwritten characters. Tests must not change it."""
    return make("omniglot.oneshot", SIGNS, tmp_path_factory.mktemp("signs"))


@pytest.fixture
def spoilable(tmp_path: Path) -> Callable[[Identities], Identities]:
    """Return a function that copies a trained contest, so that a test may change the copy."""

    def copy(made: Identities) -> Identities:
        shutil.copytree(made.runs, tmp_path / "runs")
        shutil.copytree(made.data, tmp_path / "data")
        shutil.copy(made.config, tmp_path / "tiny.yaml")
        return Identities(made.name, tmp_path / "data", tmp_path / "tiny.yaml", tmp_path / "runs")

    return copy


@pytest.fixture
def whales(trained_whales: Identities, at_home: Path, spoilable: Callable[[Identities], Identities]) -> Identities:
    return spoilable(trained_whales)


@pytest.fixture
def signs(trained_signs: Identities, at_home: Path, spoilable: Callable[[Identities], Identities]) -> Identities:
    return spoilable(trained_signs)
