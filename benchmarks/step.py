"""Compare our training loop with a bare PyTorch loop: steps per second, same network, batches, loss and optimiser.

python benchmarks/step.py [--config FILE] [--data DIR] [--steps 10] [--rounds 5] [--states N] [key=value ...]

Any kind of contest can be measured. The job is that of `medalist train` for fold 0 of the config, cut to --steps steps.
Both loops get the same batches in the same order from the job's loader, and train copies of its network on one device.
The bare loop has only forward (under autocast), loss, backward, clipping, AdamW and a schedule of torch; it has no
records and no checks. The time is measured from the end of an epoch's first step to the end of its last step, so that
set-up, validation and saving do not count; a GPU is synchronised only at these two moments. Rounds are interleaved
(ours, bare, ours, ...) after one round of warm-up. The medians and the median ratio are printed.

With --states N our loop also runs with a state written after every N steps, and the loss of speed against the run
without states is printed. Without this option a training writes a state every 5 minutes, and at the ends of epochs that
are at least 10 seconds apart.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from medalist.data.loader import Batch
from medalist.engine.devices import open_fabric
from medalist.engine.job import TrainJob
from medalist.engine.settings import CheckpointConfig
from medalist.engine.train import fit
from medalist.kinds import kind_of, load_settings
from medalist.reporter import SilentReporter
from medalist.training.request import TrainRequest
from medalist.training.start import prepare

PROJECT = Path(__file__).parent.parent


class Clock:
    """A progress that records when the first and the last of its steps end."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done = steps, 0
        self.first = self.last = 0.0

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        if self.done == 1:
            self.first = now()
        elif self.done == self.steps:
            self.last = now()

    def skip(self, steps: int) -> None:
        """Do nothing, because no step is skipped here."""

    def aside(self, work: Callable[[], Any]) -> Any:
        """Do the work, whose time is not taken apart, because it comes after the last step."""
        return work()

    def say(self, text: str) -> None:
        """Do nothing, because lines are not shown."""

    @property
    def rate(self) -> float:
        """Steps per second, without the first step."""
        assert self.done == self.steps > 1, (self.done, self.steps)
        return (self.steps - 1) / (self.last - self.first)


class Cut:
    """The first `steps` batches of a loader, with all methods that the two loops need."""

    def __init__(self, loader: Any, steps: int):
        self.loader, self.steps = loader, steps

    def __len__(self) -> int:
        return min(self.steps, len(self.loader))

    def __iter__(self) -> Iterator[Batch]:
        return islice(iter(self.loader), self.steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@dataclass(frozen=True)
class Bench:
    """The training of a fold whose epoch is cut to a number of steps."""

    job: TrainJob

    def ours(self, folder: Path, states: int = 0) -> float:
        clock = Clock(self.job.steps)
        often = CheckpointConfig(steps=states, minutes=0)
        own = replace(self.job, model=copy.deepcopy(self.job.model), folder=folder, checkpoint=often)
        fit(own, lambda row: None, clock)
        return clock.rate

    def bare(self) -> float:
        job, config = self.job, self.job.config
        device, layout = job.fabric.device, torch.channels_last if config.channels_last else torch.contiguous_format
        model = copy.deepcopy(job.model).to(device, memory_format=layout).train()
        job.sampler.epoch = 0
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=len(job.train))
        half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(config.precision)
        scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
        clock = Clock(len(job.train))
        for raw in job.train:
            batch = raw.to(device, channels_last=config.channels_last)
            optimizer.zero_grad()
            with torch.autocast(device.type, half, enabled=half is not None):
                outputs = model(batch.image)
            loss = job.task.loss(outputs, batch)["loss"]
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            clock.advance()
        return clock.rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--data", help="folder of the contest")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "dsb2018" / "unet_lite0.yaml")
    parser.add_argument("--steps", type=int, default=10, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--states", type=int, default=0, help="also with a state after every so many steps")
    options = parser.parse_args()
    changes = (
        "train.epochs=1",
        "train.evaluate_every=0",
        "train.freeze=0",
        "train.mix=[]",
        "tracking=none",
        *options.overrides,
    )
    settings = load_settings(options.config, changes)
    assert settings.train.accumulate == 1 and settings.train.clip > 0

    rates: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        setup = prepare(TrainRequest(settings, options.config, changes, options.data, (0,), "bench", Path(folder)))
        fabric = open_fabric(settings.train.precision)
        job = kind_of(settings).training().open_data(setup, fabric, SilentReporter())(0)
        assert isinstance(job, TrainJob), "a kind without gradients has no steps"
        bench = Bench(replace(job, train=Cut(job.train, options.steps)))  # type: ignore[arg-type]
        for number in range(options.rounds + 1):
            with_states = bench.ours(Path(folder, f"s{number}"), options.states) if options.states else 0.0
            rates.append((bench.ours(Path(folder, str(number))), bench.bare(), with_states))
    ours, theirs, stalled = (median(column) for column in zip(*rates[1:], strict=True))
    ratio = median(own / plain for own, plain, _ in rates[1:])
    what = f"{settings.task.kind}, batch {settings.batch_samples}, {fabric.device}"
    print(f"{what}, {options.rounds} interleaved rounds of {options.steps} steps, medians of steps/s:")
    print(f"  ours {ours:.3f} / bare {theirs:.3f} = {ratio:.3f}   (wanted: at least 0.97)")
    if options.states:
        cost = 1 - median(slow / own for own, _, slow in rates[1:])
        print(f"  with a state every {options.states} steps {stalled:.3f}: {100 * cost:.1f} % slower")
        print(f"  one every {options.states / stalled:.1f} s   (wanted: at most 2 %)")


if __name__ == "__main__":
    main()
