"""What is refused before a training of labels begins."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Bodies


def test_a_batch_of_one_under_a_norm_of_pooled_features_is_refused(
    drawn_bodies: Bodies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medalist: Callable[..., Any]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(drawn_bodies.home, home, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    monkeypatch.chdir(home)
    words = ("train", "bodies.yaml", "--data", "data", "model.neck=linear_bn", "model.dim=4", "train.mix=[]")
    ended = medalist(*words, "train.batch=1")
    assert ended.code == 2
    assert "a batch of one sample: encoder.body.layer4.0.bn1 then sees one value for each channel" in ended.line
    assert "type train.batch=2 or more" in ended.line
    assert not list(home.glob("runs/*/*/lock.json"))
