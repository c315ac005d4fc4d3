"""Libraries that search the nearest partitions of the base by small codes."""

from __future__ import annotations

import math
from pathlib import Path

from adapter import Found, K, Peer, Rows


class FaissFastScan(Peer):
    """Inverted lists of 4-bit product codes scanned in registers, the best of them ranked again by float32."""

    parameters = "IVF(4 sqrt n), PQ(d/2)x4fs, refine float32"
    settings = tuple((p, r) for p in (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192) for r in (4, 8, 16, 32, 64))

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        count, dim = vectors.shape
        lists = max(16, round(4 * math.sqrt(count)))
        self.index = faiss.index_factory(dim, f"IVF{lists},PQ{dim // 2}x4fs,RFlat", kind)
        self.lists = faiss.extract_index_ivf(self.index)
        self.index.train(vectors)
        self.index.add(vectors)

    def tune(self, setting: tuple[int, int]) -> None:
        self.lists.nprobe, self.index.k_factor = setting

    def one(self, query: Rows) -> Found:
        return self.index.search(query[None], K)[1]

    def many(self, queries: Rows) -> Found:
        return self.index.search(queries, K)[1]


class Scann(Peer):
    """Partitions, anisotropic 4-bit codes of two dimensions each, the best of them ranked again by float32."""

    settings = tuple((p, r) for p in (3, 6, 10, 16, 24, 36, 54, 80, 120, 180) for r in (30, 60, 100, 180, 350))

    def __init__(self, vectors: Rows, metric: str, folder: Path, leaves: int, soar: bool = False) -> None:
        from scann import scann_ops_pybind

        self.parameters = f"{leaves} leaves, AH 2 dims, threshold 0.2, reorder float32" + (", SOAR 1.5" if soar else "")
        distance = "squared_l2" if metric == "l2" else "dot_product"
        builder = scann_ops_pybind.builder(vectors, K, distance).set_n_training_threads(1)
        spill = {"soar_lambda": 1.5, "overretrieve_factor": 2.0} if soar else {}
        spherical = metric == "cosine"
        builder = builder.tree(leaves, 50, training_sample_size=250_000, spherical=spherical, **spill)
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2 if metric == "cosine" else float("nan"))
        self.index = builder.reorder(100).build()

    def tune(self, setting: tuple[int, int]) -> None:
        self.probes, self.again = setting

    def one(self, query: Rows) -> Found:
        return self.index.search(query, K, self.again, self.probes)[0]

    def many(self, queries: Rows) -> Found:
        return self.index.search_batched(queries, K, self.again, self.probes)[0]
