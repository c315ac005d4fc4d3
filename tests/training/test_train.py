from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalist.contest import contest_folds
from medalist.engine import train as loop
from medalist.errors import ConfigError, DataError, FoldError, MedalistError, RunError, WeightsError
from medalist.files import sha256_file
from medalist.kinds import load_settings, run_settings
from medalist.reporter import SilentReporter
from medalist.runs.setup import TrainSetup
from medalist.stores.maps import MapStore
from medalist.system import DEVICES
from medalist.training.request import TrainRequest, former_name, run_name
from medalist.training.start import prepare
from medalist.training.train import train
from medalist.workflows.score import score_run


def planned(toy: Any, *overrides: str, fold: tuple[int, ...] = (), name: str | None = "tiny") -> TrainSetup:
    settings = load_settings(toy.config, overrides)
    return prepare(TrainRequest(settings, toy.config, overrides, str(toy.data), fold, name, toy.runs))


def refused(error: type[MedalistError], toy: Any, *overrides: str, **named: Any) -> str:
    with pytest.raises(error) as caught:
        planned(toy, *overrides, **named)
    assert "\n" not in str(caught.value)
    assert not list(toy.runs.rglob("lock.json"))
    return str(caught.value)


# ------------------------------------------------------------------------------------------------- before any work


def test_a_run_is_named_after_its_config_and_its_changes() -> None:
    config = Path("configs/x/unet.yaml")
    assert run_name(config, ()) == "unet"
    assert run_name(config, ("train.lr=1e-3", " loss.bce = 2")) == "unet+train.lr=1e-3+loss.bce=2"


ODD = [
    ("augment=[{CropNonEmptyMaskIfExists:{height:160,width:160}},{D4:{}}]",),
    ("augment=[{CropNonEmptyMaskIfExists:{height:160,width:160}},{D4:{p: 1}}]",),
    ("sampler={kind: pxk}", "a='b|c'?."),
    ("folds.file=a/b.csv",),
    ("folds.file=a_b.csv", "train.epochs=1" * 30),
    ("folds.file=A.csv",),
    ("folds.file=a.csv.",),
    ("folds.file=é.csv",),
    ("folds.file=e\u0301.csv",),
    ("augment=[]",),
    ("augment={}",),
    ("a=" + "[" * 3000,),
    ('a=\x1b[31m\n<>:"/\\|?*',),
]


def test_a_name_of_a_run_is_short_and_safe_on_every_file_system() -> None:
    """Of a change with brackets, quotes or many letters the name has plain words and a hash."""
    names = [run_name(Path("configs/x/unet.yaml"), overrides) for overrides in ODD]
    assert names[0].startswith("unet+augment=CropNonEmptyMaskIfExists+") and len(names[0]) < 60
    assert len({name.casefold() for name in names}) == len(ODD)
    for name in [
        *names,
        run_name(Path("con.yaml"), ()),
        run_name(Path("my (1).yaml"), ()),
        run_name(Path("é.yaml"), ()),
    ]:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.=,+-]{0,98}[A-Za-z0-9_]", name), name
        assert name.partition(".")[0].upper() not in DEVICES


def test_a_run_that_an_earlier_version_has_named_keeps_its_name(tmp_path: Path, untrained: Any) -> None:
    settings, changes = load_settings(untrained.config), ("augment=[]",)
    request = TrainRequest(settings, untrained.config, changes, None, (), None, untrained.runs)
    assert re.fullmatch(r"tiny\+augment\+[0-9a-f]{8}", request.run_name)
    former = untrained.runs / "toy_nuclei" / former_name(untrained.config, changes)
    former.mkdir(parents=True)
    (former / "lock.json").write_text("{}")
    assert request.run_name == former.name == "tiny+augment=[]"


@pytest.mark.parametrize("name", ["a" * 300, "é" * 100, "a/b", "..", "", "folds", "a\nb"])
def test_a_name_that_no_folder_can_have_is_refused_before_any_work(
    medalist: Callable[..., Any], untrained: Any, name: str
) -> None:
    ended = medalist("--runs", untrained.runs, "train", untrained.config, "--data", untrained.data, "--name", name)
    assert ended.code == 2 and "name" in ended.line and len(ended.line) < 200
    assert not untrained.runs.exists()


