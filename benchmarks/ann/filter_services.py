"""Databases that run inside the process and know fields: filters in their own languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapter import Found, K, Rows
from filter_cells import SCHEMA, World
from filter_peers import WIDTHS, Filtered

from medalist.search.filters import All, Among, AnyOf, Circle, Filter, Not, Range

BLOCK = 1000


class Qdrant(Filtered):
    """Fields indexed before the graph is built, without links of their own for each value (they multiply its time).

    Modes: its planner's choice, the same with ACORN, and exact.
    """

    ladders = (
        tuple(("planner", ef) for ef in WIDTHS),
        tuple(("acorn", ef) for ef in WIDTHS),
        (("exact", 0),),
    )
    parameters = "HNSW m=16, ef_construct=200, int8 in memory, rescored by float32, 2 times oversampled; indexed fields"

    def __init__(self, world: World, metric: str, folder: Path) -> None:
        import qdrant_edge as edge

        self.edge = edge
        distance = edge.Distance.Euclid if metric == "l2" else edge.Distance.Dot
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=world.vectors.shape[1], distance=distance),
            hnsw_config=edge.HnswIndexConfig(
                m=16, ef_construct=200, full_scan_threshold=10_000, max_indexing_threads=1
            ),
            quantization_config=edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, always_ram=True),
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=100, max_segment_size=100_000_000
            ),
            max_search_threads=1,
            wal_enabled=False,
        )
        self.index = edge.EdgeShard.create(str(folder / "qdrant"), config)
        params = {
            "tag": edge.KeywordIndexParams(enable_hnsw=False),
            "int": edge.IntegerIndexParams(lookup=False, range=True, enable_hnsw=False),
            "geo": edge.GeoIndexParams(enable_hnsw=False),
        }
        for field, kind in SCHEMA.items():
            self.index.update(edge.UpdateOperation.create_field_index(field, params[kind]))
        columns = {field: plain(column) for field, column in world.columns().items()}
        for start in range(0, len(world.vectors), BLOCK):
            block = world.vectors[start : start + BLOCK].tolist()
            payloads = [self.payload(columns, start + number) for number in range(len(block))]
            points = [edge.Point(start + at, *both) for at, both in enumerate(zip(block, payloads, strict=True))]
            self.index.update(edge.UpdateOperation.upsert_points(points))
        self.index.optimize()

    def payload(self, columns: dict[str, Any], row: int) -> dict[str, Any]:
        told = {field: column[row] for field, column in columns.items()}
        return {
            field: {"lat": value[0], "lon": value[1]} if SCHEMA[field] == "geo" else value
            for field, value in told.items()
        }

    def prepare(self, filter: Filter) -> Any:
        made = self.condition(filter)
        return made if isinstance(made, self.edge.Filter) else self.edge.Filter(must=[made])

    def condition(self, filter: Filter) -> Any:
        edge = self.edge
        match filter:
            case All(each):
                made = edge.Filter(must=[self.condition(one) for one in each])
            case AnyOf(each):
                made = edge.Filter(should=[self.condition(one) for one in each])
            case Not(one):
                made = edge.Filter(must_not=[self.condition(one)])
            case Among(field, (value,)):
                made = edge.FieldCondition(key=field, match=edge.MatchValue(value))
            case Among(field, values):
                made = edge.FieldCondition(key=field, match=edge.MatchAny(list(values)))
            case Range(field, _, low, high, _):
                made = edge.FieldCondition(key=field, range=edge.RangeFloat(gte=low, lt=high))
            case Circle(field, latitude, longitude, radius):
                circle = edge.GeoRadius(edge.GeoPoint(longitude, latitude), radius)
                made = edge.FieldCondition(key=field, geo_radius=circle)
            case _:
                raise TypeError(f"no {type(filter).__name__} here")
        return made

    def request(self, query: Rows, asked: Any, setting: tuple[str, int]) -> Any:
        edge, (mode, ef) = self.edge, setting
        options = edge.SearchParams(
            hnsw_ef=ef or None,
            exact=mode == "exact",
            quantization=edge.QuantizationSearchParams(rescore=True, oversampling=2.0),
            acorn=edge.AcornSearchParams(enable=True, max_selectivity=1.0) if mode == "acorn" else None,
        )
        return edge.QueryRequest(K, query=edge.Query.Nearest(query.tolist()), params=options, filter=asked)

    def one(self, query: Rows, asked: Any, setting: Any) -> Found:
        return [hit.id for hit in self.index.query(self.request(query, asked, setting))]

    def many(self, queries: Rows, asked: Any, setting: Any) -> Found:
        batch = self.edge.QueryBatchRequest([self.request(query, asked, setting) for query in queries])
        return [[hit.id for hit in hits] for hits in self.index.query_batch(batch)]


class Zvec(Filtered):
    """Asked by internal row numbers, its way of low latency; fields with inverted indexes. It has no places."""

    ladders = (tuple(("graph", ef) for ef in WIDTHS), (("linear", 0),))
    parameters = "HNSW m=16, ef_construction=200, UNIFORM_UINT8, refine float32; inverted indexes"

    def __init__(self, world: World, metric: str, folder: Path) -> None:
        import zvec

        self.zvec = zvec
        zvec.init(log_level=zvec.LogLevel.ERROR, query_threads=1, optimize_threads=1)
        graph = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.L2,  # its uniform codes have no other; the order of unit vectors is the same
            m=16,
            ef_construction=200,
            quantize_type=zvec.QuantizeType.UNIFORM_UINT8,
            use_contiguous_memory=True,
            use_flat_contiguous_memory=True,
        )
        columns = {field: plain(all) for field, all in world.columns().items() if SCHEMA[field] != "geo"}
        inverted = zvec.InvertIndexParam(enable_range_optimization=True)
        kinds = {
            field: zvec.DataType.INT64
            if SCHEMA[field] == "int"
            else zvec.DataType.ARRAY_STRING
            if field in world.tags
            else zvec.DataType.STRING
            for field in columns
        }
        self.lists = set(world.tags)
        schema = zvec.CollectionSchema(
            "base",
            fields=[zvec.FieldSchema(field, kind, index_param=inverted) for field, kind in kinds.items()],
            vectors=[zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, world.vectors.shape[1], index_param=graph)],
        )
        made = zvec.create_and_open(str(folder / "zvec"), schema)
        for start in range(0, len(world.vectors), BLOCK):
            rows = range(start, min(start + BLOCK, len(world.vectors)))
            told = [{field: column[row] for field, column in columns.items()} for row in rows]
            made.insert(
                [
                    zvec.Doc(id=str(row), vectors={"v": world.vectors[row]}, fields=fields)
                    for row, fields in zip(rows, told, strict=True)
                ]
            )
        made.flush()
        made.optimize(zvec.OptimizeOption(concurrency=1))
        made.flush()
        made.close()
        del made
        self.index = zvec.open(str(folder / "zvec"), zvec.CollectionOption(read_only=True, enable_mmap=False))

    def prepare(self, filter: Filter) -> str | None:
        return self.text(filter)

    def text(self, filter: Filter, negated: bool = False) -> str | None:
        """It knows `not` only within a condition."""
        match filter:
            case Not(one):
                return self.text(one, not negated)
            case All(each) | AnyOf(each):
                word = "and" if isinstance(filter, All) != negated else "or"
                parts = [self.text(one, negated) for one in each]
                return None if None in parts else f" {word} ".join(f"({part})" for part in parts)
            case Among(field, values):
                sign = ("not " if negated else "") + ("contain_any" if field in self.lists else "in")
                return f"{field} {sign} ({', '.join(repr(value) for value in values)})"
            case Range(field, _, low, high, _):
                return f"{field} < {low} or {field} >= {high}" if negated else f"{field} >= {low} and {field} < {high}"
        return None

    def one(self, query: Rows, asked: Any, setting: tuple[str, int]) -> Found:
        mode, ef = setting
        option = self.zvec.HnswQueryParam(
            ef=max(ef, K), is_linear=mode == "linear", is_using_refiner=True, scale_factor=4.0
        )
        return self.index.query_internal_ids(self.zvec.Query("v", vector=query, param=option), topk=K, filter=asked)


def plain(column: Any) -> Any:
    """As Python's own lists and numbers."""
    return column.tolist() if hasattr(column, "tolist") else column
