"""Libraries that search under a filter, each given it in the form it takes; the databases are in filter_services.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from adapter import Found, K, Rows
from filter_cells import SCHEMA, World

from medalist.search.filters import Filter

WIDTHS = (10, 20, 40, 80, 160, 320, 640, 1280, 2560)
"""Widths of a graph's beam to choose from."""


class Filtered:
    """One index over vectors and fields; the constructor builds it.

    `prepare` brings a filter into the library's own form, before the clock runs (None: the library cannot say it).
    `evaluate` is what has to be done for each call beside the search, on the clock and counted by itself: masks.
    `ladders` are the modes to choose from, each with its settings from fast to thorough. Answers are rows.
    """

    ladders: Sequence[Sequence[Any]] = ((None,),)
    parameters = ""
    many: Any = None

    def __init__(self, world: World, metric: str, folder: Path) -> None:
        raise NotImplementedError

    def prepare(self, filter: Filter) -> Any:
        return filter

    def evaluate(self, prepared: Any) -> Any:
        return prepared

    def one(self, query: Rows, asked: Any, setting: Any) -> Found:
        raise NotImplementedError


class Ours(Filtered):
    """With the default parameters; the setting is a plan to force."""

    parameters = "default parameters"

    def __init__(self, world: World, metric: str, folder: Path) -> None:
        from medalist.search import Index

        self.index = Index(world.vectors.shape[1], metric=metric, fields=SCHEMA)  # type: ignore[arg-type]
        self.index.add(None, world.vectors, world.columns(), threads=1)

    def one(self, query: Rows, asked: Any, setting: Any) -> Found:
        return self.index.search(query, K, where=asked, plan=setting).ids

    def many(self, queries: Rows, asked: Any, setting: Any) -> Found:
        return self.index.search(queries, K, where=asked, plan=setting, threads=1).ids


class Masked(Filtered):
    """A library that knows no fields: NumPy makes the mask, `given` brings it into the library's form."""

    def __init__(self, world: World, metric: str, folder: Path) -> None:
        self.world, self.metric = world, metric
        self.build(world.vectors)

    def build(self, vectors: Rows) -> None:
        raise NotImplementedError

    def evaluate(self, prepared: Filter) -> Any:
        return self.given(self.world.mask(prepared))

    def given(self, mask: Any) -> Any:
        return mask


