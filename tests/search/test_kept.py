"""Indexes in folders: who may write, what is there when they are opened again, damage, repair, interruption."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.errors import SearchError
from medalist.search import Index
from medalist.search.kept import Reported, faults
from medalist.search.schema import FieldKind

FIELDS: dict[str, FieldKind] = {"n": "int", "t": "tag"}
X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
FSYNC: tuple[Any, ...] = ("always", "interval", "os")


def made(path: Path, n: int = 10, **how: Any) -> Index:
    """An index in a folder, with n rows that came one by one."""
    index = Index.create(path, 4, "l2", fields=FIELDS, **how)
    for at in range(n):
        index.add([f"r{at}"], X[at : at + 1], [{"n": at, "t": "even" if at % 2 == 0 else "odd"}])
    return index


def told(index: Index) -> Any:
    return index.ids().tolist(), index.get(index.ids()) if len(index) else []


def one_line(error: BaseException) -> str:
    line = str(error)
    assert "\n" not in line and len(line) < 400 and line
    return line


def logs(path: Path) -> list[Path]:
    return sorted(path.glob("log-*.bin"))


# ------------------------------------------------------------------------------------------------ who may do what


@pytest.mark.parametrize("fsync", FSYNC)
@pytest.mark.parametrize("mode", ["mapped", "memory"])
def test_what_was_kept_is_there_again(fsync: Any, mode: Any, tmp_path: Path) -> None:
    with made(tmp_path / "x", fsync=fsync, fsync_seconds=0.01) as index:
        index.upsert(["r3"], X[20:21], [{"n": 33}])
        index.delete(["r4"])
        index.set_fields({"t": ["both", None]}, ids=["r5", "r6"])
        before = told(index)
    with Index.open(tmp_path / "x", mode, fsync=fsync) as again:
        assert told(again) == before and again.fields == FIELDS and again.metric == "l2"
        assert again.get("r3") == [{"n": 33}] and "r4" not in again
        assert again.get(["r5", "r6"]) == [{"n": 5, "t": ["both"]}, {"n": 6}]
        again.checkpoint()
        again.add(["late"], X[25:26])
        again.flush()
    with Index.open(tmp_path / "x", mode, fsync=fsync) as again:
        assert told(again)[0] == [*before[0], "late"]
    assert Index.verify(tmp_path / "x") == []


def test_an_empty_index_stays_as_it_was_made(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    Index.create(tmp_path / "x", 7, "ip", fields=FIELDS, refine="float16", degree=8, effort=30, seed=9).close()
    with Index.open(tmp_path / "x") as index:
        stats = index.stats()
        assert (len(index), index.dim, index.metric, index.fields) == (0, 7, "ip", FIELDS)
        assert (stats.refine, stats.degree, stats.effort, stats.seed) == ("float16", 8, 30, 9)


def test_one_writes_and_others_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    index = made(path)
    with pytest.raises(SearchError, match=f"^{re.escape(str(path))}: ") as caught:
        Index.open(path)
    assert "in use" in one_line(caught.value) or "open" in one_line(caught.value)
    code = "import sys; from medalist.search import Index; Index.open(sys.argv[1])"
    ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert ran.returncode != 0 and str(path) in ran.stderr.splitlines()[-1]
    with pytest.raises(SearchError):
        Index.create(path, 4)
    with Index.open(path, read_only=True) as reader:
        before = told(reader)
        assert before == told(index)
        index.add(["more"], X[20:21])
        index.checkpoint()
        assert told(reader) == before  # what was there when it was opened
        files = {file.name: file.read_bytes() for file in path.iterdir()}
        for change in (
            lambda: reader.add(["a"], X[:1]),
            lambda: reader.upsert(["r1"], X[:1]),
            lambda: reader.delete(["r1"]),
            lambda: reader.delete(where="n > 3"),
            lambda: reader.set_fields({"n": 4}, where="n > 3"),
            lambda: reader.set_fields({"n": [4]}, ids=["r1"]),
            reader.optimize,
            reader.checkpoint,
        ):
            with pytest.raises(SearchError, match="read") as caught:
                change()
            one_line(caught.value)
        assert told(reader) == before and reader.count("n > 3") == 6
        assert {file.name: file.read_bytes() for file in path.iterdir()} == files
    index.close()
    with Index.open(path) as again:
        assert "more" in again


def test_a_closed_index_answers_nothing(tmp_path: Path) -> None:
    for index in (made(tmp_path / "x"), Index(4, "l2", fields=FIELDS)):
        index.close()
        index.close()
        assert "closed" in repr(index) and index.dim == 4 and index.fields == FIELDS
        for act in (
            len,
            lambda one: "r1" in one,
            lambda one: one.search(X[0]),
            lambda one: one.exact(X[0]),
            lambda one: one.within(X[0], min_score=-1),
            lambda one: one.recommend(["r1"]),
            lambda one: one.count(),
            lambda one: one.count("n > 3"),
            lambda one: one.facet("n"),
            lambda one: one.scroll(),
            lambda one: one.ids(),
            lambda one: one.get(["r1"]),
            lambda one: one.vectors(["r1"]),
            lambda one: one.stats(),
            lambda one: one.add(["a"], X[:1]),
            lambda one: one.delete(["r1"]),
            lambda one: one.delete(where="n > 3"),
            lambda one: one.set_fields({"n": 1}, where="n > 3"),
            lambda one: one.optimize(),
            lambda one: one.flush(),
            lambda one: one.checkpoint(),
            lambda one: one.snapshot(tmp_path / "other"),
            lambda one: one.save(tmp_path / "other"),
        ):
            with pytest.raises(SearchError, match=r"^the index is closed; open it again with Index\.open"):
                act(index)
    assert not (tmp_path / "other").exists()
    Index.open(tmp_path / "x").close()


def test_what_only_folders_do(tmp_path: Path) -> None:
    index = Index(4)
    for act in (index.flush, index.checkpoint, lambda: index.snapshot(tmp_path / "other")):
        with pytest.raises(SearchError, match="memory") as caught:
            act()
        one_line(caught.value)
    index.save(tmp_path / "file")
    with pytest.raises(SearchError, match="read_only is for folders"):
        Index.open(tmp_path / "file", read_only=True)


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    index = made(tmp_path / "x")
    for path, words in (("file", ""), ("full", "not empty: note"), ("x", ""), ("no/where", "No such file")):
        for act in (lambda path: Index.create(path, 4), index.snapshot):
            with pytest.raises(SearchError, match=f"^{re.escape(str(tmp_path / path))}: .*{words}") as caught:
                act(tmp_path / path)
            one_line(caught.value)
    for path in ("full", "missing"):
        with pytest.raises(SearchError, match=f"^{re.escape(str(tmp_path / path))}: ") as caught:
            Index.open(tmp_path / path)
        one_line(caught.value)
        assert Index.verify(tmp_path / path) != []
        with pytest.raises(SearchError):
            Index.repair(tmp_path / path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "x"]
    assert (tmp_path / "full" / "note").read_text() == "mine"


@pytest.mark.parametrize("how", [{"fsync": "never"}, {"fsync": None}, {"fsync_seconds": 0}, {"fsync_seconds": "1"}])
def test_wrong_ways_to_keep(how: dict[str, Any], tmp_path: Path) -> None:
    made(tmp_path / "x").close()
    for act in (lambda: Index.create(tmp_path / "new", 4, **how), lambda: Index.open(tmp_path / "x", **how)):
        with pytest.raises(SearchError, match=r"^fsync") as caught:
            act()
        one_line(caught.value)
    assert not (tmp_path / "new").exists()


def test_snapshots_stand_alone(tmp_path: Path) -> None:
    index = made(tmp_path / "x")
    before = told(index)
    index.snapshot(tmp_path / "copy")
    index.delete(["r1"])
    index.close()
    assert Index.verify(tmp_path / "copy") == []
    with Index.open(tmp_path / "copy") as copy:
        assert told(copy) == before
        copy.add(["mine"], X[:1])
    with Index.open(tmp_path / "x") as again:
        assert "mine" not in again and "r1" not in again


# ------------------------------------------------------------------------------------------------------------ damage


def test_a_torn_tail_is_cut(tmp_path: Path) -> None:
    """Whatever a crash leaves of the last record: the records before it are there."""
    made(tmp_path / "x").close()
    (log,) = logs(tmp_path / "x")
    data = log.read_bytes()
    seen = set()
    for length in range(len(data) - 1, len(data) // 2, -7):
        log.write_bytes(data[:length])
        with Index.open(tmp_path / "x", read_only=True) as reader:
            ids = reader.ids().tolist()
        with Index.open(tmp_path / "x") as index:
            assert index.ids().tolist() == ids == [f"r{at}" for at in range(len(ids))]
        seen.add(len(ids))
    assert seen <= set(range(10)) and len(seen) >= 4


def test_damage_in_the_middle_of_the_log_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    made(path).close()
    (log,) = logs(path)
    data = log.read_bytes()
    rng = np.random.default_rng(3)
    places = rng.integers(len(data) // 4, len(data) // 2, 25).tolist()
    for at in places:
        log.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        for act in (Index.open, lambda path: Index.open(path, read_only=True)):
            with pytest.raises(SearchError, match=f"^{re.escape(str(path))}: .*{log.name}.*record") as caught:
                act(path)
            one_line(caught.value)
        (line, *_) = Index.verify(path)
        assert log.name in line and "\n" not in line
    lines = Index.repair(path)
    assert lines and all("\n" not in line for line in lines)
    assert Index.verify(path) == []
    with Index.open(path) as index:
        ids = index.ids().tolist()
        assert 7 <= len(ids) < 10 and {*ids} < {f"r{at}" for at in range(10)}  # but the record, or what it hides
        assert all(index.get(one) == [{"n": int(one[1:]), "t": [("even", "odd")[int(one[1:]) % 2]]}] for one in ids)


@pytest.mark.parametrize("part", ["segment", "MANIFEST"])
def test_damage_elsewhere_is_named(part: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    index = made(path)
    index.checkpoint()
    before = told(index)
    index.close()
    (file,) = (one for one in path.iterdir() if one.name.startswith(part))
    data = file.read_bytes()
    for at in (20, len(data) // 2, len(data) - 3):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(SearchError, match=f"^{re.escape(str(path))}: .*{file.name}") as caught:
            Index.open(path)
        one_line(caught.value)
        assert any(file.name in line for line in Index.verify(path))
    if part == "MANIFEST":
        assert Index.repair(path) != []
        with Index.open(path) as again:
            assert told(again) == before
    else:
        file.write_bytes(data)
        assert Index.verify(path) == []
        file.unlink()
        with pytest.raises(SearchError, match=file.name):
            Index.open(path)


def test_repair_leaves_what_is_whole_alone(tmp_path: Path) -> None:
    index = made(tmp_path / "x")
    before = told(index)
    index.close()
    files = {file.name: file.read_bytes() for file in (tmp_path / "x").iterdir()}
    Index.repair(tmp_path / "x")
    assert {file.name: file.read_bytes() for file in (tmp_path / "x").iterdir()} == files
    with Index.open(tmp_path / "x") as again:
        assert told(again) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    made(tmp_path / "x").close()
    (tmp_path / "x").chmod(0o500)
    try:
        Index.open(tmp_path / "x", read_only=True).close()
    finally:
        (tmp_path / "x").chmod(0o700)


# ------------------------------------------------------------------------------------------------------ interruption


class StopError(ValueError):
    """Of a caller: not one of the core's."""


