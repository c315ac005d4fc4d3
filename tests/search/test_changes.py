"""Vectors and fields come, change and go: the index against its twin, step by step, and readers beside a writer."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from medalist.errors import SearchError
from medalist.search import Index
from medalist.search.filters import F
from medalist.search.schema import FieldKind
from medalist.search.twin import TwinIndex

from .filter_cases import every_kind, filters, rows
from .pairs import PLANS, assert_same_answers, assert_same_rows, both, compare, some_rows, sound

SCHEMA = every_kind()
NAMES = [f"n{at}" for at in range(16)]
DIM = 3
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True)


@st.composite
def batches(draw: st.DrawFn, each: st.SearchStrategy[list[str]] = names) -> tuple[list[str], Any, list[dict[str, Any]]]:
    """Ids, vectors of small whole numbers, and rows of fields."""
    ids = draw(each)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return ids, rng.integers(-2, 3, (len(ids), DIM)).astype(np.float32), draw(rows(SCHEMA, len(ids)))


class Changes(RuleBasedStateMachine):
    """The same changes to an index, in memory or in a folder, and to its twin."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Path(tempfile.mkdtemp())
        self.snapshots = 0

    @initialize(folder=st.booleans(), fsync=st.sampled_from(("interval", "os")))
    def make(self, folder: bool, fsync: Any) -> None:
        self.folder: Path | None = self.room / "folder" if folder else None
        self.index: Any
        self.index, self.twin = both(DIM, "l2", SCHEMA)
        if self.folder is not None:
            self.index = Index.create(self.folder, DIM, "l2", fields=SCHEMA, fsync=fsync)

    def each(self, change: Callable[[Any], Any]) -> None:
        """Make a change to both, which agree on what comes back, and on whether it is refused."""
        answers: list[Any] = []
        for one in (self.twin, self.index):
            try:
                answers.append(change(one))
            except SearchError:
                answers.append(SearchError)
        assert answers[0] == answers[1]

    @rule(batch=batches())
    def add(self, batch: Any) -> None:
        self.each(lambda one: one.add(*batch))

    @rule(batch=batches(), told=st.booleans())
    def upsert(self, batch: Any, told: bool) -> None:
        self.each(lambda one: one.upsert(*batch[: 3 if told else 2]))

    @rule(ids=names)
    def delete(self, ids: list[str]) -> None:
        self.each(lambda one: one.delete(ids))

    @rule(where=filters(SCHEMA, NAMES))
    def delete_where(self, where: Any) -> None:
        self.each(lambda one: one.delete(where=where))

    @rule(batch=batches(), known=st.booleans())
    def set_fields(self, batch: Any, known: bool) -> None:
        ids, _, told = batch
        if known:
            there = [at for at, name in enumerate(ids) if name in self.twin]
            ids, told = [ids[at] for at in there], [told[at] for at in there]
        self.each(lambda one: one.set_fields(told, ids=ids))

    @rule(where=filters(SCHEMA, NAMES), told=rows(SCHEMA, 1))
    def set_where(self, where: Any, told: Any) -> None:
        self.each(lambda one: one.set_fields(told[0], where=where))

    @rule()
    def optimize(self) -> None:
        self.index.optimize(threads=1)
        assert self.index.stats().dead == 0

    @rule(mode=st.sampled_from(("mapped", "memory")))
    def reopen(self, mode: Any) -> None:
        if self.folder is None:
            self.index.save(self.room / "saved.ann")
            self.index = Index.open(self.room / "saved.ann", mode)
        else:
            self.index.close()
            assert Index.verify(self.folder) == []
            self.index = Index.open(self.folder, mode)

    @precondition(lambda self: self.folder is not None)
    @rule(take=st.booleans())
    def snapshot(self, take: bool) -> None:
        assert self.folder is not None
        self.snapshots += 1
        path = self.room / f"snapshot {self.snapshots}"
        self.index.snapshot(path)
        with Index.open(path, read_only=True) as other:
            assert_same_rows(other, self.twin)
        if take:  # go on with it
            self.index.close()
            self.folder = path
            self.index = Index.open(path)

    @precondition(lambda self: self.folder is not None)
    @rule()
    def read_beside(self) -> None:
        assert self.folder is not None
        self.index.flush()
        with Index.open(self.folder, read_only=True) as other:
            assert_same_rows(other, self.twin)

    @precondition(lambda self: self.folder is not None)
    @rule()
    def checkpoint(self) -> None:
        self.index.checkpoint()

    @rule(where=filters(SCHEMA, NAMES), k=st.sampled_from((1, 3, 20)), plan=st.sampled_from(PLANS))
    def ask(self, where: Any, k: int, plan: Any) -> None:
        queries = np.array([[0, 1, 2], [-2, 0, 1]], np.float32)
        for one in (None, where):
            compare(self.index.search(queries, k, where=one, plan=plan, ef=50), self.twin, queries, k, one)
            assert_same_answers(self.index, self.twin, one, 5)

    @invariant()
    def the_same_rows(self) -> None:
        if hasattr(self, "index"):
            assert_same_rows(self.index, self.twin)

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
        shutil.rmtree(self.room)


