"""Decoded images and their targets, kept within a byte budget, in memory or in a memory-mapped file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from medalist.errors import DataError
from medalist.records import Sample

Decoded = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""An image uint8[H, W, 3] and its target uint8[H, W, C]."""

NAMED_AT_MOST = 10


class PixelCache:
    """Decoded samples by index. Filled once, before any worker starts, so that workers share it.

    The file form lives in a nameless temporary file: nothing is left behind, whatever ends the process.
    """

    def __init__(self, decode: Callable[[Sample], Decoded], samples: Sequence[Sample], scratch: Path | None = None):
        """`decode` reads one sample; `scratch` is the folder of the memory-mapped file, None = keep in memory."""
        self.samples = tuple(samples)
        self.scratch = scratch
        self.kept_bytes = 0
        self._decode = decode
        self._kept: dict[int, Decoded] = {}
        self._file: IO[bytes] | None = None

    def fill(self, budget: int, threads: int = 2, progress: Callable[[], None] = lambda: None) -> None:
        """Decode every sample once; keep as many as fit into `budget` bytes.

        Raises one DataError that names all samples that cannot be decoded, so that a run refuses to start.
        """
        bad: list[str] = []
        if self.scratch is not None:
            self.scratch.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self.scratch)  # noqa: SIM115  # lives as long as the cache
        with ThreadPoolExecutor(threads) as pool:
            for index, result in enumerate(pool.map(self._attempt, self.samples)):
                progress()
                if isinstance(result, DataError):
                    bad.append(str(result))
                    continue
                size = sum(array.nbytes for array in result)
                if self.kept_bytes + size <= budget:
                    self.kept_bytes += size
                    self._kept[index] = self._store(result)
        if bad:
            more = f"; and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
            raise DataError(f"{len(bad)} bad samples: {'; '.join(bad[:NAMED_AT_MOST])}{more}")

    def _attempt(self, sample: Sample) -> Decoded | DataError:
        try:
            return self._decode(sample)
        except DataError as error:
            return DataError(f"sample {sample.id}: {error}")

    def _store(self, decoded: Decoded) -> Decoded:
        if self._file is None:
            return decoded
        first, second = (self._mapped(self._file, array) for array in decoded)
        return first, second

    @staticmethod
    def _mapped(file: IO[bytes], array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        offset = file.seek(0, 2)
        file.write(np.ascontiguousarray(array).data)
        file.flush()
        # np.memmap wants a name or a file object with one; the open file itself is what keeps the data alive.
        return np.memmap(file, dtype=np.uint8, mode="r", offset=offset, shape=array.shape)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Decoded:
        """The decoded sample; from the cache where it fitted, else decoded again."""
        return self._kept[index] if index in self._kept else self._decode(self.samples[index])
