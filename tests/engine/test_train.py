from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from medalist.data.loader import Batch
from medalist.data.targets import MapTargets
from medalist.engine.job import TrainJob
from medalist.engine.optimizer import make_optimizer
from medalist.engine.schedule import lr_factor
from medalist.engine.train import fit, validate_held_out
from medalist.errors import TrainingError
from medalist.reporter import Progress
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.task import SegmentTask

Make = Callable[..., TrainJob]
Weights = dict[str, Tensor]
Row = Mapping[str, float]


def weights(job: TrainJob, name: str = "last") -> Weights:
    return safetensors.torch.load_file(job.folder / f"{name}.safetensors")


def assert_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def rows(job: TrainJob) -> list[dict[str, float]]:
    return [json.loads(line) for line in (job.folder / "metrics.jsonl").read_text().splitlines()]


def snapshot(job: TrainJob) -> Weights:
    return copy.deepcopy(dict(job.model.state_dict()))


def run(job: TrainJob, progress: Progress) -> list[Row]:
    """Train, and return the rows that were logged, without their times."""
    logged: list[Row] = []
    fit(job, logged.append, progress)
    return [{name: value for name, value in row.items() if name != "seconds"} for row in logged]


class Spy(SegmentTask):
    """A task that calls `before` at each training loss, and lets a script say the held-out loss of each look."""

    def __init__(
        self, before: Callable[[int, Batch], None] = lambda step, batch: None, script: list[float] | None = None
    ):
        super().__init__(LossConfig(bce=1.0), ("body", "border"))
        self.before, self.script = before, script
        self.step = 0
        self.looks = 0

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        made = dict(super().loss(outputs, batch))
        if torch.is_inference_mode_enabled():
            if self.script is not None:
                made["loss"] = torch.tensor(self.script[self.looks // 5])  # five held-out samples
            self.looks += 1
        else:
            self.before(self.step, batch)
            self.step += 1
        return made


def test_the_same_config_and_seed_give_the_same_weights(make: Make, quiet: Progress) -> None:
    first, second = make("first", ema=0.5), make("second", ema=0.5)
    assert run(first, quiet) == run(second, quiet)
    assert_equal(weights(first), weights(second))
    assert_equal(weights(first, "best"), weights(second, "best"))


def test_workers_do_not_change_the_weights(make: Make, quiet: Progress) -> None:
    """The network has dropout, so that its random numbers count too."""
    alone, shared = make("alone", epochs=3), make("shared", epochs=3, workers=2)
    assert run(alone, quiet) == run(shared, quiet)
    assert_equal(weights(alone), weights(shared))


def test_it_learns(make: Make, quiet: Progress) -> None:
    job = make(epochs=12, lr=0.02)
    logged = run(job, quiet)
    losses = [row["val_loss"] for row in logged]
    assert losses[-1] < 0.8 * losses[0]
    assert logged[-1]["loss"] < logged[0]["loss"]
    assert logged[-1]["dice_body"] > 0.5


def test_rows(make: Make, quiet: Progress) -> None:
    job = make(epochs=5, evaluate_every=2, schedule="cosine", encoder_lr=3.0)
    logged = run(job, quiet)
    kept = rows(job)
    assert [{name: row[name] for name in row if name != "seconds"} for row in kept] == logged
    assert all(row["seconds"] > 0 for row in kept)
    trained = {"epoch", "step", "lr", "loss", "loss_bce", "loss_dice"}
    looked = {"val_loss", "val_loss_bce", "val_loss_dice", "dice_body", "dice_border"}
    assert [set(row) for row in logged] == [trained, trained | looked, trained, trained | looked, trained | looked]
    assert [row["epoch"] for row in logged] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in logged] == [3, 6, 9, 12, 15]
    for row in logged:
        assert row["loss"] == pytest.approx(row["loss_bce"] + row["loss_dice"], rel=1e-6)
        assert row["lr"] == pytest.approx(0.01 * lr_factor(int(row["step"]) - 1, 15, job.config))


def test_without_looks_it_looks_at_the_end_only(make: Make, quiet: Progress) -> None:
    job = make(epochs=3, evaluate_every=0)
    assert ["val_loss" in row for row in run(job, quiet)] == [False, False, True]
    assert_equal(weights(job), weights(job, "best"))


def test_best_is_the_epoch_of_the_lowest_held_out_loss(make: Make, quiet: Progress) -> None:
    job = make(epochs=5, task=Spy(script=[3.0, 2.0, 1.0, 1.0, 1.5]))
    after: list[Weights] = []
    fit(job, lambda row: after.append(snapshot(job)), quiet)
    assert_equal(weights(job, "best"), after[2])
    assert_equal(weights(job, "last"), after[4])
    assert not torch.equal(after[2]["encoder.0.weight"], after[3]["encoder.0.weight"])


@pytest.mark.parametrize("step", [0, 2, 4])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_loss_that_is_not_finite_names_its_samples(make: Make, quiet: Progress, step: int, accumulate: int) -> None:
    seen: list[Batch] = []

    class Bad(Spy):
        def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
            made = dict(super().loss(outputs, batch))
            if not torch.is_inference_mode_enabled():
                seen.append(batch)
                made["loss"] = made["loss"] * (math.nan if self.step > step else 1)
            return made

    job = make(task=Bad(), accumulate=accumulate)
    with pytest.raises(TrainingError) as caught:
        fit(job, lambda row: None, quiet)
    ids = ",".join(f"s{index}" for index in seen[step].indices)
    epoch = step // 3 + 1
    assert str(caught.value) == (
        f"fold 0: the loss is nan in epoch {epoch}; lower train.lr, or see where it comes from: "
        f"medalist debug CONFIG --epoch {epoch} --samples {ids}"
    )
    left = {path.name for path in job.folder.glob("*")}
    assert left == (set() if step < 3 else {"best.safetensors", "metrics.jsonl"})


def test_weights_that_break_in_the_last_step_are_not_kept(make: Make, quiet: Progress) -> None:
    """Every training loss was finite, but the last step went to infinity."""
    job = make(epochs=1, optimizer="sgd", schedule="constant", warmup=0, lr=1e38, clip=0, batch=6, loss={"bce": 1e4})
    with pytest.raises(TrainingError, match=r"^fold 0: the held-out loss is (nan|inf) after epoch 1, though") as caught:
        fit(job, lambda row: None, quiet)
    assert "\n" not in str(caught.value)
    assert not list(job.folder.glob("*"))


def test_accumulation_equals_the_larger_batch(make: Make, quiet: Progress, network: Callable[..., nn.Module]) -> None:
    """Within rounding, for a loss that is a mean over samples and a network without batch normalisation."""
    made = []
    for batch, accumulate in ((6, 1), (3, 2), (2, 3), (2, 7)):
        torch.manual_seed(0)
        job = make(
            f"{batch}x{accumulate}", model=network(norm=False, dropout=0.0), loss={"bce": 1.0},
            batch=batch, accumulate=accumulate, optimizer="sgd", clip=0,
            augment=({"Resize": {"height": 16, "width": 16}},),
        )  # fmt: skip
        logged = run(job, quiet)
        made.append((weights(job), [row["loss"] for row in logged]))
    start = network(norm=False).state_dict()
    for found, losses in made[1:]:
        assert losses == pytest.approx(made[0][1], rel=1e-5)
        for name, expected in made[0][0].items():
            torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)
            assert not torch.equal(found[name], start[name])


