"""A cache of decoded images and their targets with a limit in bytes, in memory or in a memory-mapped file."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medalist.data.targets import Target
from medalist.errors import ConfigError, DataError, MedalistError
from medalist.records import Sample

Decoded = tuple[NDArray[np.uint8], Target | None]
"""An image uint8[H, W, 3] and its target. The target is None where it depends on more than the sample's truth, for
example on the fold's classes."""

Form = tuple[np.dtype[Any], tuple[int, ...]]
"""The dtype and the shape of an array."""

NAMED_AT_MOST = 10
"""Bad samples that an error message names at most."""
AHEAD = 4
"""Samples for each thread that may be decoded before they are taken into the cache; the budget does not count them."""


class PixelCache:
    """Decoded samples by index. The cache is filled once, before any worker starts, so that all workers share it.

    The arrays of its samples are read-only. A memory-mapped cache uses a temporary file without a name, so no file is
    left however the process ends. Workers that are not forked get the cache by pickle, with its pixels in shared
    memory.
    """

    def __init__(self, decode: Callable[[Sample], Decoded], samples: Sequence[Sample], scratch: Path | None = None):
        """`decode` reads one sample. `scratch`: the folder of the memory-mapped file; None keeps samples in memory."""
        self.samples = tuple(samples)
        self.scratch = scratch
        self.kept_bytes = 0
        self._decode = decode
        self._kept: dict[int, Decoded] = {}
        self._block: Tensor | None = None  # shared memory that holds all arrays, once the cache was pickled

    def fill(self, budget: int, threads: int = 2, progress: Callable[[], None] = lambda: None) -> None:
        """Decode every sample once, and keep the samples that fit into `budget` bytes, in their order.

        `progress` is called after each sample. Raises one DataError for all samples that cannot be decoded, so that a
        run does not start with bad data, and MedalistError where the file cannot be written.
        """
        if self.scratch is None:
            self._keep(budget, threads, progress, _read_only)
            return
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.scratch) as file:
                self._keep(budget, threads, progress, lambda decoded: _append(file, decoded))
                file.flush()
                self._map(file)
        except OSError as error:
            raise MedalistError(
                f"cannot keep decoded images in {self.scratch}: {error.strerror or error}; free space, lower "
                "loader.cache_mb, or set loader.cache=memory"
            ) from error

    def _keep(
        self, budget: int, threads: int, progress: Callable[[], None], store: Callable[[Decoded], Decoded]
    ) -> None:
        bad: list[str] = []
        for index, result in enumerate(self._decoded(threads)):
            progress()
            if isinstance(result, DataError):
                bad.append(str(result))
                continue
            size = decoded_bytes(result)
            if not bad and self.kept_bytes + size <= budget:
                self.kept_bytes += size
                self._kept[index] = store(result)
        if bad:
            more = f"; and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
            raise DataError(f"{len(bad)} bad samples: {'; '.join(bad[:NAMED_AT_MOST])}{more}")

    def _decoded(self, threads: int) -> Iterator[Decoded | DataError]:
        """Yield every sample in order, or its error; threads decode only a few samples ahead (see `AHEAD`)."""
        waiting: deque[Future[Decoded | DataError]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            try:
                for sample in self.samples:
                    waiting.append(pool.submit(self._attempt, sample))
                    if len(waiting) > threads * AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:  # after an error or Ctrl-C the other samples are not needed
                    future.cancel()

    def _attempt(self, sample: Sample) -> Decoded | DataError:
        try:
            return self._decode(sample)
        except DataError as error:
            return DataError(f"sample {sample.id}: {error}")

    def _map(self, file: IO[bytes]) -> None:
        """Map the file once for all arrays, because a mapping for each array would need a file descriptor for each."""
        if not self.kept_bytes:
            return
        pixels: NDArray[np.uint8] = np.memmap(file, dtype=np.uint8, mode="r")
        for index, mapped in _views(pixels, self._forms()).items():
            self._kept[index] = _with_arrays(self._kept[index], mapped)

    def _forms(self) -> dict[int, list[Form]]:
        return {index: [(a.dtype, a.shape) for a in _arrays(decoded)] for index, decoded in self._kept.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with all arrays in shared memory. Raises ConfigError for a file, because it has no name."""
        if self._kept and self.scratch is not None:
            raise ConfigError(
                "loader.cache=file cannot be shared with loader.workers on this system, which does not fork processes; "
                "say loader.cache=memory, or loader.workers=0"
            )
        if self._kept and self._block is None:
            self._share()
        empty = {index: _with_arrays(one, [a.ravel()[:0] for a in _arrays(one)]) for index, one in self._kept.items()}
        return {**self.__dict__, "_kept": empty, "_forms": self._forms()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        forms: dict[int, list[Form]] = state.pop("_forms")
        self.__dict__.update(state)
        if self._block is not None:
            views = _views(self._block.numpy(), forms)
            self._kept = {index: _read_only(_with_arrays(one, views[index])) for index, one in self._kept.items()}

    def _share(self) -> None:
        """Move all arrays into one block of shared memory, one after another."""
        storage = torch.UntypedStorage._new_shared(self.kept_bytes)  # type: ignore[no-untyped-call]
        self._block = torch.empty(0, dtype=torch.uint8).set_(storage)
        for index, views in _views(self._block.numpy(), self._forms()).items():
            decoded = self._kept[index]
            for view, array in zip(views, _arrays(decoded), strict=True):
                np.copyto(view, array)
            self._kept[index] = _read_only(_with_arrays(decoded, views))

    def __len__(self) -> int:
        return len(self.samples)

    def window(self, index: int, rows: slice, columns: slice) -> Decoded:
        """Return rows and columns of the decoded sample; its target must be one of maps."""
        image, target = self[index]
        arrays = () if target is None else tuple(np.ascontiguousarray(array[rows, columns]) for array in target.arrays)
        cut = np.ascontiguousarray(image[rows, columns])
        return cut, None if target is None else target.with_arrays(arrays)

    def __getitem__(self, index: int) -> Decoded:
        """Return the decoded sample, from the cache or, where it did not fit into the budget, decoded again.

        Raises DataError, which names the sample, where it cannot be decoded.
        """
        if index in self._kept:
            return self._kept[index]
        result = self._attempt(self.samples[index])
        if isinstance(result, DataError):
            raise result
        return _read_only(result)


def _views(pixels: NDArray[np.uint8], forms: Mapping[int, Sequence[Form]]) -> dict[int, list[NDArray[Any]]]:
    """Return views of `pixels` with these forms, one behind the other."""
    start = 0
    found: dict[int, list[NDArray[Any]]] = {}
    for index, those in forms.items():
        found[index] = []
        for kind, shape in those:
            end = start + kind.itemsize * prod(shape)
            found[index].append(pixels[start:end].view(kind).reshape(shape))
            start = end
    return found


def _arrays(decoded: Decoded) -> list[NDArray[Any]]:
    image, target = decoded
    return [image, *(target.arrays if target is not None else ())]


def _with_arrays(decoded: Decoded, arrays: Sequence[NDArray[Any]]) -> Decoded:
    target = decoded[1]
    return arrays[0], None if target is None else target.with_arrays(arrays[1:])


def decoded_bytes(decoded: Decoded) -> int:
    """Return the bytes of an image and its target."""
    return sum(array.nbytes for array in _arrays(decoded))


def _read_only(decoded: Decoded) -> Decoded:
    for array in _arrays(decoded):
        array.flags.writeable = False
    return decoded


def _append(file: IO[bytes], decoded: Decoded) -> Decoded:
    """Append all arrays to the file and return placeholders of the same shapes, which take almost no memory."""
    for array in _arrays(decoded):
        file.write(np.ascontiguousarray(array).data)
    return _with_arrays(decoded, [np.broadcast_to(array.dtype.type(0), array.shape) for array in _arrays(decoded)])
