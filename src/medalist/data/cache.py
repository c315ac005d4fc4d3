"""Decoded images and their targets, kept within a byte budget, in memory or in a memory-mapped file."""

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
"""An image uint8[H, W, 3] and its target; None where it is not made of the truth alone."""

Form = tuple[np.dtype[Any], tuple[int, ...]]
"""The kind of an array's values, and its shape."""

NAMED_AT_MOST = 10
AHEAD = 4
"""Samples that each thread may be ahead of the one that is kept next: decoded pixels outside the budget."""


class PixelCache:
    """Decoded samples by index. Filled once, before any worker starts, so that workers share it.

    What it hands out is read-only. The file form lives in a nameless temporary file: nothing is left behind,
    whatever ends the process. Workers that are not forked get the cache by pickle, with its pixels in shared memory.
    """

    def __init__(self, decode: Callable[[Sample], Decoded], samples: Sequence[Sample], scratch: Path | None = None):
        """`decode` reads one sample; `scratch` is the folder of the memory-mapped file, None = keep in memory."""
        self.samples = tuple(samples)
        self.scratch = scratch
        self.kept_bytes = 0
        self._decode = decode
        self._kept: dict[int, Decoded] = {}
        self._block: Tensor | None = None  # of shared memory, under all that is kept

    def fill(self, budget: int, threads: int = 2, progress: Callable[[], None] = lambda: None) -> None:
        """Decode every sample once; keep as many as fit into `budget` bytes, in their order.

        Raises one DataError that names all samples that cannot be decoded, so that a run refuses to start, and
        MedalistError where the file cannot be written.
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
                "loader.cache_mb, or say loader.cache=memory"
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
        """Every sample in order, decoded by threads that never run far ahead of what was taken."""
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
                for future in waiting:  # after an error or Ctrl-C nobody wants the rest
                    future.cancel()

    def _attempt(self, sample: Sample) -> Decoded | DataError:
        try:
            return self._decode(sample)
        except DataError as error:
            return DataError(f"sample {sample.id}: {error}")

    def _map(self, file: IO[bytes]) -> None:
        """Put one mapping under all that was appended; each array would cost a file descriptor of its own."""
        if not self.kept_bytes:
            return
        pixels: NDArray[np.uint8] = np.memmap(file, dtype=np.uint8, mode="r")
        for index, mapped in _views(pixels, self._forms()).items():
            self._kept[index] = _with_arrays(self._kept[index], mapped)

    def _forms(self) -> dict[int, list[Form]]:
        return {index: [(a.dtype, a.shape) for a in _arrays(decoded)] for index, decoded in self._kept.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Without the arrays, which lie in shared memory; ConfigError for the file form, whose file has no name."""
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
        """Move all arrays into one block of shared memory, each at a time."""
        storage = torch.UntypedStorage._new_shared(self.kept_bytes)  # type: ignore[no-untyped-call]
        self._block = torch.empty(0, dtype=torch.uint8).set_(storage)
        for index, views in _views(self._block.numpy(), self._forms()).items():
            decoded = self._kept[index]
            for view, array in zip(views, _arrays(decoded), strict=True):
                np.copyto(view, array)
            self._kept[index] = _read_only(_with_arrays(decoded, views))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Decoded:
        """The decoded sample; from the cache where it fitted, else decoded again."""
        if index in self._kept:
            return self._kept[index]
        result = self._attempt(self.samples[index])
        if isinstance(result, DataError):
            raise result
        return _read_only(result)


def _views(pixels: NDArray[np.uint8], forms: Mapping[int, Sequence[Form]]) -> dict[int, list[NDArray[Any]]]:
    """Arrays of these forms that lie in `pixels`, one behind the other."""
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
    """Bytes of an image and its target."""
    return sum(array.nbytes for array in _arrays(decoded))


def _read_only(decoded: Decoded) -> Decoded:
    for array in _arrays(decoded):
        array.flags.writeable = False
    return decoded


def _append(file: IO[bytes], decoded: Decoded) -> Decoded:
    """Write all arrays, and give stand-ins of their shapes that hold one value."""
    for array in _arrays(decoded):
        file.write(np.ascontiguousarray(array).data)
    return _with_arrays(decoded, [np.broadcast_to(array.dtype.type(0), array.shape) for array in _arrays(decoded)])