def test_a_group_of_batches_does_not_reach_over_the_epoch(make: Make, quiet: Progress) -> None:
    """3 batches by 2: a whole step and a half one in each epoch, whose gradient is a mean all the same."""
    changed: list[bool] = []
    last: list[Weights] = []

    def look(step: int, batch: Batch) -> None:
        now = {name: value.clone() for name, value in job.model.named_parameters()}
        changed.append(bool(last) and any(not torch.equal(now[name], last[-1][name]) for name in now))
        last.append(now)

    job = make(accumulate=2, task=Spy(look))
    run(job, quiet)
    assert changed == [False, False, True, True, False, True]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_step_trains_from_no_gradient(make: Make, quiet: Progress, accumulate: int) -> None:
    """Also after the look at the held-out samples, for which the network is put into evaluation."""
    seen: list[tuple[bool, bool]] = []

    def look(step: int, batch: Batch) -> None:
        grads = [value.grad for value in job.model.parameters()]
        seen.append((job.model.training, any(grad is not None and bool(grad.any()) for grad in grads)))

    job = make(accumulate=accumulate, task=Spy(look))
    run(job, quiet)
    assert seen == [(True, accumulate == 2 and number % 3 == 1) for number in range(6)]


def test_clipping_bounds_the_step(make: Make, quiet: Progress) -> None:
    options: dict[str, Any] = {
        "epochs": 1, "batch": 6, "optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 1.0,
        "schedule": "constant", "warmup": 0.0, "encoder_lr": 1.0,
    }  # fmt: skip
    lengths = []
    for clip in (0.0, 1e-3):
        job = make(f"clip{clip}", clip=clip, **options)
        before = {name: value.detach().clone() for name, value in job.model.named_parameters()}
        run(job, quiet)
        after = weights(job)
        lengths.append(math.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in before)))
    assert lengths[0] > 1e-2
    assert lengths[1] == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "schedule": "poly"},
        {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant"},
        {"schedule": "cosine", "channels_last": False},
        {"precision": "bf16-mixed"},
        {"epochs": 1, "batch": 100, "warmup": 0.9},
    ],
)
def test_other_settings_run(make: Make, quiet: Progress, settings: dict[str, Any]) -> None:
    job = make(**settings)
    before = snapshot(job)
    logged = run(job, quiet)
    assert all(math.isfinite(value) for row in logged for value in row.values())
    after = weights(job)
    assert all(value.isfinite().all() for value in after.values())
    names = {name for name, _ in job.model.named_parameters()} - {"encoder.0.bias"}  # the norm takes the bias out
    assert all(not torch.equal(after[name], before[name]) for name in names)


