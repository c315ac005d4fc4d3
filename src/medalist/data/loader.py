"""Stack samples into batches, in the order that a batch sampler gives."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _BaseDataLoaderIter

from medalist.data.devices import copies_beside, takes_channels_last
from medalist.data.items import Item, Key
from medalist.data.padding import Padding
from medalist.data.targets import Targets, collate_targets
from medalist.errors import ConfigError, MedalistError
from medalist.system import FORKS


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of B samples of one size.

    image: float32[B, 3, h, w], or features float32[B, ...] in place of images. target: the targets of all B samples,
    None where they are not known. indices, paddings: one for each sample, see `Item`. condition: float32[B, K], what
    the network is told beside the images, if anything.
    """

    image: Tensor
    target: Targets | None
    indices: tuple[int, ...]
    paddings: tuple[Padding, ...]
    condition: Tensor | None = None

    def to(self, device: torch.device, channels_last: bool) -> Batch:
        """Return the batch on a device; channels_last: the memory layout of images [B, C, h, w] there.

        There the condition becomes K constant channels behind those of the image, so a network has one input, and what
        changes images (views, scales, mixing) needs no word for it.
        """
        last = takes_channels_last(device, channels_last) and self.image.ndim == 4
        layout = torch.channels_last if last else torch.contiguous_format
        image = self.image.to(device, non_blocking=copies_beside(device), memory_format=layout)
        if self.condition is not None:
            planes = self.condition.to(device)[:, :, None, None].expand(-1, -1, *image.shape[2:])
            image = torch.cat([image, planes], dim=1).contiguous(memory_format=layout)
        return Batch(image, None if self.target is None else self.target.to(device), self.indices, self.paddings)

    def singles(self) -> Iterator[Batch]:
        """Yield each sample as a batch of one; its target is cut to the native size, its image stays padded."""
        for number, padding in enumerate(self.paddings):
            one = slice(number, number + 1)
            target = None if self.target is None else self.target.single(number, padding)
            condition = None if self.condition is None else self.condition[one]
            yield Batch(self.image[one], target, self.indices[one], self.paddings[one], condition)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, because `to` is faster from there. DataLoader calls this method."""
        target = None if self.target is None else self.target.pin_memory()
        condition = None if self.condition is None else self.condition.pin_memory()
        return Batch(self.image.pin_memory(), target, self.indices, self.paddings, condition)


def collate(items: Sequence[Item]) -> Batch:
    """Stack items of one size into a batch."""
    targets = [item.target for item in items if item.target is not None]
    conditions = [item.condition for item in items if item.condition is not None]
    return Batch(
        image=torch.stack([item.image for item in items]),
        target=collate_targets(targets) if targets else None,
        indices=tuple(item.index for item in items),
        paddings=tuple(item.padding for item in items),
        condition=torch.stack(conditions) if conditions else None,
    )


class _Careful(Dataset[Item]):
    """A dataset that returns a MedalistError as a value, because torch adds a long traceback to errors in workers."""

    def __init__(self, dataset: Dataset[Item]):
        self.dataset = dataset

    def __getitems__(self, keys: list[Key]) -> Sequence[Item] | MedalistError:
        """Return the items of a whole batch, or the error. DataLoader calls this method where a dataset has it."""
        at_once: Callable[[list[Key]], Sequence[Item]] | None = getattr(self.dataset, "__getitems__", None)
        try:
            return at_once(keys) if at_once else [self.dataset[key] for key in keys]
        except MedalistError as error:
            return error


class _Loader(DataLoader[Any]):
    """A DataLoader that raises the errors which `_Careful` has returned."""

    def _get_iterator(self) -> Any:
        """Start the workers. Raises ConfigError where the system starts no more processes or opens no more files."""
        try:
            return super()._get_iterator()
        except OSError as error:
            _end_half_made(error)
            raise ConfigError(
                f"loader.workers={self.num_workers}: the workers do not start ({error.strerror}); lower it, or raise "
                "the limit (ulimit -n, ulimit -u)"
            ) from None

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, MedalistError):
                try:
                    raise batch
                finally:
                    # Without this, the error and this frame refer to each other, so only the garbage collector frees
                    # them. It deletes the queues before the workers, and torch would wait 5 s for each worker.
                    del batch
            yield batch


def _end_half_made(error: OSError) -> None:
    """End the workers of an iterator that an error has left half made. torch's own end needs a whole one, and fails."""
    at = error.__traceback__
    while at is not None:
        made = at.tb_frame.f_locals.get("self")
        if isinstance(made, _BaseDataLoaderIter):
            made._shutdown = True  # type: ignore[attr-defined]  # torch then does nothing more
            for worker in getattr(made, "_workers", ()):
                worker.terminate()
                worker.join()
        at = at.tb_next


def _collate(items: Sequence[Item] | MedalistError) -> Batch | MedalistError:
    return items if isinstance(items, MedalistError) else collate(items)


def batches(dataset: Dataset[Item], order: Sampler[list[Key]], workers: int, pin: bool = False) -> DataLoader[Batch]:
    """Return a DataLoader over `order`. A second iteration starts the order again, with the same worker processes.

    A MedalistError of the dataset is raised unchanged, also where it occurred in a worker. Raises ConfigError where the
    system does not fork processes and the dataset cannot be sent to other processes.
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
        # With "fork" the workers share the cache that was filled here, instead of copying it. Where processes are not
        # forked, the pixels of a PixelCache are in shared memory.
        multiprocessing_context=("fork" if FORKS else "spawn") if workers else None,
        # A generator of its own, because otherwise each new iterator draws from torch's global generator. Dropout would
        # then depend on the number of workers and on the step at which a run was resumed.
        generator=torch.Generator(),
    )


class _Trial(pickle.Pickler):
    """A pickler that tries whether a value can be pickled. It leaves out the data of tensors and arrays."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), protocol=5, buffer_callback=lambda _: None)

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
    """Limit OpenCV and torch to one thread in a worker, because the workers together already use all cores."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
