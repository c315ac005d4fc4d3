"""The training loop of all kinds of contests."""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import torch
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn
from torch.optim import Optimizer

from medalist.data.devices import takes_channels_last
from medalist.data.loader import Batch
from medalist.engine.averaging import wanted
from medalist.engine.checkpoint import Saver, forget_states, save_weights, saving, states
from medalist.engine.devices import mean_over_processes, read_later, reset_scaler, seed_generators
from medalist.engine.half_precision import depthwise_in_float32
from medalist.engine.job import TrainJob
from medalist.engine.lone_batch import lone_batches_told
from medalist.engine.mining import HardBatches, skipped
from medalist.engine.mixing import mixed, resized
from medalist.engine.optimizer import freeze, make_optimizer, regroup, scaled_lr, train_mode, unfreeze
from medalist.engine.resume import CheckpointPolicy, LoopState, Parts, Row, find_state, restore, restored_loop, save
from medalist.engine.schedule import lr_factor
from medalist.engine.snapshots import keep_snapshots, mean_network
from medalist.engine.step_average import follow, step_average, too_slow
from medalist.engine.syncnorm import synchronised
from medalist.errors import TrainingError
from medalist.files import write_text
from medalist.metrics.epochs import told_row
from medalist.reporter import Progress

if TYPE_CHECKING:
    from medalist.tracking.tracking import Log

LOSSES = ("loss", "val_loss", "average_val_loss")
"""The losses that the line of an epoch shows, beside the scores of the held-out samples."""

Pending = tuple[Callable[[], float], tuple[int, ...]]
"""A function that reads the loss of a batch, and the indices of the batch's samples."""


@dataclass(eq=False)
class TrainState:
    """A running training: its wrapped network and optimiser, how far it is, and the names of frozen parameters."""

    model: _FabricModule
    optimizer: Optimizer
    parts: Parts
    loop: LoopState
    frozen: tuple[str, ...]
    saver: Saver
    policy: CheckpointPolicy
    progress: Progress


def fit(job: TrainJob, log: Log, progress: Progress) -> None:
    """Train one fold, and write metrics.jsonl and the weights `last`, `best` (with held-out samples) and `average`.

    With train.ema these are averages over steps, and `raw` are the last weights without average.

    Resumes from the newest state that is whole; the result is then the same as without the interruption. Raises
    TrainingError where a loss is not finite; for a training batch it names the sample ids.
    """
    config, fabric = job.config, job.fabric
    synchronised(job.model, fabric.device.type, fabric.world_size)
    if takes_channels_last(fabric.device, config.channels_last):
        job.model.to(memory_format=torch.channels_last)
    if not config.compile:  # a compiled network has kernels of its own
        depthwise_in_float32(job.model, fabric.device.type, config.precision)
    if config.grad_checkpointing:
        from medalist.models.recompute import recompute  # imported here, because few trainings need it

        recompute(job.model)
    with saving(job.folder) as saver, lone_batches_told(job.title, job.sampler.setting):
        state = _begin(job, saver, progress)
        loop = state.loop
        slow = too_slow(config, config.epochs * math.ceil(job.batches / config.accumulate))
        if slow:
            progress.say(f"{job.title}: {slow}")
        for epoch in range(loop.epoch, config.epochs):
            if epoch == config.freeze > 0 and loop.done == 0:
                _wrap_anew(job, state)
            started = time.perf_counter() - loop.seconds
            row = {"epoch": float(epoch + 1), "step": float((epoch + 1) * job.batches)}
            row |= _train_epoch(job, state, started)
            row |= _validate(job, state, row)
            row["seconds"] = time.perf_counter() - started
            _end_epoch(job, state, row)
            log(row)
            progress.say(f"{job.title} {_line(row, config.epochs)}")
    if fabric.is_global_zero and config.ema:
        save_weights(job.model, job.folder / "raw.safetensors", job.note)
    _save_weights(job, state, "last")
    if fabric.is_global_zero:
        forget_states(job.folder)
        keep_snapshots(job.folder, [])
    fabric.barrier()  # all files are there when a process continues


def _begin(job: TrainJob, saver: Saver, progress: Progress) -> TrainState:
    """Return the training at its start, or resumed from its newest whole state."""
    config, fabric = job.config, job.fabric
    saved, damaged = find_state(job.folder, fabric.world_size)
    for line in damaged:
        progress.say(f"{job.title}: {line}; resuming from the state before it")
    loop, path = LoopState(), job.folder
    if saved is not None:
        path = states(job.folder)[len(damaged)]
        loop = restored_loop(saved, path, fabric, job.batches)
    frozen = freeze(job.model) if loop.epoch < config.freeze else ()
    optimizer = make_optimizer(job.model, config, fabric.world_size)
    model, wrapped = _wrap(job, optimizer)
    parts = Parts(fabric, job.task, job.model, step_average(job.model, config), optimizer)
    reset_scaler(fabric)  # a fold that was trained before in this process has changed the scale
    if saved is not None:
        restore(saved, path, parts)
    fabric.barrier()  # no process writes or deletes a state while another still reads it
    if fabric.is_global_zero:
        for broken in states(job.folder)[: len(damaged)]:  # a damaged state would be kept instead of a whole one
            broken.unlink()
    loop.skip_done(job.title, job.batches, progress)
    return TrainState(model, wrapped, parts, loop, frozen, saver, CheckpointPolicy(job.checkpoint), progress)


