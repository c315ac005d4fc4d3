"""Rows of one array that several processes have made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from medalist.files import written


def merged_rows(
    fabric: Fabric, folder: Path, indices: Sequence[int], rows: NDArray[np.float32] | None, count: int
) -> NDArray[np.float32]:
    """Rows [count, D] of all processes, of which each has filled those at its `indices`; by way of files in `folder`.

    Whole in the first process alone. Through files, as gathered they would have to fit into the memory of each GPU as
    often as there are processes.
    """
    part = folder / f"part{fabric.global_rank}-of-{fabric.world_size}.npz"
    own = np.zeros((0, 0), np.float32) if rows is None else rows[list(indices)]
    with written(part) as temporary:
        np.savez(temporary, indices=np.asarray(indices, np.int64), rows=own)
    fabric.barrier()
    if fabric.is_global_zero:
        for rank in range(fabric.world_size):
            with np.load(folder / f"part{rank}-of-{fabric.world_size}.npz", allow_pickle=False) as found:
                if rows is None:
                    rows = np.empty((count, found["rows"].shape[1]), np.float32)
                if len(found["indices"]):
                    rows[found["indices"]] = found["rows"]
    fabric.barrier()
    part.unlink()
    return np.empty((0, 0), np.float32) if rows is None else rows
