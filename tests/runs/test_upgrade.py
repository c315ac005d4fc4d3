"""Runs that an older version wrote (`tests/fixtures/runs_2026_11`) work as they did, also after keys were added."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from pydantic import create_model
from safetensors.torch import load_file, save_file

from medalist import kinds
from medalist.config import ConfigModel
from medalist.experiment import Experiment
from medalist.files import sha256_json, write_json
from medalist.kinds import load_settings, run_settings
from medalist.runs.plans import planned
from medalist.runs.runs import Run, config_hash
from medalist.search.embeddings import read_embeddings
from medalist.training.request import TrainRequest
from medalist.training.start import checked

FIXTURE = Path(__file__).parent.parent / "fixtures" / "runs_2026_11"
CONTESTS = {"nuclei": "toy_nuclei", "whales": "humpback_whale", "grades": "aptos"}
WHOLE = {"nuclei": ("--fold", "0"), "whales": (), "grades": ()}
"""What of each run was trained to its end."""
FILES = 157, "8c7c23c0f1889a0a7f9113b716d196031bafa3f27e5f939321534e91a5b16fca"
"""How many files the fixture has, and the hash of their names and hashes."""


@dataclass(frozen=True)
class Old:
    """A copy of the old runs, and the program of today."""

    home: Path
    medalist: Callable[..., Any]

    def run(self, name: str) -> Run:
        return Run(self.home / "runs" / CONTESTS[name] / "old")

    def config(self, name: str) -> Path:
        return self.home / f"{name}.yaml"

    def data(self, name: str) -> Path:
        return FIXTURE / "data" / CONTESTS[name]

    def say(self, *words: object) -> Any:
        return self.medalist("--runs", self.home / "runs", *words)

    def of(self, name: str, command: str, *words: object) -> Any:
        """A command about a run."""
        return self.say(command, f"{CONTESTS[name]}/old", "--data", self.data(name), *words)

    def train(self, name: str, *words: object) -> Any:
        return self.say("train", self.config(name), *words, "--name", "old", "--data", self.data(name))


@pytest.fixture
def old(tmp_path: Path, at_home: Path, medalist: Callable[..., Any]) -> Old:
    shutil.copytree(FIXTURE / "runs", tmp_path / "runs")
    for name in CONTESTS:
        shutil.copy(FIXTURE / f"{name}.yaml", tmp_path)
    return Old(tmp_path, medalist)


def with_key(model: type[ConfigModel], **fields: Any) -> type[Any]:
    """The model with one more key, `later`."""
    made: type[Any] = create_model(model.__name__, __base__=model, later=(int, 0), **fields)
    return made


def of_tomorrow(model: type[Experiment]) -> type[Experiment]:
    """The settings of a kind with new keys at the top, in `train`, `image`, `predict`, `loader` and, if not a union, in
    `decide`.
    """
    changed: dict[str, Any] = {}
    for section in ("train", "image", "predict", "loader", "decide"):
        field = model.model_fields[section]
        if isinstance(field.annotation, type):
            inside = with_key(field.annotation)
            changed[section] = (inside, ...) if field.is_required() else (inside, inside())
    return with_key(model, **changed)


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of medalist whose settings have keys that no run on disk says."""
    table = {}
    for name, kind in kinds.KINDS.items():
        model = of_tomorrow(kind.settings())
        table[name] = replace(kind, settings=lambda model=model: model)
    monkeypatch.setattr(kinds, "KINDS", table)
    ranking = table["embed"].settings().model_fields["decide"].annotation
    monkeypatch.setattr("medalist.tasks.embed.answering.RankConfig", ranking)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each file; that which shows who holds a folder left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("holder.lock", "LOCK")
    }


