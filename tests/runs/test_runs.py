from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from refusals import one_line

from medalist.errors import ConfigError, DataError, RunError
from medalist.experiment import Experiment
from medalist.files import sha256_json, write_json
from medalist.folds.folds import Folds, make_folds, write_folds
from medalist.folds.settings import FoldsConfig
from medalist.kinds import load_settings, run_settings
from medalist.records import Sample, Split
from medalist.runs.runs import (
    FREE as FREE_KEYS,
)
from medalist.runs.runs import (
    Lock,
    Run,
    all_runs,
    commit,
    config_hash,
    create_run,
    find_run,
    make_lock,
    manifest_hash,
    packages,
)

CONFIG = """\
competition: salt
model: {kind: unet, encoder: e, channels: [body]}
loss: {bce: 1.0}
decide: {kind: watershed}
"""

SettingsOf = Callable[..., Experiment]


@pytest.fixture
def settings_of(tmp_path: Path) -> SettingsOf:
    path = tmp_path / "x.yaml"
    path.write_text(CONFIG)
    return lambda *overrides: load_settings(path, overrides)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    def sample(name: str, *annotation: str) -> Sample:
        path = tmp_path / "data" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
        return Sample(name, (path,), (3, 4), annotation)

    train = tuple(sample(f"a{number}", f"{number} 1", "9 2") for number in range(4))
    return Split(train, tuple(sample(f"t{number}") for number in range(3)))


@pytest.fixture
def folds(split: Split) -> Folds:
    return make_folds(split.train, FoldsConfig(n=2, seed=1))


@pytest.fixture
def lock(settings_of: SettingsOf, split: Split, folds: Folds, tmp_path: Path) -> Lock:
    return Lock(
        commit="0" * 40,
        config=config_hash(settings_of()),
        data=manifest_hash(split),
        folds=folds.hash,
        weights={"e": "ab12"},
        data_folder=str(tmp_path / "data"),
        config_file="x.yaml",
        overrides=("a=1",),
        packages={"torch": "2"},
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(root: Path, settings_of: SettingsOf, lock: Lock, folds: Folds) -> Run:
    made = create_run(root / "salt" / "first", settings_of(), lock)
    write_folds(made.folder / "folds.csv", folds)
    return made


# ------------------------------------------------------------------------------------------------- a run's files


def test_a_run_comes_back_from_its_files(run: Run, settings_of: SettingsOf, lock: Lock, folds: Folds) -> None:
    again = Run(run.folder)
    assert (again.name, again.competition) == ("first", "salt")
    assert run_settings(again) == settings_of()
    assert again.lock() == lock
    assert again.folds() == folds
    assert again.trained_folds() == []
    assert again.scores() is None


def test_the_lock_says_what_made_the_run(
    settings_of: SettingsOf, split: Split, folds: Folds, lock: Lock, tmp_path: Path
) -> None:
    overrides = ("a=1",)
    made = make_lock(settings_of(), split, folds, {"e": "ab12"}, tmp_path / "data", Path("x.yaml"), overrides)
    assert made == replace(lock, commit=commit(), packages=packages())
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", made.commit)
    assert made.packages["pydantic"].startswith("2.")


def test_trained_folds_are_those_with_their_last_weights(run: Run) -> None:
    for name in ("fold10", "fold2", "fold0"):
        run.fold_folder(int(name.removeprefix("fold"))).mkdir()
        (run.folder / name / "last.safetensors").touch()
    (run.folder / "fold1").mkdir()
    (run.folder / "fold1" / "state.pt").touch()
    for name in ("fold0_old", "folds", "fold", "foldx"):  # a user's backup is no fold
        (run.folder / name).mkdir()
        (run.folder / name / "last.safetensors").touch()
    assert run.trained_folds() == [0, 2, 10]
    assert run.checkpoint(2, "best") == run.folder / "fold2" / "best.safetensors"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"', "null", '{"overrides": 3}', '{"overrides": [], "x": 1}'])
def test_a_damaged_lock_is_one_line(run: Run, text: str) -> None:
    (run.folder / "lock.json").write_text(text)
    assert "lock.json" in one_line(RunError, run.lock)


def test_a_key_of_a_newer_version_is_left_out_of_the_lock(run: Run, lock: Lock) -> None:
    path = run.folder / "lock.json"
    value = json.loads(path.read_text())
    assert value["format"] == 1
    write_json(path, {**value, "weather": "rain"})
    assert run.lock() == lock
    del value["format"], value["machine"]  # as older versions wrote it
    write_json(path, value)
    assert run.lock() == lock


@pytest.mark.parametrize("read", [Run.lock, Run.scores])
def test_a_newer_format_is_one_line(run: Run, read: Callable[[Run], object]) -> None:
    path = run.folder / f"{read.__name__}.json"
    write_json(path, {"format": 2})
    message = one_line(RunError, lambda: read(run))
    assert message.startswith(f"{path} is of format 2, which") and message.endswith("; install a newer medalist")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", "null", '{"oof": 3}', '{"oof": {}, "decide": {}, "by_sample": {}}'),
        '{"oof": {"value": 1, "folds": {}, "folds_of": 2, "parts": {}}, "decide": 3, "by_sample": {}}',
    ],
)
def test_damaged_scores_are_one_line(run: Run, text: str) -> None:
    (run.folder / "scores.json").write_text(text)
    assert "scores.json" in one_line(RunError, run.scores)


