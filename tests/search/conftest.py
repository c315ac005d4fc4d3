"""Vectors that are hard for an index, the comparison with the twin, and index files split into sections and rebuilt."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.search import Hits
from medalist.search.twin import TwinIndex

from .pairs import compare, tolerance

KINDS = ("normal", "ties", "sorted", "clusters", "low", "twice", "equal", "scaled", "offset", "spiky")


def draw(kind: str, n: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Return float32[n, dim] of a kind that is hard for some index. No vector is zero."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim))
    if kind == "ties":
        x = rng.integers(1, 4, (n, dim)).astype(np.float64)
    elif kind == "sorted":
        x = x[np.argsort(x[:, 0])] if n else x
    elif kind == "clusters":
        x = 10 * rng.normal(size=(5, dim))[rng.integers(0, 5, n)] + 0.1 * x
    elif kind == "low":
        x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, dim)) + 0.001 * x
    elif kind == "twice":
        x = x[rng.integers(0, max(n // 3, 1), n)] if n else x
    elif kind == "equal":
        x = np.repeat(rng.normal(size=(1, dim)), n, axis=0)
    elif kind == "scaled":
        x = x * 10.0 ** rng.uniform(-3, 3, (n, 1))
    elif kind == "offset":
        x = x + 20
    elif kind == "spiky":
        x[:, 0] *= 100
    return x.astype(np.float32)


@pytest.fixture(scope="session")
def drawn_vectors() -> Callable[[str, int, int, int], NDArray[np.float32]]:
    return draw


@pytest.fixture(scope="session")
def compared() -> Callable[..., None]:
    return compare


@pytest.fixture(scope="session")
def share_found() -> Callable[[Hits, TwinIndex, NDArray[np.float32]], float]:
    """Return a function for the recall: the share of answers at least as close as the true k-th, so that ties count."""

    def measure(found: Hits, twin: TwinIndex, queries: NDArray[np.float32]) -> float:
        k = found.ids.shape[1]
        place = {value: row for row, value in enumerate(twin._ids)}
        good = 0
        for row, query in enumerate(queries):
            scores = twin.scores(query)
            bound = np.sort(scores)[::-1][min(k, len(twin)) - 1] - tolerance(twin, query, scores)
            ids = found.ids[row, : int(found.counts[row])].tolist()
            assert len(set(ids)) == len(ids)
            good += sum(scores[place[value]] >= bound for value in ids)
        return good / (len(queries) * min(k, len(twin)))

    return measure


# ------------------------------------------------------------------------------------- the format of index files

MASK = 2**64 - 1
P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def left(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & MASK


def mixed(lane: int, word: int) -> int:
    return left((lane + word * P2) & MASK, 31) * P1 & MASK


@lru_cache(maxsize=256)
def xxh64(data: bytes) -> int:
    """Return XXH64 with seed 0, as its specification describes it."""
    value, at = P5, 0
    if len(data) >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        for block in struct.iter_unpack("<4Q", data[: len(data) // 32 * 32]):
            lanes = [mixed(lane, word) for lane, word in zip(lanes, block, strict=True)]
        value = sum(left(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            value = ((value ^ mixed(0, lane)) * P1 + P4) & MASK
        at = len(data) // 32 * 32
    value = (value + len(data)) & MASK
    while len(data) - at >= 8:
        value = (left(value ^ mixed(0, int.from_bytes(data[at : at + 8], "little")), 27) * P1 + P4) & MASK
        at += 8
    if len(data) - at >= 4:
        value = (left(value ^ (int.from_bytes(data[at : at + 4], "little") * P1 & MASK), 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        value = left(value ^ (byte * P5 & MASK), 11) * P1 & MASK
    value = (value ^ (value >> 33)) * P2 & MASK
    value = (value ^ (value >> 29)) * P3 & MASK
    return value ^ (value >> 32)


PAGE = 4096
HEAD = struct.Struct("<8sHHIIIQ")
ENTRY = struct.Struct("<8sQQQ")


def unpack(data: bytes) -> dict[str, bytes]:
    """Return the sections of an index file."""
    count = HEAD.unpack_from(data)[5]
    entries = [ENTRY.unpack_from(data, HEAD.size + at * ENTRY.size) for at in range(count)]
    return {name.rstrip(b"\0").decode(): data[offset : offset + length] for name, offset, length, _ in entries}


def pack(sections: Mapping[str, bytes], change: Callable[[list[list[Any]]], None] | None = None) -> bytes:
    """Return an index file of these sections. `change` may alter the table before the header's checksum is computed."""
    body, entries = b"", []
    for name, content in sections.items():
        body += bytes(-len(body) % PAGE)
        entries.append([name.encode().ljust(8, b"\0"), PAGE + len(body), len(content), xxh64(content)])
        body += content
    if change:
        change(entries)
    length = HEAD.size + len(entries) * ENTRY.size + 8
    head = HEAD.pack(b"MEDANN\r\n", 1, 0, 0x01020304, length, len(entries), PAGE + len(body))
    head += b"".join(ENTRY.pack(*entry) for entry in entries)
    return (head + struct.pack("<Q", xxh64(head))).ljust(PAGE, b"\0") + body


@pytest.fixture(scope="session")
def taken_apart() -> Callable[[bytes], dict[str, bytes]]:
    return unpack


@pytest.fixture(scope="session")
def put_together() -> Callable[..., bytes]:
    return pack
