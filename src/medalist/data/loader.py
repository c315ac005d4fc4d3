"""Batches in a counted order: which samples stand in a batch depends on seed, epoch and rank, and on nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medalist.data.dataset import Item, Key
from medalist.data.transforms import Padding


@dataclass(frozen=True, eq=False)
class Batch:
    """image float32[B, 3, h, w]; target uint8 or float32[B, C, h, w] in 0..1, None for test; B indices and paddings."""

    image: Tensor
    target: Tensor | None
    indices: tuple[int, ...]
    paddings: tuple[Padding, ...]

    def to(self, device: torch.device, channels_last: bool) -> Batch:
        """The batch on a device; targets become floats there, so that one byte a pixel crosses the bus."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        image = self.image.to(device, non_blocking=True, memory_format=layout)
        target = None if self.target is None else self.target.to(device, non_blocking=True).float()
        return Batch(image, target, self.indices, self.paddings)


def collate(items: Sequence[Item]) -> Batch:
    """Stack items of one size."""
    targets = [item.target for item in items if item.target is not None]
    return Batch(
        image=torch.stack([item.image for item in items]),
        target=torch.stack(targets) if targets else None,
        indices=tuple(item.index for item in items),
        paddings=tuple(item.padding for item in items),
    )


class TrainOrder(Sampler[list[Key]]):
    """Shuffled batches of (epoch, position). With `world` processes each takes its share of every global batch.

    The last, smaller batch of an epoch is left out (other epochs have its samples), unless it is the only one.
    """

    def __init__(self, length: int, batch: int, seed: int, rank: int = 0, world: int = 1):
        """`batch` is the size on one process."""
        self.length, self.batch, self.seed = length, batch, seed
        self.rank, self.world = rank, world
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, self.length // (self.batch * self.world))

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        span = self.batch * self.world
        for start in range(0, len(self) * span, span):
            share = order[start : start + span][self.rank :: self.world]
            yield [(self.epoch, int(position)) for position in share]


class WholeOrder(Sampler[list[Key]]):
    """Every sample once, batched only with samples of its own padded size; `world` processes share the batches out."""

    def __init__(self, sizes: Sequence[tuple[int, int]], stride: int, batch: int, rank: int = 0, world: int = 1):
        """`sizes` are the native (height, width) of the samples, in the set's order."""
        padded = [(h + -h % stride, w + -w % stride) for h, w in sizes]
        order = sorted(range(len(sizes)), key=lambda position: (padded[position], position))
        batches: list[list[Key]] = []
        for position in order:
            last = batches[-1] if batches else []
            if last and len(last) < batch and padded[last[0][1]] == padded[position]:
                last.append((0, position))
            else:
                batches.append([(0, position)])
        self.batches = batches[rank::world]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)


def batches(
    dataset: Dataset[Item], order: TrainOrder | WholeOrder, workers: int, pin: bool = False
) -> DataLoader[Batch]:
    """A DataLoader over `order`; iterating it again starts the order again, with the same worker processes."""
    return DataLoader(
        dataset,
        batch_sampler=order,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        pin_memory=pin,
        worker_init_fn=_one_thread if workers else None,
    )


def _one_thread(_: int) -> None:
    """Workers are the parallelism; OpenCV's and torch's own threads in each of them would fight for the cores."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
