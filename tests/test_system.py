from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medalist import system
from medalist.errors import RunError, SearchError
from medalist.files import write_text
from medalist.processes import alone_in, start
from medalist.search.gallery import Embeddings, Gallery


class FakeMsvcrt(ModuleType):
    """Locks as Windows has them: of one byte, held by an open file, and until it is closed."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.held: dict[tuple[int, int], int] = {}

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert mode == self.LK_NBLCK and count == 1
        file = os.fstat(descriptor)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > file.st_size, "locked bytes cannot be read by others"
        key = (file.st_dev, file.st_ino)
        if self.held.get(key) != descriptor and self._is_open(self.held.get(key), key):
            raise OSError(errno.EACCES, "Permission denied")
        self.held[key] = descriptor

    @staticmethod
    def _is_open(descriptor: int | None, key: tuple[int, int]) -> bool:
        if descriptor is None:
            return False
        try:
            file = os.fstat(descriptor)
        except OSError:
            return False
        return (file.st_dev, file.st_ino) == key


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`medalist.system` as Windows would import it."""
    spec = importlib.util.spec_from_file_location("system_of_windows", system.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "win32")
        patched.setitem(sys.modules, "msvcrt", FakeMsvcrt())
        spec.loader.exec_module(module)
    assert module.WINDOWS and not module.FORKS and module.CASELESS
    return module


def test_here() -> None:
    known = {"win32": (True, True, False), "darwin": (False, True, False), "linux": (False, False, True)}
    assert known[sys.platform] == (system.WINDOWS, system.CASELESS, system.FORKS)


