"""Numbers of samples, kept as Parquet."""

from __future__ import annotations

import errno
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from medalist.errors import MedalistError, RunError
from medalist.stores.store import StoredPart
from medalist.stores.tables import TableStore

MADE = {"fold0": "00ff", "predict": "{}"}
PART = StoredPart(("cat", "dog"), ("a", "b/c", "é"), MADE)
VALUES = np.array([[0.25, 0.75], [1e-38, -1e38], [0.1, 0.0]], np.float32)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "oof")


@given(st.data(), st.lists(NAMES, unique=True, max_size=5), st.lists(NAMES, unique=True, max_size=5))
def test_numbers_come_back_bit_by_bit(data: st.DataObject, ids: list[str], columns: list[str]) -> None:
    values = data.draw(arrays.arrays(np.float32, (len(ids), len(columns)), elements=FINITE))
    part = StoredPart(tuple(columns), tuple(ids), MADE)
    with TemporaryDirectory() as folder:
        store = TableStore(Path(folder))
        store.write("fold0", part, values)
        found, back = store.read("fold0")
        assert found == part == store.part("fold0")
        assert back.dtype == np.float32 and back.shape == values.shape
        assert back.tobytes() == values.tobytes()
        assert sorted(path.name for path in Path(folder).iterdir()) == ["fold0.json", "fold0.parquet"]


@pytest.mark.parametrize(
    "columns",
    [
        ("id", "0 id", "1 id"),
        ("id", "id"),
        ("", " ", "\n"),
        ("a.b", "a[0]", "*", "__index_level_0__", "list.element"),
        ("x" * 300, "日本", "a\0b", '"', "%2F"),
    ],
)
def test_classes_may_be_called_anything(store: TableStore, columns: tuple[str, ...]) -> None:
    values = np.arange(2 * len(columns), dtype=np.float32).reshape(2, -1)
    store.write("fold0", StoredPart(columns, ("id", "0 id"), MADE), values)
    part, back = store.read("fold0")
    assert part.columns == columns
    np.testing.assert_array_equal(back, values)


def test_the_name_of_the_run_is_no_partition(tmp_path: Path) -> None:
    """Readers of Parquet may take key=value in a path for a column."""
    store = TableStore(tmp_path / "train.lr=0.1" / "id=3" / "oof")
    store.write("fold0", PART, VALUES)
    np.testing.assert_array_equal(store.read("fold0")[1], VALUES)


def test_values_that_are_views_are_written_as_they_look(store: TableStore) -> None:
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    values = wide[::-1, ::3][:3]
    values.flags.writeable = False
    store.write("fold0", PART, values)
    np.testing.assert_array_equal(store.read("fold0")[1], [[18, 21], [12, 15], [6, 9]])


def test_predictions_are_those_of_the_samples_that_are_asked_for(store: TableStore) -> None:
    store.write("test", PART, VALUES)
    first, second = store.predictions("test", ["é", "a"])
    assert first.columns == second.columns == ("cat", "dog")
    np.testing.assert_array_equal(first.values, VALUES[2])
    np.testing.assert_array_equal(second.values, VALUES[0])
    assert store.predictions("test", []) == []
    with pytest.raises(RunError, match=r"test\.parquet has no row of sample x; run medalist predict again$"):
        store.predictions("test", ["a", "x", "y"])


def test_parts_do_not_touch_each_other(store: TableStore) -> None:
    store.write("fold0", PART, VALUES)
    store.write("fold1", StoredPart(("cat",), ("z",), {}), VALUES[:1, :1])
    store.start("fold1")
    assert store.part("fold1") is None
    np.testing.assert_array_equal(store.read("fold0")[1], VALUES)


def test_what_is_not_there_is_named(store: TableStore) -> None:
    for begun in (False, True):
        with pytest.raises(RunError, match=r"^no predictions .*oof/fold0\.parquet; run medalist predict again$"):
            store.read("fold0")
        if not begun:
            store.write("fold0", PART, VALUES)
            store.start("fold0")  # the old numbers are there, but no index
            assert store.path("fold0").exists()


def test_a_part_without_its_file_is_not_there(store: TableStore) -> None:
    """Whatever its index says: so it is predicted again."""
    store.write("fold0", PART, VALUES)
    store.path("fold0").unlink()
    assert store.part("fold0") is None
    with pytest.raises(RunError, match=r"no predictions .*fold0\.parquet; run medalist predict again$"):
        store.read("fold0")


def test_a_damaged_file_is_refused_or_says_the_same(store: TableStore) -> None:
    """Pages have check sums: a bit that was turned never becomes another number."""
    store.write("fold0", PART, VALUES)
    path = store.path("fold0")
    whole = path.read_bytes()
    assert store.read("fold0")[1].tobytes() == VALUES.tobytes()
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            part, values = store.read("fold0")
        except RunError as error:
            assert "fold0" in str(error) and "again" in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert part == PART and values.tobytes() == VALUES.tobytes()
    assert refused > len(whole) / 2
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(RunError, match=r"fold0\.parquet is damaged"):
            store.read("fold0")


IDS = pa.array(PART.ids)
CAT, DOG = pa.array(VALUES[:, 0]), pa.array(VALUES[:, 1])


