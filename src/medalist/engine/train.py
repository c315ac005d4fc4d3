"""The one training loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from medalist.data.loader import Batch, TrainOrder
from medalist.data.orders import ClassOrder
from medalist.engine.checkpoint import load_state, save_state, save_weights
from medalist.engine.optimizer import make_optimizer
from medalist.engine.schedule import lr_factor
from medalist.engine.settings import TrainConfig
from medalist.engine.task import Task
from medalist.engine.tracking import Log
from medalist.errors import RunError, TrainingError
from medalist.files import write_text
from medalist.progress import Progress

Row = dict[str, float]


@dataclass(frozen=True, eq=False)
class Fit:
    """All that one training needs. `names` are the sample ids by index, for error messages."""

    fabric: Fabric
    task: Task
    model: nn.Module
    train: DataLoader[Batch]
    held_out: DataLoader[Batch]
    config: TrainConfig
    seed: int
    folder: Path
    names: Sequence[str]
    title: str

    @property
    def steps(self) -> int:
        """Batches of the whole training."""
        return self.config.epochs * len(self.train)


def fit(job: Fit, log: Log, progress: Progress) -> None:
    """Train; leave `last.safetensors`, `best.safetensors` (where held-out samples were looked at) and metrics.jsonl.

    Goes on after the last whole epoch where `state.pt` is found. Raises TrainingError, with the sample ids of the
    batch, where the loss is not finite.
    """
    config = job.config
    if config.channels_last:
        job.model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(job.model, config)
    base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
    model, optimizer = job.fabric.setup(job.model, optimizer)
    average = ModelEmaV3(job.model, decay=config.ema) if config.ema else None
    keeper = average.module if average else job.model
    rows, best = _restore(job, average, optimizer)
    progress.skip(len(rows) * len(job.train))

    for epoch in range(len(rows), config.epochs):
        started = time.perf_counter()
        torch.manual_seed(job.seed + epoch)  # for dropout; counted by epoch, so that resuming changes nothing
        row = {"epoch": float(epoch + 1), "step": float((epoch + 1) * len(job.train))}
        row |= _train_epoch(job, epoch, model, optimizer, base_lrs, average, progress)
        if epoch + 1 == config.epochs or (config.evaluate_every and (epoch + 1) % config.evaluate_every == 0):
            row |= evaluate(job, keeper)
            if not math.isfinite(row["val_loss"]):
                raise TrainingError(
                    f"{job.title}: the held-out loss is {row['val_loss']} after epoch {epoch + 1}, though those of all "
                    "batches were finite; lower train.lr, or clip gradients by train.clip"
                )
            if row["val_loss"] < best:
                best = row["val_loss"]
                _save_weights(job, keeper, "best")
        row["seconds"] = time.perf_counter() - started
        rows.append(row)
        _save_state(job, average, optimizer, rows, best)
        log(row)
        progress.say(f"{job.title} {_line(row, config.epochs)}")
    _save_weights(job, keeper, "last")


def _train_epoch(
    job: Fit,
    epoch: int,
    model: _FabricModule,
    optimizer: Optimizer,
    base_lrs: Sequence[float],
    average: ModelEmaV3 | None,
    progress: Progress,
) -> Row:
    """One pass over the training samples; returns the last learning rate and the mean of the loss and its parts.

    Batches are accumulated within the epoch: its last step may be made of fewer, and nothing is pending at its end.
    """
    fabric, config = job.fabric, job.config
    order = job.train.batch_sampler
    assert isinstance(order, TrainOrder | ClassOrder)
    order.epoch = epoch
    job.task.begin_epoch()
    count = len(job.train)
    steps = math.ceil(count / config.accumulate)
    factor = 0.0
    model.train()
    sums: dict[str, Tensor] = {}
    pending: tuple[Tensor, Batch] | None = None
    for number, raw in enumerate(job.train):
        batch = raw.to(fabric.device, config.channels_last)
        first = number - number % config.accumulate
        group = min(config.accumulate, count - first)
        is_step = number + 1 == first + group
        factor = lr_factor(epoch * steps + number // config.accumulate, config.epochs * steps, config)
        for parameters, lr in zip(optimizer.param_groups, base_lrs, strict=True):
            parameters["lr"] = lr * factor
        with fabric.no_backward_sync(model, enabled=not is_step):
            losses = job.task.loss(model(batch.image), batch)
            fabric.backward(losses["loss"] / group)
        _refuse_nan(job, pending, epoch)  # one batch late, so that a GPU never waits for its loss to be read
        pending = losses["loss"].detach(), batch
        if is_step:
            if config.clip:
                fabric.clip_gradients(model, optimizer, max_norm=config.clip, error_if_nonfinite=False)
            optimizer.step()
            optimizer.zero_grad()
            if average:
                average.update(job.model)
        for name, value in losses.items():
            sums[name] = sums.get(name, torch.zeros_like(value)).add_(value.detach())
        progress.advance()
    _refuse_nan(job, pending, epoch)
    means = {_part(name): float(value) / count for name, value in sums.items()}
    return {"lr": config.lr * factor, **means}


@torch.inference_mode()
def evaluate(job: Fit, model: nn.Module) -> Row:
    """Look at the held-out samples: `val_loss` and the task's quick figures."""
    model.eval()

    def seen() -> Iterator[tuple[Tensor, Batch]]:
        for raw in job.held_out:
            batch = raw.to(job.fabric.device, job.config.channels_last)
            with job.fabric.autocast():
                outputs = model(batch.image)
            yield outputs, batch

    return job.task.look(seen(), job.fabric)


