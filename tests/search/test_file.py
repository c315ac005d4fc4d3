"""Saving and opening: what comes back is what was there, and a file is whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.errors import SearchError
from medalist.search import Index

RNG = np.random.default_rng(3)
X = RNG.normal(size=(700, 12)).astype(np.float32)
Q = RNG.normal(size=(40, 12)).astype(np.float32)
IDS: dict[str, Any] = {
    "rows": None,
    "integers": (np.arange(700) * 7919 % 100003 - 50000),
    "strings": [f"ид-{n}" for n in range(700)],
}
MODES: tuple[Any, ...] = ("mapped", "memory", "auto")


def filled(ids: str = "rows", n: int = 700, **options: Any) -> Index:
    index = Index(12, **options)
    given = IDS[ids]
    index.add(None if given is None else given[:n], X[:n])
    return index


def assert_same(first: Index, second: Index) -> None:
    for ask in ("search", "exact"):
        a, b = getattr(first, ask)(Q, 15), getattr(second, ask)(Q, 15)
        for name in ("ids", "scores", "counts", "distances"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    a, b = first.search(Q, 5, ef=7), second.search(Q, 5, ef=7)
    np.testing.assert_array_equal(a.ids, b.ids)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("refine", ["float32", "float16"])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_what_is_opened_answers_as_what_was_saved(
    metric: Any, refine: Any, ids: str, mode: Any, tmp_path: Path
) -> None:
    index = filled(ids, metric=metric, refine=refine, degree=12, effort=40, seed=8)
    index.save(tmp_path / "x.ann")
    again = Index.open(tmp_path / "x.ann", mode)
    assert (len(again), again.dim, again.metric) == (700, 12, metric)
    assert_same(index, again)
    told, kept = again.stats(), index.stats()
    for name in ("count", "metric", "refine", "degree", "effort", "seed", "ids", "degree_mean", "reachable", "recall"):
        assert getattr(told, name) == getattr(kept, name), name
    again.save(tmp_path / "y.ann")
    assert (tmp_path / "y.ann").read_bytes() == (tmp_path / "x.ann").read_bytes()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ids", IDS)
def test_adding_goes_on_where_it_ended(ids: str, mode: Any, tmp_path: Path) -> None:
    index = filled(ids, 400, metric="l2")
    index.save(tmp_path / "x.ann")
    again = Index.open(tmp_path / "x.ann", mode)
    given = IDS[ids]
    for each, name in ((index, "a"), (again, "b")):
        each.add(None if given is None else given[400:], X[400:])
        each.save(tmp_path / name)
    assert len(again) == 700
    assert_same(index, again)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    taken = [0] if given is None else [given[3]]
    with pytest.raises(SearchError, match="is in the index already"):
        again.add(taken, X[:1])


@pytest.mark.parametrize("mode", MODES)
def test_a_file_is_replaced_while_it_is_open(mode: Any, tmp_path: Path) -> None:
    index = filled("strings")
    index.save(tmp_path / "x.ann")
    again = Index.open(tmp_path / "x.ann", mode)
    again.save(tmp_path / "x.ann")
    assert_same(index, again)
    again.add(["one more"], Q[:1])
    again.save(tmp_path / "x.ann")
    assert_same(again, Index.open(tmp_path / "x.ann", mode))
    assert [path.name for path in tmp_path.iterdir()] == ["x.ann"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [0, 1, 2])
def test_small_indexes(n: int, mode: Any, tmp_path: Path) -> None:
    for kind, given in IDS.items():
        index = filled(kind, n, metric="l2")
        index.save(tmp_path / "x.ann")
        again = Index.open(tmp_path / "x.ann", mode)
        assert len(again) == n
        assert_same(index, again)
        again.add(None if given is None else given[2:50], X[2:50])
        assert again.search(X[9], 1).ids.tolist() == [n + 7 if given is None else given[9]]


def test_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = filled()
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "spaced name.ann", "ж🂡.ann", str(tmp_path / "whole"), Path("path"), os.fsdecode(b"\xff\xfe")):
        index.save(name)
        assert_same(index, Index.open(name))
    for wrong in ("", "a\0b", 7, None):
        for act in (index.save, Index.open):
            with pytest.raises(SearchError):
                act(wrong)  # type: ignore[operator]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    index = filled()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "x.ann", tmp_path / "folder"):
        with pytest.raises(SearchError) as caught:
            index.save(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"x", "too short"),
        (b"\x93NUMPY\x01\x00" + bytes(5000), "not an index"),
        (b"id,fold\n" * 900, "not an index"),
        (bytes(9000), "not an index"),
    ],
    ids=str,
)
def test_what_is_no_index(content: bytes | None, words: str, mode: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.ann"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SearchError, match=f"^{path}: [^\n]*{words}"):
        Index.open(path, mode)


def test_a_folder_and_a_pipe_are_no_index(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(SearchError, match=f"^{path}: "):
            Index.open(path)


def test_an_unknown_mode(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="mode='disk': expected one of 'mapped', 'memory', 'auto'"):
        Index.open(tmp_path, "disk")  # type: ignore[arg-type]


def test_an_opened_copy_needs_no_file_in_memory_mode(tmp_path: Path) -> None:
    index = filled("integers")
    index.save(tmp_path / "x.ann")
    again = Index.open(tmp_path / "x.ann", "memory")
    shutil.rmtree(tmp_path)
    assert_same(index, again)


def test_a_file_of_another_version(
    tmp_path: Path, taken_apart: Callable[[bytes], dict[str, bytes]], put_together: Callable[..., bytes]
) -> None:
    path = tmp_path / "x.ann"
    index = filled("strings")
    index.save(path)
    data = path.read_bytes()
    assert put_together(taken_apart(data)) == data  # the format is as it is written down
    # a part that nobody knows is left alone
    path.write_bytes(put_together({**taken_apart(data), "later": b"of a later minor version"}))
    assert_same(index, Index.open(path))
    path.write_bytes(data[:8] + b"\x02" + data[9:])
    with pytest.raises(SearchError, match="header: format version 2"):
        Index.open(path)
