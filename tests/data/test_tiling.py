from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medalist.data.tiling import Jumps, line_of, weight_sums, window_of
from medalist.tasks.memory_settings import bytes_of
from medalist.tasks.segment.settings import PredictConfig, TileConfig

WINDOWS = st.sampled_from(["gaussian", "pyramid", "flat"])


@given(st.integers(1, 3000), st.integers(1, 16), st.integers(0, 700), st.sampled_from([1, 4, 32]), WINDOWS)
def test_tiles_cover_every_place(length: int, units: int, overlap: int, stride: int, window: str) -> None:
    size = 32 * units
    config = TileConfig.model_validate({"size": size, "overlap": min(overlap, size - 1), "window": window})
    line = line_of(length, config, stride)
    assert list(line.starts) == sorted(set(line.starts))
    assert all(start % stride == 0 for start in line.starts)
    if length <= size:
        assert line.starts == (0,) and 0 <= line.tile - length < stride and line.tile % stride == 0
    else:
        assert line.tile == size
        shared = [here + size - there for here, there in zip(line.starts, line.starts[1:], strict=False)]
        assert min(shared) >= min(config.overlap, size - stride)
        margin = -line.starts[0]
        assert 0 <= margin <= config.overlap / 2 + stride
        assert line.starts[-1] + size >= length + margin
        assert line.starts[-1] < length  # no tile lies outside of the image
    covered = np.zeros(length, int)
    for start in line.starts:
        inside, of_tile = line.inside(start)
        assert inside.stop - inside.start == of_tile.stop - of_tile.start > 0
        assert inside.start - start == of_tile.start
        covered[inside] += 1
    assert covered.min() >= 1
    weights = window_of(line, config)
    assert weights.shape == (line.tile,) and weights.min() > 0
    sums = weight_sums(line, weights)
    assert sums.min() > 0 and np.isfinite(1 / sums).all()
    if window == "flat":
        assert sums.tolist() == covered.tolist()


def test_by_hand() -> None:
    line = line_of(100, TileConfig(size=64, overlap=32), 4)
    # margins of 16 on both sides: 68 places from the first start to the last, in three steps of at most 32
    assert line.starts == (-16, 4, 28, 52) and line.seams == (4, 28, 48, 52, 68, 92)
    assert line_of(100, TileConfig(size=64), 4).starts == (0, 36)
    assert line_of(64, TileConfig(size=64), 4).starts == (0,) and line_of(64, TileConfig(size=64), 4).seams == ()


def test_windows_by_hand() -> None:
    line = line_of(1000, TileConfig(size=32), 4)
    pyramid = window_of(line, TileConfig(size=32, window="pyramid"))
    np.testing.assert_allclose(pyramid[:3], [1 - 15.5 / 16.5, 1 - 14.5 / 16.5, 1 - 13.5 / 16.5], rtol=1e-6)
    np.testing.assert_array_equal(pyramid, pyramid[::-1])
    gaussian = window_of(line, TileConfig(size=32))
    np.testing.assert_allclose(gaussian[[0, 15]], np.exp([-0.5 * (15.5 / 4) ** 2, -0.5 * (0.5 / 4) ** 2]), rtol=1e-6)


def test_the_score_of_seams_by_hand() -> None:
    jumps = Jumps()
    assert jumps.score == 1
    jumps.add(np.array([2.0, 8.0, 2.0]), 1, (2,))  # lines 1 and 2 differ by 8, others by 2
    assert jumps.score == 4
    jumps.add(np.array([2.0, 2.0]), 1, ())
    assert jumps.score == 4
    flat = Jumps()
    flat.add(np.zeros(5), 10, (1, 3))
    assert flat.score == 1
    flat.add(np.array([0.0, 3.0]), 1, (2,))
    assert flat.score == float("inf")


@pytest.mark.parametrize(
    ("tile", "words"),
    [
        ({"size": 64, "overlap": 64}, "overlap = 64 must be smaller than size = 64"),
        ({"size": 8}, "greater than or equal to 32"),
        ({"size": 64, "overlap": -1}, "greater than or equal to 0"),
        ({"size": 64, "window": "hann"}, "gaussian"),
    ],
    ids=str,
)
def test_tiles_that_cannot_be_are_refused(tile: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PredictConfig.model_validate({"tile": tile})


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("900 MB", 9 * 10**8), ("1.5gb", 15 * 10**8), ("2GiB", 2**31), (" 1 TB ", 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert bytes_of(text) == size == PredictConfig(memory=text).most_bytes


@pytest.mark.parametrize("text", ["", "4", "GB", "-4GB", "0GB", "4 GBs", "four GB", "4e3GB", "nan GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is no size; type 4GB or 900MB"):
        PredictConfig(memory=text)