TestChanges = Changes.TestCase
TestChanges.settings = settings(
    deadline=None,
    max_examples=15,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


# --------------------------------------------------------------------------------------------------------- many rows

KINDS: dict[str, FieldKind] = {**SCHEMA, "n": "int"}
WIDE = 12


def asked(index: Any, twin: TwinIndex, rng: np.random.Generator) -> None:
    """Assert that rows, counts and exact answers are the same, and that searches find most."""
    queries = rng.normal(size=(4, WIDE)).astype(np.float32)
    assert_same_rows(index, twin)
    wheres = [None, F.n < 1500, F["a tag"] == "a", F["a bool"].missing() | (F.n > 2800)]
    for one in wheres:
        assert index.count(one) == twin.count(one)
        assert index.facet("a tag", one) == twin.facet("a tag", one)
    compare(index.exact(queries, 10, where=wheres), twin, queries, 10, wheres)
    shares = [sound(index.search(queries, 10, where=one, ef=150), twin, queries, 10, one) for one in wheres]
    assert np.mean(shares) >= 0.9


@pytest.mark.parametrize("folder", [False, True], ids=["memory", "folder"])
def test_many_rows_come_change_and_go(folder: bool, tmp_path: Path) -> None:
    """Rows in the graph, behind it, dead and patched; compaction, and a log that is folded in."""
    rng = np.random.default_rng(8)
    index, twin = both(WIDE, "cosine", KINDS)
    if folder:
        index = Index.create(tmp_path / "folder", WIDE, "cosine", fields=KINDS)

    def each(change: Callable[[Any], Any]) -> None:
        assert change(index) == change(twin)

    def batch(ids: Any) -> tuple[Any, Any, Any]:
        told = some_rows(rng, SCHEMA, len(ids))
        return (
            ids,
            rng.normal(size=(len(ids), WIDE)),
            [{**row, "n": int(one)} for row, one in zip(told, ids, strict=True)],
        )

    def reopened() -> Any:
        if folder:
            index.close()
            assert Index.verify(tmp_path / "folder") == []
            return Index.open(tmp_path / "folder")
        index.save(tmp_path / "saved")
        return Index.open(tmp_path / "saved")

    first, more = batch(np.arange(3000)), batch(np.arange(3000, 3400))
    each(lambda one: one.add(*first))
    each(lambda one: one.add(*more))
    assert 0 < index.stats().linked <= 3400
    asked(index, twin, rng)
    some = rng.permutation(3400)[:600]
    again = batch(some)
    each(lambda one: one.upsert(*again))
    each(lambda one: one.delete(some[:200]))
    asked(index, twin, rng)
    each(lambda one: one.set_fields({"a tag": ["new", "a"], "a float": None}, where=F.n < 1500))
    late = np.arange(1400, 1600)[np.isin(np.arange(1400, 1600), twin.ids())]
    each(lambda one: one.set_fields({"a bool": [bool(at % 2) for at in late]}, ids=late))
    assert index.stats().loose > 0
    asked(index, twin, rng)
    index = reopened()
    asked(index, twin, rng)
    each(lambda one: one.delete(where=(F.n >= 500) & (F.n < 2100)))  # enough to be cleared away
    assert index.stats().dead < 1600
    asked(index, twin, rng)
    index.optimize()
    assert (index.stats().dead, index.stats().loose) == (0, 0)
    assert index.stats().linked in (0, len(twin))
    asked(index, twin, rng)
    each(lambda one: one.delete(where="n >= 0"))
    assert len(index) == 0
    last = batch(np.arange(40))
    each(lambda one: one.add(*last))
    index = reopened()
    asked(index, twin, rng)
    index.close()


def test_more_patches_than_are_kept_apart() -> None:
    """Fields of more than 4,096 rows are changed, some twice, a few rows at a time and at once."""
    index, twin = both(2, "l2", {"t": "tag", "n": "int"})
    n = 6000
    for one in (index, twin):
        one.add(None, np.ones((n, 2)), {"t": ["old"] * n, "n": np.arange(n)})
        one.set_fields({"t": ["new"] * 300}, ids=np.arange(0, 600, 2))
        for start in range(0, 5000, 500):
            ids = np.arange(start, start + 700)
            one.set_fields({"t": [f"t{at % 7}" for at in ids], "n": ids * 3}, ids=ids)
        one.set_fields({"t": None}, where=F.n < 100)
        one.delete(np.arange(5600, 5700))
        one.set_fields({"n": 5}, where="n >= 15000")
    assert index.get(np.arange(5600)) == twin.get(np.arange(5600))
    for where in (None, F.t == "t3", F.t.missing(), F.n == 5, (F.n > 900) & ~(F.t == "old")):
        assert index.count(where) == twin.count(where)
        assert index.facet("t", where) == twin.facet("t", where)
        assert index.facet("n", where, 40) == twin.facet("n", where, 40)
        assert index.scroll(where, order_by="n", limit=900).ids.tolist() == (
            twin.scroll(where, order_by="n", limit=900).ids.tolist()
        )


def test_churn_does_not_hide_rows() -> None:
    """Half of the rows leave and come again, six times: recall stays, and their place is used again."""
    rng = np.random.default_rng(2)
    n = 2400
    index = Index(WIDE, "l2")
    x = rng.normal(size=(n, WIDE)).astype(np.float32)
    index.add(np.arange(n), x)
    queries = rng.normal(size=(60, WIDE)).astype(np.float32)

    def recall() -> float:
        truth, found = index.exact(queries, 10).ids.tolist(), index.search(queries, 10).ids.tolist()
        return float(np.mean([len({*a} & {*b}) for a, b in zip(truth, found, strict=True)])) / 10

    first, bytes_at_first = recall(), sum(index.stats().memory.values())
    for _ in range(6):
        some = rng.permutation(n)[: n // 2]
        assert index.delete(some) == n // 2 and len(index) == n // 2
        index.add(some, x[some])
    assert len(index) == n and recall() >= first - 0.03
    index.optimize()
    assert recall() >= first - 0.03
    assert sum(index.stats().memory.values()) <= 1.3 * bytes_at_first


# --------------------------------------------------------------------------------------- readers beside a writer

GROUP = 40
SOME: dict[str, FieldKind] = {"round": "int", "who": "tag"}


def test_readers_see_whole_changes() -> None:
    """Every change writes one number to all rows of a group; no reader ever sees two in one answer."""
    index = Index(4, "l2", fields=SOME)
    rng = np.random.default_rng(1)
    index.add(np.arange(1000, 3000), rng.normal(size=(2000, 4)) + 50, {"round": [-1] * 2000, "who": ["other"] * 2000})
    ids = np.arange(GROUP)
    index.add(ids, np.zeros((GROUP, 4)), {"round": [0] * GROUP, "who": ["group"] * GROUP})
    faults: list[Any] = []
    stop = threading.Event()
    done: dict[str, int] = {}
    query = np.zeros(4, np.float32)

    def rounds_of(rows: list[dict[str, Any]]) -> bool:
        return len({row["round"] for row in rows}) <= 1

    def searched() -> bool:
        hits = index.search(query, GROUP, where="who = group")
        near = np.unique(hits.scores[: int(hits.counts)])
        return int(hits.counts) in (0, GROUP) and len(near) <= 1

    def exact() -> bool:
        hits = index.exact(np.tile(query, (3, 1)), GROUP, where=[F.who == "group", None, F.who == "group"])
        return hits.ids[0].tolist() == hits.ids[2].tolist() and len({*hits.ids[0].tolist()} - {-1}) in (0, GROUP)

    def got() -> bool:
        try:
            return rounds_of(index.get(ids))
        except SearchError:  # between a deletion and what comes after
            return True

    def paged() -> bool:
        page = index.scroll("who = group", limit=GROUP + 1)
        return len(page.ids) in (0, GROUP) and rounds_of(page.fields)

    kinds: dict[str, Callable[[], bool]] = {
        "search": searched,
        "exact": exact,
        "get": got,
        "scroll": paged,
        "count": lambda: index.count("who = group") in (0, GROUP),
        "facet": lambda: len(index.facet("round", "who = group")) <= 1,
        "within": lambda: len(index.within(query, max_distance=1e4, where="who = group").ids) in (0, GROUP),
        "vectors": lambda: np.isfinite(index.vectors([1000, 2999])).all(),
        "ids": lambda: len(index.ids()) in (2000, 2000 + GROUP) and len(index) in (2000, 2000 + GROUP),
        "stats": lambda: index.stats().count in (2000, 2000 + GROUP),
    }

    def read(name: str) -> None:
        while not stop.is_set():
            if not kinds[name]():
                faults.append(name)
            done[name] = done.get(name, 0) + 1

    readers = [threading.Thread(target=read, args=(name,)) for name in kinds]
    for reader in readers:
        reader.start()
    try:
        end, at = time.monotonic() + 20, 0
        while at < 24 or (any(done.get(name, 0) < 3 for name in kinds) and time.monotonic() < end):
            at += 1
            told = {"round": [at] * GROUP, "who": ["group"] * GROUP}
            if at % 4 == 0:
                index.set_fields({"round": at}, where="who = group")
            elif at % 4 == 1:
                index.upsert(ids, np.full((GROUP, 4), at % 9 / 10), told, threads=1)
            elif at % 4 == 2:
                index.delete(ids)
                index.add(ids, np.full((GROUP, 4), at % 9 / 10), told, threads=1)
            else:
                index.set_fields({"round": [at] * GROUP}, ids=ids)
            if at % 12 == 0:
                index.optimize(threads=1)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert faults == [] and set(done) == set(kinds)


def test_pages_go_on_while_rows_come_and_go() -> None:
    index = Index(1, "l2", fields={"n": "int"})
    index.add(np.arange(0, 200, 2), np.zeros((100, 1)), {"n": np.arange(100)})
    seen: list[int] = []
    cursor = None
    for at in range(50):
        page = index.scroll(limit=7, cursor=cursor)
        seen += page.ids.tolist()
        cursor = page.cursor
        if cursor is None:
            break
        index.delete([2 * at])  # seen already
        index.add([199 - 2 * at], [[0.0]])
        if at % 3 == 0:
            index.optimize()
    assert seen == sorted(set(seen)) and {one for one in seen if one % 2 == 0} == set(range(0, 200, 2))
