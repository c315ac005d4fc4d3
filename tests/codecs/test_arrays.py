"""Arrays of numbers are read as NumPy reads them; everything else is refused in one line, before memory is taken."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.lib import format as npy

from medalist.codecs.arrays import array_header, read_array
from medalist.errors import DataError

DTYPES = st.sampled_from(["?", "u1", "<i2", ">i2", "<i4", "<u8", "<f2", "<f4", ">f8"])


@given(DTYPES.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))))
def test_as_numpy_reads_it(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    for array in (values, np.asfortranarray(values)):
        np.save(path, array)
        found = read_array(path)
        assert found.dtype == array.dtype and found.shape == array.shape
        np.testing.assert_array_equal(found, np.load(path, allow_pickle=False))
        header = array_header(path)
        assert (header.shape, header.dtype) == (array.shape, array.dtype)


def test_version_2(tmp_path: Path) -> None:
    file = io.BytesIO()
    npy.write_array(file, np.arange(6).reshape(2, 3), version=(2, 0))
    (tmp_path / "a.npy").write_bytes(file.getvalue())
    assert read_array(tmp_path / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]


def saved(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def claimed(shape: str) -> bytes:
    """A header that claims a shape, and 8 bytes of numbers."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8)


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch exploded",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no .npy file, or damaged"),
        (b"\x93NUMPY", "no .npy file, or damaged"),
        (b"P5 2 2 255 abcd", "no .npy file, or damaged"),
        (pickle.dumps(Bomb()), "no .npy file, or damaged"),
        (saved(np.array([Bomb()], object)), "an array of object; only arrays of numbers are read, never pickles"),
        (saved(np.array(["a"])), "an array of <U1; only arrays of numbers"),
        (saved(np.zeros(2, "M8[s]")), "an array of datetime64[s]; only arrays of numbers"),
        (saved(np.zeros(2, complex)), "an array of complex128; only arrays of numbers"),
        (saved(np.zeros(2, [("a", "<f4")])), "only arrays of numbers"),
        (saved(np.zeros(4))[:-1], "159 bytes, and its header says 160; it is damaged or cut off"),
        (saved(np.zeros(4)) + b"x", "161 bytes, and its header says 160"),
        (claimed("(1000000, 1000000, 1000000)"), "its header says 4000000000000000128"),
        (claimed("(-1, -2)"), "it is damaged"),
        (saved(np.zeros(1)).replace(b"NUMPY\x01", b"NUMPY\x07"), "version 7.0"),
        (claimed("__import__('os').system('touch exploded')"), "no .npy file, or damaged"),
    ],
)
def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    for read in (read_array, array_header):
        with pytest.raises(DataError) as caught:
            read(path)
        assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.npy: No such file"):
        read_array(tmp_path / "a.npy")
    with pytest.raises(DataError, match="a folder, not a file"):
        read_array(tmp_path)


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    for content in (body, b"\x93NUMPY\x01\x00" + body, saved(np.zeros(3))[:100] + body):
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            read_array(path)