class Plain(Masked):
    """NumPy: the matches are gathered, multiplied and partitioned; or all rows are multiplied and others left out."""

    ladders = (("gather",), ("whole",))
    parameters = "exact; rows gathered, or all of them multiplied, what is faster"

    def build(self, vectors: Rows) -> None:
        self.lengths = np.square(vectors).sum(axis=1)

    def one(self, query: Rows, asked: Any, setting: str) -> Found:
        return self.many(query[None], asked, setting)[0]

    def many(self, queries: Rows, asked: Any, setting: str) -> Found:
        rows = np.flatnonzero(asked)
        whole = setting == "whole"
        some = self.world.vectors if whole else self.world.vectors[rows]
        far = queries @ some.T
        far = self.lengths[None, slice(None) if whole else rows] - 2 * far if self.metric == "l2" else -far
        if whole:
            far[:, ~asked] = np.inf
        k = min(K, len(rows))
        if not k:
            return np.empty((len(queries), 0), np.int64)
        best = np.argpartition(far, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(best, np.take_along_axis(far, best, axis=1).argsort(axis=1), axis=1)
        return best if whole else rows[best]


class Hnswlib(Masked):
    """Its filter is a Python function, called for every row it meets: here the look-up in a `bytes`, the quickest one.

    It raises where fewer than k are found, so k is at most the matches.
    """

    ladders = (WIDTHS[:7],)  # rows that do not match take no place in its beam
    parameters = "M=16, efConstruction=200, filter: bytes.__getitem__"

    def build(self, vectors: Rows) -> None:
        import hnswlib

        self.index = hnswlib.Index("l2" if self.metric == "l2" else "ip", vectors.shape[1])
        self.index.init_index(len(vectors), M=16, ef_construction=200, random_seed=1)
        self.index.set_num_threads(1)
        self.index.add_items(vectors, num_threads=1)

    def given(self, mask: Any) -> Any:
        return min(K, int(np.count_nonzero(mask))), mask.tobytes().__getitem__

    def one(self, query: Rows, asked: Any, setting: int) -> Found:
        return self.many(query[None], asked, setting)[0]

    def many(self, queries: Rows, asked: Any, setting: int) -> Found:
        k, allowed = asked
        self.index.set_ef(setting)
        try:
            return self.index.knn_query(queries, k, num_threads=1, filter=allowed)[0]
        except RuntimeError:  # fewer than k found
            return [[] for _ in queries]


class Faiss(Masked):
    """With a selector over a bitmap; a `Batch` of ids takes longer to make than the bits of the mask."""

    def build(self, vectors: Rows) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.faiss, kind = faiss, faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self.index = self.made(faiss, vectors, kind)
        self.index.train(vectors)
        self.index.add(vectors)

    def made(self, faiss: Any, vectors: Rows, kind: Any) -> Any:
        raise NotImplementedError

    def given(self, mask: Any) -> Any:
        bits = np.packbits(mask, bitorder="little")
        return self.faiss.IDSelectorBitmap(bits), bits  # the selector points into the bits

    def options(self, selector: Any, setting: Any) -> Any:
        raise NotImplementedError

    def one(self, query: Rows, asked: Any, setting: Any) -> Found:
        return self.index.search(query[None], K, params=self.options(asked[0], setting))[1][0]

    def many(self, queries: Rows, asked: Any, setting: Any) -> Found:
        return self.index.search(queries, K, params=self.options(asked[0], setting))[1]


def lists_of(vectors: Rows) -> int:
    return max(16, round(4 * math.sqrt(len(vectors))))


class FaissIvf(Faiss):
    ladders = ((4, 8, 16, 32, 64, 128, 256, 512, 1024, 100_000),)
    parameters = "IVF(4 sqrt n), float32, bitmap"

    def made(self, faiss: Any, vectors: Rows, kind: Any) -> Any:
        return faiss.index_factory(vectors.shape[1], f"IVF{lists_of(vectors)},Flat", kind)

    def options(self, selector: Any, setting: int) -> Any:
        return self.faiss.SearchParametersIVF(sel=selector, nprobe=min(setting, self.index.nlist))


class FaissFastScan(Faiss):
    ladders = ((
        (8, 4), (8, 8), (16, 8), (16, 16), (32, 16), (64, 16), (128, 32), (256, 32), (512, 64), (1024, 64),
        (100_000, 64), (100_000, 256),
    ),)  # fmt: skip
    parameters = "IVF(4 sqrt n), PQ(d/2)x4fs, refine float32, bitmap"

    def made(self, faiss: Any, vectors: Rows, kind: Any) -> Any:
        dim = vectors.shape[1]
        return faiss.index_factory(dim, f"IVF{lists_of(vectors)},PQ{dim // 2}x4fs,RFlat", kind)

    def options(self, selector: Any, setting: tuple[int, int]) -> Any:
        lists = self.faiss.extract_index_ivf(self.index).nlist
        inner = self.faiss.SearchParametersIVF(sel=selector, nprobe=min(setting[0], lists))
        return self.faiss.IndexRefineSearchParameters(k_factor=setting[1], base_index_params=inner)


class FaissHnsw(Faiss):
    ladders = (WIDTHS,)
    parameters = "M=16, efConstruction=200, float32, bitmap"

    def made(self, faiss: Any, vectors: Rows, kind: Any) -> Any:
        index = faiss.IndexHNSWFlat(vectors.shape[1], 16, kind)
        index.hnsw.efConstruction = 200
        return index

    def options(self, selector: Any, setting: int) -> Any:
        return self.faiss.SearchParametersHNSW(efSearch=setting, sel=selector)
