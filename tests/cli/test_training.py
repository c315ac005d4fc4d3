from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalist.stores.maps import MapStore

Command = Callable[..., Any]


def words(toy: Any, *more: object) -> tuple[object, ...]:
    return ("--runs", toy.runs, "train", toy.config, "--data", toy.data, *more)


def test_training_again_does_nothing_and_says_what_is_next(medalist: Command, toy: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in toy.run.folder.rglob("*.safetensors")}
    ended = medalist(*words(toy))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"run {toy.run.folder}: nothing is left to do",
        f"done: {toy.run.folder}; next: medalist score toy_nuclei/tiny",
    ]
    assert {path: path.stat().st_mtime_ns for path in toy.run.folder.rglob("*.safetensors")} == before


def test_a_change_is_a_run_of_its_own(medalist: Command, untrained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.training.train.train", lambda setup, reporter: setup.run)
    for overrides, name in (((), "tiny"), (("train.lr=1e-2",), "tiny+train.lr=1e-2")):
        ended = medalist(*words(untrained, *overrides, "--fold", 1))
        assert ended.code == 0 and "folds 1 of 2" in ended.out
        assert (untrained.runs / "toy_nuclei" / name / "lock.json").is_file()
    assert medalist(*words(untrained, "--name", "mine")).code == 0
    assert (untrained.runs / "toy_nuclei" / "mine" / "config.yaml").is_file()


def test_the_runs_folder_may_come_from_the_shell(medalist: Command, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALIST_RUNS", str(toy.runs))
    assert medalist("train", toy.config, "--data", toy.data).code == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("train.lr=x",), "command line: train.lr = 'x': must be a valid number"),
        (("trian.lr=1",), "did you mean 'train'?"),
        (("competition=toy",), "no competition 'toy'"),
        (("--fold", "7"), "fold 7 does not exist; this config has folds 0..1"),
        (("--fold", "-1"), "fold -1 does not exist"),
        (("--name", "../x"), "a run cannot be called '../x'"),
        (("--data", "nowhere"), "no data folder nowhere (from --data or data:); type --data DIR"),
        (("augment=[{D5: {}}]",), "augment[0]: albumentations has no transform 'D5'"),
        (("folds.file=nowhere.csv",), "no folds file nowhere.csv"),
        (("folds.n=20", "folds.grouped=false", "--fold", "20"), "fold 20 does not exist"),
        (("folds.n=1000",), "1000 folds need 1000 groups"),
        (("epochs",), "override 'epochs' is not key=value"),
        (("base=segment",), "unknown key 'base'"),
    ],
)
def test_mistakes_are_one_line(medalist: Command, untrained: Any, more: tuple[str, ...], said: str) -> None:
    ended = medalist(*words(untrained, *more))
    assert ended.code == 2 and ended.out == "" and said in ended.line
    assert not list(untrained.runs.rglob("lock.json"))


def test_a_missing_config_is_one_line(medalist: Command, at_home: Path) -> None:
    ended = medalist("train", "configs/toy_nuclei/dmo.yaml")
    assert ended.code == 2 and ended.line == (
        "no config file configs/toy_nuclei/dmo.yaml; did you mean configs/toy_nuclei/demo.yaml?"
    )


def test_all_bad_images_are_named_at_once(medalist: Command, untrained: Any, own_data: Path) -> None:
    images = sorted(own_data.glob("stage1_train/*/images/*.png"))[:3]
    images[0].write_bytes(images[0].read_bytes()[:200])
    images[1].write_bytes(b"GIF89a")
    shutil.rmtree(images[2].parent)
    images[2].parent.mkdir()
    images[2].symlink_to("nowhere.png")
    ended = medalist(*words(untrained, "--data", own_data))
    assert ended.code == 2 and "3 of 32 images cannot be read" in ended.line
    assert all(image.stem in ended.line for image in images)
    assert not list(untrained.runs.rglob("lock.json"))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("stage1_train_labels.csv", "ImageId,EncodedPixels", "ImageId,Pixels", "no column 'EncodedPixels'"),
        ("stage1_train_labels.csv", "ImageId,EncodedPixels\n", "", "no column 'ImageId'"),
        ("stage1_train_labels.csv", "\n", ",9\n", "row 2: 2 cells"),
        ("sample_submission.csv", "ImageId", "Id", "no column 'ImageId'"),
        (
            "sample_submission.csv",
            "1 1\n",
            "1 1\nzebra,1 1\n",
            "'zebra' has a row in the sample submission",
        ),
    ],
)
def test_other_tables_are_one_line(
    medalist: Command, untrained: Any, own_data: Path, file: str, old: str, new: str, said: str
) -> None:
    text = (own_data / file).read_text()
    (own_data / file).write_text(text.replace(old, new, 1))
    ended = medalist(*words(untrained, "--data", own_data))
    assert ended.code == 2 and said in ended.line


def test_a_missing_part_of_the_data_is_one_line(medalist: Command, untrained: Any, own_data: Path) -> None:
    (own_data / "stage1_train_labels.csv").unlink()
    ended = medalist(*words(untrained, "--data", own_data))
    assert ended.code == 2 and "stage1_train_labels.csv: No such file" in ended.line
    shutil.rmtree(own_data / "stage1_test")
    assert "no folder 'stage1_test'" in medalist(*words(untrained, "--data", own_data)).line


def test_ctrl_c_in_training_and_predicting_is_130(
    medalist: Command, untrained: Any, monkeypatch: pytest.MonkeyPatch, leftovers: Callable[[Path], list[str]]
) -> None:
    from medalist.tasks.segment.task import SegmentTask

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medalist.engine.train.validate_held_out", stop)
        ended = medalist(*words(untrained))
        assert ended.code == 130 and ended.line.startswith("interrupted; ")
    assert untrained.run.trained_folds() == []
    with monkeypatch.context() as patch:
        patch.setattr(SegmentTask, "predict", stop)
        ended = medalist(*words(untrained, "--fold", 0))
        assert ended.code == 130 and ended.line.startswith("interrupted; ")
        assert untrained.run.trained_folds() == [0] and MapStore(untrained.run.folder / "oof").part("fold0") is None
        assert medalist("--runs", untrained.runs, "predict", "tiny", "--split", "oof").code == 130
    assert leftovers(untrained.runs) == []
    assert medalist(*words(untrained, "--fold", 0)).code == 0
    assert MapStore(untrained.run.folder / "oof").part("fold0") is not None


def test_predictions_may_be_made_in_another_way_and_are_scored_so(medalist: Command, toy: Any) -> None:
    here = ("--runs", toy.runs)
    ended = medalist(*here, "predict", "tiny", "--split", "oof", "predict.tta=flips")
    assert (ended.code, ended.err) == (0, "") and str(toy.run.folder / "oof") in ended.out
    ended = medalist(*here, "score", "tiny")
    assert ended.code == 0
    assert "fold0 was predicted with {'scales': [1.0], 'tta': 'flips'}, not with the config's" in ended.out
    assert toy.run.scores()["predict"]["fold1"]["tta"] == "flips"
    assert medalist(*here, "predict", "tiny", "--split", "test").code == 0
    for override in ("train.epochs=3", "decide.body=0.4"):
        ended = medalist(*here, "predict", "tiny", override)
        assert ended.code == 2 and "only predict.* may be changed here" in ended.line
    assert medalist(*here, "predict", "tnyi").line.endswith("did you mean 'tiny'?")
    assert medalist(*here, "predict", "tiny", "--split", "train").code == 2
