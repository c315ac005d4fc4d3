from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.codecs.disk import bands, disk_array, is_on_disk, release
from medalist.errors import MedalistError


def test_values_stay_after_release_and_no_file_is_left(tmp_path: Path) -> None:
    made = disk_array((3, 40, 50), np.uint16, tmp_path / "folder")
    assert made.dtype == np.uint16 and not made.any()
    values = np.random.default_rng(0).integers(0, 65536, made.shape).astype(np.uint16)
    made[:] = values
    for view in (made, made[1], np.asarray(made)[:, 3:5]):
        release(view)
        assert is_on_disk(view)
        np.testing.assert_array_equal(made, values)
    assert list((tmp_path / "folder").iterdir()) == []


def test_arrays_in_memory_are_left_alone() -> None:
    values = np.arange(6)
    release(values[2:])
    assert values.tolist() == [0, 1, 2, 3, 4, 5] and not is_on_disk(values)


def test_an_array_without_values_can_be_made(tmp_path: Path) -> None:
    assert disk_array((2, 0), np.uint8, tmp_path).shape == (2, 0)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medalist.codecs.disk.reserve", full)
    with pytest.raises(
        MedalistError, match=r"cannot keep 2\.0 GB of pixels in .*: No space left on device; free space"
    ):
        disk_array((2, 10**9), np.uint8, tmp_path)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 300))
def test_bands_are_all_rows_once(height: int, width: int, pixels: int) -> None:
    found = list(bands((height, width), pixels))
    assert [row for band in found for row in range(band.start, band.stop)] == list(range(height))
    assert all((band.stop - band.start) * width <= max(pixels, width) for band in found)
