from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medalist.contest import folds_path

Command = Callable[..., Any]


def test_check_prints_what_it_found(medalist: Command, at_home: Path, drawn: Path) -> None:
    ended = medalist("check", "toy_nuclei", "--data", drawn)
    assert (ended.code, ended.err) == (0, "")
    assert "images: all 32 decode" in ended.out and "score 1.000000" in ended.out


def test_check_finds_a_truncated_image(medalist: Command, at_home: Path, own_data: Path) -> None:
    image = next(own_data.glob("stage1_test/*/images/*.png"))
    image.write_bytes(image.read_bytes()[:-99])
    ended = medalist("check", "toy_nuclei", "--data", own_data)
    assert ended.code == 2 and image.stem in ended.line


def test_check_finds_a_code_that_runs_off_its_image(medalist: Command, at_home: Path, own_data: Path) -> None:
    with (own_data / "stage1_train_labels.csv").open("a") as file:
        name = next((own_data / "stage1_train").iterdir()).name
        file.write(f"{name},16384 2\n")
    ended = medalist("check", "toy_nuclei", "--data", own_data)
    assert ended.code == 2 and name in ended.line and "16384" in ended.line


def test_check_of_an_unknown_contest(medalist: Command, at_home: Path) -> None:
    ended = medalist("check", "toy_nucle")
    assert ended.code == 2 and ended.line.endswith("did you mean 'toy_nuclei'?")


def test_where_no_competitions_are_it_is_said(
    medalist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.competition.shipped_folder", lambda name: None)
    monkeypatch.chdir(tmp_path)
    ended = medalist("check", "toy_nuclei")
    assert ended.code == 2 and "no folder 'competitions'" in ended.line


# ------------------------------------------------------------------------------------------------- folds


def test_folds_are_shown_with_their_hash(medalist: Command, untrained: Any) -> None:
    ended = medalist("--runs", untrained.runs, "folds", untrained.config, "--data", untrained.data)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[1].split() == ["fold", "samples", "groups", "bright_gray", "colour_stain", "dark_gray"]
    assert [line.split()[0] for line in lines[2:4]] == ["0", "1"]
    assert sum(int(line.split()[1]) for line in lines[2:4]) == 26
    assert "groups found in the images" in ended.out
    contest = untrained.contest()
    from medalist.kinds import load_settings

    path = folds_path(contest, load_settings(untrained.config).folds, untrained.runs)
    assert f"hash {path.read_text().splitlines()[0].split('=')[1].split()[0]}" in ended.out


def test_folds_changed_by_hand_name_the_flag_that_keeps_them(medalist: Command, untrained: Any) -> None:
    command = ("--runs", untrained.runs, "folds", untrained.config, "--data", untrained.data, "folds.grouped=false")
    first = medalist(*command)
    (path,) = untrained.runs.glob("toy_nuclei/folds/*.csv")
    lines = path.read_text().splitlines()
    name, fold, *rest = lines[2].split(",")
    path.write_text("\n".join([*lines[:2], ",".join([name, str(1 - int(fold)), *rest]), *lines[3:]]) + "\n")
    ended = medalist(*command)
    assert ended.code == 2 and "medalist folds CONFIG --rehash" in ended.line
    kept = medalist(*command, "--rehash")
    assert kept.code == 0 and kept.out.splitlines()[-1] != first.out.splitlines()[-1]
    assert medalist(*command).out == kept.out


# ------------------------------------------------------------------------------------------------- score


def test_score_prints_folds_strata_and_the_whole(medalist: Command, toy: Any) -> None:
    ended = medalist("--runs", toy.runs, "score", "tiny")
    assert (ended.code, ended.err) == (0, "")
    oof = toy.run.scores()["oof"]
    for name, value in (("fold 0", oof["folds"]["0"]), ("dark_gray", oof["strata"]["dark_gray"]["score"])):
        assert any(line.startswith(name) and f"{value:.4f}" in line for line in ended.out.splitlines())
    last = ended.out.splitlines()[-1]
    assert last.startswith(f"OOF {oof['value']:.4f} ± {oof['standard_error_samples']:.4f} over 26 samples of 2 of 2")
    assert last.endswith(f"over folds {oof['mean']:.4f} ± {oof['standard_error']:.4f}")


def test_score_takes_changes_of_the_decision_alone(medalist: Command, toy: Any) -> None:
    before = medalist("--runs", toy.runs, "score", "tiny").out
    assert medalist("--runs", toy.runs, "score", "tiny", "decide.min_size=300").out != before
    assert toy.run.scores()["decide"]["min_size"] == 20  # a try
    medalist("--runs", toy.runs, "score", "tiny", "decide.min_size=300", "--keep")
    assert toy.run.scores()["decide"]["min_size"] == 300
    ended = medalist("--runs", toy.runs, "score", "tiny", "train.epochs=3")
    assert ended.code == 2 and "only decide.* may be changed here" in ended.line


@pytest.mark.parametrize("command", [("score",), ("submit",), ("report",), ("predict",)])
def test_an_unknown_run_is_one_line(medalist: Command, toy: Any, command: tuple[str, ...]) -> None:
    ended = medalist("--runs", toy.runs, *command, "toy_nuclei/tny")
    assert ended.code == 2 and ended.line.endswith("there are: toy_nuclei/tiny; did you mean 'toy_nuclei/tiny'?")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("lock.json", "{"),
        ("lock.json", "{}"),
        ("config.yaml", None),
        ("config.yaml", "x: [\n"),
        ("folds.csv", None),
        ("folds.csv", "id,fold\n"),
        ("oof/fold0.json", "{"),
        ("fold0/last.safetensors", "x"),
    ],
)
def test_a_damaged_run_is_one_line(medalist: Command, toy: Any, file: str, text: str | None) -> None:
    path = toy.run.folder / file
    path.unlink() if text is None else path.write_text(text)
    ended = medalist("--runs", toy.runs, "score", "tiny")
    assert ended.code == 2 and ended.line
    assert toy.run.folder.name in ended.line


