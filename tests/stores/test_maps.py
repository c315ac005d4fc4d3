from __future__ import annotations

import errno
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.disk import is_on_disk
from medalist.errors import MedalistError, RunError
from medalist.records import MapPrediction
from medalist.stores.maps import MapStore
from medalist.stores.store import StoredPart

MAPS = arrays.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)))
PART = StoredPart(("body", "border"), ("a", "b/c"), {"fold0": "00ff", "predict": "{}"})


def names(count: int) -> tuple[str, ...]:
    return tuple(f"channel {number}" for number in range(count))


@pytest.fixture
def store(tmp_path: Path) -> MapStore:
    return MapStore(tmp_path / "oof")


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 9, 7), dtype=np.uint8)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MAPS)
def test_maps_come_back_bit_by_bit(maps: NDArray[np.uint8]) -> None:
    with TemporaryDirectory() as folder:
        store = MapStore(Path(folder))
        store.write("a", MapPrediction(maps, names(len(maps))))
        back = store.read("a", names(len(maps)))
        np.testing.assert_array_equal(back.maps, maps)
        assert back.maps.dtype == np.uint8 and back.maps.flags.c_contiguous
        assert back.channels == names(len(maps))


HOSTILE = [
    "../x",
    "a/b",
    "..",
    ".",
    "",
    "con",
    "a\\b",
    "%2F",
    "a%2Fb",
    "a\0b",
    "a\nb",
    "-rf",
    "~",
    " a ",
    "é",
    "日本",
    "a:b*?",
]
HOSTILE += ["CON", "NUL.x", "aux .b", "%63on", "com1", "com10", "Lpt9.png"]
HOSTILE += ["x" * 300, "x" * 299 + "y", "é" * 200, "x" * 180, "x" * 181, "/" * 100]


def test_hostile_ids_have_files_of_their_own_inside_the_folder(store: MapStore) -> None:
    for number, name in enumerate(HOSTILE):
        store.write(name, MapPrediction(np.full((1, 2, 3), number, np.uint8), ("body",)))
    for number, name in enumerate(HOSTILE):
        assert store.path(name).resolve().parent == store.folder.resolve()
        assert len(store.path(name).name.encode()) < 200  # with room for a temporary name
        assert store.read(name, ("body",)).maps.tolist() == np.full((1, 2, 3), number).tolist()
    assert len(list(store.folder.parent.rglob("*"))) == len(HOSTILE) + 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.text("ab%+~", min_size=150), unique=True))
def test_no_two_ids_share_a_file(ids: list[str]) -> None:
    assert len({MapStore(Path("x")).path(name) for name in ids}) == len(ids)


def test_a_hash_in_a_name_cannot_be_had_by_another_id(store: MapStore) -> None:
    long = store.path("x" * 300)
    assert store.path(long.stem) != long


@pytest.mark.parametrize("name", ["con", "NUL.x", "aux .b", "com1", "Lpt9.png", "PRN"])
def test_no_name_is_that_of_a_device_of_windows(store: MapStore, name: str) -> None:
    assert store.path(name).name == f"%{ord(name[0]):X}{name[1:]}.png"


@pytest.mark.parametrize("caseless", [False, True])
def test_ids_that_differ_in_case_are_refused_where_their_files_would_be_one(
    store: MapStore, monkeypatch: pytest.MonkeyPatch, caseless: bool
) -> None:
    monkeypatch.setattr("medalist.stores.maps.CASELESS", caseless)
    store.refuse_alike(["a", "b", "ab", "ba"])
    if caseless:
        with pytest.raises(RunError, match=r"^samples aB and Ab differ only in case, and .* rename one of them in"):
            store.refuse_alike(["a", "aB", "b", "Ab"])
    else:
        store.refuse_alike(["a", "aB", "b", "Ab"])


def test_a_damaged_file_is_refused_and_never_read_as_something_else(
    store: MapStore, noise: NDArray[np.uint8], capfd: pytest.CaptureFixture[str]
) -> None:
    store.write("a", MapPrediction(noise, ("x", "y")))
    path = store.path("a")
    whole = path.read_bytes()
    spoilt = [whole[:cut] for cut in range(len(whole))]
    spoilt += [whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :] for at in range(len(whole))]
    for data in spoilt:
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"a\.png is damaged; delete it and run medalist predict again") as caught:
            store.read("a", ("x", "y"))
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # libpng has been kept from talking


def test_a_missing_file_is_named(store: MapStore) -> None:
    with pytest.raises(RunError, match=r"no prediction .*b\.png \(No such file or directory\); run medalist predict"):
        store.read("b", ("x",))


