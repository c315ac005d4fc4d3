from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from medalist import contents
from medalist.contents import hash_bytes, hash_file, hash_files, hash_unchanged
from medalist.errors import DataError


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three files that were written long ago, as far as their times tell."""
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode() * 1000)
    return [str(path) for path in paths]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose times are exact, so that a file need not be two seconds old."""
    monkeypatch.setattr(contents, "SETTLED", -(10**12))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read, in the order in which it happens."""
    seen: list[str] = []

    def counted(path: str) -> str:
        seen.append(Path(path).name)
        return hash_file(path)

    monkeypatch.setattr(contents, "_hash", counted)
    return seen


@pytest.mark.usefixtures("settled")
def test_unchanged_files_are_read_once(files: list[str], tmp_path: Path, read: list[str]) -> None:
    cache = tmp_path / "runs" / "hashes.json"
    first = hash_files(files, cache)
    assert first == {path: hash_bytes(Path(path).read_bytes()) for path in files} and sorted(read) == [
        *("a.png", "b.png", "c.png")
    ]
    read.clear()
    assert hash_files(files, cache) == first and read == []
    assert hash_files(files, cache, verify=True) == first and len(read) == 3


@pytest.mark.usefixtures("settled")
def test_content_counts_and_not_size_or_time_alone(files: list[str], tmp_path: Path) -> None:
    cache, path = tmp_path / "hashes.json", Path(files[0])
    first = hash_files(files, cache)
    about = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # as `cp -p` and archives do
    assert path.stat().st_size == about.st_size and path.stat().st_mtime_ns == about.st_mtime_ns
    now = hash_files(files, cache)
    assert now[files[0]] == hash_file(path) != first[files[0]] and now[files[1]] == first[files[1]]


def test_a_hash_that_is_younger_than_its_files_ticks_is_not_kept(
    files: list[str], tmp_path: Path, read: list[str]
) -> None:
    cache = tmp_path / "hashes.json"
    hash_files(files, cache)
    hash_files(files, cache)
    assert len(read) == 6 and not (cache.exists() and json.loads(cache.read_text())["files"])


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 2, "files": {}}', '{"format": 1, "files": {"x": [1]}}'])
def test_a_damaged_cache_is_made_again(files: list[str], tmp_path: Path, text: str) -> None:
    cache = tmp_path / "hashes.json"
    cache.write_text(text)
    found = hash_files(files, cache)
    assert len(json.loads(cache.read_text())["files"]) == 3 and hash_files(files, cache) == found


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in (("gone.png", "No such file"), ("pipe.png", "not a regular file"), (".", "not a regular file")):
        with pytest.raises(DataError, match=words) as caught:
            hash_files([str(tmp_path / name)], tmp_path / "hashes.json")
        assert str(tmp_path / name) in str(caught.value)


def test_a_file_that_changes_within_a_tick_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for data in (b"one", b"two", b"six"):
        path.write_bytes(data)
        assert hash_unchanged(path) == hash_bytes(data)
