"""The libraries that the benchmark measures: `PEERS` maps the name in the tables to (module, class, its options).

A library is built in its own process. Parameters are those that its authors or ann-benchmarks recommend for data of
this size, not the defaults.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from adapter import Peer, Rows
from graphs import FaissHnsw, Glass, Hnswlib, Ngt, Ours, Pynndescent, Svs, SymphonyQG, Usearch, Voyager, Vsag
from partitions import FaissFastScan, Scann
from services import Qdrant, Zvec

PEERS: dict[str, tuple[str, type[Peer], dict[str, Any]]] = {
    "medalist": ("medalist.search", Ours, {}),
    "hnswlib": ("hnswlib", Hnswlib, {}),
    "scann-1024": ("scann", Scann, {"leaves": 1024}),
    "scann-2048": ("scann", Scann, {"leaves": 2048}),
    "scann-soar": ("scann", Scann, {"leaves": 1024, "soar": True}),
    "faiss-fastscan": ("faiss", FaissFastScan, {}),
    "faiss-hnsw": ("faiss", FaissHnsw, {}),
    "glass-sq8": ("glassppy", Glass, {"codes": "SQ8U"}),
    "glass-sq4": ("glassppy", Glass, {"codes": "SQ4U"}),
    "symphonyqg-32": ("rabitqlib", SymphonyQG, {"degree": 32}),
    "symphonyqg-64": ("rabitqlib", SymphonyQG, {"degree": 64}),
    "svs": ("svs", Svs, {}),
    "svs-lvq8": ("svs", Svs, {"bits": (8, 0)}),
    "svs-lvq4x8": ("svs", Svs, {"bits": (4, 8)}),
    "vsag": ("pyvsag", Vsag, {}),
    "zvec-u8": ("zvec", Zvec, {"codes": "UNIFORM_UINT8"}),
    "zvec-u4": ("zvec", Zvec, {"codes": "UNIFORM_UINT4"}),
    "usearch": ("usearch", Usearch, {}),
    "voyager": ("voyager", Voyager, {}),
    "pynndescent": ("pynndescent", Pynndescent, {}),
    "ngt": ("ngtpy", Ngt, {}),
    "qdrant-edge": ("qdrant_edge", Qdrant, {}),
}

PACKAGES = {"faiss": "faiss-cpu", "svs": "scalable-vs", "ngtpy": "ngt", "qdrant_edge": "qdrant-edge-py"}
"""Names of the packages that are called otherwise than their modules."""


def named(word: str) -> list[str]:
    """The names that a word stands for: a name itself, or a library's (scann) for all its variants; [] for none."""
    return [word] if word in PEERS else [name for name in PEERS if name.startswith(f"{word}-")]


def installed(name: str) -> bool:
    """Whether the library behind a name can be imported here, found out without importing it."""
    module = PEERS[name][0]
    parent = module.partition(".")[0]
    return find_spec(parent) is not None and (module == parent or find_spec(module) is not None)


def version_of(name: str) -> str:
    """Package and version of the library behind a name; ours may run from a checkout that no package tells of."""
    module = PEERS[name][0].partition(".")[0]
    if module == "medalist":
        return f"medalist {import_module(module).__version__}"
    package = PACKAGES.get(module, module)
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} of unknown version"


def fits(name: str, metric: str) -> bool:
    """Whether a variant is made for a metric: SOAR is for inner products alone."""
    return not (PEERS[name][2].get("soar") and metric == "l2")


def load(name: str) -> None:
    """Import the library, so that its own memory is not counted as the index's."""
    module = {"usearch": "usearch.index"}.get(PEERS[name][0], PEERS[name][0])
    import_module(module)


def warm(name: str, metric: str, folder: Path) -> None:
    """Let pynndescent compile its functions before the clock runs; no other library needs it."""
    if name == "pynndescent":
        few = np.random.default_rng(0).standard_normal((600, 16), np.float32)
        peer = Pynndescent(few / np.linalg.norm(few, axis=1, keepdims=True), metric, folder)
        peer.tune(0.1)
        peer.one(few[0])


def build(name: str, vectors: Rows, metric: str, folder: Path) -> Peer:
    _, kind, options = PEERS[name]
    return kind(vectors, metric, folder, **options)
