from __future__ import annotations

import copy
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medalist.errors import SearchError
from medalist.search import Hits, Index
from medalist.search.twin import TwinIndex

RNG = np.random.default_rng(7)
X = RNG.normal(size=(60, 8)).astype(np.float32)
Q = RNG.normal(size=(5, 8)).astype(np.float32)
METRICS = ("cosine", "ip", "l2")
BOTH = pytest.mark.parametrize("kind", [Index, TwinIndex])


def filled(kind: Any = Index, ids: Any = None, **options: Any) -> Any:
    index = kind(8, **options)
    index.add(ids, X)
    return index


# ------------------------------------------------------------------------------------------------------ making one


@BOTH
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dim": 0}, "dim=0: expected 1 to"),
        ({"dim": -3}, "dim=-3"),
        ({"dim": 2.0}, "dim=2.0: expected an integer"),
        ({"dim": True}, "dim=True"),
        ({"dim": "8"}, "dim='8'"),
        ({"dim": 2**40}, "dim=1099511627776"),
        ({"metric": "cos"}, "metric='cos': expected one of 'cosine', 'ip', 'l2'"),
        ({"metric": None}, "metric=None"),
        ({"metric": ["l2"]}, "metric=['l2']"),
        ({"refine": "int8"}, "refine='int8': expected one of 'float32', 'float16'"),
        ({"degree": 3}, "degree=3: expected 4 to 512"),
        ({"degree": 10**9}, "degree=1000000000"),
        ({"effort": 7}, "effort=7: expected 8 to 65536"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**64}, "seed=18446744073709551616"),
        ({"seed": None}, "seed=None"),
    ],
    ids=str,
)
def test_wrong_options(kind: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SearchError) as caught:
        kind(**{"dim": 8, **arguments})
    assert words in str(caught.value)


def test_what_an_index_says_of_itself() -> None:
    index = Index(np.int64(8), "l2", seed=2**64 - 1)  # type: ignore[arg-type]
    assert (len(index), index.dim, index.metric) == (0, 8, "l2")
    index.add(None, X)
    assert len(index) == 60 and repr(index) == "<medalist.search.Index: 60 vectors of 8, l2>"


def test_an_index_is_saved_not_pickled() -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"write it with save\(\)"):
            attempt(filled())  # type: ignore[operator]


# ---------------------------------------------------------------------------------------------------------- asking


@BOTH
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ids", [None, [f"name {n}" for n in range(60)], np.arange(60) * 10**12], ids=["-", "s", "i"])
def test_shapes_and_types(kind: Any, metric: Any, ids: Any) -> None:
    index = filled(kind, ids, metric=metric)
    letter = "U" if isinstance(ids, list) else "i"
    for ask in (index.search, index.exact):
        for k in (0, 1, 7, 60, 100):
            many, one = ask(Q, k), ask(Q[2], k)
            assert isinstance(many, Hits)
            assert many.ids.shape == many.scores.shape == many.distances.shape == (5, k)
            assert one.ids.shape == one.scores.shape == one.distances.shape == (k,)
            assert many.counts.shape == (5,) and one.counts.shape == () and int(one.counts) == min(k, 60)
            assert many.ids.dtype.kind == one.ids.dtype.kind == letter
            assert many.scores.dtype == many.distances.dtype == np.float32
            assert many.counts.dtype == one.counts.dtype == np.int64
            np.testing.assert_array_equal(one.ids, many.ids[2])
            np.testing.assert_array_equal(one.scores, many.scores[2])
            assert len(one.ids[: one.counts]) == min(k, 60)
        assert ask(Q[:0], 3).ids.shape == (0, 3) and ask(Q[:0], 3).counts.shape == (0,)
    assert index.search(Q).ids.shape == index.exact(Q).ids.shape == (5, 10)


@BOTH
def test_padding_where_fewer_exist(kind: Any) -> None:
    for ids, nothing in ((None, -1), (["a", "b"], ""), ([4, 5], -1)):
        index = kind(8, "l2")
        index.add(ids, X[:2])
        for hits in (index.search(Q, 4), index.exact(Q, 4), index.search(Q, 4, ef=1), index.search(Q, 4, recall=1)):
            assert (hits.ids[:, 2:] == nothing).all() and (hits.ids[:, :2] != nothing).all()
            assert (hits.scores[:, 2:] == -np.inf).all() and (hits.distances[:, 2:] == np.inf).all()
            assert np.isfinite(hits.scores[:, :2]).all() and (hits.counts == 2).all()


