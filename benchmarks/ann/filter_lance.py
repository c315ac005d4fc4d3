"""LanceDB in a folder: filters are SQL over columns with scalar indexes, evaluated before the search."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from adapter import Found, K, Rows
from filter_cells import SCHEMA, World
from filter_peers import Filtered
from filter_services import plain

from medalist.search.filters import All, Among, AnyOf, Filter, Not, Range


class Lance(Filtered):
    """With one thread its build never ends, so it is given two; they share the one processor.

    It has no places and no call for batches here; `flat` passes the vector index by.
    """

    ladders = (
        ((4, 2), (8, 4), (16, 4), (32, 8), (64, 8), (128, 16), (256, 16), (100_000, 32)),
        (("flat", 0),),
    )
    parameters = "IVF(sqrt n) SQ, refined; bitmap, btree and label list indexes, prefilter"

    def __init__(self, world: World, metric: str, folder: Path) -> None:
        os.environ["LANCE_CPU_THREADS"] = "2"  # it would count the processors of this process
        import lancedb
        import pyarrow as pa
        from lancedb.index import Bitmap, BTree, IvfSq, LabelList

        vectors, self.metric = world.vectors, "l2" if metric == "l2" else "dot"
        columns = {field: pa.array(plain(all)) for field, all in world.columns().items() if SCHEMA[field] != "geo"}
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        data = pa.table({"row": pa.array(range(len(vectors))), "v": flat, **columns})
        self.table, self.lists = lancedb.connect(str(folder / "lance")).create_table("base", data), set(world.tags)
        self.cells = round(math.sqrt(len(vectors)))
        kind = IvfSq(distance_type=self.metric, num_partitions=self.cells)
        self.table.create_index("v", config=kind)
        for field in columns:
            whole = BTree() if SCHEMA[field] == "int" or field == "cell" else Bitmap()
            self.table.create_index(field, config=LabelList() if field in self.lists else whole)

    def prepare(self, filter: Filter) -> str | None:
        match filter:
            case Not(one):
                text = self.prepare(one)
                return None if text is None else f"NOT ({text})"
            case All(each) | AnyOf(each):
                parts = [self.prepare(one) for one in each]
                word = " AND " if isinstance(filter, All) else " OR "
                return None if None in parts else word.join(f"({part})" for part in parts)
            case Among(field, values):
                texts = ", ".join(f"'{value}'" for value in values)
                return f"array_has_any({field}, [{texts}])" if field in self.lists else f"{field} IN ({texts})"
            case Range(field, _, low, high, _):
                return f"{field} >= {low} AND {field} < {high}"
        return None

    def one(self, query: Rows, asked: Any, setting: tuple[Any, int]) -> Found:
        probes, more = setting
        made = self.table.search(query, vector_column_name="v").distance_type(self.metric)
        made = made.where(asked, prefilter=True).limit(K).select(["row", "_distance"])
        if probes == "flat":
            made = made.bypass_vector_index()
        else:
            made = made.nprobes(min(probes, self.cells)).refine_factor(more)
        return made.to_arrow()["row"].to_numpy()
