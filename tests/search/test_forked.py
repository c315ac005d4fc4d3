"""An index folder that is open for writing when its process is forked: nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.errors import SearchError
from medalist.search import Index

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")

X = np.random.default_rng(5).normal(size=(40, 4)).astype(np.float32)

BEGIN = r"""
import json, os, sys
import numpy as np
from medalist.errors import SearchError
from medalist.search import Index

folder = sys.argv[1]
X = np.random.default_rng(5).normal(size=(40, 4)).astype(np.float32)

def refusal(change):
    try:
        change()
    except SearchError as error:
        return str(error)
    return ""

def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            told = json.dumps(work()) + "\n"
            os.write(1, told.encode())  # one call, so that lines of several children do not mix
            sys.exit(0)  # with destructors, unlike os._exit
        except SystemExit:
            raise
        except BaseException as error:
            os.write(1, (json.dumps(repr(error)) + "\n").encode())
            os._exit(1)
    return child

def ended(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

CHANGES = """
def changes(index):
    return {
        "add": lambda: index.add(["c"], X[:1]),
        "add nothing new": lambda: index.upsert(["r1"], X[:1]),
        "delete": lambda: index.delete(["r1"]),
        "delete by filter": lambda: index.delete(where="id = r1"),
        "set_fields": lambda: index.set_fields({"n": [3]}, ids=["r1"]),
        "set_fields by filter": lambda: index.set_fields({"n": 3}, where="n is missing"),
        "optimize": lambda: index.optimize(),
        "flush": lambda: index.flush(),
        "checkpoint": lambda: index.checkpoint(),
        "snapshot": lambda: index.snapshot(folder + "-copy"),
        "save": lambda: index.save(folder + "-file.ann"),
    }
"""


def run(script: str, folder: Path, *arguments: str) -> list[Any]:
    """Run a script after BEGIN and CHANGES in a process of its own, and return the JSON values of its lines."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + CHANGES + script, str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "fsync", ["interval", pytest.param("always", marks=pytest.mark.slow), pytest.param("os", marks=pytest.mark.slow)]
)
def test_a_forked_process_may_read_and_change_nothing(fsync: str, tmp_path: Path) -> None:
    script = """
index = Index.create(folder, 4, fields={"n": "int"}, fsync=sys.argv[2], fsync_seconds=0.001)
index.add(["r0", "r1"], X[:2])

def child():
    found = {name: refusal(change) for name, change in changes(index).items()}
    found["read"] = len(index.search(X[0], 5).ids), index.ids().tolist(), index.count()
    index.close()
    found["closed"] = refusal(lambda: len(index))
    found["opened"] = Index.open(folder, read_only=True).ids().tolist()
    found["second writer"] = refusal(lambda: Index.open(folder))
    return found

ended(in_child(child))
index.add(["r2"], X[2:3])
index.close()
print(json.dumps([Index.open(folder).ids().tolist(), Index.verify(folder)]))
"""
    told, after = run(script, tmp_path / "x", fsync)
    assert told.pop("read") == [5, ["r0", "r1"], 2]
    assert "closed" in told.pop("closed") and told.pop("opened") == ["r0", "r1"]
    assert "another process" in told.pop("second writer")
    for name, line in told.items():
        assert "was opened for writing by process" in line, name
        assert str(tmp_path / "x") in line and "\n" not in line, name
    assert after == [["r0", "r1", "r2"], []]
    assert not list(tmp_path.glob("x-*"))  # neither a snapshot nor a file


def test_nothing_acknowledged_is_lost_where_parent_and_children_add(tmp_path: Path) -> None:
    script = """
index = Index.create(folder, 4, fsync="interval", fsync_seconds=0.001)
index.add([f"p{at}" for at in range(5)], X[:5])
kept = [f"p{at}" for at in range(5)]

def child():
    return [refusal(lambda at=at: index.add([f"c{at}"], X[at:at + 1])) != "" for at in range(20)]

children = [in_child(child) for _ in range(3)]
for at in range(5, 40):
    index.add([f"p{at}"], X[at : at + 1])
    kept.append(f"p{at}")
for one in children:
    ended(one)
index.upsert(["p0"], X[3:4])
index.checkpoint()
index.close()
print(json.dumps([kept, Index.open(folder, read_only=True).ids().tolist(), Index.verify(folder)]))
"""
    *children, (kept, found, faults) = run(script, tmp_path / "x")
    assert [len(one) for one in children] == [20, 20, 20] and all(all(one) for one in children)
    assert sorted(found) == sorted(kept) and faults == []


def test_a_process_that_ends_without_closing_leaves_its_parent_the_folder(tmp_path: Path) -> None:
    script = """
index = Index.create(folder, 4, fsync="interval", fsync_seconds=0.001)
index.add(["a"], X[:1])
ended(in_child(lambda: None))  # its interpreter ends, and destroys what it inherited
def dropped():
    global index
    del index
ended(in_child(dropped))
index.add(["b"], X[1:2])
waiting = os.pipe()
def child():
    os.close(waiting[1])
    os.read(waiting[0], 1)
lasting = in_child(child)
index.close()
with Index.open(folder) as again:  # the child that still runs does not hold the lock
    again.add(["c"], X[2:3])
    print(json.dumps([again.ids().tolist(), Index.verify(folder)]))
os.close(waiting[1])
ended(lasting)
"""
    *_, (ids, faults), last = run(script, tmp_path / "x")
    assert (ids, faults, last) == (["a", "b", "c"], [], None)


def test_a_forked_process_writes_once_its_parent_has_closed(tmp_path: Path) -> None:
    script = """
index = Index.create(folder, 4, fsync="os")
index.add(["a"], X[:1])
index.close()
def child():
    with Index.open(folder, fsync="os") as own:
        own.add(["b"], X[1:2])
        return own.ids().tolist()
ended(in_child(child))
"""
    assert run(script, tmp_path / "x") == [["a", "b"]]


@pytest.mark.parametrize(
    "how",
    ["fork", pytest.param("spawn", marks=pytest.mark.slow), pytest.param("forkserver", marks=pytest.mark.slow)],
)
def test_workers_of_multiprocessing_are_refused_or_open_it_themselves(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import multiprocessing, sys
import numpy as np
from medalist.errors import SearchError
from medalist.search import Index

index = None

def work(folder, number):
    try:
        if index is not None:
            index.add([f"c{number}"], np.ones((1, 4), np.float32))
        else:
            Index.open(folder).add([f"c{number}"], np.ones((1, 4), np.float32))
    except SearchError as error:
        return str(error)
    return "added"

if __name__ == "__main__":
    folder = sys.argv[1]
    with Index.create(folder, 4) as index:
        index.add(["a"], np.ones((1, 4), np.float32))
        with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
            lines = pool.starmap(work, [(folder, number) for number in range(4)])
        index.add(["b"], np.ones((1, 4), np.float32))
    assert all("process" in line for line in lines), lines
    assert Index.open(folder).ids().tolist() == ["a", "b"] and Index.verify(folder) == []
"""
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script), str(tmp_path / "x"), how],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


