"""Our training loop against a bare PyTorch loop: steps per second, same network, batches, loss and optimiser.

python benchmarks/step.py [--data DIR] [--steps 10] [--rounds 5] [--batch 8] [--size 256] [--config FILE] [--states N]

Both loops get the batches of our loader, in their order, and train copies of one network on one device. The bare
loop is as short as one writes it: forward, loss, backward, clipping, AdamW, a schedule of torch's; no records, no
checks. Ours is `engine.train.fit` as `medalist train` calls it. Timed is the training, from the end of an epoch's
first step to that of its last one; set-up, the look at the held-out samples and saving are not steps. Rounds are
interleaved (ours, bare, ours, ...) after one that warms up; printed are the medians and the median ratio.

With --states N ours also runs with a state written after every N steps, and what that costs is printed: the steps'
rate against that without states. By itself a training writes one every 5 minutes, and at the ends of epochs that are
10 seconds apart.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from lightning_fabric import Fabric
from torch import nn

from medalist.competition import load_competition
from medalist.data.cache import PixelCache
from medalist.data.dataset import InferenceDataset, TrainDataset, decode, reader
from medalist.data.loader import batches
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.engine.job import TrainJob
from medalist.engine.settings import CheckpointConfig
from medalist.engine.task import Task
from medalist.engine.train import fit
from medalist.files import read_image
from medalist.kinds import load_settings
from medalist.reporter import Progress, SilentReporter
from medalist.tasks.segment.jobs import build_task
from medalist.tasks.segment.settings import SegmentSettings

PROJECT = Path(__file__).parent.parent


class Clock(Progress):
    """Notes when each step ends."""

    def __init__(self) -> None:
        super().__init__(SilentReporter(), "", 1, None)
        self.ends: list[float] = []

    def advance(self, steps: int = 1) -> None:
        self.ends.append(now())

    @property
    def rate(self) -> float:
        """Steps per second, the first one left out."""
        return (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@dataclass(frozen=True)
class Bench:
    """What both loops share."""

    settings: SegmentSettings
    fabric: Fabric
    task: Task
    model: nn.Module
    cache: PixelCache
    size: int

    def ours(self, folder: Path, states: int = 0) -> float:
        norm, seed, batch = build_normalisation(self.settings), self.settings.seed, self.settings.train.batch
        crop = {"RandomCrop": {"height": self.size, "width": self.size, "pad_if_needed": True}}
        train_set = TrainDataset(self.cache, range(1, len(self.cache)), (crop,), norm, seed)
        held_set = InferenceDataset(self.cache, [0], self.settings.model.stride, norm, read_image)
        order = SizeBucketSampler([self.cache.samples[0].size], self.settings.model.stride, 1)
        names = [sample.id for sample in self.cache.samples]
        loader = batches(train_set, ShuffleBatchSampler(len(train_set), batch, seed), 0)
        clock = Clock()
        model, config = copy.deepcopy(self.model), self.settings.train
        held, rhythm = batches(held_set, order, 0), CheckpointConfig(steps=states, minutes=0)
        job = TrainJob(self.fabric, self.task, model, loader, held, config, seed, folder, names, "", rhythm)
        fit(job, lambda row: None, clock)
        return clock.rate

    def bare(self) -> float:
        norm, seed, config = build_normalisation(self.settings), self.settings.seed, self.settings.train
        crop = {"RandomCrop": {"height": self.size, "width": self.size, "pad_if_needed": True}}
        train_set = TrainDataset(self.cache, range(1, len(self.cache)), (crop,), norm, seed)
        loader = batches(train_set, ShuffleBatchSampler(len(train_set), config.batch, seed), 0)
        device = self.fabric.device
        model = copy.deepcopy(self.model).to(device, memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=len(loader))
        clock = Clock()
        for raw in loader:
            batch = raw.to(device, channels_last=True)
            optimizer.zero_grad()
            loss = self.task.loss(model(batch.image), batch)["loss"]
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            schedule.step()
            clock.advance()
        return clock.rate


def main() -> None:
    root = Path(os.environ.get("MEDALIST_DATA", PROJECT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=root / "dsb2018", help="folder of the nuclei contest")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "dsb2018" / "unet_lite0.yaml")
    parser.add_argument("--steps", type=int, default=10, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--states", type=int, default=0, help="also with a state after every so many steps")
    options = parser.parse_args()
    changes = (f"train.batch={options.batch}", "train.epochs=1", "train.evaluate_every=0", "model.weights=none")
    settings = load_settings(options.config, changes)
    assert isinstance(settings, SegmentSettings)
    assert settings.train.precision == "32-true" and settings.train.accumulate == 1 and settings.train.clip > 0

    competition = load_competition(settings.competition, PROJECT / "competitions")
    task = build_task(settings)
    decoding = partial(
        decode,
        reader(competition.white, settings.image),
        lambda sample: task.targets(competition.truth(options.data, sample)),
    )
    samples = competition.read(options.data).train
    wanted = 1 + options.batch * options.steps
    cache = PixelCache(decoding, [samples[number % len(samples)] for number in range(wanted)])
    cache.fill(8_000_000_000)

    fabric = Fabric(accelerator="auto", devices=1)
    bench = Bench(settings, fabric, task, build_network(settings, None, 0), cache, options.size)
    rates: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds + 1):
            with_states = bench.ours(Path(folder, f"s{number}"), options.states) if options.states else 0.0
            rates.append((bench.ours(Path(folder, str(number))), bench.bare(), with_states))
    ours, theirs, stalled = (median(column) for column in zip(*rates[1:], strict=True))
    ratio = median(own / plain for own, plain, _ in rates[1:])
    what = f"{settings.model.kind}, batch {options.batch}, {options.size}x{options.size}, {fabric.device}"
    print(f"{what}, {options.rounds} interleaved rounds of {options.steps} steps, medians of steps/s:")
    print(f"  ours {ours:.3f} / bare {theirs:.3f} = {ratio:.3f}   (wanted: at least 0.97)")
    if options.states:
        cost = 1 - median(slow / own for own, _, slow in rates[1:])
        print(f"  with a state every {options.states} steps {stalled:.3f}: {100 * cost:.1f} % slower")
        print(f"  one every {options.states / stalled:.1f} s   (wanted: at most 2 %)")


if __name__ == "__main__":
    main()
