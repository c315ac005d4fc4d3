"""Libraries that search a graph of neighbours in memory, ours among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from adapter import Found, K, Peer, Rows


class Ours(Peer):
    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        from medalist.search import Index

        self.index = Index(vectors.shape[1], metric=metric)
        self.index.add(None, vectors, threads=1)

    def tune(self, setting: int) -> None:
        self.ef = setting

    def one(self, query: Rows) -> Found:
        return self.index.search(query, K, ef=self.ef).ids

    def many(self, queries: Rows) -> Found:
        return self.index.search(queries, K, ef=self.ef, threads=1).ids


class Hnswlib(Peer):
    parameters = "M=16, efConstruction=200"

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        import hnswlib

        self.index = hnswlib.Index("l2" if metric == "l2" else "ip", vectors.shape[1])
        self.index.init_index(len(vectors), M=16, ef_construction=200, random_seed=1)
        self.index.set_num_threads(1)
        self.index.add_items(vectors, num_threads=1)

    def tune(self, setting: int) -> None:
        self.index.set_ef(setting)

    def one(self, query: Rows) -> Found:
        return self.index.knn_query(query, K, num_threads=1)[0]

    def many(self, queries: Rows) -> Found:
        return self.index.knn_query(queries, K, num_threads=1)[0]


class FaissHnsw(Peer):
    parameters = "M=16, efConstruction=200, float32"

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self.index = faiss.IndexHNSWFlat(vectors.shape[1], 16, kind)
        self.index.hnsw.efConstruction = 200
        self.index.add(vectors)

    def tune(self, setting: int) -> None:
        self.index.hnsw.efSearch = setting

    def one(self, query: Rows) -> Found:
        return self.index.search(query[None], K)[1]

    def many(self, queries: Rows) -> Found:
        return self.index.search(queries, K)[1]


class Usearch(Peer):
    parameters = "float16, connectivity 16, expansion_add 200"

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        from usearch.index import Index

        kind = "l2sq" if metric == "l2" else "ip"
        self.index = Index(ndim=vectors.shape[1], metric=kind, dtype="f16", connectivity=16, expansion_add=200)
        self.index.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=1)

    def tune(self, setting: int) -> None:
        self.index.expansion_search = setting

    def one(self, query: Rows) -> Found:
        return self.index.search(query, K, threads=1).keys

    def many(self, queries: Rows) -> Found:
        return self.index.search(queries, K, threads=1).keys


class Glass(Peer):
    """HNSW over uniform scalar codes, prefetch tuned by `optimize`."""

    def __init__(self, vectors: Rows, metric: str, folder: Path, codes: str) -> None:
        import glassppy

        self.parameters = f"HNSW R=32, L=200, build SQ8U, search {codes}, optimize"
        kind = "L2" if metric == "l2" else "IP"
        index = glassppy.Index("HNSW", dim=vectors.shape[1], metric=kind, quant="SQ8U", R=32, L=200)
        graph = index.build(vectors)
        self.index = glassppy.Searcher(graph, vectors, metric=kind, quantizer=codes)
        self.index.optimize(1)

    def tune(self, setting: int) -> None:
        self.index.set_ef(setting)

    def one(self, query: Rows) -> Found:
        return np.asarray(self.index.search(query, K))

    def many(self, queries: Rows) -> Found:
        return np.asarray(self.index.batch_search(queries, K, 1)).reshape(len(queries), -1)


class Pynndescent(Peer):
    parameters = "40 neighbours, pruning 1.5, diversify 1.0"
    settings = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18, 0.22, 0.26, 0.32, 0.4, 0.5)

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        from pynndescent import NNDescent

        self.index = NNDescent(
            vectors,
            metric="euclidean" if metric == "l2" else "dot",
            n_neighbors=40,
            pruning_degree_multiplier=1.5,
            diversify_prob=1.0,
            n_jobs=1,
            random_state=1,
        )
        self.index.prepare()

    def tune(self, setting: float) -> None:
        self.epsilon = setting

    def one(self, query: Rows) -> Found:
        return self.index.query(query[None], K, epsilon=self.epsilon)[0]

    def many(self, queries: Rows) -> Found:
        return self.index.query(queries, K, epsilon=self.epsilon)[0]


class Voyager(Peer):
    parameters = "M=16, ef_construction=200, float32"

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        import voyager

        space = voyager.Space.Euclidean if metric == "l2" else voyager.Space.InnerProduct
        self.index = voyager.Index(space, vectors.shape[1], M=16, ef_construction=200, max_elements=len(vectors))
        self.index.add_items(vectors, num_threads=1)

    def tune(self, setting: int) -> None:
        self.ef = setting

    def one(self, query: Rows) -> Found:
        return self.index.query(query, K, num_threads=1, query_ef=self.ef)[0]

    def many(self, queries: Rows) -> Found:
        return self.index.query(queries, K, num_threads=1, query_ef=self.ef)[0]


class Vsag(Peer):
    parameters = "HGraph degree 32, efConstruction 400, sq8_uniform, reorder float32"

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        import pyvsag

        count, dim = vectors.shape
        graph = {
            "base_quantization_type": "sq8_uniform",
            "use_reorder": True,
            "precise_quantization_type": "fp32",
            "max_degree": 32,
            "ef_construction": 400,
            "build_thread_count": 1,
        }
        kind = "l2" if metric == "l2" else "ip"
        options = {"dtype": "float32", "metric_type": kind, "dim": dim, "index_param": graph}
        self.index = pyvsag.Index("hgraph", json.dumps(options))
        self.index.build(vectors.reshape(-1), np.arange(count, dtype=np.int64), count, dim)

    def tune(self, setting: int) -> None:
        self.options = json.dumps({"hgraph": {"ef_search": setting}})

    def one(self, query: Rows) -> Found:
        return self.index.knn_search(query, K, self.options)[0]


class Svs(Peer):
    """Vamana; LVQ are its compressed vectors, first bits for the walk and the rest for the order of the answers."""

    def __init__(self, vectors: Rows, metric: str, folder: Path, bits: tuple[int, int] | None = None) -> None:
        import svs

        self.svs = svs
        name = "float32" if bits is None else f"LVQ {bits[0]}x{bits[1]}"
        self.parameters = f"Vamana R=32, window 200, {name}"
        kind = svs.DistanceType.L2 if metric == "l2" else svs.DistanceType.MIP
        # window 200 and alpha 1.2 / 0.95 are what its benchmarks use.
        options = svs.VamanaBuildParameters(
            alpha=1.2 if metric == "l2" else 0.95, graph_max_degree=32, window_size=200, max_candidate_pool_size=750
        )
        source: Any = vectors
        if bits is not None:
            file = folder / "base.fvecs"
            svs.write_vecs(vectors, str(file))
            loader = svs.VectorDataLoader(str(file), svs.DataType.float32, dims=vectors.shape[1])
            source = svs.LVQLoader(loader, primary=bits[0], residual=bits[1], padding=32)
        self.index = svs.Vamana.build(options, source, kind, num_threads=1)
        self.index.num_threads = 1

    def tune(self, setting: int) -> None:
        options = self.index.search_parameters
        options.buffer_config = self.svs.SearchBufferConfig(setting)
        self.index.search_parameters = options

    def one(self, query: Rows) -> Found:
        return self.index.search(query, K)[0]

    def many(self, queries: Rows) -> Found:
        return self.index.search(queries, K)[0]


class Ngt(Peer):
    """ANNG turned into ONNG.

    Without the optimiser's other steps: cutting short-cuts gained nothing on 20,000 SIFT descriptors and doubled the
    build, and its search for prefetch parameters does not end on one processor.
    """

    parameters = "ONNG, 100 edges to build, out 10, in 120"
    settings = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18, 0.22)

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        import ngtpy

        rough, fine = str(folder / "anng"), str(folder / "onng")
        kind = "L2" if metric == "l2" else "Normalized Cosine"
        ngtpy.create(rough, vectors.shape[1], edge_size_for_creation=100, edge_size_for_search=40, distance_type=kind)
        index = ngtpy.Index(rough)
        index.batch_insert(vectors, num_threads=1)
        index.save()
        index.close()
        optimizer = ngtpy.Optimizer(num_of_outgoings=10, num_of_incomings=120, log_disabled=True)
        optimizer.set_processing_modes(False, False, False, False)
        optimizer.execute(rough, fine)
        self.index = ngtpy.Index(fine, read_only=True)

    def tune(self, setting: float) -> None:
        self.epsilon = setting

    def one(self, query: Rows) -> Found:
        return self.index.search(query, K, epsilon=self.epsilon, with_distance=False)


class SymphonyQG(Peer):
    """SymphonyQG of the RaBitQ library: 1-bit codes of the neighbours beside each node, scanned in registers."""

    def __init__(self, vectors: Rows, metric: str, folder: Path, degree: int) -> None:
        import rabitqlib

        self.parameters = f"degree {degree}, ef_construction 400"
        kind = "l2" if metric == "l2" else "ip"
        self.index = rabitqlib.SymqgIndex(vectors.shape[1], degree, metric=kind)
        self.index.build(vectors, 400, num_threads=1)

    def tune(self, setting: int) -> None:
        self.ef = setting

    def one(self, query: Rows) -> Found:
        return self.index.search(query[None], K, self.ef, num_threads=1)[0]

    def many(self, queries: Rows) -> Found:
        return self.index.search_batch(queries, K, self.ef, num_threads=1)[0]