def times(folder: Path) -> dict[str, int]:
    """When each file was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def recorded(name: str, what: str) -> Any:
    return json.loads((FIXTURE / "runs" / CONTESTS[name] / "old" / what).read_bytes())


def close(one: Any, other: Any) -> bool:
    """Whether JSON values are equal, numbers nearly so."""
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(close(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(close, one, other))
    return bool(one == pytest.approx(other, abs=1e-6)) if isinstance(one, float) else one == other


def test_the_runs_are_never_made_again() -> None:
    found = {name: sha256(data).hexdigest() for name, data in contents(FIXTURE).items() if name != "README.md"}
    assert (len(found), sha256_json(found)) == FILES


# --------------------------------------------------------------------------------------------------- by this version


@pytest.mark.parametrize("name", CONTESTS)
def test_an_old_run_works(old: Old, name: str) -> None:
    before = contents(old.run(name).folder)
    ended = old.train(name, *WHOLE[name])
    assert ended.code == 0 and "nothing is left to do" in ended.out, ended
    assert old.of(name, "submit", "-o", old.home / "x.csv").code == 0
    assert contents(old.run(name).folder) == before
    assert (old.home / "x.csv").read_bytes() == (FIXTURE / "answers" / f"{name}.csv").read_bytes()
    assert old.of(name, "score").code == 0
    scores = json.loads((old.run(name).folder / "scores.json").read_bytes())
    expected = recorded(name, "scores.json")
    decide = type(run_settings(old.run(name)).decide).model_validate(expected["decide"])
    expected["decide"] = decide.model_dump(mode="json")  # new keys have their defaults
    assert scores.pop("format") == 1 and close(scores, expected)


# --------------------------------------------------------------------------------------------------- after new keys


@pytest.mark.usefixtures("tomorrow")
@pytest.mark.parametrize("name", CONTESTS)
def test_new_keys_leave_a_run_as_it_is(old: Old, name: str) -> None:
    """Nothing is trained, predicted or written again but the scores, and these are the same."""
    run = old.run(name)
    before, written = contents(run.folder), times(run.folder)
    ended = old.train(name, *WHOLE[name])
    assert ended.code == 0 and "nothing is left to do" in ended.out, ended
    for split in ("test", "oof"):
        assert old.of(name, "predict", "--split", split).code == 0
    ended = old.of(name, "submit", "-o", old.home / "x.csv")
    assert ended.code == 0 and "note" not in ended.out, ended
    assert (old.home / "x.csv").read_bytes() == (FIXTURE / "answers" / f"{name}.csv").read_bytes()
    assert contents(run.folder) == before
    stores = [each for each in written if each.startswith(("oof/", "test/")) and not each.endswith("LOCK")]
    now = times(run.folder)
    assert stores and {each: now[each] for each in stores} == {each: written[each] for each in stores}
    ended = old.of(name, "score")
    assert ended.code == 0 and "was predicted with" not in ended.out, ended
    scores, known = json.loads((run.folder / "scores.json").read_bytes()), recorded(name, "scores.json")
    for part in ("oof", "predict", "predictions", "by_sample", "rows"):
        assert close(scores[part], known[part]), part
    assert old.of(name, "submit", "-o", old.home / "again.csv").code == 0  # thresholds that were found still count
    assert (old.home / "again.csv").read_bytes() == (old.home / "x.csv").read_bytes()


@pytest.mark.usefixtures("tomorrow")
def test_an_interrupted_fold_goes_on_from_its_state(old: Old) -> None:
    run = old.run("nuclei")
    begun = (run.folder / "fold1" / "metrics.jsonl").read_text()
    ended = old.train("nuclei")
    assert ended.code == 0, ended
    rows = (run.folder / "fold1" / "metrics.jsonl").read_text()
    assert rows.startswith(begun) and (rows.count("\n"), begun.count("\n")) == (60, 8)
    assert run.trained_folds() == [0, 1] and not list((run.folder / "fold1").glob("state-*"))
    for name in ("config.yaml", "lock.json"):
        assert (run.folder / name).read_bytes() == (FIXTURE / "runs/toy_nuclei/old" / name).read_bytes()
    assert "over 8 samples of 2 of 2 folds" in old.of("nuclei", "score").out
    assert old.of("nuclei", "submit", "-o", old.home / "x.csv").code == 0  # predicted by both folds now


@pytest.mark.usefixtures("tomorrow")
def test_an_old_gallery_is_searched_and_grows(old: Old) -> None:
    name, gallery = "humpback_whale/old", old.run("whales").folder / "gallery"
    with (FIXTURE / "answers" / "hits.csv").open(newline="") as file:
        first = [row["id"] for row in csv.DictReader(file) if row["query"] == "0"]
    images = sorted((old.data("whales") / "test").iterdir())
    ended = old.say("search", name, "--image", images[0], "-k", 3)
    assert ended.code == 0 and [each for each in ended.out.split() if each in first] == first, ended
    vectors = old.home / "queries.npy"
    assert old.say("embed", name, "--images", old.data("whales") / "test", "-o", vectors).code == 0
    now, then = read_embeddings(vectors), read_embeddings(FIXTURE / "answers" / "whales.npy")
    assert (now.ids, dict(now.made_by)) == (then.ids, dict(then.made_by))
    np.testing.assert_allclose(now.vectors, then.vectors, atol=1e-4)
    for queries in (vectors, FIXTURE / "answers" / "whales.npy"):
        assert old.say("search", gallery, queries, "-k", 1, "-o", old.home / "hits.csv").code == 0
    ended = old.say("index", "add", name, "--images", old.data("whales") / "test")
    assert ended.code == 0 and "35 vectors now" in ended.out, ended


@pytest.mark.usefixtures("tomorrow")
@pytest.mark.parametrize("name", CONTESTS)
def test_an_old_run_is_not_called_edited(old: Old, name: str) -> None:
    ended = old.of(name, "doctor")
    assert ended.code == 0 and "config.yaml" not in ended.out and "predictions" not in ended.out, ended
    ended = old.say("board", CONTESTS[name])
    assert ended.code == 0 and "damaged" not in ended.out, ended


@pytest.mark.usefixtures("tomorrow")
def test_a_plan_stays_that_of_its_run(old: Old) -> None:
    run, config = old.run("grades"), old.config("grades")
    assert planned(run, run.lock().config) is not None
    request = TrainRequest(load_settings(config), config, (), str(old.data("grades")), (), "old", old.home / "runs")
    assert checked(request).lock == run.lock()  # a new plan has its hash of the config


# --------------------------------------------------------------------------------------------------- what does change


@pytest.mark.usefixtures("tomorrow")
def test_a_section_that_may_change_leaves_the_others_as_they_are(old: Old) -> None:
    run = old.run("grades")
    before, lock = run_settings(run), run.lock()
    ended = old.train("grades", "loader.cache_mb=7", "loader.later=3")
    assert ended.code == 0, ended
    after = run_settings(run)
    assert (after.loader.cache_mb, after.loader.later) == (7, 3)  # type: ignore[attr-defined]
    assert config_hash(after, after) == config_hash(before, before) == lock.config and run.lock() == lock
    assert run.config().count("later") == 1
    assert "nothing is left to do" in old.train("grades", "loader.cache_mb=7", "loader.later=3").out


@pytest.mark.usefixtures("tomorrow")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.lr=0.5", "train.lr was 0.01, is 0.5"),
        ("train.later=1", "train.later was 0, is 1"),
        ("predict.later=1", "predict.later was 0, is 1"),
        ("later=1", "(later was 0, is 1)"),
    ],
)
def test_another_config_is_refused_with_what_differs(old: Old, change: str, words: str) -> None:
    before = contents(old.run("grades").folder)
    ended = old.train("grades", change)
    assert ended.code == 2 and f"old was made with other config ({words.strip('()')})" in ended.line, ended
    assert contents(old.run("grades").folder) == before


@pytest.mark.parametrize("later", [False, True])
def test_an_edited_config_is_told(old: Old, later: bool, request: pytest.FixtureRequest) -> None:
    if later:
        request.getfixturevalue("tomorrow")
    path = old.run("nuclei").folder / "config.yaml"
    path.write_text(path.read_text().replace("  lr: 0.01", "  lr: 0.02"))
    ended = old.train("nuclei")
    words = (
        "was edited since the run was made (train.lr is 0.02 there, and 0.01 in this config); change it back, or train"
    )
    assert ended.code == 2 and f"{path} {words}" in ended.line, ended
    assert "edited since" in old.of("nuclei", "doctor").out


@pytest.mark.usefixtures("tomorrow")
def test_another_way_of_predicting_is_predicted_again(old: Old) -> None:
    run = old.run("grades")
    assert old.of("grades", "predict", "predict.later=1").code == 0
    made = json.loads((run.folder / "test" / "test.json").read_bytes())["made_by"]
    assert json.loads(made["predict"]) == {"later": 1, "tta": "mirror"}
    assert "its test part was predicted with" in old.of("grades", "submit", "-o", old.home / "x.csv").out
    assert old.of("grades", "predict").code == 0
    made = json.loads((run.folder / "test" / "test.json").read_bytes())["made_by"]
    assert made == recorded("grades", "test/test.json")["made_by"]


# --------------------------------------------------------------------------------------------------- newer formats

NEWER = {
    "lock.json": ("nuclei", "score"),
    "scores.json": ("nuclei", "submit"),
    "oof/fold0.json": ("nuclei", "score"),
    "test/test.json": ("grades", "submit"),
    "oof/fold1.json": ("whales", "score"),
}


def says_newer(ended: Any, path: Path, number: int) -> bool:
    words = f"{path} is of format {number}, which this version of medalist (0.1.0) does not know; install a newer"
    return ended.code == 2 and words in ended.line


@pytest.mark.parametrize("file", NEWER)
def test_a_newer_format_is_refused(old: Old, file: str) -> None:
    name, command = NEWER[file]
    path = old.run(name).folder / file
    value = json.loads(path.read_bytes())
    write_json(path, {**value, "format": "medalist embeddings 2" if name == "whales" else 2})
    out = ("-o", old.home / "x.csv") if command == "submit" else ()
    ended = old.of(name, command, *out)
    assert says_newer(ended, path, 2), ended


def test_a_newer_gallery_is_refused(old: Old) -> None:
    path = old.run("whales").folder / "gallery" / "gallery.json"
    write_json(path, {**json.loads(path.read_bytes()), "format": "medalist gallery 3"})
    image = next((old.data("whales") / "test").iterdir())
    ended = old.say("search", "humpback_whale/old", "--image", image)
    assert says_newer(ended, path, 3), ended


def test_a_newer_state_is_refused(old: Old) -> None:
    (path,) = (old.run("nuclei").folder / "fold1").glob("state-*")
    with safetensors.safe_open(path, "pt") as file:
        note = {**file.metadata(), "format": "2"}
    save_file(load_file(path), path, metadata=note)
    ended = old.train("nuclei")
    assert says_newer(ended, path, 2), ended
    assert path.exists()
