"""Vector databases that run inside the process: they keep points in a folder and answer with records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapter import BEAMS, Found, K, Peer, Rows


class Zvec(Peer):
    """Asked by internal row numbers, its way of low latency; vectors go in and out of a collection in a folder.

    No rotation: with it 0.8.0 refuses to build over uniform codes, and its INT8 codes find nothing.
    """

    settings = tuple((ef, scale) for ef in BEAMS for scale in ((2.0, 4.0) if ef < 80 else (4.0, 8.0)))

    def __init__(self, vectors: Rows, metric: str, folder: Path, codes: str) -> None:
        import zvec

        self.zvec, self.parameters = zvec, f"HNSW m=16, ef_construction=200, {codes}, refine float32"
        zvec.init(log_level=zvec.LogLevel.ERROR, query_threads=1, optimize_threads=1)
        graph = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.L2,  # its uniform codes have no other; the order of unit vectors is the same
            m=16,
            ef_construction=200,
            quantize_type=getattr(zvec.QuantizeType, codes),
            use_contiguous_memory=True,
            use_flat_contiguous_memory=True,
        )
        field = zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, dimension=vectors.shape[1], index_param=graph)
        place = str(folder / "zvec")
        made = zvec.create_and_open(place, zvec.CollectionSchema("base", vectors=[field]))
        for start in range(0, len(vectors), 1000):
            made.insert(
                [
                    zvec.Doc(id=str(row), vectors={"v": vectors[row]})
                    for row in range(start, min(start + 1000, len(vectors)))
                ]
            )
        made.flush()
        made.optimize(zvec.OptimizeOption(concurrency=1))
        made.flush()
        made.close()
        del made
        self.index = zvec.open(place, zvec.CollectionOption(read_only=True, enable_mmap=False))

    def tune(self, setting: tuple[int, float]) -> None:
        ef, scale = setting
        self.options = self.zvec.HnswQueryParam(ef=ef, is_using_refiner=True, scale_factor=scale)

    def one(self, query: Rows) -> Found:
        return self.index.query_internal_ids(self.zvec.Query("v", vector=query, param=self.options), topk=K)


class Qdrant(Peer):
    parameters = "HNSW m=16, ef_construct=200, int8 in memory, rescored by float32"
    settings = tuple((ef, more) for ef in BEAMS for more in (1.0, 2.0))

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        import qdrant_edge as edge

        self.edge = edge
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(
                size=vectors.shape[1], distance=edge.Distance.Euclid if metric == "l2" else edge.Distance.Dot
            ),
            hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=200, full_scan_threshold=10, max_indexing_threads=1),
            quantization_config=edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, always_ram=True),
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=100, max_segment_size=100_000_000
            ),
            max_search_threads=1,
            wal_enabled=False,
        )
        self.index = edge.EdgeShard.create(str(folder / "qdrant"), config)
        for start in range(0, len(vectors), 1000):
            block = vectors[start : start + 1000].tolist()
            points = [edge.Point(start + number, row) for number, row in enumerate(block)]
            self.index.update(edge.UpdateOperation.upsert_points(points))
        self.index.optimize()

    def tune(self, setting: tuple[int, float]) -> None:
        ef, more = setting
        again = self.edge.QuantizationSearchParams(rescore=True, oversampling=more)
        self.options = self.edge.SearchParams(hnsw_ef=ef, quantization=again)

    def one(self, query: Rows) -> Found:
        return [hit.id for hit in self.index.query(self.request(query))]

    def many(self, queries: Rows) -> Found:
        batch = self.edge.QueryBatchRequest([self.request(query) for query in queries])
        return [[hit.id for hit in hits] for hits in self.index.query_batch(batch)]

    def request(self, query: Rows) -> Any:
        return self.edge.QueryRequest(K, query=self.edge.Query.Nearest(query.tolist()), params=self.options)