@BOTH
@pytest.mark.parametrize("metric", METRICS)
def test_an_empty_index(kind: Any, metric: Any) -> None:
    index = kind(8, metric)
    index.add(None, X[:0])
    index.add([], np.empty((0, 8)))
    for hits in (index.search(Q, 3), index.exact(Q, 3), index.search(Q, 3, ef=9, threads=2)):
        assert (hits.ids == -1).all() and hits.ids.shape == (5, 3) and hits.ids.dtype == np.int64
        assert (hits.scores == -np.inf).all() and (hits.distances == np.inf).all() and (hits.counts == 0).all()
    assert int(index.search(Q[0]).counts) == 0 and len(index) == 0


@BOTH
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"k": -1}, "k=-1: expected 0 to"),
        ({"k": 2.0}, "k=2.0: expected an integer"),
        ({"k": True}, "k=True"),
        ({"k": None}, "k=None"),
        ({"k": "3"}, "k='3'"),
        ({"k": 2**62}, "k=46116"),
        ({"k": 2**30}, "k=1073741824 for 5 queries: more than"),
        ({"ef": 0}, "ef=0"),
        ({"ef": -5}, "ef=-5"),
        ({"ef": 1.5}, "ef=1.5"),
        ({"ef": 2**63}, "ef=9223372036854775808"),
        ({"recall": 0}, "recall=0:"),
        ({"recall": 1.5}, "recall=1.5: expected a number above 0, up to 1"),
        ({"recall": np.nan}, "recall=nan"),
        ({"recall": "1"}, "recall='1'"),
        ({"ef": 5, "recall": 0.9}, "give one of them"),
        ({"threads": 0}, "threads=0"),
        ({"threads": None}, "threads=None"),
        ({"threads": 10**6}, "threads=1000000"),
    ],
    ids=str,
)
def test_wrong_questions(kind: Any, arguments: dict[str, Any], words: str) -> None:
    index = filled(kind)
    for asked in (index, kind(8)):
        with pytest.raises(SearchError) as caught:
            asked.search(Q, **arguments)
        assert words in str(caught.value)
    if not {"ef", "recall"} & arguments.keys():
        with pytest.raises(SearchError):
            index.exact(Q, **arguments)


@BOTH
@pytest.mark.parametrize("metric", METRICS)
def test_wrong_queries_are_refused_by_an_empty_index_too(kind: Any, metric: Any) -> None:
    bad = Q.copy()
    bad[3, 1] = np.nan
    for index in (kind(8, metric), filled(kind, metric=metric)):
        for ask in (index.search, index.exact):
            with pytest.raises(SearchError, match="queries, row 3: nan in column 1"):
                ask(bad, 0)
            with pytest.raises(SearchError, match=r"queries: shape \[5, 7\], expected \[n, 8\]"):
                ask(Q[:, :7])
    with pytest.raises(SearchError, match="queries, row 0: a zero vector"):
        filled(kind, metric="cosine").search(np.zeros(8))


@BOTH
def test_ef_below_k_counts_as_k(kind: Any) -> None:
    index = filled(kind, metric="l2")
    np.testing.assert_array_equal(index.search(Q, 20, ef=1).ids, index.search(Q, 20, ef=20).ids)
    assert (index.search(Q, 20, ef=1).counts == 20).all()
    np.testing.assert_array_equal(index.search(Q, 20, ef=2**63 - 1).ids, index.search(Q, 20, ef=60).ids)


@BOTH
@pytest.mark.parametrize("metric", METRICS)
def test_queries_of_any_kind_ask_the_same(kind: Any, metric: Any) -> None:
    index = filled(kind, metric=metric)
    expected = index.search(Q, 6)
    strided = np.repeat(Q, 2, axis=0)[::2]
    for queries in (Q.astype(np.float64), np.asfortranarray(Q), Q.tolist(), torch.from_numpy(Q), strided):
        found = index.search(queries, 6)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.scores, expected.scores)
    assert index.search(torch.from_numpy(Q[0]), 6).ids.tolist() == expected.ids[0].tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_threads_do_not_change_answers(metric: Any) -> None:
    index = filled(metric=metric)
    for ask in (index.search, index.exact):
        one, three = ask(X, 9, threads=1), ask(X, 9, threads=3)
        np.testing.assert_array_equal(one.ids, three.ids)
        np.testing.assert_array_equal(one.scores, three.scores)


