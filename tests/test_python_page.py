"""The examples in docs/python.md run as they stand, and the page lists what is public."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import medalist
from medalist.layouts.drawing import identity_picture

from .conftest import PROJECT, Identities, Toy, make

PAGE = (PROJECT / "docs" / "python.md").read_text(encoding="utf-8")
APTOS = """\
competition: aptos
folds: {n: 2, seed: 1}
task: {kind: classify, mode: ordinal}
image: {size: [32, 32]}
model: {encoder: test_resnet, weights: none}
train: {epochs: 1, schedule: constant, warmup: 0.0}
loss: {kind: regression}
decide: {kind: regression, cuts: round}
tracking: none
"""


@pytest.fixture
def home(
    trained: Toy, trained_whales: Identities, tmp_path: Path, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the folder that the page speaks of, with the runs by the names that it gives them."""
    graded = make("aptos", APTOS, tmp_path / "aptos", "lite0")
    runs = tmp_path / "home" / "runs"
    shutil.copytree(trained.run.folder, runs / "toy_nuclei" / "demo")
    shutil.copytree(trained.data, runs / "toy_nuclei" / "data")
    shutil.copytree(trained_whales.run.folder, runs / "humpback_whale" / "tiny")
    shutil.copytree(graded.runs / "aptos" / "lite0", runs / "aptos" / "lite0")
    Image.fromarray(identity_picture(1, 2, 3, (96, 80))).save(tmp_path / "home" / "photo.png")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def test_every_example_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    examples = re.findall(r"(?m)^```python\n(.*?)^```", PAGE, re.DOTALL)
    assert len(examples) >= 8
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"example {number} of python.md", "exec"), names)
    assert "type (image * 255).round()" in capsys.readouterr().out
    assert names["rle"] == "10 2 14 2 18 2"
    assert (home / "gallery.ann").is_file()


def test_the_page_lists_the_public_names() -> None:
    listed = set(re.findall(r"`medalist\.([A-Za-z_]+)", PAGE.partition("\n## ")[0]))
    assert listed >= set(medalist.__all__) - {"Predictor"}


def test_the_page_lists_the_public_metrics() -> None:
    table = PAGE.partition("| metrics | for |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z0-9_]+)`", table)) == set(medalist.metrics.__all__)
    for name in medalist.metrics.__all__:
        assert callable(getattr(medalist.metrics, name))
    assert sorted(name for names in medalist.metrics.PLACES.values() for name in names) == medalist.metrics.__all__


@pytest.mark.parametrize("module", [medalist.metrics, medalist.codecs])
def test_unknown_names_are_refused(module: Any) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'mean_dicee'"):
        module.mean_dicee  # noqa: B018
