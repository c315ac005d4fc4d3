"""Batches in a counted order: which samples stand in a batch depends on seed, epoch and rank, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medalist.data.dataset import Item, Key
from medalist.data.transforms import Padding
from medalist.errors import ConfigError, MedalistError


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of one size.

    image: float32[B, 3, h, w], or float32[B, ...] of features that stand for images. target: uint8 or
    float32[B, C, h, w] in 0..1, None for test. B indices and paddings. labels: int64[B], the class of each sample, -1
    where it has none; None where no sample of the batch has one. mixed: the labels int64[B] of what was mixed into each
    sample, and the share that each sample kept; None where nothing was.
    """

    image: Tensor
    target: Tensor | None
    indices: tuple[int, ...]
    paddings: tuple[Padding, ...]
    labels: Tensor | None = None
    mixed: tuple[Tensor, float] | None = None

    def to(self, device: torch.device, channels_last: bool) -> Batch:
        """The batch on a device; targets become floats there, so that one byte a pixel crosses the bus."""
        layout = torch.channels_last if channels_last and self.image.ndim == 4 else torch.contiguous_format
        image = self.image.to(device, non_blocking=True, memory_format=layout)
        target = None if self.target is None else self.target.to(device, non_blocking=True).float()
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return Batch(image, target, self.indices, self.paddings, labels)

    def singles(self) -> Iterator[Batch]:
        """Each sample as a batch of its own; its target is cut to the native size, its image stays padded."""
        for number, padding in enumerate(self.paddings):
            one = slice(number, number + 1)
            target = None if self.target is None else padding.undo(self.target[one])
            labels = None if self.labels is None else self.labels[one]
            yield Batch(self.image[one], target, self.indices[one], self.paddings[one], labels)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; DataLoader asks for it where it shall pin, and `to` is quicker then."""
        target = None if self.target is None else self.target.pin_memory()
        labels = None if self.labels is None else self.labels.pin_memory()
        return Batch(self.image.pin_memory(), target, self.indices, self.paddings, labels)


def collate(items: Sequence[Item]) -> Batch:
    """Stack items of one size."""
    targets = [item.target for item in items if item.target is not None]
    labels = [item.label for item in items]
    return Batch(
        image=torch.stack([item.image for item in items]),
        target=torch.stack(targets) if targets else None,
        indices=tuple(item.index for item in items),
        paddings=tuple(item.padding for item in items),
        labels=torch.tensor(labels) if max(labels) >= 0 else None,
    )


class ShuffleBatchSampler(Sampler[list[Key]]):
    """Shuffled batches of (epoch, position). With `world` processes each takes its share of every global batch.

    The last, smaller batch of an epoch is left out (other epochs have its samples), unless it is the only one; all
    processes then get equally many of it. `epoch` is set before iterating; `first` leaves out so many batches at the
    epoch's beginning, which are behind. ConfigError where there are fewer samples than processes.
    """

    def __init__(self, length: int, batch: int, seed: int, rank: int = 0, world: int = 1):
        """`batch` is the size on one process."""
        if length < world:
            raise ConfigError(
                f"{length} training samples cannot be shared by {world} processes; start {length} or fewer"
            )
        self.length, self.batch, self.seed = length, batch, seed
        self.rank, self.world = rank, world
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        return max(1, self.length // (self.batch * self.world))

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        span = self.batch * self.world
        for start in range(self.first * span, len(self) * span, span):
            together = order[start : start + span]
            share = together[: len(together) // self.world * self.world][self.rank :: self.world]
            yield [(self.epoch, int(position)) for position in share]


class SizeBucketSampler(Sampler[list[Key]]):
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


class _Careful(Dataset[Item]):
    """Hands a user's mistake over as a value: raised in a worker, it would come out wrapped in a long traceback."""

    def __init__(self, dataset: Dataset[Item]):
        self.dataset = dataset

    def __getitems__(self, keys: list[Key]) -> Sequence[Item] | MedalistError:
        """Items of a whole batch; DataLoader asks for them so where it can, and sets may offer the same."""
        at_once: Callable[[list[Key]], Sequence[Item]] | None = getattr(self.dataset, "__getitems__", None)
        try:
            return at_once(keys) if at_once else [self.dataset[key] for key in keys]
        except MedalistError as error:
            return error


class _Loader(DataLoader[Any]):
    """A DataLoader that raises the mistakes which `_Careful` handed over."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, MedalistError):
                try:
                    raise batch
                finally:
                    # An error and a frame that hold each other are left to the garbage collector, which tears down the
                    # workers' queues before the workers: torch would then wait 5 s for each of them.
                    del batch
            yield batch


def _collate(items: Sequence[Item] | MedalistError) -> Batch | MedalistError:
    return items if isinstance(items, MedalistError) else collate(items)


def batches(dataset: Dataset[Item], order: Sampler[list[Key]], workers: int, pin: bool = False) -> DataLoader[Batch]:
    """A DataLoader over `order`; iterating it again starts the order again, with the same worker processes.

    Iterating raises a MedalistError of the dataset as it is, from workers too.
    """
    return _Loader(
        _Careful(dataset),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        pin_memory=pin,
        worker_init_fn=_one_thread if workers else None,
        # Workers must see the cache that was filled here, not copies of it.
        multiprocessing_context="fork" if workers else None,
        # Else each new iterator draws from torch's own generator, as often as there are no workers: dropout would
        # then depend on their number and on where a run was resumed.
        generator=torch.Generator(),
    )


def _one_thread(_: int) -> None:
    """Workers are the parallelism; OpenCV's and torch's own threads in each of them would fight for the cores."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