def test_a_half_written_run_says_what_is_missing(run: Run) -> None:
    (run.folder / "folds.csv").unlink()
    assert "folds.csv is missing" in one_line(RunError, run.folds)
    (run.folder / "config.yaml").write_text("competition: [\n")
    assert "config.yaml is not valid YAML" in one_line(ConfigError, lambda: run_settings(run))
    (run.folder / "config.yaml").write_bytes(b"competition: \xff")
    assert "config.yaml: not UTF-8; run medalist train" in one_line(RunError, run.config)
    (run.folder / "config.yaml").unlink()
    assert "config.yaml: No such file or directory; run medalist train" in one_line(RunError, run.config)


def test_edited_folds_are_refused_with_the_way_back(run: Run, split: Split) -> None:
    path, good = run.folder / "folds.csv", run.folder.parent / "folds" / "n2.csv"
    whole = path.read_bytes()
    write_folds(path, make_folds(split.train, FoldsConfig(n=2, seed=7)))
    assert one_line(RunError, run.folds) == f"{path} was edited since the run was made; put it back, or train a new run"
    for edited in (whole.replace(b",0,", b",1,", 1), b"\xff", b""):
        path.write_bytes(edited)
        assert "folds.csv was edited since the run was made; put it back" in one_line(RunError, run.folds)
    good.parent.mkdir()
    good.write_bytes(whole)
    (good.parent / "a-edited.csv").write_bytes(whole.replace(b",0,", b",1,", 1))
    assert f"put it back: cp {good} {path}, or train" in one_line(RunError, run.folds)
    path.unlink()
    assert "folds.csv is missing; put it back" in one_line(RunError, run.folds)
    path.write_bytes(good.read_bytes())
    assert run.folds().n == 2


# ------------------------------------------------------------------------------------------------- going on


def test_the_same_run_is_taken_again(run: Run, settings_of: SettingsOf, lock: Lock) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    assert create_run(run.folder, settings_of(), replace(lock, commit="other", python="9")) == run
    assert {path: path.stat().st_mtime_ns for path in run.folder.iterdir()} == before


def test_a_run_without_its_lock_is_made_anew(run: Run, settings_of: SettingsOf, lock: Lock) -> None:
    (run.folder / "lock.json").unlink()  # it was stopped after config.yaml
    (run.folder / "config.yaml").write_text("half")
    create_run(run.folder, settings_of(), lock)
    assert run_settings(run) == settings_of() and run.lock() == lock


def test_a_lost_config_is_written_again(run: Run, settings_of: SettingsOf, lock: Lock) -> None:
    (run.folder / "config.yaml").unlink()
    create_run(run.folder, settings_of(), lock)
    assert run_settings(run) == settings_of()


FREE = ("decide.min_size=99", "tracking=none", "loader.workers=3", "data=/elsewhere")