def test_a_lock_of_windows(windows: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("a+", encoding="utf-8") as first, path.open("a+", encoding="utf-8") as second:
        assert windows.lock(first) and not windows.lock(second)
        first.write("who")
        first.flush()
        assert second.read() == "who"  # the place in the file is as it was
        first.close()
        assert windows.lock(second)


def test_a_fold_is_held_by_a_lock_of_windows(
    windows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "lock", windows.lock)
    with (
        alone_in(tmp_path),
        pytest.raises(RunError, match=f"in use by process {os.getpid()} on .*; wait until it ends"),
        alone_in(tmp_path),
    ):
        raise AssertionError("both hold it")
    with alone_in(tmp_path):
        pass


def test_a_folder_that_windows_holds(windows: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    folder.mkdir()
    with windows.held_folder(folder) as first:
        with windows.held_folder(folder) as second:
            assert first and not second
        assert not any(folder.iterdir())
    assert sorted(tmp_path.iterdir()) == [folder]


def test_two_builds_of_a_gallery_do_not_meet_on_windows(
    windows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.search.gallery.held_folder", windows.held_folder)
    vectors = np.random.default_rng(0).normal(size=(1500, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = Embeddings(tuple(map(str, range(1500))), vectors, {"fold0": "a"})
    asked: list[int] = []

    def again(done: int, _: int) -> None:
        asked.append(done)
        with pytest.raises(SearchError, match="is being built by another process"):
            Gallery.create(tmp_path / "gallery", made)

    assert len(Gallery.create(tmp_path / "gallery", made, progress=again)) == 1500 and asked
    assert len(Gallery.create(tmp_path / "gallery", made)) == 1500


def refusing(times: int) -> Callable[[Path, Path], Path]:
    """Path.replace that is refused some times, as by a virus scanner."""
    own, refused = Path.replace, iter(range(times))

    def replace(path: Path, to: Path) -> Path:
        if next(refused, None) is not None:
            raise PermissionError(errno.EACCES, "Access is denied", str(path))
        return own(path, to)

    return replace


@pytest.mark.parametrize(("is_windows", "times", "done"), [(True, 3, True), (True, 10**9, False), (False, 1, False)])
def test_windows_is_asked_again_to_replace_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_windows: bool, times: int, done: bool
) -> None:
    monkeypatch.setattr(system, "WINDOWS", is_windows)
    monkeypatch.setattr(system, "REPLACE_SECONDS", 0.2)
    path = tmp_path / "note"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", refusing(times))
    if done:
        write_text(path, "new")
    else:
        with pytest.raises(Exception, match=r"^cannot write .*note: Access is denied$"):
            write_text(path, "new")
    assert path.read_text() == ("new" if done else "old")
    assert [one.name for one in tmp_path.iterdir()] == ["note"]


@pytest.mark.parametrize("is_windows", [True, False])
def test_an_output_that_lacks_a_letter(is_windows: bool) -> None:
    code = f"from medalist import system; system.WINDOWS = {is_windows}; system.print_unknown_letters(); print('é → b')"
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert ended.stdout.splitlines() == [b"\xe9 ? b"]


def test_a_stream_that_was_closed_is_opened_before_a_file_can_take_its_number() -> None:
    """What a library prints would be written into that file."""
    code = (
        "from medalist import system; system.hold_standard_streams(); import os, sys\n"
        "print('x'); print('y', file=sys.stderr); sys.exit(os.open(os.devnull, os.O_RDONLY))"
    )
    words = ["bash", "-c", f'{sys.executable} -c "$CODE" <&- >&- 2>&-']
    ended = subprocess.run(words, env={**os.environ, "CODE": code}, check=False)
    assert ended.returncode == 3


ENDED = """\
import os, sys, time
from pathlib import Path
from medalist import system
from medalist.processes import ending_with_parent
system.WINDOWS = True
try:
    with ending_with_parent():
        Path('new' + os.environ['RANK']).write_text(str(os.getpid()))
        Path('new' + os.environ['RANK']).rename('pid' + os.environ['RANK'])
        while True:
            time.sleep(0.01)
finally:
    Path('over' + os.environ['RANK']).write_text('in order')
    Path('over' + os.environ['RANK']).rename('end' + os.environ['RANK'])
"""


def waited_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)
    return path.read_text()


def test_processes_of_windows_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """It gives them its number; no file descriptor is inherited there."""
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n{ENDED}")
    script.chmod(0o755)
    parent = (
        f"import subprocess, sys; sys.executable = {str(script)!r}\n"
        "from medalist import processes, system\n"
        "system.WINDOWS, own = True, subprocess.Popen\n"
        "def popen(*words, pass_fds, **options):\n"
        "    assert pass_fds == ()\n"
        "    return own(*words, **options)\n"
        "subprocess.Popen = popen\n"
        "processes.start([], 2)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path)
    try:
        for rank in range(2):
            waited_for(tmp_path / f"pid{rank}")
    finally:
        process.kill()
        process.wait()
    for rank in range(2):
        assert waited_for(tmp_path / f"end{rank}") == "in order"


def test_a_process_that_windows_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """POSIX has exit codes up to 255 alone, so the code is made up."""
    monkeypatch.setattr("medalist.processes.subprocess.Popen", Broken)
    with pytest.raises(RunError, match=r"^process 0 of 2 was ended by Windows \(0xc0000005\); all files are complete"):
        start([], 2)


class Broken:
    """A process that was ended for an access to memory that is not its own."""

    returncode = 0xC0000005

    def __init__(self, *_: object, **__: object):
        pass

    def poll(self) -> int:
        return self.returncode

    def wait(self, _: float) -> int:
        return self.returncode


def test_a_process_without_its_starter_waits_for_nobody(windows: ModuleType) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    waiting = threading.Thread(target=windows.wait_for_end_of, args=(str(process.pid),))
    waiting.start()
    waiting.join(30)
    assert not waiting.is_alive()


@pytest.mark.parametrize("name", ["darwin", "freebsd"])
def test_the_peak_of_memory_without_proc(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """getrusage counts in bytes on macOS, and in KiB elsewhere."""
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "")
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(system.sys, "platform", name)
    assert system.peak_memory() >= usage * (1 if name == "darwin" else 1024)
    assert system.peak_memory() < 2 * usage * (1 if name == "darwin" else 1024)