def test_averaged_weights_are_those_kept(make: Make, quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make(ema=0.75, epochs=2, batch=3)
    states = [snapshot(job)]
    monkeypatch.setattr(quiet, "advance", lambda: states.append(snapshot(job)))
    run(job, quiet)
    assert len(states) == 1 + 2 * 2
    raw, kept = states[-1], weights(job)
    assert_equal(weights(job, "raw"), raw)
    assert not torch.equal(kept["decoder.2.weight"], raw["decoder.2.weight"])
    for name in kept:
        if kept[name].is_floating_point():
            average = states[0][name]
            for step, state in enumerate(states[1:]):
                decay = min(0.75, (1 + step) / (10 + step))
                average = decay * average + (1 - decay) * state[name]
            torch.testing.assert_close(kept[name], average, rtol=1e-5, atol=1e-6)


def test_groups_of_the_optimiser(make: Make) -> None:
    job = make(lr=0.1, encoder_lr=0.25, weight_decay=0.3)
    groups = {
        (group["lr"], group["weight_decay"]): {id(value) for value in group["params"]}
        for group in make_optimizer(job.model, job.config).param_groups
    }
    names: dict[tuple[float, float], list[str]] = {
        (0.025, 0.3): ["encoder.0.weight"],
        (0.025, 0.0): ["encoder.0.bias", "encoder.1.weight", "encoder.1.bias"],
        (0.1, 0.3): ["decoder.2.weight"],
        (0.1, 0.0): ["decoder.2.bias"],
    }
    found = dict(job.model.named_parameters())
    assert groups == {key: {id(found[name]) for name in members} for key, members in names.items()}


def test_frozen_parameters_and_an_encoder_at_rest_do_not_move(make: Make, quiet: Progress) -> None:
    job = make(encoder_lr=0.0)
    job.model.get_parameter("decoder.2.bias").requires_grad_(False)
    before = snapshot(job)
    logged = run(job, quiet)
    after = weights(job)
    for name, still in (("encoder.0.weight", True), ("decoder.2.bias", True), ("decoder.2.weight", False)):
        assert torch.equal(before[name], after[name]) is still
    assert logged[-1]["lr"] == pytest.approx(0.01 * 0.01)


@pytest.mark.parametrize("batch_held", [1, 2, 3])
def test_validation_is_the_mean_over_samples_one_by_one(make: Make, batch_held: int) -> None:
    job = make(batch_held=batch_held)
    made = validate_held_out(job, job.model)
    assert not job.model.training
    losses: list[dict[str, float]] = []
    answers, truths = [], []
    with torch.no_grad():
        for raw in make("one", batch_held=1).held_out:
            batch = raw.to(torch.device("cpu"), channels_last=False)
            assert isinstance(batch.target, MapTargets)
            height, width = batch.paddings[0].height, batch.paddings[0].width
            logits = job.model(batch.image)[..., :height, :width]
            target = batch.target.maps[..., :height, :width]
            single = Batch(batch.image, MapTargets(target), batch.indices, batch.paddings)
            losses.append({name: float(value) for name, value in job.task.loss(logits, single).items()})
            answers.append((logits[0] > 0).flatten(1))
            truths.append((target[0] > 0).flatten(1))
    assert len(losses) == 5
    for name, key in (("loss", "val_loss"), ("bce", "val_loss_bce"), ("dice", "val_loss_dice")):
        assert made[key] == pytest.approx(sum(loss[name] for loss in losses) / 5, rel=1e-5)
    answer, truth = torch.cat(answers, 1), torch.cat(truths, 1)
    for channel, name in enumerate(("body", "border")):
        both = int(answer[channel].sum() + truth[channel].sum())
        assert made[f"dice_{name}"] == pytest.approx(2 * int((answer & truth)[channel].sum()) / both, rel=1e-9)


def test_progress_counts_every_batch(make: Make, quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    steps: list[int] = []
    monkeypatch.setattr(quiet, "say", said.append)
    monkeypatch.setattr(quiet, "advance", lambda: steps.append(1))
    job = make(epochs=2)
    run(job, quiet)
    assert len(steps) == job.steps == 6
    assert len(said) == 2
    assert said[0].startswith("fold 0 epoch 1/2  loss ")
    assert "val_loss" in said[0] and "dice_body" in said[0]


def test_the_folder_holds_these_files(make: Make, quiet: Progress) -> None:
    job = make()
    run(job, quiet)
    names: set[str] = {path.name for path in Path(job.folder).iterdir()}
    assert names == {"last.safetensors", "best.safetensors", "metrics.jsonl"}