def _wrap(job: TrainJob, optimizer: Optimizer) -> tuple[_FabricModule, Optimizer]:
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    module: nn.Module = torch.compile(job.model) if job.config.compile else job.model  # type: ignore[assignment]
    model, wrapped = job.fabric.setup(module, optimizer)
    return model, wrapped


def _wrap_anew(job: TrainJob, state: TrainState) -> None:
    """Unfreeze the encoder: make an optimiser of all parameters, which keeps the moments of the old optimiser.

    Distributed training expects gradients of those parameters that required one when the network was wrapped. The old
    wrapper has hooks on them, so it must be deleted before the network is wrapped again.
    """
    unfreeze(job.model, state.frozen)
    optimizer = regroup(state.parts.optimizer, job.model, job.config, job.fabric.world_size)
    del state.model, state.optimizer
    gc.collect()
    state.model, state.optimizer = _wrap(job, optimizer)
    state.parts = replace(state.parts, optimizer=optimizer)


def _train_epoch(job: TrainJob, state: TrainState, started: float) -> Row:
    """Train on the batches of the epoch that are left, and return the last learning rate and the mean losses.

    Gradients are accumulated within the epoch only. Its last step may have fewer batches, so no gradient is pending at
    its end.
    """
    config, loop = job.config, state.loop
    epoch, count = loop.epoch, job.batches
    sampler = job.sampler
    sampler.epoch, sampler.first = epoch, skipped(loop.done, config.hard)
    if not loop.done:
        job.task.begin_epoch(epoch)
    train_mode(job.model, frozen=epoch < config.freeze)
    stream = HardBatches(job.train, config.hard)
    pending: Pending | None = None
    due = False
    for number, raw in enumerate(stream, loop.done):
        losses, is_step = _train_batch(job, state, number, raw)
        stream.tell(raw, losses["loss"])
        _refuse_nan(job, pending, epoch)  # checks the batch before, so that the GPU has work while a loss is read
        pending = read_later(losses["loss"]), raw.indices
        for name, value in _over_all(losses).items():
            loop.sums.setdefault(name, torch.zeros_like(value)).add_(value)
        state.progress.advance()
        due = (is_step and state.policy.step()) or due
        if due and is_step and not stream.pending and number + 1 < count:
            _refuse_nan(job, pending, epoch)
            loop.done, loop.seconds = number + 1, time.perf_counter() - started
            save(state.saver, state.policy, state.parts, loop, epoch * count + loop.done)
            due = False
    _refuse_nan(job, pending, epoch)
    means = {_part(name): float(value) / count for name, value in loop.sums.items()}
    steps = math.ceil(count / config.accumulate)
    factor = lr_factor((epoch + 1) * steps - 1, config.epochs * steps, config)
    return {"lr": scaled_lr(config, job.fabric.world_size) * factor, **means}


def _train_batch(job: TrainJob, state: TrainState, number: int, raw: Batch) -> tuple[Mapping[str, Tensor], bool]:
    """Train on one batch; return its losses, and whether the optimiser made a step. No batch stays on the device."""
    fabric, config, count = job.fabric, job.config, job.batches
    epoch, at = state.loop.epoch, state.loop.epoch * job.batches + number
    # The seed of dropout depends only on the number of the batch, so that a state need not hold a generator.
    seed_generators((job.seed << 33) + at * fabric.world_size + fabric.global_rank, fabric.device)
    batch = resized(raw.to(fabric.device, config.channels_last), config.size_in(epoch))
    batch = mixed(batch, config.mix, job.seed, at, fabric.global_rank)
    first = number - number % config.accumulate
    group = min(config.accumulate, count - first)
    is_step = number + 1 == first + group
    steps = math.ceil(count / config.accumulate)
    step = epoch * steps + number // config.accumulate
    factor = lr_factor(step, config.epochs * steps, config)
    for parameters in state.parts.optimizer.param_groups:
        parameters["lr"] = parameters["peak_lr"] * factor
    with fabric.no_backward_sync(state.model, enabled=not is_step):
        losses = job.task.loss(state.model(batch.image), batch)
        fabric.backward(losses["loss"] / group)
    if is_step:
        if config.clip:
            fabric.clip_gradients(state.model, state.optimizer, max_norm=config.clip, error_if_nonfinite=False)
        state.optimizer.step()
        state.optimizer.zero_grad()
        if state.parts.average:
            follow(state.parts.average, job.model, config, step)
    return losses, is_step