@pytest.mark.parametrize("metric", METRICS)
def test_what_the_caller_gave_is_not_changed(metric: Any) -> None:
    vectors, queries = X.copy(), Q.copy()
    vectors.flags.writeable = queries.flags.writeable = False
    index = Index(8, metric)
    index.add(None, vectors)
    before = index.exact(queries)
    np.testing.assert_array_equal(vectors, X)
    changed = X.copy()
    other = Index(8, metric)
    other.add(None, changed)
    changed[:] = 1
    np.testing.assert_array_equal(other.exact(queries).scores, before.scores)


@BOTH
def test_scores_and_distances(kind: Any) -> None:
    found = {}
    for metric in METRICS:
        index = kind(2, metric)
        index.add([10, 20, 30], [[3, 4], [0, 2], [-3, -4]])
        found[metric] = index.exact([6, 8], 3)
        assert found[metric].ids.tolist() == [10, 20, 30]
    np.testing.assert_allclose(found["cosine"].scores, [1, 0.8, -1], atol=1e-6)
    np.testing.assert_allclose(found["cosine"].distances, [0, 0.2, 2], atol=1e-6)
    np.testing.assert_allclose(found["ip"].scores, [50, 16, -50])
    np.testing.assert_allclose(found["ip"].distances, [-50, -16, 50])
    np.testing.assert_allclose(found["l2"].scores, [-5, -np.sqrt(72), -15])
    np.testing.assert_allclose(found["l2"].distances, [5, np.sqrt(72), 15])


# ---------------------------------------------------------------------------------------------------------- adding


@BOTH
@pytest.mark.parametrize(
    ("ids", "vectors", "words"),
    [
        ([1, 2], X[:3], "2 ids for 3 vectors"),
        ([1, 1], X[:2], "ids"),
        ([100, 5], X[:2], "ids"),
        (["a", "b"], X[:2], "ids"),
        ([1.5, 2.5], X[:2], "ids, row 0: 1.5"),
        (None, X[:2, :7], "shape [2, 7]"),
        (None, X[0], "for one vector give vector[None]"),
        (None, np.full((2, 8), np.nan), "vectors, row 0: nan"),
        (None, np.zeros((2, 8)), "vectors, row 0: a zero vector"),
        (None, [["x"] * 8], "dtype <U1"),
    ],
    ids=str,
)
def test_a_refused_add_changes_nothing(kind: Any, ids: Any, vectors: Any, words: str) -> None:
    index = filled(kind)
    before = index.exact(Q)
    with pytest.raises(SearchError) as caught:
        index.add(ids, vectors)
    assert words in str(caught.value)
    assert len(index) == 60
    np.testing.assert_array_equal(index.exact(Q).ids, before.ids)
    index.add(None, X[:1])
    assert len(index) == 61 and index.exact(X[0], 2).ids.tolist() == [0, 60]


@BOTH
@pytest.mark.parametrize("threads", [0, -1, 1.0, True, "2", 10**9])
def test_wrong_threads(kind: Any, threads: Any) -> None:
    with pytest.raises(SearchError, match="threads="):
        kind(8).add(None, X, threads=threads)


def test_float16_refuses_what_it_cannot_hold() -> None:
    large = X * np.float32(1e5)
    for kind in (Index, TwinIndex):
        with pytest.raises(SearchError, match=r"vectors, row 0: a component above 65504"):
            kind(8, "l2", refine="float16").add(None, large)
        kind(8, "cosine", refine="float16").add(None, large)
        index = kind(8, "l2", refine="float16")
        index.add(None, X)
        assert np.isfinite(index.exact(large, 3).scores).all()


