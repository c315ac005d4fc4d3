"""The file of an export: what it says comes back, and a damaged or hostile one is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medalist.data.preparing import Preparation
from medalist.deploy.description import FILE, FORMAT, BoxRules, Described, Tiled, Turned, read_description
from medalist.errors import RunError

MAPS = Described(
    run="x/y",
    kind="segment",
    form="maps",
    model="model.onnx",
    sha256="00",
    folds=(0, 3),
    outputs=("logits", "maps"),
    columns=("body",),
    prepare=Preparation(True, True, 0.5, 7, "pad", (64, 32)),
    crop=(60, 30),
    gray=True,
    multiple=32,
    tile=Tiled(64, 16, "flat"),
    views=(Turned(), Turned(3, True)),
    decide={"a": [1]},
    undecided="",
    facts={"b": 2},
)
SLICES = {"size": 64, "overlap": 16, "cover": 0.5, "iou": 0.5, "touch": 2.0}
BOXES = Described(
    run="x/y",
    kind="detect",
    form="boxes",
    model="model.onnx",
    sha256="00",
    folds=(1,),
    outputs=("logits", "scores", "boxes"),
    columns=("cat",),
    prepare=Preparation(),
    boxes=BoxRules((64, 96), 114, True, (96, 24), 0.01, 300, 0.7, SLICES),
)


def write(folder: Path, value: Any) -> Path:
    (folder / FILE).write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize("described", [MAPS, BOXES])
def test_what_is_written_comes_back(described: Described, tmp_path: Path) -> None:
    assert read_description(write(tmp_path, described.as_json())) == described


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "../x.onnx"),
        ("model", "/x.onnx"),
        ("model", 1),
        ("form", "masks"),
        ("folds", []),
        ("folds", [0, 0]),
        ("folds", [-1]),
        ("folds", [True]),
        ("folds", "01"),
        ("columns", []),
        ("columns", "body"),
        ("views", []),
        ("views", [{"turns": 4, "mirror": False}]),
        ("views", [{"turns": 0, "mirror": 1}]),
        ("views", None),
        ("multiple", 0),
        ("multiple", 1e9),
        ("crop", [1]),
        ("crop", [0, 5]),
        ("gray", "no"),
        ("boxes", {}),
        ("tile", {"size": 65, "overlap": 16, "window": "flat"}),
        ("tile", {"size": 64, "overlap": 64, "window": "flat"}),
        ("tile", {"size": 64, "overlap": 16, "window": "round"}),
        ("decide", []),
        ("facts", None),
        ("prepare", None),
        ("prepare", {**MAPS.as_json()["prepare"], "trim": 0}),
        ("prepare", {**MAPS.as_json()["prepare"], "fill": 256}),
        ("prepare", {**MAPS.as_json()["prepare"], "fit": "warp"}),
        ("prepare", {**MAPS.as_json()["prepare"], "size": [10**9, 1]}),
    ],
)
def test_wrong_values_are_refused(key: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"export\.json is damaged \(.*write it again with medalist export"):
        read_description(write(tmp_path, {**MAPS.as_json(), key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("frame", None),
        ("levels", [-1]),
        ("floor", float("nan")),
        ("most", 0),
        ("doubles", "x"),
        ("slices", {**SLICES, "overlap": 64}),
        ("slices", {"size": 64}),
    ],
)
def test_wrong_rules_of_boxes_are_refused(key: str, value: Any, tmp_path: Path) -> None:
    whole = BOXES.as_json()
    with pytest.raises(RunError, match=r"export\.json is damaged"):
        read_description(write(tmp_path, {**whole, "boxes": {**whole["boxes"], key: value}}))


def test_other_files_and_newer_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is no export: export\.json is missing"):
        read_description(tmp_path)
    values: list[Any] = [[], "x", {}, {"format": FORMAT}]
    for value in values:
        with pytest.raises(RunError, match="is damaged"):
            read_description(write(tmp_path, value))
    with pytest.raises(RunError, match="install a newer medalist"):
        read_description(write(tmp_path, {**MAPS.as_json(), "format": "medalist export 2"}))
    (tmp_path / FILE).write_text("{")
    with pytest.raises(RunError, match="not JSON"):
        read_description(tmp_path)
