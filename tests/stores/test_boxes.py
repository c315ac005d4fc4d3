from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from medalist.errors import RunError
from medalist.records import BoxPrediction
from medalist.stores.boxes import BoxStore
from medalist.stores.store import StoredPart

PART = StoredPart(("cat", "dog"), ("a", "b", "c"), {"fold0": "x"})


def prediction(count: int, seed: int = 0, sources: int = 3) -> BoxPrediction:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 50, (count, 2))
    return BoxPrediction(
        np.concatenate([low, low + random.uniform(1, 9, (count, 2))], axis=1).astype(np.float32),
        random.integers(0, 2, count).astype(np.int32),
        random.random(count).astype(np.float32),
        random.integers(0, sources, count).astype(np.int16),
        sources,
    )


BOXES = [prediction(4, 1), prediction(0), prediction(2, 2)]


@pytest.fixture
def store(tmp_path: Path) -> BoxStore:
    made = BoxStore(tmp_path / "oof")
    made.folder.mkdir()
    made.write("fold0", PART, BOXES)
    return made


def same(one: BoxPrediction, other: BoxPrediction) -> bool:
    names = ("xyxy", "labels", "scores", "source")
    equal = [np.array_equal(getattr(one, name), getattr(other, name)) for name in names]
    kinds = [getattr(one, name).dtype == getattr(other, name).dtype for name in names]
    return all(equal) and all(kinds) and one.sources == other.sources


def test_boxes_come_back_as_they_were(store: BoxStore) -> None:
    part, found = store.read("fold0")
    assert part == PART and all(map(same, found, BOXES)) and store.intact("fold0")
    assert all(map(same, store.predictions("fold0", ["c", "a", "b"]), (BOXES[2], BOXES[0], BOXES[1])))
    with pytest.raises(RunError, match="no row of sample x"):
        store.predictions("fold0", ["x"])


def test_a_part_without_boxes_or_without_images(store: BoxStore) -> None:
    store.write("fold1", PART, [prediction(0)] * 3)
    assert [len(one.labels) for one in store.read("fold1")[1]] == [0, 0, 0]
    nobody = StoredPart(("cat",), (), {})
    store.write("test", nobody, [])
    assert store.read("test") == (nobody, [])


def test_a_part_is_there_only_as_a_whole(store: BoxStore) -> None:
    store.start("fold0")
    assert store.part("fold0") is None and store.intact("fold0")
    with pytest.raises(RunError, match=r"no predictions .*; predict again: medalist predict \S+/\S+ --split oof$"):
        store.read("fold0")


def rewritten(store: BoxStore, change: Callable[[pa.Table], pa.Table]) -> str:
    """Return the line that refuses a part whose file was changed; its hash is left out of the index."""
    index = store.folder / "fold0.json"
    said = json.loads(index.read_text())
    del said["files"]
    index.write_text(json.dumps(said))
    pq.write_table(change(pq.read_table(store.path("fold0"))), store.path("fold0"))
    with pytest.raises(RunError) as caught:
        store.read("fold0")
    assert "\n" not in str(caught.value) and str(store.path("fold0")) in str(caught.value)
    assert not store.intact("fold0")
    return str(caught.value)


def column(name: str, place: int, value: object) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        values = table.column(name).to_pylist()
        values[place] = value
        return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (column("x1", 1, float("nan")), "a box of sample a has numbers that are not finite"),
        (column("score", 4, 1.5), "a box of sample c has a score outside of 0..1"),
        (column("x2", 0, -1.0), "a box of sample a has no area"),
        (column("label", 0, 2), "a box of sample a has a class outside of 0..1"),
        (column("source", 5, 3), "a box of sample c has a source outside of 0..2"),
        (column("id", 0, "z"), "is not what fold0.json says"),
        (column("id", 0, "c"), "is not what fold0.json says"),
        (column("score", 0, None), "is not what fold0.json says"),
        (lambda table: table.drop_columns(["label"]), "is not what fold0.json says"),
        (lambda table: table.replace_schema_metadata({b"medalist.sources": b"0"}), "is not what fold0.json says"),
        (lambda table: table.replace_schema_metadata({b"medalist.sources": b"9" * 40}), "is not what fold0.json says"),
        (lambda table: table.replace_schema_metadata({}), "is not what fold0.json says"),
    ],
)
def test_what_no_network_says_is_refused_in_one_line(
    store: BoxStore, change: Callable[[pa.Table], pa.Table], words: str
) -> None:
    assert words in rewritten(store, change)


def test_a_damaged_or_changed_file_is_refused(store: BoxStore) -> None:
    path = store.path("fold0")
    table = pq.read_table(path)
    pq.write_table(column("score", 0, 0.125)(table), path)
    with pytest.raises(RunError, match="is not what was predicted"):
        store.read("fold0")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunError, match=r"is damaged \([^/]+\); predict again: medalist predict \S+ --split oof$"):
        store.read("fold0")
    assert not store.intact("fold0")


def masked(count: int, seed: int = 0) -> BoxPrediction:
    masks = np.random.default_rng(seed).integers(0, 256, (count, 4, 4), np.uint8)
    return replace(prediction(count, seed), masks=masks, size=(20 + count, 30))


MASKED = [masked(4, 1), masked(0), masked(2, 2)]


def test_masks_come_back_with_the_sizes_of_their_images(store: BoxStore) -> None:
    store.write("fold1", PART, MASKED)
    found = store.read("fold1")[1]
    for one, other in zip(found, MASKED, strict=True):
        assert one.masks is not None and other.masks is not None and one.masks.dtype == np.uint8
        assert same(one, other) and np.array_equal(one.masks, other.masks) and one.size == other.size
    store.write("fold2", PART, [masked(0)] * 3)
    assert [one.size for one in store.read("fold2")[1]] == [(20, 30)] * 3
    assert store.read("fold0")[1][0].masks is None


@pytest.mark.parametrize(
    "sizes", [None, "[[1, 2]]", "[[1, 2], [3, 4], [0, 5]]", "[[1, 2], [3, 4], 5]", "[[1, 2], [3, 4], [true, 5]]", "[["]
)
def test_masks_without_the_sizes_of_all_images_are_refused(store: BoxStore, sizes: str | None) -> None:
    store.write("fold0", PART, MASKED)

    def change(table: pa.Table) -> pa.Table:
        said = {key: value for key, value in table.schema.metadata.items() if key != b"medalist.sizes"}
        return table.replace_schema_metadata(said | ({} if sizes is None else {b"medalist.sizes": sizes}))

    assert "is not what fold0.json says" in rewritten(store, change)


def test_a_changed_mask_is_seen_by_its_hash(store: BoxStore) -> None:
    changed = [replace(one, masks=one.masks.copy()) for one in MASKED if one.masks is not None]
    assert changed[0].masks is not None
    changed[0].masks[0, 0, 0] ^= 1
    store.write("fold0", PART, MASKED)
    index = (store.folder / "fold0.json").read_text()
    store.write("fold0", PART, changed)
    (store.folder / "fold0.json").write_text(index)
    assert not store.intact("fold0")
