"""What all stores share: the index of a part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medalist.errors import RunError
from medalist.records import MapPrediction
from medalist.search.embeddings import Embeddings
from medalist.stores.maps import MapStore
from medalist.stores.store import StoredPart, finish_part, read_part, start_part
from medalist.stores.tables import TableStore
from medalist.stores.vectors import VectorStore

PART = StoredPart(("body", "id", "é"), ("a", "b/c", 'x"\n'), {"fold0": "00ff", "predict": '{"tta": "none"}'})


@pytest.mark.parametrize("columns", ["channels", "columns"])
@pytest.mark.parametrize("part", [PART, StoredPart((), (), {})])
def test_an_index_comes_back(part: StoredPart, columns: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "oof"
    assert read_part(folder, "fold0", columns) is None
    finish_part(folder, "fold0", part, columns)
    assert read_part(folder, "fold0", columns) == part
    assert list(json.loads((folder / "fold0.json").read_bytes())) == ["format", columns, "ids", "made_by"]
    assert read_part(folder, "fold1", columns) is None


def test_a_part_that_is_begun_again_is_not_whole(tmp_path: Path) -> None:
    start_part(tmp_path / "not there", "fold0")  # no complaint
    finish_part(tmp_path, "fold0", PART, "columns")
    finish_part(tmp_path, "fold1", PART, "columns")
    start_part(tmp_path, "fold0")
    assert read_part(tmp_path, "fold0", "columns") is None
    assert read_part(tmp_path, "fold1", "columns") == PART


def test_what_a_killed_process_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    kept = ["fold0.parquet", ".hidden", ".0123456-a", "0123abcd-a.png", "fold1.json"]
    for name in (".0123abcd-fold0.parquet", ".89ab4567-a.png", *kept):
        (tmp_path / name).write_text("{}")
    finish_part(tmp_path, "fold0", PART, "columns")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "fold0.json"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"x"',
        "{}",
        '{"columns": [], "ids": []}',
        '{"columns": [], "made_by": {}}',
        '{"ids": [], "made_by": {}}',
        '{"columns": 3, "ids": [], "made_by": {}}',
        '{"columns": [], "ids": null, "made_by": {}}',
        '{"columns": [], "ids": [], "made_by": 7}',
        '{"columns": [], "ids": [], "made_by": ["a"]}',
        '{"channels": [], "ids": [], "made_by": {}}',
    ],
)
def test_a_damaged_index_is_named_on_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "fold0.json").write_text(text)
    with pytest.raises(RunError, match=r"fold0\.json") as caught:
        read_part(tmp_path, "fold0", "columns")
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------- changed files


def maps_of(folder: Path) -> tuple[MapStore, Callable[[], object], Path]:
    store = MapStore(folder / "contest" / "tiny" / "oof")
    store.write("a", MapPrediction(np.zeros((1, 4, 4), np.uint8), ("body",)))
    store.finish("fold0", StoredPart(("body",), ("a",), {}))
    return store, lambda: store.read("a", ("body",), store.files(["fold0"])), store.path("a")


def table_of(folder: Path) -> tuple[TableStore, Callable[[], object], Path]:
    store = TableStore(folder / "contest" / "tiny" / "oof")
    store.write("fold0", StoredPart(("cat",), ("a",), {}), np.zeros((1, 1), np.float32))
    return store, lambda: store.read("fold0"), store.path("fold0")


def vectors_of(folder: Path) -> tuple[VectorStore, Callable[[], object], Path]:
    store = VectorStore(folder / "contest" / "tiny" / "oof")
    store.write("fold0", Embeddings(("a",), np.eye(4, dtype=np.float32)[:1], {}))
    return store, lambda: store.read("fold0"), store.path("fold0")


Made = tuple[MapStore | TableStore | VectorStore, Callable[[], object], Path]


@pytest.mark.parametrize("make", [maps_of, table_of, vectors_of])
def test_a_prediction_that_was_overwritten_is_refused_by_its_name(tmp_path: Path, make: Callable[[Path], Made]) -> None:
    """As by the truth, which would score well."""
    store, read, path = make(tmp_path)
    read()
    assert store.intact("fold0")
    if isinstance(store, MapStore):
        store.write("a", MapPrediction(np.full((1, 4, 4), 255, np.uint8), ("body",)))
    elif isinstance(store, TableStore):
        other = TableStore(tmp_path / "other")
        other.write("fold0", StoredPart(("cat",), ("a",), {}), np.ones((1, 1), np.float32))
        path.write_bytes(other.path("fold0").read_bytes())
    else:
        np.save(path, np.eye(4, dtype=np.float32)[1:2])
    assert not store.intact("fold0")
    with pytest.raises(RunError, match="is not what was predicted") as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{path} is not what was predicted")
    assert message.endswith("predict again: medalist predict contest/tiny --split oof")


@pytest.mark.parametrize("make", [maps_of, table_of, vectors_of])
def test_parts_from_before_hashes_are_read(tmp_path: Path, make: Callable[[Path], Made]) -> None:
    store, read, _ = make(tmp_path)
    index = store.folder / "fold0.json"
    value = json.loads(index.read_text())
    del value["files"]
    index.write_text(json.dumps(value))
    read()
    assert store.intact("fold0")
