from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.data.padding import Padding, pad_to_multiple

Pixels = NDArray[np.uint8]


def plain_padding(image: Pixels, multiple: int) -> Pixels:
    """Mirror, edge repeated, as often as it takes: the slow twin, pixel by pixel."""
    height, width = image.shape[:2]
    out = np.empty((-(-height // multiple) * multiple, -(-width // multiple) * multiple, image.shape[2]), np.uint8)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            r, c = row % (2 * height), column % (2 * width)
            out[row, column] = image[min(r, 2 * height - 1 - r), min(c, 2 * width - 1 - c)]
    return out


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 8, 32]), st.sampled_from([1, 2, 3, 6]))
def test_padding_mirrors_and_is_undone(height: int, width: int, multiple: int, channels: int) -> None:
    image = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, channels), dtype=np.uint8)
    padded, padding = pad_to_multiple(image, multiple)
    assert padding == Padding(height, width)
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    assert padded.shape[0] - height < multiple and padded.shape[1] - width < multiple
    np.testing.assert_array_equal(padding.undo(padded.transpose(2, 0, 1)), image.transpose(2, 0, 1))
    if padded.size < 4000:
        np.testing.assert_array_equal(padded, plain_padding(image, multiple))


def test_padding_of_an_image_smaller_than_its_padding() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 2, 3), dtype=np.uint8)
    padded, _ = pad_to_multiple(image, 32)
    np.testing.assert_array_equal(padded, plain_padding(image, 32))
