from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medalist.records import MapPrediction
from medalist.stores.comparing import changed_files, difference
from medalist.stores.maps import MapStore
from medalist.stores.store import StoredPart
from medalist.stores.tables import TableStore


def maps(value: int) -> MapPrediction:
    return MapPrediction(np.full((1, 4, 5), value, np.uint8), ("body",))


def test_maps_that_are_changed_or_gone_are_named(tmp_path: Path) -> None:
    store = MapStore(tmp_path)
    for name in ("a", "b", "c"):
        store.write(name, maps(7))
    store.finish("test", StoredPart(("body",), ("a", "b", "c"), {}))
    files = store.files(["test"])
    assert changed_files(tmp_path, "test", files) == []
    store.write("a", maps(8))
    store.path("b").unlink()
    assert changed_files(tmp_path, "test", files) == ["a.png", "b.png"]
    assert changed_files(tmp_path, "test", {"../a.png": "0"}) == ["../a.png"]


def test_parquet_is_compared_by_its_values(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    store.write("test", StoredPart(("x",), ("a", "b"), {}), np.float32([[1], [2]]))
    part = store.part("test")
    assert part is not None and changed_files(tmp_path, "test", part.files) == []
    index = (tmp_path / "test.json").read_text()
    store.write("test", StoredPart(("x",), ("a", "b"), {}), np.float32([[1], [3]]))
    (tmp_path / "test.json").write_text(index)
    assert changed_files(tmp_path, "test", part.files) == ["test.parquet"]


@pytest.mark.parametrize("suffix", [".png", ".npy", ".parquet"])
def test_the_largest_difference_is_that_of_the_numbers(tmp_path: Path, suffix: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, value in ((one, 7), (two, 9)):
        folder.mkdir()
        match suffix:
            case ".png":
                MapStore(folder).write("test", maps(value))
            case ".npy":
                np.save(folder / "test.npy", np.float32([1, value]))
            case _:
                TableStore(folder).write("test", StoredPart(("x",), ("a",), {}), np.float32([[value]]))
    found = difference(one, two, [f"test{suffix}"])
    assert found.files == (f"test{suffix}",) and found.largest == 2.0


def test_what_cannot_be_compared_has_no_number(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, count in ((one, 2), (two, 3)):
        folder.mkdir()
        np.save(folder / "shape.npy", np.zeros(count))
        (folder / "damaged.npy").write_bytes(b"x")
        (folder / "damaged.parquet").write_bytes(b"x")
        (folder / "large.tif").write_bytes(b"x")
    for name in ("shape.npy", "damaged.npy", "damaged.parquet", "large.tif", "missing.png"):
        assert difference(one, two, [name]).largest is None
