"""Unit vectors of samples, kept as .npy."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.errors import MedalistError, SearchError
from medalist.search.embeddings import Embeddings
from medalist.stores.store import StoredPart
from medalist.stores.vectors import VectorStore

MADE = {"fold0": "00ff", "predict": "{}"}


def unit(rows: int, dim: int = 4, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


FOUND = Embeddings(("a", "b/c", "é"), unit(3), MADE)


@pytest.fixture
def store(tmp_path: Path) -> VectorStore:
    return VectorStore(tmp_path / "oof")


def test_vectors_come_back_bit_by_bit(store: VectorStore) -> None:
    assert store.part("fold0") is None
    store.write("fold0", FOUND)
    back = store.read("fold0")
    assert back.ids == FOUND.ids and dict(back.made_by) == MADE
    assert np.asarray(back.vectors).tobytes() == FOUND.vectors.tobytes()
    assert store.part("fold0") == StoredPart((), FOUND.ids, MADE)
    assert sorted(path.name for path in store.folder.iterdir()) == ["fold0.json", "fold0.npy"]


def test_predictions_are_those_of_the_samples_that_are_asked_for(store: VectorStore) -> None:
    store.write("test", FOUND)
    first, second = store.predictions("test", ["é", "a"])
    np.testing.assert_array_equal(first.vector, FOUND.vectors[2])
    np.testing.assert_array_equal(second.vector, FOUND.vectors[0])
    assert store.predictions("test", []) == []
    with pytest.raises(SearchError, match="'x'") as caught:
        store.predictions("test", ["a", "x"])
    assert "\n" not in str(caught.value)


def test_a_part_that_is_begun_again_is_not_whole(store: VectorStore) -> None:
    store.start("fold0")  # nothing there yet, and no complaint
    store.write("fold0", FOUND)
    store.write("fold1", FOUND)
    store.start("fold0")
    assert store.part("fold0") is None and store.part("fold1") is not None
    with pytest.raises(SearchError, match=r"fold0\.json: not there"):
        store.read("fold0")


def test_what_is_not_there_is_named(store: VectorStore) -> None:
    with pytest.raises(SearchError, match=r"oof/fold0\.npy: no such file$"):
        store.read("fold0")


def test_a_damaged_part_is_named_on_one_line(store: VectorStore) -> None:
    store.write("fold0", FOUND)
    path, note = store.path("fold0"), store.path("fold0").with_suffix(".json")
    vectors, told = path.read_bytes(), note.read_bytes()

    def refused() -> None:
        for look in (store.read, store.part):
            with pytest.raises(MedalistError, match="fold0") as caught:
                look("fold0")
            assert "\n" not in str(caught.value)

    for data in (b"", vectors[:5], vectors[:-1], b"x" + vectors[1:], vectors[:128] + b"\xff" * len(vectors[128:])):
        path.write_bytes(data)
        refused()
    path.unlink()
    refused()
    path.write_bytes(vectors)
    for data in (b"", b"{", b"[]", b"{}", told.replace(b"b/c", b"a"), told.replace(b"3", b"4")):
        note.write_bytes(data)
        refused()


def test_nothing_partial_is_left_when_the_disk_is_full(store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("fold0", FOUND)

    def full(file: object, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(MedalistError, match=r"disk full while writing .*fold0\.npy"):
        store.write("fold0", Embeddings(FOUND.ids, unit(3, seed=1), MADE))
    assert store.part("fold0") is None
    assert [path.name for path in store.folder.iterdir()] == ["fold0.npy"]
