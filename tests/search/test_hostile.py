"""Index files that are damaged, or made by somebody who means harm: refused, or opened and answered from soundly."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.errors import SearchError
from medalist.search import Index

N, DIM = 1100, 5  # enough for a graph
RNG = np.random.default_rng(1)
X = RNG.normal(size=(N, DIM)).astype(np.float32)
X[20:30] = X[3]
Q = RNG.normal(size=(3, DIM)).astype(np.float32)
NAMES = [f"n{n}" for n in range(N)]
ODD = (0, 1, 2, N - 1, N, N + 1, 2 * N, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
ODD_64 = (*ODD, 2**32, 2**40, 2**61, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e38, 1e-45)

Unpack = Callable[[bytes], dict[str, bytes]]
Pack = Callable[..., bytes]


@pytest.fixture(scope="module", params=["few strings", "strings", "rows"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of an index: of a few vectors, which has no graph, or one with a graph."""
    path: Path = tmp_path_factory.mktemp("whole") / "x.ann"
    n = 40 if request.param == "few strings" else N
    index = Index(DIM, "l2", degree=4, effort=8)
    index.add(None if request.param == "rows" else NAMES[:n], X[:n])
    index.save(path)
    return path.read_bytes()


def refused(path: Path, data: bytes | None = None) -> bool:
    """Whether the file is refused, in one line that names it; if not, that all its answers are sound."""
    if data is not None:
        path.write_bytes(data)
    outcomes = {_refused(path, mode) for mode in ("mapped", "memory")}
    assert len(outcomes) == 1  # both modes agree
    return outcomes.pop()


def _refused(path: Path, mode: Any) -> bool:
    try:
        index = Index.open(path, mode)
    except SearchError as error:
        line = str(error)
        assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < 400
        return True
    n = len(index)
    assert n <= 10 * N
    queries = np.resize(Q, (3, index.dim))
    for hits in (index.exact(queries, 7), index.search(queries, 7, ef=9), index.search(queries, 7, recall=0.99)):
        assert hits.ids.shape == (3, 7) and (hits.counts >= 0).all() and (hits.counts <= min(n, 7)).all()
        for row, count in zip(hits.ids.tolist(), hits.counts.tolist(), strict=True):
            assert len({*row[:count]}) == count
    index.search(queries, max(n, 1), ef=max(n, 1))
    index.stats()
    index.add(None if index.stats().ids == "row numbers" else ["new"], queries[:1])
    assert len(index) == n + 1
    return False


def test_the_small_index_is_sound(whole: bytes, tmp_path: Path) -> None:
    assert not refused(tmp_path / "x", whole)


def test_every_truncation_is_refused(whole: bytes, tmp_path: Path) -> None:
    """Every length of the file without a graph, and every 29th of the others."""
    path = tmp_path / "x"
    path.write_bytes(whole)
    with path.open("r+b") as file:
        for length in range(len(whole) - 1, -1, -1 if len(whole) < 40_000 else -29):
            file.truncate(length)
            with pytest.raises(SearchError):
                Index.open(path)


def test_something_behind_the_end_is_refused(whole: bytes, tmp_path: Path) -> None:
    for more in (b"\0", b"x", bytes(4096), whole):
        assert refused(tmp_path / "x", whole + more)


def test_every_changed_byte_is_refused(whole: bytes, tmp_path: Path) -> None:
    """All of the header and of the ends of parts, and a sample of the rest."""
    rng = np.random.default_rng(0)
    path = tmp_path / "x"
    path.write_bytes(whole)
    places = {*range(600), *range(4090, 4100), *rng.integers(0, len(whole), 1200).tolist(), len(whole) - 1}
    with path.open("r+b", buffering=0) as file:
        for at in sorted(places):
            file.seek(at)
            file.write(bytes([whole[at] ^ int(rng.integers(1, 256))]))
            with pytest.raises(SearchError):
                Index.open(path)
            file.seek(at)
            file.write(whole[at : at + 1])
    assert not refused(path)