def test_threads_of_a_pool_lose_nothing(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Index.create(tmp_path / "x", 4, fsync="os") as index:
        with ThreadPoolExecutor(4) as first, ThreadPoolExecutor(4) as second:
            for at in range(40):
                (first if at % 2 else second).submit(index.add, [f"r{at}"], X[at : at + 1])
        assert len(index) == 40
    assert sorted(Index.open(tmp_path / "x").ids().tolist()) == sorted(f"r{at}" for at in range(40))
    assert Index.verify(tmp_path / "x") == []


def test_a_writer_whose_log_another_process_has_changed_writes_nothing_over_it(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "x", 4, fsync="os")
    index.add(["a"], X[:1])
    (tmp_path / "x" / "LOCK").unlink()  # then another process can lock the folder too
    other = Index.open(tmp_path / "x", fsync="os")
    other.add(["b"], X[1:2])
    for change in (lambda: index.add(["c"], X[2:3]), lambda: index.delete(["a"]), index.checkpoint, index.optimize):
        with pytest.raises(SearchError, match=r"x: log: another process has changed or removed it.*open the folder"):
            change()
    other.add(["d"], X[3:4])
    other.checkpoint()
    with pytest.raises(SearchError, match="another process has changed or removed it"):
        index.add(["c"], X[2:3])
    index.close()
    other.close()
    assert Index.open(tmp_path / "x").ids().tolist() == ["a", "b", "d"]
    assert Index.verify(tmp_path / "x") == []


def test_verify_finds_acknowledged_changes_that_are_missing_at_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "x" / "log-1.bin"
    sizes = []
    with Index.create(tmp_path / "x", 4, fsync="os") as index:
        for at in range(4):
            index.add([f"r{at}"], X[at : at + 1])
            sizes.append(log.stat().st_size)
        whole = log.read_bytes()
    assert Index.verify(tmp_path / "x") == []
    log.write_bytes(whole[: sizes[1]])  # cut between two records: what is left is a whole log
    line = "log-1.bin: 2 acknowledged changes are missing at its end"
    assert [one.startswith(line) for one in Index.verify(tmp_path / "x")] == [True]
    with Index.open(tmp_path / "x", fsync="os") as again:  # a loss of power may do this, so it can be opened
        assert again.ids().tolist() == ["r0", "r1"]
        again.add(["r9"], X[9:10])
    assert [one.startswith(line) for one in Index.verify(tmp_path / "x")] == [True]  # and is not forgotten
    assert any(one.startswith(line) for one in Index.repair(tmp_path / "x"))
    assert Index.verify(tmp_path / "x") == [] and Index.open(tmp_path / "x").ids().tolist() == ["r0", "r1", "r9"]


def test_a_folder_of_an_earlier_version_has_no_note_and_is_whole(tmp_path: Path) -> None:
    with Index.create(tmp_path / "x", 4) as index:
        index.add(["a"], X[:1])
    for note in (b"", b"\0" * 32, b"\xff" * 40):
        (tmp_path / "x" / "LOCK").write_bytes(note)
        assert Index.verify(tmp_path / "x") == []
