"""Files that are no files: pipes, devices, folders and files that are too large are refused, and nobody waits."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medalist import reading
from medalist.codecs.images import image_size, read_image
from medalist.errors import MedalistError, RunError, SearchError, UnreadableFile
from medalist.files import read_json, read_table, sha256_file
from medalist.folds.folds import read_folds
from medalist.formats.submission import read_rows
from medalist.kinds import load_settings
from medalist.reading import open_file, read_bytes, read_text, require_file
from medalist.reporter import read_status
from medalist.runs.curves import metrics_rows
from medalist.runs.runs import Run
from medalist.search.embeddings import read_npy
from medalist.stores.maps import MapStore
from medalist.stores.tables import TableStore
from medalist.training.queue_status import attempts, figures

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """End a test that waits for a writer, instead of the whole suite."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_regular_file_is_read_and_blocks_as_usual(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xc3\xa4\r\n")
    with open_file(path) as file:
        assert file.read() == b"\xc3\xa4\r\n" and os.get_blocking(file.fileno())
    assert read_bytes(str(path), 4) == b"\xc3\xa4\r\n" and read_text(path, 4) == "ä\r\n"
    require_file(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_bytes(link, 4) == b"\xc3\xa4\r\n"


def test_what_is_no_file_is_refused_by_name(tmp_path: Path, pipe: Path) -> None:
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path, what in ((pipe, "a named pipe"), (tmp_path / "zero", "a device"), (tmp_path, "a folder")):
        with pytest.raises(UnreadableFile, match=what) as caught:
            open_file(path)
        assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none")


def test_a_file_that_is_too_large_names_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(3 * 1024**3)  # a hole, so it takes no disk
    with pytest.raises(UnreadableFile, match=r"3 GB is more than the 256 kB that are read here"):
        read_bytes(path, reading.CONFIG_BYTES)


def test_a_file_without_a_size_is_read_up_to_the_limit() -> None:
    """Files under /proc say that they have 0 bytes."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")
    assert read_bytes("/proc/self/status", 10**6).startswith(b"Name:")
    with pytest.raises(UnreadableFile, match="more than the 16 bytes"):
        read_bytes("/proc/self/status", 16)


def in_folder(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    """A reader that finds its file by a name in a folder."""

    def moved(path: Path) -> object:
        home = path.parent / "home"
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if not (home / name).is_symlink():
            (home / name).symlink_to(path)
        return read(home)

    return moved


def stored_table(folder: Path) -> object:
    (folder / "a.json").write_text('{"columns": [], "ids": [], "made_by": {}}')
    return TableStore(folder).read("a")


READERS: dict[str, Callable[[Path], object]] = {
    "config": load_settings,
    "csv": lambda path: read_table(path, ["id"]),
    "json": read_json,
    "hash": sha256_file,
    "image": read_image,
    "size": image_size,
    "submission": lambda path: read_rows(path, ["id"]),
    "folds": read_folds,
    "config of a run": in_folder("config.yaml", lambda home: Run(home).config()),
    "lock": in_folder("lock.json", lambda home: Run(home).lock()),
    "scores": in_folder("scores.json", lambda home: Run(home).scores()),
    "metrics": in_folder("fold0/metrics.jsonl", lambda home: metrics_rows(Run(home), 0)),
    "prediction": in_folder("a.png", lambda home: MapStore(home).read("a", ["body"])),
    "table": in_folder("a.parquet", stored_table),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_every_reader_refuses_pipes_and_devices_on_one_line(
    tmp_path: Path, pipe: Path, reader: str, target: str
) -> None:
    path = pipe if target == "pipe" else tmp_path / "zero"
    if target != "pipe":
        path.symlink_to(target)
    with pytest.raises(MedalistError) as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_vectors_weights_and_checkpoints_refuse_a_pipe(tmp_path: Path) -> None:
    from torch import nn

    from medalist.engine.checkpoint import load_part, load_weights
    from medalist.models.states import load_state

    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(SearchError, match="not a file"):
        read_npy(tmp_path / "a.npy")
    readers: dict[str, Callable[[Path], Any]] = {
        "a.pth": load_state,
        "a.safetensors": load_state,
        "b.safetensors": lambda path: load_weights(nn.Linear(1, 1), path),
        "c.safetensors": lambda path: load_part(nn.Linear(1, 1), path, "x"),
    }
    for name, read in readers.items():
        if not (tmp_path / name).exists():
            os.mkfifo(tmp_path / name)
        with pytest.raises(MedalistError, match="a named pipe"):
            read(tmp_path / name)


def test_what_is_only_looked_at_is_not_there(pipe: Path) -> None:
    """The board and the table of a queue go on without such a file."""
    assert read_status(pipe) is None
    assert attempts(pipe, 0) == 0
    assert figures(pipe) == (0, "", "")


def test_a_name_that_is_too_long_for_a_file_is_no_run(tmp_path: Path) -> None:
    from medalist.runs.runs import find_run

    with pytest.raises(RunError, match="File name too long"):
        find_run("a" * 300, tmp_path)