def test_parts_missing_doubled_emptied_or_in_each_others_place(
    whole: bytes, tmp_path: Path, taken_apart: Unpack, put_together: Pack
) -> None:
    parts = taken_apart(whole)
    path = tmp_path / "x"
    for name in parts:
        left = {other: content for other, content in parts.items() if other != name}
        refused(path, put_together(left))
        refused(path, put_together({**left, "other": parts[name]}))
        refused(path, put_together({**parts, name: b""}))
        refused(path, put_together({**parts, name: parts[name] + bytes(8)}))
        refused(path, put_together({**parts, name: parts[name] * 2}))
        refused(path, put_together({**parts, name: parts[name][:-1]}))
    for first, second in pairwise(parts):
        refused(path, put_together({**parts, first: parts[second], second: parts[first]}))
    for name in {"params", "vectors", "links"} & parts.keys():
        assert refused(path, put_together({other: content for other, content in parts.items() if other != name}))
        assert refused(path, put_together({**parts, name: b""}))
        assert refused(path, put_together({**parts, name: parts[name][:-1]}))
    refused(path, put_together(dict(reversed(parts.items()))))


def test_tables_that_lie(whole: bytes, tmp_path: Path, taken_apart: Unpack, put_together: Pack) -> None:
    parts = taken_apart(whole)
    path = tmp_path / "x"
    for row in range(len(parts)):
        for column in (1, 2, 3):
            for value in (*ODD_64, 4096, 8192, len(whole), len(whole) - 1):

                def change(entries: list[list[Any]], row: int = row, column: int = column, value: int = value) -> None:
                    entries[row][column] = value

                data = put_together(parts, change)
                assert data == whole or refused(path, data)

        def rename(entries: list[list[Any]], row: int = row) -> None:
            entries[row][0] = entries[row - 1][0]

        assert refused(path, put_together(parts, rename))


@pytest.mark.parametrize("seed", range(4))
def test_right_checksums_over_wrong_content(
    whole: bytes, tmp_path: Path, taken_apart: Unpack, put_together: Pack, seed: int
) -> None:
    """What the checksums cannot see: counts, links, ids and numbers that were changed on purpose."""
    rng = np.random.default_rng(seed)
    parts = taken_apart(whole)
    names = [name for name in parts if parts[name]]
    opened = 0
    for _ in range(130):
        changed = dict(parts)
        for _ in range(rng.integers(1, 3)):
            name = names[rng.integers(len(names))]
            changed[name] = spoilt(changed[name], rng)
        opened += not refused(tmp_path / "x", put_together(changed))
    assert opened < 130


def test_every_word_of_the_parameters(whole: bytes, tmp_path: Path, taken_apart: Unpack, put_together: Pack) -> None:
    parts = taken_apart(whole)
    for at in range(0, len(parts["params"]) - 3, 4):
        for value in (*ODD, 2**32 - 5):
            params = bytearray(parts["params"])
            params[at : at + 4] = struct.pack("<I", value)
            refused(tmp_path / "x", put_together({**parts, "params": bytes(params)}))


def spoilt(content: bytes, rng: np.random.Generator) -> bytes:
    """A part with something changed in it."""
    data = bytearray(content or b"there was nothing")
    way = rng.integers(6)
    if way == 0 and len(data) >= 4:
        at = 4 * int(rng.integers(len(data) // 4))
        data[at : at + 4] = struct.pack("<I", ODD[rng.integers(len(ODD))])
    elif way == 1 and len(data) >= 8:
        at = 8 * int(rng.integers(len(data) // 8))
        data[at : at + 8] = struct.pack("<Q", ODD_64[rng.integers(len(ODD_64))])
    elif way == 2 and len(data) >= 4:
        at = 4 * int(rng.integers(len(data) // 4))
        data[at : at + 4] = struct.pack("<f", FLOATS[rng.integers(len(FLOATS))])
    elif way == 3:
        del data[int(rng.integers(len(data))) :]
    elif way == 4:
        at = int(rng.integers(len(data)))
        data[at:at] = data[at : at + int(rng.integers(1, 64))]
    else:
        for at in rng.integers(0, len(data), 3):
            data[at] = int(rng.integers(256))
    return bytes(data)