def test_another_number_of_channels_is_refused(store: MapStore, noise: NDArray[np.uint8]) -> None:
    store.write("a", MapPrediction(noise[:, :7], ("x", "y")))
    with pytest.raises(RunError, match="is damaged"):
        store.read("a", ("x", "y", "z"))


def test_a_part_is_whole_between_finish_and_start(store: MapStore) -> None:
    assert store.part("fold0") is None
    store.start("fold0")  # nothing there yet, and no complaint
    store.finish("fold0", PART)
    assert store.part("fold0") == PART
    assert store.part("fold1") is None
    store.start("fold0")
    assert store.part("fold0") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"', "null", '{"channels": 3, "ids": [], "made_by": {}}'])
def test_a_damaged_index_is_named(store: MapStore, text: str) -> None:
    store.folder.mkdir()
    (store.folder / "fold0.json").write_text(text)
    with pytest.raises(RunError, match=r"fold0\.json") as caught:
        store.part("fold0")
    assert "\n" not in str(caught.value)


def test_nothing_partial_is_left_when_the_disk_is_full(
    store: MapStore, noise: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:5])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MedalistError, match=r"disk full while writing .*a\.png"):
        store.write("a", MapPrediction(noise, ("x", "y")))
    assert list(store.folder.iterdir()) == []


LARGE_SIZES = [(1, 1100, 700), (3, 512, 513), (2, 1, 1500), (1, 1500, 1)]


@pytest.mark.parametrize("size", LARGE_SIZES, ids=str)
def test_large_maps_are_kept_in_tiles(
    store: MapStore, size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.stores.maps.LARGE_BYTES", 100)
    maps = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    maps[0, : size[1] // 2] = 7
    store.write("a", MapPrediction(maps, names(size[0])))
    assert [path.name for path in store.folder.iterdir()] == ["a.tif"]
    back = store.read("a", names(size[0]))
    np.testing.assert_array_equal(back.maps, maps)
    assert back.maps.dtype == np.uint8 and is_on_disk(back.maps)
    assert [path.name for path in store.folder.iterdir()] == ["a.tif"]
    with pytest.raises(RunError, match=r"a\.tif is damaged; delete it and run medalist predict again"):
        store.read("a", names(size[0] + 1))


def test_other_programs_read_large_maps(store: MapStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.stores.maps.LARGE_BYTES", 100)
    maps = np.random.default_rng(0).integers(0, 256, (2, 700, 600)).astype(np.uint8)
    store.write("a", MapPrediction(maps, names(2)))
    with Image.open(store.folder / "a.tif") as file:
        for number, plane in enumerate(maps):
            file.seek(number)
            np.testing.assert_array_equal(np.asarray(file), plane)


def test_the_form_of_an_earlier_prediction_does_not_stay(
    store: MapStore, noise: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, name in ((10**9, "a.png"), (0, "a.tif"), (10**9, "a.png")):
        monkeypatch.setattr("medalist.stores.maps.LARGE_BYTES", limit)
        noise = noise ^ 1
        store.write("a", MapPrediction(noise, ("x", "y")))
        assert [path.name for path in store.folder.iterdir()] == [name]
        np.testing.assert_array_equal(store.read("a", ("x", "y")).maps, noise)


def test_hashes_of_large_maps_are_kept_and_changes_found(
    store: MapStore, noise: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.stores.maps.LARGE_BYTES", 0)
    for name in PART.ids:
        store.write(name, MapPrediction(noise, PART.columns))
    store.finish("fold0", PART)
    files = store.files(["fold0"])
    assert len(files) == 2 and store.intact("fold0")
    store.read("a", PART.columns, files)
    store.write("a", MapPrediction(noise ^ 1, PART.columns))
    assert not store.intact("fold0")
    with pytest.raises(RunError, match=r"a\.tif is not what was predicted"):
        store.read("a", PART.columns, files)


def test_damaged_large_maps_are_refused_in_one_line(
    store: MapStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without known hashes too, as in parts that older versions wrote: each tile has a checksum of its own."""
    monkeypatch.setattr("medalist.stores.maps.LARGE_BYTES", 0)
    maps = np.random.default_rng(0).integers(0, 256, (1, 600, 600)).astype(np.uint8)
    store.write("a", MapPrediction(maps, ("x",)))
    path = store.folder / "a.tif"
    whole = path.read_bytes()
    for data in (b"", whole[:100], whole[: len(whole) // 2], whole[:-1], b"x" * 500):
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"a\.tif is damaged") as caught:
            store.read("a", ("x",))
        assert "\n" not in str(caught.value)
    for at in range(2000, len(whole), 50_000):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        with pytest.raises(RunError, match=r"a\.tif is damaged"):
            store.read("a", ("x",))
