"""Read an index: search all vectors or those that match a filter, count and page through rows, get stored values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medalist.errors import SearchError
from medalist.search import asking
from medalist.search._ann import Core
from medalist.search.answers import Hits, Metric, Page, Recall, Refine, Stats
from medalist.search.asking import Question, Where
from medalist.search.calibration import Calibration, calibrate
from medalist.search.checks import MOST_ANSWERS, MOST_THREADS, Plan, check_aim, check_k, check_score
from medalist.search.filters import HasId, Not
from medalist.search.ids import KINDS
from medalist.search.reached import Reached
from medalist.search.schema import KINDS as FIELD_KINDS
from medalist.search.schema import FieldKind, decode_fields
from medalist.search.vectors import as_queries, whole

T = TypeVar("T")


class Reader:
    """The reading part of an index. Any number of threads may call it; each call sees a change whole or not at all."""

    _path = ""  # the file or folder that it was opened from

    def _set(self, core: Core) -> None:
        self._open: Core | None = core
        self._calibration: Calibration | None = None
        self._reached = Reached()
        dim, metric, refine, fields = core.options()
        self._dim: int = dim
        self._metric: Metric = metric
        self._refine: Refine = refine
        self._schema: dict[str, FieldKind] = {name: FIELD_KINDS[kind] for name, kind in fields}

    @property
    def _core(self) -> Core:
        if self._open is None:
            raise SearchError("the index is closed; open it again with Index.open()")
        if self._open.file_changed:
            raise SearchError(
                f"{self._path}: another program has overwritten the file while its vectors were mapped from it, so no "
                "answer can be trusted; open it again, best with mode='memory'; replace a file by save() or by renaming"
            )
        return self._open

    @property
    def dim(self) -> int:
        """The number of components of a vector."""
        return self._dim

    @property
    def metric(self) -> Metric:
        """How closeness is measured: "cosine", "ip" or "l2"."""
        return self._metric

    @property
    def fields(self) -> dict[str, FieldKind]:
        """The kind of each field."""
        return dict(self._schema)

    def __len__(self) -> int:
        """The number of stored vectors."""
        return len(self._core)

    def __contains__(self, one: object) -> bool:
        """Whether an id is in the index."""
        core = self._core
        try:
            _, batch = asking.batch_of([one], core.id_kind())
        except SearchError:  # no id of this index can be such a value
            return False
        return core.known(batch)[0]

    def __repr__(self) -> str:
        if self._open is None:
            return f"<medalist.search.Index: closed, of {self._dim}, {self._metric}>"
        fields = f", {len(self._schema)} fields" if self._schema else ""
        return f"<medalist.search.Index: {len(self._open)} vectors of {self._dim}, {self._metric}{fields}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Index cannot be copied or pickled; write it with save() and read it with Index.open()")

    def get(self, ids: object) -> list[dict[str, Any]]:
        """Return the fields of each id, without missing values. Raises SearchError where an id is not in the index."""
        batch, encoded = asking.batch_of(ids, self._core.id_kind())
        unknown, told = self._core.fields(encoded)
        if unknown >= 0:
            self._refuse_unknown(batch, encoded)
        return decode_fields(self._schema, told)

    def vectors(self, ids: object) -> NDArray[np.float32]:
        """Return the vectors of ids, float32[n, dim]; under cosine they have length 1.

        Raises SearchError where an id is not in the index.
        """
        batch, encoded = asking.batch_of(ids, self._core.id_kind())
        out = np.empty((len(batch), self._dim), np.float32)
        if self._core.vectors(encoded, out) >= 0:
            self._refuse_unknown(batch, encoded)
        return self._if_unchanged(out)

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        where: Where | Sequence[Where | None] | None = None,
        ef: int | None = None,
        recall: float | None = None,
        plan: Plan | None = None,
        min_score: float | None = None,
        group_by: str | None = None,
        per: int = 1,
        threads: int = 1,
    ) -> Hits:
        """Return the `k` nearest vectors of each query [n, dim], or of one query [dim].

        `where`: search only vectors that match this filter (an expression of `F`, the text of `--where`, or JSON), or a
        list with one filter for each query. `recall`: the share of the true nearest vectors to aim at, above 0 and up
        to 1 (0.95 where neither `recall` nor `ef` is given); a table that was measured at build, on stored vectors,
        turns it into `ef`. Queries that are unlike the stored vectors are searched wider: see `Hits` and `calibrate`.
        `ef`: how many candidates a walk keeps; a larger value is slower and finds more; a value below `k` counts as
        `k`. `plan` sets the plan of the search (see Hits). `min_score`: only answers with at least this score.
        `group_by`: at most `per` answers have the same value in this field (of several tags, the first in alphabetical
        order); each vector without a value is its own group. `threads` share the queries. Without `min_score` and
        groups there are always min(k, matches) answers. Fewer vectors than `k` are no error: see Hits. Raises
        SearchError.
        """
        ef, recall = check_aim(ef, recall)
        stored, k = len(self._core), check_k(k)
        asked, farthest = min(k, stored), np.inf
        if recall is not None:
            ef, farthest = self._core.ef_for(recall, asked), 1.0
            if self._calibration is not None:
                ef = max(ef, self._calibration.ef_for(recall, asked, stored))
                farthest = self._calibration.farthest
        assert ef is not None
        width, number = min(ef, max(stored, 1)), asking.plan_number(plan)
        hits = self._ask(queries, k, asked, width, number, where, min_score, group_by, per, threads, farthest)
        if recall is None:
            return hits

        def exact(places: NDArray[np.intp]) -> Hits:
            few = np.atleast_2d(np.asarray(queries))[places]
            how = asking.where_of(where, places)
            return self.exact(few, k, where=how, min_score=min_score, group_by=group_by, per=per, threads=threads)

        return self._reached.told(hits, (recall, k, where is not None, group_by), recall, stored, exact, plan is None)

    def calibrate(self, queries: ArrayLike, *, threads: int = 1) -> tuple[Recall, ...]:
        """Measure the recall of walks with sample queries [n, dim], of the kind that will be asked; return the table.

        For queries that are not like the stored vectors, as texts are for images. Later searches with `recall=` walk as
        wide as both this table and the one of the build ask for, and search wider only for queries that lie farther
        out than the sample. Some hundred queries are enough; of more than 500 some are taken. The table stays with
        this object and is not written to the file or folder. Calibrate again when many vectors were added. Raises
        SearchError for queries that cannot be used, and for none.
        """
        rows, single = as_queries(queries, self._dim, self._metric)
        if single or not len(rows):
            raise SearchError(f"queries: give an array [n, {self._dim}] of some hundred sample queries")
        self._calibration = calibrate(self, rows, whole(threads, "threads", 1, MOST_THREADS))
        self._reached = Reached()
        return self._calibration.table

    def exact(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        where: Where | Sequence[Where | None] | None = None,
        min_score: float | None = None,
        group_by: str | None = None,
        per: int = 1,
        threads: int = 1,
    ) -> Hits:
        """Return the `k` nearest vectors as `search` does, by comparing each query with every vector that matches."""
        k = check_k(k)
        asked = min(k, len(self._core))
        plan = asking.plan_number("exact")
        return self._ask(queries, k, asked, max(asked, 1), plan, where, min_score, group_by, per, threads)

    def _ask(
        self, queries: Any, k: int, asked: int, ef: int, plan: int, where: Any, min_score: Any, group_by: Any, per: int,
        threads: int, farthest: float = np.inf,
    ) -> Hits:  # fmt: skip
        question = Question(
            k, asked, ef, whole(threads, "threads", 1, MOST_THREADS), plan, where,
            -np.inf if min_score is None else check_score(min_score, "min_score"), group_by,
            whole(per, "per", 1, MOST_ANSWERS), farthest,
        )  # fmt: skip
        return self._if_unchanged(asking.ask(self._core, question, queries, self._dim, self._metric, self._schema))

    def _if_unchanged(self, answer: T) -> T:
        """Return an answer; SearchError where the file that it was read from was overwritten meanwhile."""
        assert self._core is not None
        return answer

    def within(
        self,
        query: ArrayLike,
        *,
        min_score: float | None = None,
        max_distance: float | None = None,
        where: Where | None = None,
    ) -> Hits:
        """Return all vectors within a score or a distance of one query [dim], the closest first. The search is exact.

        Give either `min_score` or `max_distance`. They are compared with the scores and distances of Hits, so the worst
        score of earlier answers, used as the bound, finds all these answers again. Raises SearchError.
        """
        if (min_score is None) == (max_distance is None):
            raise SearchError("within: give min_score= or max_distance=")
        matrix, single = as_queries(query, self._dim, self._metric)
        if not single:
            raise SearchError(f"query: shape {list(matrix.shape)}, expected one query [{self._dim}]")
        least, furthest = asking.bounds(min_score, max_distance, self._metric)
        core = self._core
        wanted = asking.program(where, self._schema, core.id_kind())
        found = core.within(matrix, least, wanted)
        assert found is not None, "as_queries lets no unfit query pass"
        ids, scores = asking.name_rows(found[0]), np.frombuffer(found[1], np.float32)
        plan, cost = np.array("exact"), np.array(core.count(wanted), np.int64)
        hits = Hits(ids, scores, np.array(len(ids)), self._metric, plan, cost)
        near = int((hits.distances <= furthest).sum())
        return self._if_unchanged(hits)._replace(ids=ids[:near], scores=scores[:near].copy(), counts=np.array(near))

    def recommend(
        self,
        positive: object,
        negative: object = (),
        k: int = 10,
        *,
        where: Where | None = None,
        **how: Any,
    ) -> Hits:
        """Return the `k` vectors nearest to stored examples, as for a single query. The examples are left out.

        The query is the mean of the positive vectors. With negative ids, the query is that mean plus its difference
        from the mean of the negative vectors (Qdrant's average vector strategy). `how`: other arguments of `search`.
        Raises SearchError for no positive id, for an id that is not in the index, and for examples whose query has no
        direction under cosine.
        """
        kind = self._core.id_kind()
        good, _ = asking.batch_of(positive, kind)
        bad, _ = asking.batch_of(negative, kind)
        if not len(good):
            raise SearchError("recommend: no positive id; give at least one")
        query = self.vectors(good).astype(np.float64).mean(axis=0)
        if len(bad):
            query = 2 * query - self.vectors(bad).astype(np.float64).mean(axis=0)
        if self._metric == "cosine" and not np.linalg.norm(query) > 1e-12:
            raise SearchError("recommend: the examples cancel out, so their mean has no direction; give others")
        others = Not(HasId((*map(_plain, good), *map(_plain, bad))))
        wanted = None if where is None else asking.as_filter(where, self._schema, kind)
        return self.search(query.astype(np.float32), k, where=asking.together(wanted, others), **how)

    def count(self, where: Where | None = None) -> int:
        """Return the exact number of vectors that match a filter; of all vectors for None."""
        return self._core.count(asking.program(where, self._schema, self._core.id_kind()))

    def facet(self, field: str, where: Where | None = None, limit: int | None = None) -> dict[Any, int]:
        """Count the values of a field over the vectors that match a filter: most frequent first, then by value.

        The counts are exact. `limit`: the most values to return. Raises SearchError for a geo field.
        """
        counted = asking.facet(self._core, field, where, self._schema)
        if limit is None:
            return counted
        return dict(list(counted.items())[: whole(limit, "limit", 1, MOST_ANSWERS)])

    def scroll(
        self,
        where: Where | None = None,
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of the rows that match a filter: ids and fields, ordered by ids, or by a field and then ids.

        `limit`: the most rows of a page. Rows without a value in the field come last. `cursor`: that of the page
        before, to get the next page. A cursor holds values, not positions, so that no row is repeated or left out where
        the index changes between two pages.
        """
        return asking.scroll(self._core, where, order_by, descending, limit, cursor, self._schema)

    def ids(self) -> NDArray[Any]:
        """Return all ids in the order they were added: int64 or strings [n]."""
        return asking.name_rows(self._core.ids())

    def stats(self) -> Stats:
        """Return what the index holds, its memory by part, its graph, and the recall measured at build."""
        core = self._core
        told = core.stats()
        made = {name: told[name] for name in _TOLD}
        return Stats(
            count=told["n"],
            ids=KINDS[core.id_kind()],
            recall=tuple(Recall(*row) for row in told["recall_table"]),
            fields=dict(self._schema),
            **made,
        )

    def _refuse_unknown(self, batch: Any, encoded: bytes) -> None:
        there = self._core.known(encoded)
        if not all(there):
            missing = batch[there.index(False)]
            others = f" ({there.count(False)} of {len(there)} are not)" if len(there) > 1 else ""
            raise SearchError(f"ids: {_plain(missing)!r:.60} is not in the index{others}")


_TOLD = (
    "dead", "loose", "linked", "bits", "dim", "metric", "refine", "degree", "effort", "seed", "kernels", "memory",
    "degree_mean", "degree_max", "reachable", "duplicates", "clipped",
)  # fmt: skip


def _plain(one: Any) -> int | str:
    return one if isinstance(one, str) else int(one)