def test_progress_counts_up_to_all() -> None:
    index, seen = Index(8), []
    index.add(None, RNG.normal(size=(3000, 8)), progress=lambda done, total: seen.append((done, total)))
    assert seen and all(total == 3000 and 0 <= done <= 3000 for done, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == 3000


class StopError(Exception):
    pass


@pytest.mark.parametrize("start", [0, 60])
@pytest.mark.parametrize("how", [StopError("enough"), ValueError("mine"), KeyboardInterrupt()])
def test_an_interrupted_add_changes_nothing(start: int, how: BaseException, tmp_path: Path) -> None:
    more = RNG.normal(size=(2500, 8)).astype(np.float32)
    names = [f"new {n}" for n in range(2500)]
    index, other = Index(8), Index(8)
    for each in (index, other):
        each.add([f"old {n}" for n in range(start)], X[:start])

    def progress(done: int, total: int) -> None:
        if done > 0:
            raise how

    with pytest.raises(type(how)) as caught:
        index.add(names, more, progress=progress)
    assert caught.value is how
    assert len(index) == start and index.exact(Q, 3).ids.tolist() == other.exact(Q, 3).ids.tolist()
    assert (index.search(Q, 200).counts == start).all()
    # adding them again goes as if nothing had been
    for each, file in ((index, "a"), (other, "b")):
        each.add(names, more)
        each.save(tmp_path / file)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_control_c_ends_an_add() -> None:
    index = filled()
    with pytest.raises(KeyboardInterrupt):
        index.add(None, np.tile(X, (40, 1)), progress=lambda done, total: signal.raise_signal(signal.SIGINT))
    assert len(index) == 60 and index.exact(X[5], 1).ids.tolist() == [5]


def test_searching_while_adding_gives_ids_that_exist() -> None:
    index = Index(8)
    names = [f"n{n}" for n in range(3000)]
    vectors = RNG.normal(size=(3000, 8)).astype(np.float32)
    index.add(names[:100], vectors[:100])
    known, faults, stop = set(names), [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            for hits in (index.search(Q, 20), index.exact(Q, 20)):
                if not set(hits.ids.ravel().tolist()) <= known or not (hits.counts == 20).all():
                    faults.append(hits)

    readers = [threading.Thread(target=ask) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for start in range(100, 3000, 290):
            index.add(names[start : start + 290], vectors[start : start + 290], threads=1)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert faults == [] and len(index) == 3000


# ----------------------------------------------------------------------------------------------------------- stats


@pytest.mark.parametrize("ids", [None, list(range(60, 120)), [str(n) for n in range(60)]], ids=["-", "i", "s"])
def test_stats(ids: Any) -> None:
    index = filled(ids=ids, metric="l2", refine="float16", seed=5)
    assert (index.stats().linked, index.stats().bits, index.stats().recall) == (0, 0, ())  # too few for a graph
    stats = index.stats()
    assert (stats.count, stats.dim, stats.metric, stats.refine, stats.seed) == (60, 8, "l2", "float16", 5)
    assert stats.reachable == 60 and stats.degree > 0 and stats.effort > 0
    least = {"row numbers": 0, "integers": 480, "strings": 60 * 8 + 110}[stats.ids]
    # and what finds their rows
    assert least <= stats.memory["ids"] <= least + 16 * 60 * (least > 0) and stats.memory["vectors"] >= 60 * 8 * 2
    assert stats.bytes_per_vector == sum(stats.memory.values()) / 60


def test_stats_of_a_graph() -> None:
    vectors = RNG.normal(size=(2000, 8))
    vectors[1900:] = vectors[:100]
    index = Index(8, "l2")
    index.add(None, vectors)
    stats = index.stats()
    assert stats.count == stats.linked == stats.reachable == 2000 and stats.duplicates == 100
    assert 0 < stats.degree_mean <= stats.degree_max <= stats.degree and stats.bits in (4, 8, 16)
    assert 0 <= stats.clipped < 0.1 and {"vectors", "codes", "links", "ids"} <= stats.memory.keys()
    assert all(0 <= share <= 1 for row in stats.recall for share in (row.at_1, row.at_10, row.at_100))
    assert [row.ef for row in stats.recall] == sorted({row.ef for row in stats.recall}) != []


def test_stats_of_an_empty_index() -> None:
    stats = Index(8).stats()
    assert (stats.count, stats.bytes_per_vector, stats.reachable) == (0, 0.0, 0)


def test_the_import_is_light() -> None:
    code = "import sys, medalist.search; print([name for name in sys.modules if '.' not in name])"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = ("torch", "pandas", "scipy", "rich", "cv2", "PIL", "pyarrow", "typer", "pydantic", "sklearn")
    assert "'numpy'" in names and [name for name in heavy if f"'{name}'" in names] == []