def _validate(job: TrainJob, state: TrainState, row: Row) -> Row:
    """Validate after the epochs that the config asks for; save the best weights and the snapshots of the average."""
    config, epoch, keeper = job.config, state.loop.epoch, _keeper(state)
    figures: Row = {}
    if epoch + 1 == config.epochs or (config.evaluate_every and (epoch + 1) % config.evaluate_every == 0):
        figures = state.progress.aside(lambda: validate_held_out(job, keeper))
        if not math.isfinite(figures["val_loss"]):
            raise TrainingError(
                f"{job.title}: the held-out loss is {figures['val_loss']} after epoch {epoch + 1}, though those of all "
                "batches were finite; lower train.lr, or clip gradients by train.clip"
            )
        if figures["val_loss"] < state.loop.best:
            state.loop.best = figures["val_loss"]
            _save_weights(job, state, "best")
    if config.average:
        kept = wanted([*state.loop.rows, row | figures], config.average, config.epochs)
        if epoch + 1 in kept:
            _save_weights(job, state, f"snapshot-{epoch + 1}")
        if job.fabric.is_global_zero:
            keep_snapshots(job.folder, kept)
        if epoch + 1 == config.epochs:
            figures |= {f"average_{name}": value for name, value in _average(job, keeper, kept).items()}
    return figures


def _average(job: TrainJob, keeper: nn.Module, kept: Sequence[int]) -> Row:
    """Write the mean of the snapshots as `average`, and return its figures on the held-out samples."""
    assert job.config.average is not None
    job.fabric.barrier()  # waits until the first process has written the last snapshot
    sampler = job.sampler
    sampler.epoch, sampler.first = job.config.epochs, 0  # the training has used epochs up to this one
    taken = islice(iter(job.train), job.config.average.recalibrate)
    size = job.config.size_in(job.config.epochs - 1)
    images = (resized(raw.to(job.fabric.device, job.config.channels_last), size).image for raw in taken)
    mean = mean_network(keeper, job.folder, kept, images)
    figures = validate_held_out(job, mean)
    if job.fabric.is_global_zero:
        save_weights(mean, job.folder / "average.safetensors", job.note)
    return figures


def _end_epoch(job: TrainJob, state: TrainState, row: Row) -> None:
    """Count the epoch as ended, and write metrics.jsonl and, where it is due, a state."""
    loop = state.loop
    loop.rows.append(row)
    loop.done, loop.sums, loop.seconds = 0, {}, 0.0
    if job.fabric.is_global_zero:
        write_text(job.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in loop.rows))
    if state.policy.epoch():
        save(state.saver, state.policy, state.parts, loop, loop.epoch * job.batches)


@torch.inference_mode()
def validate_held_out(job: TrainJob, model: nn.Module) -> Row:
    """Return `val_loss` and the task's other figures of the held-out samples."""
    model.eval()

    def seen() -> Iterator[tuple[Tensor, Batch]]:
        for raw in job.held_out:
            batch = raw.to(job.fabric.device, job.config.channels_last)
            with job.fabric.autocast():
                outputs = model(batch.image)
            yield outputs, batch

    return job.task.validate(seen(), job.fabric)


def _over_all(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean losses of all processes, by one message, so that a state of one process holds the sums of all."""
    means = mean_over_processes(torch.stack([value.detach().float() for value in losses.values()]))
    return dict(zip(losses, means.unbind(), strict=True))


def _part(name: str) -> str:
    """Return the name of a loss in a row, with a prefix so that a part is not confused with a score of its name."""
    return name if name == "loss" else f"loss_{name}"


def _refuse_nan(job: TrainJob, pending: Pending | None, epoch: int) -> None:
    if pending is None or math.isfinite(loss := pending[0]()):
        return
    ids = ",".join(job.names[index] for index in pending[1])
    raise TrainingError(
        f"{job.title}: the loss is {loss} in epoch {epoch + 1}; lower train.lr, or see where it comes from: "
        f"medalist debug CONFIG --epoch {epoch + 1} --samples {ids}"
    )


def _keeper(state: TrainState) -> nn.Module:
    """Return the network that predicts: the average over steps (train.ema) where there is one."""
    average = state.parts.average
    return average.module if average else state.parts.model


def _save_weights(job: TrainJob, state: TrainState, name: str) -> None:
    if job.fabric.is_global_zero:
        save_weights(_keeper(state), job.folder / f"{name}.safetensors", job.note)


def _line(row: Mapping[str, float], epochs: int) -> str:
    return f"epoch {row['epoch']:.0f}/{epochs}  {told_row(row, LOSSES)}  {row['seconds']:.0f} s"
