"""Samples stacked into batches, in the order that a batch sampler gives."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medalist.data.dataset import Item, Key
from medalist.data.devices import copies_beside, takes_channels_last
from medalist.data.padding import Padding
from medalist.data.targets import Targets, collate_targets
from medalist.errors import ConfigError, MedalistError
from medalist.system import FORKS


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of one size.

    image: float32[B, 3, h, w], or float32[B, ...] of features that stand for images. target: of all B samples, None
    where it is not known. B indices and paddings.
    """

    image: Tensor
    target: Targets | None
    indices: tuple[int, ...]
    paddings: tuple[Padding, ...]

    def to(self, device: torch.device, channels_last: bool) -> Batch:
        """The batch on a device."""
        last = takes_channels_last(device, channels_last) and self.image.ndim == 4
        layout = torch.channels_last if last else torch.contiguous_format
        image = self.image.to(device, non_blocking=copies_beside(device), memory_format=layout)
        return Batch(image, None if self.target is None else self.target.to(device), self.indices, self.paddings)

    def singles(self) -> Iterator[Batch]:
        """Each sample as a batch of its own; its target is cut to the native size, its image stays padded."""
        for number, padding in enumerate(self.paddings):
            one = slice(number, number + 1)
            target = None if self.target is None else self.target.single(number, padding)
            yield Batch(self.image[one], target, self.indices[one], self.paddings[one])

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; DataLoader asks for it where it shall pin, and `to` is quicker then."""
        target = None if self.target is None else self.target.pin_memory()
        return Batch(self.image.pin_memory(), target, self.indices, self.paddings)


def collate(items: Sequence[Item]) -> Batch:
    """Stack items of one size."""
    targets = [item.target for item in items if item.target is not None]
    return Batch(
        image=torch.stack([item.image for item in items]),
        target=collate_targets(targets) if targets else None,
        indices=tuple(item.index for item in items),
        paddings=tuple(item.padding for item in items),
    )


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

    Iterating raises a MedalistError of the dataset as it is, from workers too. Raises ConfigError where workers cannot
    be forked and the dataset cannot be sent to them.
    """
    if workers and not FORKS:
        _refuse_unsendable(dataset, workers)
    return _Loader(
        _Careful(dataset),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        pin_memory=pin,
        worker_init_fn=_one_thread if workers else None,
        # Workers must see the cache that was filled here, not copies of it. Where they cannot be forked, a PixelCache
        # lies in shared memory.
        multiprocessing_context=("fork" if FORKS else "spawn") if workers else None,
        # Else each new iterator draws from torch's own generator, as often as there are no workers: dropout would
        # then depend on their number and on where a run was resumed.
        generator=torch.Generator(),
    )


class _Trial(pickle.Pickler):
    """Pickles without tensors, which go to other processes by shared memory."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), protocol=5, buffer_callback=lambda _: None)  # nor the pixels of arrays

    def persistent_id(self, value: object) -> str | None:
        return "tensor" if isinstance(value, Tensor) else None


def _refuse_unsendable(dataset: Dataset[Item], workers: int) -> None:
    try:
        _Trial().dump(dataset)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"loader.workers={workers}: this system does not fork processes, and the samples cannot be sent to others "
            f"({reason}); set loader.workers=0"
        ) from error


def _one_thread(_: int) -> None:
    """Workers are the parallelism; OpenCV's and torch's own threads in each of them would fight for the cores."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
