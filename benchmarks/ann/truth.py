"""The true neighbours, and the share of them that an answer found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from adapter import K
from numpy.typing import NDArray


def distances(queries: NDArray[np.float64], rows: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Of each query to its own rows: [n, d] and [n, m, d] to [n, m], squared for L2."""
    if metric == "l2":
        return np.square(rows - queries[:, None]).sum(axis=2)
    return 1 - np.einsum("nd,nmd->nm", queries, rows)


def true_tenth(base: NDArray[np.float32], queries: NDArray[np.float32], metric: str) -> NDArray[np.float64]:
    """Distance of each query's tenth neighbour, by blocks of float32 products and float64 among the nearest 30."""
    near, k = min(3 * K, len(base)), min(K, len(base))
    lengths = np.concatenate([np.square(base[i : i + 50_000]).sum(axis=1) for i in range(0, len(base), 50_000)])
    tenth = np.empty(len(queries))
    for start in range(0, len(queries), 250):
        block = queries[start : start + 250]
        far = block @ base.T
        far *= -2 if metric == "l2" else -1
        if metric == "l2":
            far += lengths
        rows = np.argpartition(far, near - 1, axis=1)[:, :near]
        exact = distances(block.astype(np.float64), base[rows].astype(np.float64), metric)
        tenth[start : start + 250] = np.partition(exact, k - 1, axis=1)[:, k - 1]
    return tenth


def cached_truth(base_file: Path, subset: int, queries: NDArray[np.float32], metric: str) -> NDArray[np.float64]:
    stamp = base_file.stat()
    file = base_file.with_name(f"{base_file.stem}-{subset}-{len(queries)}-truth.npz")
    if file.exists():
        with np.load(file) as kept:
            if kept["stamp"].tolist() == [stamp.st_size, stamp.st_mtime_ns]:
                return np.asarray(kept["tenth"])
    base = np.ascontiguousarray(np.load(base_file, mmap_mode="r")[:subset])
    tenth = true_tenth(base, queries, metric)
    unfinished = file.with_name(f"{file.name}.unfinished.npz")
    np.savez(unfinished, tenth=tenth, stamp=np.array([stamp.st_size, stamp.st_mtime_ns]))
    unfinished.replace(file)
    return tenth


def padded(found: Any, count: int) -> NDArray[np.int64]:
    """Answers of any kind as [count, 10], -1 where there are fewer."""
    if isinstance(found, np.ndarray) and found.ndim == 2 and found.shape[1] == K:
        return found.astype(np.int64)
    rows = np.full((count, K), -1, np.int64)
    for number, answer in enumerate(found):
        some = np.asarray(answer).reshape(-1)[:K].astype(np.int64)
        rows[number, : len(some)] = some
    return rows


def recall(
    found: NDArray[np.int64],
    base: NDArray[np.float32],
    queries: NDArray[np.float32],
    tenth: NDArray[np.float64],
    metric: str,
) -> float:
    found = np.sort(found, axis=1)
    valid = (found >= 0) & (found < len(base))
    valid[:, 1:] &= found[:, 1:] != found[:, :-1]
    rows = base[np.where(valid, found, 0)].astype(np.float64)
    near = distances(queries.astype(np.float64), rows, metric) <= (tenth + 1e-6 * np.maximum(tenth, 1e-3))[:, None]
    return float((near & valid).sum() / (len(queries) * min(K, len(base))))
