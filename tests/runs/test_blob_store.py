from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import one_line

from medalist.errors import DataError, RunError
from medalist.runs import blob_store
from medalist.runs.blob_store import BlobStore, make_store, open_store


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return make_store(tmp_path / "team")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(b"weights" * 1000)
    return path


def test_a_blob_lies_where_its_sha256_says(store: BlobStore, file: Path) -> None:
    digest, size, is_new = store.put(file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest() and size == 7000 and is_new
    blob = store.folder / digest[:2] / digest[2:]
    assert blob.read_bytes() == file.read_bytes() and not blob.stat().st_mode & 0o222
    assert store.put(file) == (digest, size, False)
    assert list(store.digests()) == [digest] and store.has(digest, 7000) and not store.has(digest, 7)
    assert open_store(store.folder) == store == make_store(store.folder)


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    home = tmp_path_factory.mktemp("blobs")
    store = make_store(home / "team")
    for number, data in enumerate(contents):
        (home / "in").write_bytes(data)
        digest, size, _ = store.put(home / "in")
        store.get(digest, home / "out" / str(number))
        assert (home / "out" / str(number)).read_bytes() == data and size == len(data)
    assert set(store.digests()) == {hashlib.sha256(data).hexdigest() for data in contents}


def test_a_link_takes_no_room_and_is_read_only(store: BlobStore, file: Path, tmp_path: Path) -> None:
    digest, _, _ = store.put(file)
    store.get(digest, tmp_path / "linked", link=True)
    assert (tmp_path / "linked").samefile(store.path(digest))


def test_where_links_are_refused_it_is_a_copy(
    store: BlobStore, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> None:
        raise OSError("cross-device link")

    digest, _, _ = store.put(file)
    monkeypatch.setattr(os, "link", refuse)
    store.get(digest, tmp_path / "copied", link=True)
    assert (tmp_path / "copied").read_bytes() == file.read_bytes()
    assert not (tmp_path / "copied").samefile(store.path(digest))


@pytest.mark.parametrize("link", [False, True])
def test_a_damaged_blob_is_refused_named_and_written_again(
    store: BlobStore, file: Path, tmp_path: Path, link: bool, leftovers: Callable[[Path], list[str]]
) -> None:
    digest, _, _ = store.put(file)
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(b"weighty" * 1000)
    message = one_line(RunError, lambda: store.get(digest, tmp_path / "out", link))
    assert "is damaged: its bytes have another hash" in message
    assert not (tmp_path / "out").exists() and leftovers(tmp_path) == []
    assert "another hash" in (store.damaged(digest) or "")
    assert store.put(file)[2]
    assert store.damaged(digest) is None


def test_what_is_killed_while_it_copies_leaves_no_blob(
    store: BlobStore, file: Path, monkeypatch: pytest.MonkeyPatch, leftovers: Callable[[Path], list[str]]
) -> None:
    def stopped(path: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(blob_store, "_copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        store.put(file)
    assert list(store.digests()) == [] and leftovers(store.folder) == []
    # what a killed process leaves is hidden, and no blob
    (store.folder / "ab").mkdir()
    (store.folder / "ab" / ".12345678-half").write_bytes(b"half")
    assert list(store.digests()) == []


def test_a_file_that_changes_meanwhile_is_refused(
    store: BlobStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_store, "_copy", lambda path, target: target.write_bytes(b"other"))
    assert "was changed while it was stored" in one_line(RunError, lambda: store.put(file))
    assert list(store.digests()) == []


def test_several_writers_of_one_store(store: BlobStore, tmp_path: Path) -> None:
    paths = []
    for number in range(20):
        paths.append(tmp_path / f"{number}.bin")
        paths[-1].write_bytes(bytes([number % 5]) * 1000)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda path: BlobStore(store.folder, store.name).put(path)[0], paths))
    assert len(set(found)) == 5 == len(list(store.digests()))
    assert [store.damaged(digest) for digest in store.digests()] == [None] * 5


def test_a_copy_of_a_store_by_any_tool_is_a_store(store: BlobStore, file: Path, tmp_path: Path) -> None:
    """As DVC, rclone or cp make it: plain files of the same names."""
    digest, _, _ = store.put(file)
    other = open_store(shutil.copytree(store.folder, tmp_path / "pulled"))
    other.get(digest, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes() and other.name == "team"


def test_folders_that_are_no_stores_are_refused(store: BlobStore, tmp_path: Path, file: Path) -> None:
    assert "is no store of medalist; make one with" in one_line(RunError, lambda: open_store(tmp_path / "none"))
    assert "is not empty and no store (a.bin is in it)" in one_line(RunError, lambda: make_store(tmp_path))
    assert "is the store team, not nas" in one_line(RunError, lambda: make_store(store.folder, "nas"))
    assert "cannot be the name" in one_line(RunError, lambda: make_store(tmp_path / "x", "a/b"))
    assert not (tmp_path / "x").exists()
    assert "Not a directory" in one_line(RunError, lambda: make_store(file))
    (store.folder / "store.json").write_text('{"format": "medalist store 9", "name": "team"}')
    assert "install a newer medalist" in one_line(RunError, lambda: open_store(store.folder))
    (store.folder / "store.json").write_text('{"format": "medalist store 1", "name": "../x"}')
    assert "is damaged" in one_line(RunError, lambda: open_store(store.folder))
    with pytest.raises(DataError):
        store.put(tmp_path / "missing")
    assert "is not in the store team" in one_line(RunError, lambda: store.get("0" * 64, tmp_path / "y"))
