"""The average over steps (train.ema) forgets the first weights, also in a short training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from medalist.engine.checkpoint import load_state
from medalist.engine.job import TrainJob
from medalist.engine.settings import CheckpointConfig, TrainConfig
from medalist.engine.step_average import advised, follow, step_average, too_slow, warmed
from medalist.engine.train import fit
from medalist.errors import ConfigError
from medalist.reporter import Progress
from medalist.runs.fold_weights import read_note


def test_an_average_over_few_steps_is_not_the_first_weights() -> None:
    """After 60 steps a decay of 0.9998 alone leaves 0.988 of the first weights in the average."""
    model, config = nn.Linear(1, 1, bias=False), TrainConfig(ema=0.9998)
    with torch.no_grad():
        model.weight.fill_(0.0)
        average = step_average(model, config)
        assert average is not None
        model.weight.fill_(1.0)
        for step in range(60):
            follow(average, model, config, step)
    assert float(average.module.weight.detach()) > 0.999


def test_the_decay_rises_to_what_the_config_says() -> None:
    decays = [warmed(0.9998, step) for step in range(60_000)]
    assert decays[0] == pytest.approx(0.1) and decays == sorted(decays) and decays[-1] == 0.9998
    assert warmed(0.5, 100) == 0.5


def test_a_short_training_is_told_and_keeps_its_raw_weights(
    make: Callable[..., TrainJob], quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(quiet, "say", said.append)
    job, plain = make(ema=0.9998, epochs=6, lr=0.02), make("plain", epochs=6, lr=0.02)
    job = replace(job, note={"fold": "0"})
    rows: dict[str, list[Any]] = {"average": [], "plain": []}
    fit(job, rows["average"].append, quiet)
    fit(plain, rows["plain"].append, quiet)
    raw = safetensors.torch.load_file(job.folder / "raw.safetensors")
    written = {path.name: read_note(path) for path in job.folder.glob("*.safetensors")}
    assert "raw.safetensors" in written and all(note == {"fold": "0"} for note in written.values()), written
    last = safetensors.torch.load_file(plain.folder / "last.safetensors")
    assert all(torch.equal(raw[name], last[name]) for name in last)  # the average changes no training
    assert not (plain.folder / "raw.safetensors").exists()
    assert rows["average"][-1]["dice_body"] > rows["plain"][-1]["dice_body"] - 0.05
    told = [line for line in said if "train.ema" in line]
    assert len(told) == 1 and "made for more than 18 steps: alone it would leave 100 %" in told[0]
    assert "type train.ema=0.8 " in told[0]


def test_states_hold_nothing_new(
    make: Callable[..., TrainJob], quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of the step follows from the place in the training, so states of older versions are continued."""
    job = make(ema=0.9, epochs=1, checkpoint=CheckpointConfig(steps=1, minutes=0))

    def advance() -> None:
        done.append(True)
        if len(done) == 3:
            raise KeyboardInterrupt

    done: list[bool] = []
    monkeypatch.setattr(quiet, "advance", advance)
    with pytest.raises(KeyboardInterrupt):
        fit(job, lambda row: None, quiet)
    state, _ = load_state(job.folder)
    assert state is not None
    assert set(state.values) == {"rows", "best", "parts", "done", "seconds", "precision", "processes"}


@pytest.mark.parametrize(("ema", "steps", "told"), [(0.9, 60, False), (0.9998, 20_000, False), (0.9998, 5000, True)])
def test_only_a_decay_that_is_too_high_is_told(ema: float, steps: int, told: bool) -> None:
    assert bool(too_slow(TrainConfig(ema=ema), steps)) is told
    assert too_slow(TrainConfig(), steps) == ""
    assert advised(steps) ** steps < 0.1


def test_raw_weights_need_an_average() -> None:
    assert TrainConfig(ema=0.9, keep="raw").keep == "raw"
    with pytest.raises((ConfigError, ValueError), match=r"train\.keep = raw is for train\.ema"):
        TrainConfig(keep="raw")
