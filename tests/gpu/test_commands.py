"""The commands themselves, on the device that Fabric takes by itself: data to checked submission, without the core."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

for name in ("segmentation_models_pytorch", "typer", "rich", "skimage", "matplotlib", "jinja2", "psutil"):
    pytest.importorskip(name)

PROJECT = Path(__file__).parents[2]
TINY = """\
competition: toy_nuclei
folds: {n: 3, seed: 1}
augment: [{RandomCrop: {height: 64, width: 64}}, {D4: {}}]
model:
  {kind: unet, encoder: test_resnet, weights: none, channels: [body, border], decoder_channels: [16, 16, 8, 8, 8]}
loss: {bce: 1.0}
train: {epochs: 2, batch: 8, schedule: constant, warmup: 0.0, precision: bf16-mixed}
predict: {tta: none}
decide: {kind: watershed}
tracking: none
"""

Command = Callable[..., str]


@pytest.fixture
def medalist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """medalist(words) -> what the command said; it must end well."""
    from medalist.cli.main import run

    monkeypatch.chdir(PROJECT)
    for name in ("MEDALIST_DATA", "MEDALIST_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")

    def command(*words: object) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = run(["--runs", str(tmp_path / "runs"), *map(str, words)])
        assert code == 0, out.getvalue()
        return out.getvalue()

    return command


@pytest.fixture
def contest(tmp_path: Path, device: str) -> tuple[Path, str, Path]:
    """The words for a config and the drawn contest's folder."""
    from medalist.competition import load_competition

    if device == "cpu" and torch.cuda.is_available():
        pytest.skip("the commands take the GPU that is here")
    draw = load_competition("toy_nuclei", PROJECT / "competitions").draw
    assert draw is not None
    draw(tmp_path / "data", 3)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path / "tiny.yaml", "--data", tmp_path / "data"


def test_train_score_and_submit(
    medalist: Command, device: str, contest: tuple[Path, str, Path], tmp_path: Path
) -> None:
    medalist("train", *contest, "--fold", 0)
    folder = tmp_path / "runs" / "toy_nuclei" / "tiny"
    cost = json.loads((folder / "fold0" / "cost.json").read_text())
    assert (cost["device_bytes"] > 1_000_000) == (device == "cuda")
    machine = json.loads((folder / "lock.json").read_text())["machine"]
    assert (machine["GPUs"] != "none") == (device == "cuda")
    assert "OOF" in medalist("score", "tiny")
    medalist("submit", "tiny", "-o", tmp_path / "submission.csv")
    header, *rows = (tmp_path / "submission.csv").read_text().splitlines()
    assert header == "ImageId,EncodedPixels" and rows
    assert "nothing is left to do" in medalist("train", *contest, "--fold", 0)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("doctor",), ("debug", "--steps", 8), ("plan", "--fold", 0, "--seconds", 10)])
def test_commands_that_look_at_the_machine(
    medalist: Command, device: str, contest: tuple[Path, str, Path], tmp_path: Path, words: tuple[object, ...]
) -> None:
    name, *options = words
    if name == "doctor":
        assert ("none: training runs on the processors" in medalist(name)) == (device == "cpu")
        return
    said = medalist(name, *contest, *options, *(("-o", tmp_path / "page") if name == "debug" else ()))
    assert {"debug": "learn", "plan": "what the time is spent on"}[str(name)] in said