@pytest.mark.parametrize("how", [KeyboardInterrupt(), StopError("mine")], ids=["ctrl-c", "own"])
@pytest.mark.parametrize("put", [False, True], ids=["add", "upsert"])
def test_an_interrupted_change_leaves_all_as_it_was(how: BaseException, put: bool, tmp_path: Path) -> None:
    index = made(tmp_path / "x")
    before, log = told(index), logs(tmp_path / "x")[0].read_bytes()
    many = np.random.default_rng(1).normal(size=(2500, 4))
    names = [f"{'r' if put else 'new'}{at}" for at in range(2500)]

    def progress(done: int, total: int) -> None:
        if done > 0:
            raise how

    with pytest.raises(type(how)) as caught:
        (index.upsert if put else index.add)(names, many, progress=progress)
    assert caught.value is how
    assert told(index) == before and logs(tmp_path / "x")[0].read_bytes() == log
    (index.upsert if put else index.add)(names, many)
    assert len(index) == (2500 if put else 2510)
    index.close()
    with Index.open(tmp_path / "x") as again:
        assert len(again) == (2500 if put else 2510)
        again.delete([f"r{at}" for at in range(9)])
        ids = again.ids().tolist()
        with pytest.raises(type(how)):
            again.optimize(progress=progress)
            progress(1, 1)  # where nothing was reported
        assert again.ids().tolist() == ids


def test_errors_of_the_core_are_told_apart_from_a_callers() -> None:
    with pytest.raises(SearchError, match=r"^of the core$"), faults("x"):
        raise ValueError("of the core")
    calm = Reported(lambda done, total: None)
    with pytest.raises(SearchError, match=r"^of the core$"), faults("x", calm):
        assert calm(1, 2)
        raise ValueError("of the core")
    wild = Reported(lambda done, total: int("x"))
    with pytest.raises(ValueError, match="invalid literal"), faults("x", wild):
        wild(1, 2)