def test_what_changes_no_weight_may_change_and_is_kept(run: Run, settings_of: SettingsOf, lock: Lock) -> None:
    changed = settings_of(*FREE)
    create_run(run.folder, changed, replace(lock, config=config_hash(changed)))
    assert run_settings(run) == changed


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("train.lr=1e-4",), "train.lr was 0.001, is 0.0001"),
        (("seed=1", "decide.min_size=3"), "(seed was 2018, is 1)"),
        (("predict.tta=d4",), "predict.tta was flips, is d4"),
        (("augment=[{D4: {}}]",), "augment was [], is [{'D4': {}}]"),
        (("train.lr=1", "train.batch=1", "train.ema=0.1", "train.clip=0", "train.warmup=0", "seed=1"), "; ...)"),
    ],
)
def test_another_config_is_refused_with_what_differs(
    run: Run, settings_of: SettingsOf, lock: Lock, overrides: tuple[str, ...], words: str
) -> None:
    changed, before = settings_of(*overrides), run_settings(run)
    text = (run.folder / "config.yaml").read_text()
    other = replace(lock, config=config_hash(changed))
    message = one_line(RunError, lambda: create_run(run.folder, changed, other, before))
    assert "first was made with other config" in message and words in message and "--name NAME" in message
    assert (run.folder / "config.yaml").read_text() == text


def test_an_edited_config_is_refused_with_what_was_edited(run: Run, settings_of: SettingsOf, lock: Lock) -> None:
    path = run.folder / "config.yaml"
    path.write_text(path.read_text().replace("seed: 2018", "seed: 9", 1))
    for settings, told in ((settings_of(), " (seed is 9 there, and 2018 in this config)"), (settings_of("seed=9"), "")):
        other = replace(lock, config=config_hash(settings))
        before = run_settings(run)
        message = one_line(RunError, lambda: create_run(run.folder, settings, other, before))  # noqa: B023
        assert f"{path} was edited since the run was made{told}; change it back" in message


def test_an_edit_of_what_may_change_is_no_edit(run: Run, settings_of: SettingsOf, lock: Lock) -> None:
    path = run.folder / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("workers: 0", "workers: 3"))
    create_run(run.folder, settings_of(), lock, run_settings(run))
    assert path.read_text() == text


@pytest.mark.parametrize("what", ["data", "folds", "weights"])
def test_other_data_folds_or_weights_are_refused(run: Run, settings_of: SettingsOf, lock: Lock, what: str) -> None:
    other = replace(lock, **{what: {"e": "cd"} if what == "weights" else "cd"})
    message = one_line(RunError, lambda: create_run(run.folder, settings_of(), other))
    assert f"first was made with other {what};" in message and "--name NAME" in message


def test_another_config_is_refused_though_its_own_is_lost(run: Run, settings_of: SettingsOf, lock: Lock) -> None:
    (run.folder / "config.yaml").unlink()
    other = replace(lock, config="cd")
    assert "other config;" in one_line(RunError, lambda: create_run(run.folder, settings_of(), other))


def test_the_config_hash_knows_weights_and_predictions_alone(settings_of: SettingsOf) -> None:
    assert config_hash(settings_of(*FREE)) == config_hash(settings_of())
    for override in ("train.lr=2", "predict.tta=d4", "model.encoder=x", "folds.n=3", "augment=[{D4: {}}]", "seed=1"):
        assert config_hash(settings_of(override)) != config_hash(settings_of()), override


# ------------------------------------------------------------------------------------------------- manifest


def test_the_manifest_knows_files_sizes_and_truth(split: Split) -> None:
    first = manifest_hash(split)
    assert manifest_hash(split) == first
    one, *rest = split.train
    changes = [
        replace(one, annotation=("0 1", "9 3")),
        replace(one, annotation=("0 1",)),
        replace(one, annotation=("9 2", "0 1")),  # the order of one sample's objects numbers them
        replace(one, size=(4, 3)),
        replace(one, id="z"),
        replace(one, images=(*one.images, *one.images)),
    ]
    hashes = {manifest_hash(Split((changed, *rest), split.test)) for changed in changes}
    hashes |= {manifest_hash(Split(split.train[:-1], split.test)), manifest_hash(Split(split.train, split.test[:-1]))}
    hashes.add(manifest_hash(Split((*split.train, split.test[0]), split.test[1:])))
    one.images[0].write_bytes(b"longer than before")
    hashes.add(manifest_hash(split))
    assert len(hashes) == len(changes) + 4 and first not in hashes


