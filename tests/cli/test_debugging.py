from __future__ import annotations

from collections.abc import Callable
from typing import Any

Command = Callable[..., Any]


def test_debug_prints_tables_and_ends_well(medalist: Command, untrained: Any, tmp_path: Any) -> None:
    out = tmp_path / "out"
    options = ("--data", untrained.data, "--steps", 11, "-o", out)
    ended = medalist("--runs", untrained.runs, "debug", untrained.config, "train.lr=1e-9", *options)
    assert (ended.code, ended.err) == (0, "")
    assert "warnings, worst first" in ended.out and "the network did not overfit one batch" in ended.out
    assert "Parts. The batch is 4x3x64x64" in ended.out
    assert f"page {out / 'index.html'}" in ended.out and (out / "index.html").is_file()


def test_mistakes_are_one_line(medalist: Command, untrained: Any) -> None:
    here = ("--runs", untrained.runs, "debug", untrained.config, "--data", untrained.data)
    assert "fold 9 does not exist" in medalist(*here, "--fold", 9).line
    assert "no such sample" in medalist(*here, "--samples", "nobody").line
    assert medalist(*here, "--checkpoint", "none.safetensors").code == 2
    assert medalist(*here, "--steps", 1).code == 2