def test_a_missing_prediction_is_one_line(medalist: Command, toy: Any) -> None:
    next((toy.run.folder / "oof").glob("*.png")).unlink()
    ended = medalist("--runs", toy.runs, "score", "tiny")
    assert ended.code == 2 and "run medalist predict again" in ended.line
    assert not (toy.run.folder / "oof.csv").exists()


# ------------------------------------------------------------------------------------------------- submit, validate


def test_a_submission_is_written_and_valid(medalist: Command, toy: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    ended = medalist("--runs", toy.runs, "submit", "tiny", "-o", path)
    assert (ended.code, ended.err) == (0, "") and ended.out.endswith(f"{path}: 6 rows, valid\n")
    assert ended.out.startswith(
        "tiny: folds 0, 1 of 2, weights last; OOF score unknown: medalist score toy_nuclei/tiny\n"
    )
    ended = medalist("--runs", toy.runs, "validate", path, "--competition", "toy_nuclei")
    assert (ended.code, ended.out) == (0, f"{path}: valid for toy_nuclei (6 samples)\n")


def test_validate_has_a_line_a_problem(medalist: Command, toy: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    text = (toy.data / "sample_submission.csv").read_text()
    rows = text.splitlines()
    path.write_text("\n".join([rows[0], rows[1] + " 1", f"zebra,{'1 1'}", *rows[3:], rows[3]]) + "\n")
    ended = medalist("validate", path, "--competition", "toy_nuclei", "--data", toy.data)
    assert ended.code == 2 and ended.line.endswith("problems; toy_nuclei would refuse it")
    found = ended.out.splitlines()
    assert all(line.startswith(f"{path}: ") and ": " in line for line in found)
    assert "row 2, column EncodedPixels" in found[0] and "row 3, column ImageId, value 'zebra'" in found[1]
    assert str(len(found)) in ended.line


def test_validate_of_no_file(medalist: Command, toy: Any, tmp_path: Path) -> None:
    ended = medalist("validate", tmp_path / "no.csv", "--competition", "toy_nuclei", "--data", toy.data)
    assert ended.code == 2 and "no.csv: cannot be read" in ended.line
    assert medalist("validate", tmp_path / "no.csv").code == 2


@pytest.mark.parametrize("command", ["score", "submit"])
def test_ctrl_c_is_130_and_the_command_can_be_run_again(
    medalist: Command,
    toy: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Callable[[Path], list[str]],
    command: str,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    words = ("--runs", toy.runs, command, "tiny", *(("-o", tmp_path / "s.csv") if command == "submit" else ()))
    with monkeypatch.context() as patch:
        patch.setattr("medalist.tasks.segment.deciding.decide", stop)
        ended = medalist(*words)
    assert ended.code == 130 and ended.line.startswith("interrupted; ")
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "s.csv").exists() and not (toy.run.folder / "scores.json").exists()
    assert medalist(*words).code == 0


@pytest.mark.parametrize("command", ["score", "submit"])
def test_a_full_disk_is_2_and_leaves_nothing_partial(
    medalist: Command,
    toy: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Callable[[Path], list[str]],
    command: str,
) -> None:
    def full(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    words = ("--runs", toy.runs, command, "tiny", *(("-o", tmp_path / "s.csv") if command == "submit" else ()))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        ended = medalist(*words)
    assert ended.code == 2 and ended.line.startswith("disk full while writing ")
    assert leftovers(tmp_path) == [] and not (tmp_path / "s.csv").exists()
    assert not (toy.run.folder / "oof.csv").exists() and not (toy.run.folder / "scores.json").exists()


# ------------------------------------------------------------------------------------------------- one row an image

SALT = """
from medalist import layouts
from medalist.competition import Competition
from medalist.metrics.masks import mean_dice
from medalist.formats.rle import RleFormat

def read(data):
    return layouts.read_split(
        train=layouts.images_in_folder(data, "train"),
        test=layouts.images_in_folder(data, "test"),
        annotations=layouts.read_annotations(data / "train.csv", "id", "rle", row_per="image"),
        order=layouts.ids_in(data / "sample_submission.csv", "id"),
    )

COMPETITION = Competition(
    name="salt",
    read=read,
    truth=lambda data, sample: layouts.mask(data / "train.csv", sample),
    score=mean_dice,
    submission=RleFormat(columns=("id", "rle"), row_per="image"),
)
"""


@pytest.fixture
def salt(at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data of a contest of masks, in a checkout of its own."""
    data = tmp_path / "salt"
    for part, names in (("train", "abcd"), ("test", "xy")):
        (data / part).mkdir(parents=True)
        for name in names:
            Image.new("L", (8, 6), ord(name)).save(data / part / f"{name}.png")
    (data / "train.csv").write_text("id,rle\na,1 3\nb,\nc,40 9\nd,7 1 9 2\n")
    (data / "sample_submission.csv").write_text("id,rle\nx,\ny,\n")
    (tmp_path / "competitions" / "salt").mkdir(parents=True)
    (tmp_path / "competitions" / "salt" / "__init__.py").write_text(SALT)
    monkeypatch.chdir(tmp_path)
    return data


def test_two_rows_for_one_image_are_refused_where_the_format_has_one(medalist: Command, salt: Path) -> None:
    ended = medalist("check", "salt", "--data", salt)
    assert (ended.code, ended.err) == (0, "") and "truth: all 4 decode" in ended.out
    with (salt / "train.csv").open("a") as file:
        file.write("c,1 1\n")
    ended = medalist("check", "salt", "--data", salt)
    assert ended.code == 2 and "row 6, column id, value 'c': a second row for this image" in ended.line


def test_a_second_row_of_an_image_is_a_problem_of_a_submission(medalist: Command, salt: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,rle\nx,1 1\nx,3 1\ny,48 2\n")
    ended = medalist("validate", tmp_path / "s.csv", "--competition", "salt", "--data", salt)
    assert ended.code == 2 and ended.line.endswith("2 problems; salt would refuse it")
    first, second = ended.out.splitlines()
    assert "row 3, column id, value 'x': a second row for this id" in first
    assert "row 4, column rle, value '48 2'" in second


# ------------------------------------------------------------------------------------------------- without torch

WALK = """
import sys
from medalist.cli.main import run
runs, config, data, out = sys.argv[1:]
for words in (
    ["check", "toy_nuclei", "--data", data],
    ["folds", config, "--data", data],
    ["score", "tiny"],
    ["score", "tiny", "decide.min_size=30"],
    ["submit", "tiny", "-o", out],
    ["validate", out, "--competition", "toy_nuclei", "--data", data],
    ["report", "tiny"],
    ["board"],
    ["diff", "tiny", config],
):
    assert run(["--runs", runs, *words]) == 0, words
    assert "torch" not in sys.modules, words
"""


def test_everything_behind_the_predictions_works_without_torch(toy: Any, tmp_path: Path) -> None:
    arguments = [str(toy.runs), str(toy.config), str(toy.data), str(tmp_path / "s.csv")]
    subprocess.run([sys.executable, "-c", WALK, *arguments], check=True, stdout=subprocess.DEVNULL)