AUGMENT = "augment=[{RandomCrop: {height: 64, width: 64}}, {HorizontalFlp: {}}]"


def test_a_typo_in_augment_is_told_before_an_image_is_read(untrained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.training.start.open_contest", None)
    monkeypatch.setattr("medalist.training.start.encoder_weights", None)
    assert "augment[1]" in refused(ConfigError, untrained, AUGMENT)
    message = refused(ConfigError, untrained, "augment=[{RandomCrop: {height: 64, widht: 64}}]")
    assert "unknown argument 'widht'" in message and "did you mean 'width'?" in message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("augment=[]", "folds.n=2"), None),  # all images are 128x128: no crop is needed
        (("augment=[{RandomCrop: {height: 65, width: 64}}]",), "multiples of 32; take 64x96"),
        (("augment=[{RandomScale: {scale_limit: 0.5, p: 1.0}}]",), "augment gives images of several sizes"),
        (("augment=[{RandomCrop: {height: 256, width: 256}}]",), "augment: "),
        (("model.channels=[body, nucleolus]",), "energy2 and so on, not nucleolus"),
        (("model.encoder=resnet33",), "encoder 'resnet33' is not in timm"),
        (("model.encoder=hiera_tiny_224",), "encoder 'hiera_tiny_224' cannot be used with unet"),
        (("model.in_channels=1",), "model.in_channels = 1: images are read as RGB; set it to 3"),
    ],
)
def test_what_cannot_be_trained_is_told_before_pixels_are_kept(
    untrained: Any, overrides: tuple[str, ...], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.tasks.segment.training.filled_cache", None)
    if words is None:
        assert planned(untrained, *overrides).chosen == (0, 1)
    else:
        assert words in refused(ConfigError, untrained, *overrides)


def test_missing_weights_are_told_before_the_data_is_read(untrained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.training.start.open_contest", None)
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    assert "resnet152" in refused(WeightsError, untrained, "model.encoder=resnet152", "model.weights=imagenet")
    assert "no.pth" in refused(WeightsError, untrained, "model.weights=no.pth")


@pytest.mark.parametrize("fold", [-1, 2, 99])
def test_an_unknown_fold_is_refused(untrained: Any, fold: int) -> None:
    assert f"fold {fold} does not exist; this config has folds 0..1" in refused(FoldError, untrained, fold=(0, fold))


@pytest.mark.parametrize("name", ["a/b", "..", ".", "folds", "data", "/x"])
def test_a_run_has_a_plain_name_of_its_own(untrained: Any, name: str) -> None:
    assert f"a run cannot be called '{name}'" in refused(ConfigError, untrained, name=name)


def test_a_bad_truth_is_left_to_the_list_of_all_of_them(untrained: Any, own_data: Path, quiet: SilentReporter) -> None:
    toy = type(untrained)(own_data, untrained.config, untrained.runs)
    with (own_data / "stage1_train_labels.csv").open("a") as file:
        ids = sorted(path.name for path in (own_data / "stage1_train").iterdir())[:3]
        file.writelines(f"{name},16384 2\n" for name in ids)
    plan = planned(toy)
    with pytest.raises(DataError, match="3 bad samples: ") as caught:
        train(plan, quiet)
    assert all(name in str(caught.value) for name in ids)
    assert plan.run.trained_folds() == []


def test_folds_may_be_named_twice_and_in_any_order(untrained: Any) -> None:
    assert planned(untrained, fold=(1, 0, 1)).chosen == (1, 0)
    assert planned(untrained).chosen == (0, 1)


def test_a_users_folds_give_the_number_of_folds(untrained: Any, tmp_path: Path, quiet: SilentReporter) -> None:
    made = contest_folds(untrained.contest(), planned(untrained).settings.folds.model_copy(update={"n": 3}), tmp_path)
    table = tmp_path / "mine.csv"
    table.write_text("id,fold\n" + "".join(f"{name},{fold}\n" for name, fold in made.fold.items()))
    plan = planned(untrained, f"folds.file={table}", "folds.n=2", name="mine")
    assert plan.chosen == (0, 1, 2) and plan.run.folds().n == 3
    run = train(planned(untrained, f"folds.file={table}", "folds.n=2", name="mine", fold=(2,)), quiet)
    assert run.trained_folds() == [2]
    oof = score_run(run, untrained.contest(), run_settings(run), quiet)["oof"]
    assert list(oof["folds"]) == ["2"] and oof["folds_of"] == 3
    with pytest.raises(FoldError, match=r"fold 3 does not exist; this config has folds 0\.\.2"):
        planned(untrained, f"folds.file={table}", fold=(3,), name="mine")


# ------------------------------------------------------------------------------------------------- again


def test_a_finished_run_is_left_as_it_is(trained: Any, at_home: Path, tmp_path: Path, quiet: SilentReporter) -> None:
    shutil.copytree(trained.runs, tmp_path / "runs")
    toy = type(trained)(trained.data, trained.config, tmp_path / "runs")

    def files() -> dict[Path, tuple[int, str]]:
        found = (path for path in toy.run.folder.rglob("*.*") if path.name != "holder.lock")  # that names its process
        return {path: (path.stat().st_mtime_ns, sha256_file(path)) for path in found}

    before = files()
    train(planned(toy), quiet)
    after = files()
    folds = toy.run.folder / "folds.csv"  # which is written anew, the same
    assert {**before, folds: before[folds][1]} == {**after, folds: after[folds][1]}


def test_another_config_is_refused_in_the_same_folder(toy: Any) -> None:
    with pytest.raises(RunError, match=r"tiny was made with other config \(train\.lr was 0\.001, is 0\.1\)"):
        planned(toy, "train.lr=0.1")
    with pytest.raises(RunError, match="is not the data that tiny was trained on"):
        first = next((toy.data / "stage1_train").iterdir())
        moved = shutil.copytree(toy.data, toy.runs.parent / "other")
        image = moved / "stage1_train" / first.name / "images" / f"{first.name}.png"
        image.write_bytes(image.read_bytes() + b"\0")
        planned(type(toy)(moved, toy.config, toy.runs))


def test_after_an_interrupt_training_goes_on_to_the_same_weights(
    trained: Any,
    untrained: Any,
    quiet: SilentReporter,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Callable[[Path], list[str]],
) -> None:
    honest, calls = loop.validate_held_out, []

    def stop(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:  # fold 1
            raise KeyboardInterrupt
        return honest(*given)

    monkeypatch.setattr(loop, "validate_held_out", stop)
    with pytest.raises(KeyboardInterrupt):
        train(planned(untrained), quiet)
    run = untrained.run
    assert run.trained_folds() == [0] and leftovers(untrained.runs) == []
    assert MapStore(run.folder / "oof").part("fold0") is None  # predictions come after all training
    kept = run.checkpoint(0, "last").stat().st_mtime_ns
    monkeypatch.setattr(loop, "validate_held_out", honest)
    train(planned(untrained), quiet)
    assert run.trained_folds() == [0, 1]
    assert run.checkpoint(0, "last").stat().st_mtime_ns == kept
    for fold in (0, 1):
        assert sha256_file(run.checkpoint(fold, "last")) == sha256_file(trained.run.checkpoint(fold, "last"))
        assert MapStore(run.folder / "oof").part(f"fold{fold}") == MapStore(trained.run.folder / "oof").part(
            f"fold{fold}"
        )


def test_a_full_disk_is_one_line_and_leaves_nothing_partial(
    untrained: Any, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch, leftovers: Callable[[Path], list[str]]
) -> None:
    honest = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target.suffix == ".safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return honest(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MedalistError, match=r"disk full while writing .*\.safetensors; free space and run the"):
        train(planned(untrained, fold=(0,)), quiet)
    assert leftovers(untrained.runs) == [] and untrained.run.trained_folds() == []
    monkeypatch.undo()


def test_a_run_stopped_before_its_lock_is_made_anew(untrained: Any) -> None:
    folder = untrained.runs / "toy_nuclei" / "tiny"
    (folder / "fold0").mkdir(parents=True)
    (folder / "config.yaml").write_text("half: [")
    plan = planned(untrained)
    assert plan.run.folder == folder and run_settings(plan.run) == plan.settings
    assert plan.run.folds() == plan.folds