def test_the_manifest_does_not_know_order_place_group_or_stratum(split: Split, tmp_path: Path) -> None:
    first = manifest_hash(split)
    assert manifest_hash(Split(split.train[::-1], split.test[::-1])) == first
    (tmp_path / "data").rename(tmp_path / "moved")

    def moved(sample: Sample) -> Sample:
        return replace(sample, images=(tmp_path / "moved" / sample.images[0].name,), group="g", stratum="s")

    assert manifest_hash(Split(tuple(map(moved, split.train)), tuple(map(moved, split.test)))) == first


def test_a_file_that_went_away_is_named(split: Split) -> None:
    split.test[1].images[0].unlink()
    assert "sample t1: " in one_line(DataError, lambda: manifest_hash(split))


# ------------------------------------------------------------------------------------------------- finding runs


def test_a_run_is_found_by_folder_by_both_names_and_by_its_own(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (str(run.folder), "salt/first", "first", f"{run.folder}/"):
        assert find_run(name, root) == run
    monkeypatch.chdir(root.parent)
    for name in ("runs/salt/first", "./runs/salt/first"):
        found = find_run(name, Path("runs"))
        assert (found.name, found.competition) == ("first", "salt")
    monkeypatch.chdir(run.folder)
    assert (find_run(".", root).name, find_run(".", root).competition) == ("first", "salt")


def test_an_unknown_run_is_given_the_nearest(run: Run, root: Path) -> None:
    message = one_line(RunError, lambda: find_run("frist", root))
    assert "no run 'frist'" in message and "there are: salt/first; did you mean 'first'?" in message
    assert "did you mean 'salt/first'?" in one_line(RunError, lambda: find_run("salt/frst", root))
    for name in ("", "salt", "..", "/", "zebra"):
        assert f"no run '{name}'" in one_line(RunError, lambda name=name: find_run(name, root))  # type: ignore[misc]
    assert "there are: none" in one_line(RunError, lambda: find_run("first", root / "nowhere"))


def test_a_name_that_two_contests_have_is_not_guessed(run: Run, root: Path) -> None:
    write_json(root / "ships" / "first" / "lock.json", {})
    message = one_line(RunError, lambda: find_run("first", root))
    assert "salt/first" in message and "ships/first" in message and "type one of them" in message
    assert find_run("salt/first", root) == run


def test_many_runs_are_not_all_listed(root: Path) -> None:
    for number in range(30):
        write_json(root / "salt" / f"run{number:02}" / "lock.json", {})
    message = one_line(RunError, lambda: find_run("zebra", root))
    assert "run19" in message and "run20" not in message and "and 10 more" in message


def test_all_runs_are_folders_with_a_lock(run: Run, root: Path) -> None:
    (root / "salt" / "folds").mkdir()
    (root / "salt" / "stopped").mkdir()
    (root / "salt" / "stopped" / "config.yaml").touch()
    write_json(root / "air" / "x" / "lock.json", {})
    assert [other.folder for other in all_runs(root)] == [root / "air" / "x", run.folder]
    assert all_runs(root / "nowhere") == []


def test_the_lock_is_readable_json(run: Run) -> None:
    assert json.loads((run.folder / "lock.json").read_text())["overrides"] == ["a=1"]


def test_a_key_that_was_renamed_counts_by_its_former_name(tmp_path: Path) -> None:
    """So a run that was made before goes on."""
    text = (
        "competition: humpback_whale\ntask: {kind: embed}\nimage: {size: [32, 32]}\n"
        "model: {encoder: resnet18, dim: 8}\nsampler: {kind: shuffle}\n"
        "loss: {terms: [{kind: arcface, NAME: 3}]}\n"
    )
    hashes = []
    for name in ("centres", "prototypes"):
        (tmp_path / "c.yaml").write_text(text.replace("NAME", name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            settings = load_settings(tmp_path / "c.yaml")
        hashes.append(config_hash(settings))
    values = settings.model_dump(mode="json", exclude=set(FREE_KEYS))
    values["loss"]["terms"][0]["centres"] = values["loss"]["terms"][0].pop("prototypes")
    assert hashes == [sha256_json(values)] * 2