@pytest.mark.parametrize(
    "other",
    [
        pa.table([pa.array(PART.ids[::-1]), CAT, DOG], names=["id", "0 cat", "1 dog"]),
        pa.table([pa.array(["a", "b/c", "x"]), CAT, DOG], names=["id", "0 cat", "1 dog"]),
        pa.table([pa.array(["a", None, "é"]), CAT, DOG], names=["id", "0 cat", "1 dog"]),
        pa.table([pa.array([1, 2, 3]), CAT, DOG], names=["id", "0 cat", "1 dog"]),
        pa.table([IDS[:2], CAT[:2], DOG[:2]], names=["id", "0 cat", "1 dog"]),
        pa.table([IDS, CAT, DOG], names=["id", "0 dog", "1 cat"]),
        pa.table([IDS, DOG, CAT], names=["id", "1 dog", "0 cat"]),
        pa.table([IDS, CAT, DOG], names=["id", "cat", "dog"]),
        pa.table([IDS, CAT], names=["id", "0 cat"]),
        pa.table([IDS, CAT, DOG, DOG], names=["id", "0 cat", "1 dog", "2 dog"]),
        pa.table([IDS, CAT, pa.array(["x", "y", "z"])], names=["id", "0 cat", "1 dog"]),
        pa.table([IDS, CAT, pa.array([0.1, 1e300, 0.2])], names=["id", "0 cat", "1 dog"]),
        pa.table([IDS, CAT, pa.array([[1.0], [2.0], []])], names=["id", "0 cat", "1 dog"]),
        pa.table([], names=[]),
    ],
    ids=[
        "order", "other id", "no id", "numbers as ids", "fewer rows", "names", "order of columns", "unnumbered",
        "fewer columns", "more columns", "texts", "doubles", "lists", "nothing",
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_refused(store: TableStore, other: pa.Table) -> None:
    store.write("fold0", PART, VALUES)
    pq.write_table(other, store.path("fold0"))
    with pytest.raises(RunError, match=r"fold0\.parquet is not what fold0\.json says; delete both and") as caught:
        store.read("fold0")
    assert "\n" not in str(caught.value)


def test_a_column_that_stands_twice_is_refused(store: TableStore) -> None:
    store.write("fold0", PART, VALUES)
    pq.write_table(pa.table([IDS, CAT, DOG, DOG], names=["id", "0 cat", "1 dog", "1 dog"]), store.path("fold0"))
    with pytest.raises(RunError, match=r"fold0\.parquet is damaged .*; delete it and run") as caught:
        store.read("fold0")
    assert "\n" not in str(caught.value)


def test_an_index_of_something_else_is_refused(store: TableStore) -> None:
    store.write("fold0", PART, VALUES)
    store.write("fold1", StoredPart(PART.columns, ("x", "y", "z"), MADE), VALUES)
    (store.folder / "fold1.json").replace(store.folder / "fold0.json")
    with pytest.raises(RunError, match=r"fold0\.parquet is not what fold0\.json says"):
        store.read("fold0")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_with_their_sample(store: TableStore, bad: float) -> None:
    values = VALUES.copy()
    values[1:, 1] = bad
    store.write("fold0", PART, values)
    with pytest.raises(RunError, match=r"fold0\.parquet: the numbers of sample b/c are not finite; train and predict"):
        store.read("fold0")


def test_a_number_that_is_missing_is_not_finite(store: TableStore) -> None:
    store.write("fold0", PART, VALUES)
    holes = pa.table([IDS, CAT, pa.array([0.5, None, 0.5], pa.float32())], names=["id", "0 cat", "1 dog"])
    pq.write_table(holes, store.path("fold0"))
    with pytest.raises(RunError, match="the numbers of sample b/c are not finite"):
        store.read("fold0")


def test_a_part_that_was_not_written_to_its_end_has_no_index(
    store: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where numbers were there before: they would pass for those of the new weights."""
    store.write("fold0", PART, VALUES)
    before = store.path("fold0").read_bytes()

    def full(table: pa.Table, path: Path, **_: object) -> None:
        path.write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(MedalistError, match=r"disk full while writing .*fold0\.parquet"):
        store.write("fold0", PART, VALUES + 1)
    assert store.part("fold0") is None
    assert [path.name for path in store.folder.iterdir()] == ["fold0.parquet"]
    assert store.path("fold0").read_bytes() == before
    with pytest.raises(RunError, match="no predictions"):
        store.read("fold0")


def test_a_process_killed_behind_the_numbers_leaves_no_index(
    store: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    store.write("fold0", PART, VALUES)
    with monkeypatch.context() as patch:
        patch.setattr("medalist.stores.tables.finish_part", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write("fold0", PART, VALUES + 1)
    assert store.part("fold0") is None
    store.write("fold0", PART, VALUES)
    assert store.part("fold0") == PART


def rows(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)


def test_many_samples_keep_their_order(store: TableStore) -> None:
    """More rows than a Parquet file keeps in one group or one page."""
    values, ids = rows(5000), tuple(f"s{number * 7919 % 5000}" for number in range(5000))
    part = StoredPart(("x", "y"), ids, MADE)
    store.write("fold0", part, values)
    pq.write_table(pq.read_table(store.path("fold0")), store.path("fold0"), row_group_size=700)
    found, back = store.read("fold0")
    assert found == part
    np.testing.assert_array_equal(back, values)
