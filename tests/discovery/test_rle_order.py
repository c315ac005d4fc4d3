"""Order and base of run-length codes are found by trying: the twin is the encoder with a known order and base."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.codecs.rle import Order, encode_mask
from medalist.discovery.rle_order import Coded, border_length, reading_of
from medalist.errors import DataError
from medalist.layouts.drawing import drawn_objects, painted


def drawn(
    seed: int, size: tuple[int, int], order: Order, base: int
) -> tuple[list[Coded], dict[str, NDArray[np.uint8]]]:
    rng = np.random.default_rng(seed)
    codes, pictures = [], {}
    for number in range(6):
        labels = drawn_objects(rng, size, 3, (4, 8))
        labels[-3:, -7:] = 9  # an object at the last pixel
        pictures[str(number)] = painted(rng, labels > 0, [(0.2, 0.2, 0.2), (0.9, 0.9, 0.8)])
        codes.append(Coded(encode_mask(labels > 0, order, base), size, str(number)))
    return codes, pictures


def test_a_border_is_counted_by_hand() -> None:
    mask = np.zeros((4, 5), np.bool_)
    mask[1:3, 1:4] = True
    assert border_length(mask) == 2 * (2 + 3)
    mask[:, :] = True
    assert border_length(mask) == 0


@pytest.mark.parametrize("order", ["column", "row"])
@pytest.mark.parametrize("size", [(40, 64), (64, 64)])
@given(seed=st.integers(0, 99))
def test_the_order_is_found(order: Order, size: tuple[int, int], seed: int) -> None:
    codes, pictures = drawn(seed, size, order, 1)
    found = reading_of(codes, pictures.__getitem__)
    assert (found.order, found.base) == (order, 1)
    assert any(order in line and "order" in line for line in found.evidence)
    assert not found.doubts


def test_a_wrong_order_that_decodes_is_said() -> None:
    codes, pictures = drawn(1, (40, 64), "row", 1)
    (line, _) = reading_of(codes, pictures.__getitem__).evidence
    assert "in column order the codes decode too" in line


@pytest.mark.parametrize("order", ["column", "row"])
def test_the_base_is_found(order: Order) -> None:
    codes, pictures = drawn(2, (40, 64), order, 0)
    assert reading_of(codes, pictures.__getitem__).base == 0
    first = Coded("0 3", (4, 5), "x")
    assert reading_of([first, *codes], pictures.__getitem__).base == 0


def test_what_cannot_be_known_is_a_doubt() -> None:
    flat = np.full((8, 8, 3), 90, np.uint8)
    codes = [Coded("11 2 19 2", (8, 8), "x")] * 3
    found = reading_of(codes, lambda path: flat)
    assert (found.order, found.base) == ("column", 1)
    assert [line.partition(";")[0] for line in found.doubts] == [
        "the order of the run-length codes is not sure",
        "codes that count from 1 and from 0 cannot be told apart here",
    ]


def test_codes_that_no_order_decodes_are_refused() -> None:
    with pytest.raises(DataError, match="no order of pixels decodes the code '40 9'"):
        reading_of([Coded("40 9", (6, 7), "x.png")], lambda path: np.zeros((6, 7, 3), np.uint8))
