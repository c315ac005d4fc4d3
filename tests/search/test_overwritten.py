"""An index file that another program overwrites in place while it is open."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medalist.errors import SearchError
from medalist.search import Index

X = np.random.default_rng(6).normal(size=(900, 8)).astype(np.float32)


def saved(path: Path) -> Path:
    index = Index(8)
    index.add([f"r{at}" for at in range(len(X))], X)
    index.save(path)
    os.utime(path, (1, 1))  # so that the time of a later change is another one on every file system
    return path


SPOILS: dict[str, Callable[[Path], object]] = {
    "cut to nothing": lambda path: os.truncate(path, 0),
    "cut": lambda path: os.truncate(path, 5000),
    "other bytes of the same length": lambda path: path.write_bytes(b"\1" * path.stat().st_size),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_an_index_of_a_usual_size_is_read_and_stays_what_it_was(spoil: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ann")
    index = Index.open(path)
    before = index.search(X[:20], 5)
    SPOILS[spoil](path)
    np.testing.assert_array_equal(index.exact(X[:20], 5).scores, before.scores)
    index.add(["more"], X[:1])
    assert len(index) == 901


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let a mapped file be overwritten")
@pytest.mark.parametrize("spoil", SPOILS)
def test_a_mapped_index_raises_one_line_in_every_call(spoil: str, tmp_path: Path) -> None:
    script = """
import sys
from medalist.errors import SearchError
from medalist.search import Index
import numpy as np

index = Index.open(sys.argv[1], mode="mapped")
assert len(index.search(np.ones(8, np.float32), 5).ids) == 5
print("open", flush=True)
input()
asked = [
    lambda: index.search(np.ones(8, np.float32)), lambda: index.exact(np.ones((3, 8), np.float32)),
    lambda: index.within(np.ones(8, np.float32), min_score=0.5), lambda: index.vectors(["r1"]), lambda: len(index),
    lambda: index.recommend(["r1"]), lambda: index.add(["n"], np.ones((1, 8), np.float32)), index.optimize,
    lambda: index.save(sys.argv[1] + "2"), lambda: index.stats(), lambda: index.calibrate(np.ones((3, 8), np.float32)),
]
for ask in asked:
    try:
        ask()
    except SearchError as error:
        assert "another program has overwritten the file" in str(error) and sys.argv[1] in str(error), error
    else:
        raise AssertionError("answered")
assert "Index" in repr(index)
index.close()
"""
    path = saved(tmp_path / "x.ann")
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "open\n"
        SPOILS[spoil](path)
        process.communicate("\n", timeout=60)
    assert process.returncode == 0  # and not -SIGBUS


def test_a_mapped_file_that_is_replaced_or_removed_is_the_old_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ann")
    index = Index.open(path, mode="mapped")
    before = index.search(X[:5], 3).ids
    if sys.platform != "win32":
        other = Index(8)
        other.add(None, X[:3])
        other.save(path)
        np.testing.assert_array_equal(index.search(X[:5], 3).ids, before)
        path.unlink()
    np.testing.assert_array_equal(index.search(X[:5], 3).ids, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let a mapped file be overwritten")
def test_the_segment_of_a_folder_is_looked_at_too(tmp_path: Path) -> None:
    with Index.create(tmp_path / "x", 8, fsync="os") as index:
        index.add(None, X)
        index.checkpoint()
    with Index.open(tmp_path / "x", mode="mapped", fsync="os") as index:
        os.utime(tmp_path / "x" / "segment-2.ann", (1, 1))
        with pytest.raises(SearchError, match="another program has overwritten the file"):
            index.search(X[0])
