"""Join the rows of one array that several processes have computed."""

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
    """Return the rows float32[count, D] of all processes; each process has computed the rows at its `indices`.

    Only the first process gets all rows. The rows go through files in `folder`: gathered through the GPUs, the rows of
    all processes would have to fit into the memory of each GPU.
    """
    part = folder / f"part{fabric.global_rank}-of-{fabric.world_size}.npz"
    own = np.zeros((0, 0), np.float32) if rows is None else rows[list(indices)]
    with written(part, flush=False) as temporary:
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
