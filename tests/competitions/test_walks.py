"""Each contest of pixels or boxes goes from drawn data to a valid submission, by its own config on a tiny network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from medalist.competition import load_competition
from medalist.formats.submission import suffix_of

CONFIGS = (
    "airbus_ships/lite0", "bsd_pitting/lite0", "carvana/lite0", "cityscapes/lite0", "contrails/lite0", "hubmap/lite0",
    "robot_surgery/binary", "robot_surgery/parts", "severstal/lite0", "tgs_salt/lite0",
)  # fmt: skip
BOXES = ("bccd", "global_wheat", "pets_coco", "safe_passage", "vinbigdata")
TINY_BOXES = (
    "folds.n=2", "image.size=[96,96]", "model.encoder=test_resnet", "model.weights=none", "model.width=16",
    "train.epochs=1", "train.batch=4", "task.absent=allow", "tracking=none",
)  # fmt: skip
TINY = (
    "folds.n=2",
    "augment=[{RandomCrop: {height: 64, width: 64, pad_if_needed: true}}]",
    "model.encoder=test_resnet",
    "model.weights=none",
    "model.decoder_channels=[16, 16, 16, 16, 16]",
    "train.epochs=1",
    "train.batch=4",
    "predict.tta=none",
    "predict.scales=[1.0]",
    "loader.workers=1",
    "tracking=none",
)


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_from_drawn_data_to_a_valid_submission(
    config: str, medalist: Callable[..., Any], at_home: Path, tmp_path: Path
) -> None:
    settings = Path("configs") / f"{config}.yaml"
    folder = config.partition("/")[0]
    name = {"robot_surgery/parts": "robot_surgery.parts"}.get(config, folder)
    tiles = ("sampler.size=64", "sampler.per_image=2", "predict.tile.size=64") if folder == "hubmap" else ()
    walk(name, settings, (*TINY, *tiles, "--fold", "0"), medalist, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOXES)
def test_boxes_from_drawn_data_to_a_valid_submission(
    name: str, medalist: Callable[..., Any], at_home: Path, tmp_path: Path
) -> None:
    # Both folds, because thresholds that are tuned are those of other folds.
    walk(name, Path("configs") / name / "lite0.yaml", TINY_BOXES, medalist, tmp_path)


def walk(name: str, config: Path, words: Sequence[str], medalist: Callable[..., Any], tmp_path: Path) -> None:
    """Train, score, submit and validate, by the commands."""
    competition = load_competition(name)
    assert competition.draw is not None
    competition.draw(tmp_path / "data", 1)
    runs = ("--runs", tmp_path / "runs", "--debug")
    ended = medalist(*runs, "train", config, "--data", tmp_path / "data", "--name", "tiny", *words)
    assert ended.code == 0, ended.err
    scored = medalist(*runs, "score", f"{name}/tiny")
    assert scored.code == 0 and "OOF " in scored.out, scored.err
    submission = tmp_path / f"s{suffix_of(competition.submission)}"
    assert medalist(*runs, "submit", f"{name}/tiny", "-o", submission).code == 0
    checked = medalist("validate", submission, "--competition", name, "--data", tmp_path / "data")
    assert checked.code == 0 and "valid for" in checked.out, checked.out