def _part(name: str) -> str:
    """A loss's part must not be taken for a score of the same name."""
    return name if name == "loss" else f"loss_{name}"


def _refuse_nan(job: Fit, pending: tuple[Tensor, Batch] | None, epoch: int) -> None:
    if pending is None or math.isfinite(float(pending[0])):
        return
    ids = ", ".join(job.names[index] for index in pending[1].indices)
    raise TrainingError(
        f"{job.title}: the loss is {float(pending[0])} in epoch {epoch + 1} on samples {ids}; "
        "look at them, or lower train.lr"
    )


def _restore(job: Fit, average: ModelEmaV3 | None, optimizer: Optimizer) -> tuple[list[Row], float]:
    """Rows of the epochs done and the best held-out loss; weights, average and optimiser are set to their end.

    RunError where the state is of another network or another training.
    """
    path = job.folder / "state.pt"
    state = load_state(path)
    if state is None:
        return [], math.inf
    try:
        job.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        job.fabric.strategy.precision.load_state_dict(state["precision"])
        if average:
            average.module.load_state_dict(state["average"])
        rows = [{str(name): float(value) for name, value in row.items()} for row in state["rows"]]
        return rows, float(state["best"])
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RunError(
            f"state {path} is of another training ({reason}); delete it to train this fold from its start"
        ) from None


def _save_weights(job: Fit, model: nn.Module, name: str) -> None:
    if job.fabric.is_global_zero:
        save_weights(model, job.folder / f"{name}.safetensors")


def _save_state(job: Fit, average: ModelEmaV3 | None, optimizer: Optimizer, rows: list[Row], best: float) -> None:
    if not job.fabric.is_global_zero:
        return
    # The rows first: a training that ends between the two files does its last epoch again, and writes them again.
    write_text(job.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    state = {
        "model": job.model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "precision": job.fabric.strategy.precision.state_dict(),
        "rows": rows,
        "best": best,
    }
    if average:
        state["average"] = average.module.state_dict()
    save_state(job.folder / "state.pt", state)


def _line(row: Mapping[str, float], epochs: int) -> str:
    shown: Iterator[str] = (
        f"{name} {value:.4f}"
        for name, value in row.items()
        if name in ("loss", "val_loss") or name.startswith(("dice_", "recall@"))
    )
    return f"epoch {row['epoch']:.0f}/{epochs}  {'  '.join(shown)}  {row['seconds']:.0f} s"
