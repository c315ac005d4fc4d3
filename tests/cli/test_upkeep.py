from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.search import Index

Command = Callable[..., Any]
X = np.random.default_rng(2).normal(size=(50, 6)).astype(np.float32)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A live index whose 50 vectors came one by one, so that its log has 50 records, and a snapshot's parent."""
    monkeypatch.chdir(tmp_path)
    with Index.create("live", 6, fields={"depth": "int"}) as index:
        for row in range(50):
            index.add([row], X[row : row + 1], {"depth": [row]})
    return Path("live")


def test_verify_and_repair(live: Path, medalist: Command) -> None:
    assert medalist("index", "verify", "live").out == "live: nothing is wrong\n"
    assert medalist("index", "repair", "live").out == "live: nothing to repair, 50 vectors\n"
    log = next(live.glob("log-*.bin"))
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(bytes(data))
    ended = medalist("index", "verify", "live")
    assert ended.code == 2 and ended.out.startswith(f"{log.name}: record ") and ended.out.count("\n") == 2
    assert ended.line.startswith("live: damaged, 2 findings; run medalist index repair live, or go back to a snapshot")
    assert medalist("index", "info", "live").code == 2
    ended = medalist("index", "repair", "live")
    lines = ended.out.splitlines()
    assert ended.code == 0 and len(lines) > 1 and log.name in ended.out
    assert lines[-1].startswith("live: repaired, ")
    assert medalist("index", "verify", "live").out == "live: nothing is wrong\n"
    with Index.open(live, read_only=True) as index:
        assert 0 < len(index) < 50
        rows = index.ids().tolist()
        np.testing.assert_allclose(index.exact(X[rows], 1).ids[:, 0], rows)


def test_snapshot(live: Path, medalist: Command) -> None:
    assert medalist("index", "snapshot", "live", "-o", "deep/copy").out == "deep/copy: 50 vectors of live\n"
    assert medalist("index", "delete", "live", "--where", "depth < 30").code == 0
    with Index.open("deep/copy") as copy, Index.open("live", read_only=True) as index:
        assert (len(copy), len(index)) == (50, 20) and copy.count("depth < 30") == 30
    ended = medalist("index", "snapshot", "live", "-o", "deep/copy")
    assert ended.code == 2 and "holds an index already" in ended.line


def test_compact(live: Path, medalist: Command) -> None:
    assert medalist("index", "delete", "live", "--where", "depth < 10").code == 0
    before = Index.open("live", read_only=True).exact(X[:5], 10)
    ended = medalist("index", "compact", "live")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1].startswith("live: 40 vectors, 10 dead ones reclaimed; 0.0 MB, 0.0 MB before")
    with Index.open("live", read_only=True) as index:
        assert index.stats().dead == 0 and index.exact(X[:5], 10).ids.tolist() == before.ids.tolist()
