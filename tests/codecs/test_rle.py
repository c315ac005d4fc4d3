from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from medalist.codecs.rle import Order, RleError, decode_labels, decode_mask, decode_runs, encode_labels, encode_mask
from medalist.files import read_table

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)
MASKS = arrays(np.bool_, SHAPES)
LABELS = arrays(np.int32, SHAPES, elements=st.integers(0, 4))
ORDERS: tuple[Order, ...] = ("column", "row")


def slow_encode(mask: NDArray[np.bool_], order: Order, base: int) -> str:
    """Pixel by pixel."""
    height, width = mask.shape
    if order == "column":
        pixels = [mask[y, x] for x in range(width) for y in range(height)]
    else:
        pixels = [mask[y, x] for y in range(height) for x in range(width)]
    words: list[str] = []
    start = None
    for at, on in enumerate([*pixels, False]):
        if on and start is None:
            start = at
        if not on and start is not None:
            words += [str(start + base), str(at - start)]
            start = None
    return " ".join(words)


def slow_decode(text: str, size: tuple[int, int], order: Order, base: int) -> NDArray[np.bool_]:
    mask = np.zeros(size, np.bool_)
    words = text.split()
    for start, length in zip(words[::2], words[1::2], strict=True):
        for at in range(int(start) - base, int(start) - base + int(length)):
            y, x = (at % size[0], at // size[0]) if order == "column" else (at // size[1], at % size[1])
            mask[y, x] = True
    return mask


def without_gaps(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number the objects 1..n in the order of their labels."""
    numbers = [0, *(int(label) for label in np.unique(labels) if label > 0)]
    return np.searchsorted(numbers, labels).astype(np.int32)


# by hand

#  . X .     column-major: 1 . | 2 X | 3 X | 4 X | 5 . | 6 X
#  X . X     row-major:    1 . | 2 X | 3 . | 4 X | 5 . | 6 X
HAND = np.array([[0, 1, 0], [1, 0, 1]], np.bool_)


def test_by_hand() -> None:
    assert encode_mask(HAND) == "2 2 6 1"
    assert encode_mask(HAND, base=0) == "1 2 5 1"
    assert encode_mask(HAND, "row") == "2 1 4 1 6 1"
    assert encode_mask(np.ones((3, 5), np.bool_)) == "1 15"
    assert encode_mask(np.zeros((3, 5), np.bool_)) == ""
    assert np.array_equal(decode_mask("2 2 6 1", (2, 3)), HAND)
    assert decode_runs("1 3 10 5", (4, 5)).tolist() == [[0, 3], [9, 5]]
    assert decode_runs("0 3 9 5", (4, 5), base=0).tolist() == [[0, 3], [9, 5]]
    assert decode_runs("1 3 4 2", (4, 5)).tolist() == [[0, 3], [3, 2]]  # runs may touch
    labels = np.array([[2, 0, 1], [2, 1, 1]], np.int32)
    assert encode_labels(labels) == ["4 3", "1 2"]
    assert encode_labels(labels, "row") == ["3 1 5 2", "1 1 4 1"]
    assert np.array_equal(decode_labels(["4 3", "1 2"], (2, 3)), labels)


def test_nothing() -> None:
    for text in ("", " ", "   "):
        assert decode_runs(text, (4, 5)).shape == (0, 2)
    assert not decode_mask("", (4, 5)).any()
    assert decode_labels([], (4, 5)).tolist() == np.zeros((4, 5)).tolist()
    assert encode_labels(np.zeros((4, 5), np.int32)) == []
    for size in ((0, 5), (5, 0), (0, 0)):
        assert decode_mask("", size).shape == size
        assert encode_mask(np.zeros(size, np.bool_)) == ""
        assert encode_labels(np.zeros(size, np.int32)) == []
        with pytest.raises(RleError):
            decode_mask("1 1", size)


# slow twins


@settings(deadline=None)
@given(MASKS, st.sampled_from(ORDERS), st.integers(0, 1), st.booleans())
def test_masks_against_the_slow_twin(mask: NDArray[np.bool_], order: Order, base: int, by_column: bool) -> None:
    mask = np.asfortranarray(mask) if by_column else mask
    text = encode_mask(mask, order, base)
    assert text == slow_encode(mask, order, base)
    found = decode_mask(text, mask.shape, order, base)
    assert found.dtype == np.bool_
    assert found.flags.c_contiguous
    assert np.array_equal(found, mask)
    assert np.array_equal(slow_decode(text, mask.shape, order, base), mask)


@settings(deadline=None)
@given(LABELS, st.sampled_from(ORDERS), st.integers(0, 1), st.booleans())
def test_labels_against_the_slow_twin(labels: NDArray[np.int32], order: Order, base: int, by_column: bool) -> None:
    labels = np.asfortranarray(labels) if by_column else labels
    texts = encode_labels(labels, order, base)
    present = [label for label in np.unique(labels) if label > 0]
    assert texts == [slow_encode(labels == label, order, base) for label in present]
    found = decode_labels(texts, labels.shape, order, base)
    assert found.dtype == np.int32
    assert found.flags.c_contiguous
    assert np.array_equal(found, without_gaps(labels))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools' own arrays and NumPy 2
@settings(deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)))
def test_masks_against_pycocotools(mask: NDArray[np.bool_]) -> None:
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = decode_mask(encode_mask(mask), mask.shape)
    assert np.array_equal(ours, coco.decode(theirs))
    assert decode_runs(encode_mask(mask), mask.shape)[:, 1].sum() == coco.area(theirs)


@pytest.mark.parametrize("order", ORDERS)
def test_numbers_of_every_width(order: Order) -> None:
    """Starts and lengths of one to seven digits, at each power of ten."""
    size = (1280, 1918)
    mask = np.zeros(size[0] * size[1], np.bool_)
    for power in range(7):
        mask[10**power - 2 if power else 0 : 10**power + 10 ** (power - 1) if power else 1] = True
    mask[2_000_000:] = True
    shaped = mask.reshape(size) if order == "row" else mask.reshape(size[::-1]).T
    text = encode_mask(shaped, order)
    numbers = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    assert text == " ".join(f"{start + 1} {end - start}" for start, end in numbers.tolist())
    assert np.array_equal(decode_mask(text, size, order), shaped)


def test_views_and_strides() -> None:
    labels = np.arange(48, dtype=np.int32).reshape(6, 8) // 5
    for view in (labels[::2, 1::3], labels[::-1], labels.T, labels[:, ::-1].T):
        assert encode_labels(view) == encode_labels(view.copy())
        assert encode_mask(view > 3) == encode_mask((view > 3).copy())


# hostile texts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("65500 100", "run 65500 100 ends at 65599, past the last pixel 65536"),
        ("65537 1", "run 65537 1 ends at 65537, past the last pixel 65536"),
        ("0 5", "run 0 5 starts before the first pixel 1"),
        ("1 0", "run 1 0 is empty; lengths are at least 1"),
        ("1 3 5 0", "run 5 0 is empty"),
        ("1 3 3 2", "run 3 2 overlaps run 1 3"),
        ("9 2 1 3", "run 1 3 stands after run 9 2; runs must be sorted"),
        ("5 2 5 2", "run 5 2 overlaps run 5 2"),
        ("7", "1 numbers are no pairs; the last start, 7, has no length"),
        ("1 3 10", "3 numbers are no pairs; the last start, 10, has no length"),
        ("-5 3", "'-5' is not a whole number"),
        ("5 -3", "'-3' is not a whole number"),
        ("+5 3", "'+5' is not a whole number"),
        ("1.0 3", "'1.0' is not a whole number"),
        ("1e3 3", "'1e3' is not a whole number"),
        ("1_0 3", "'1_0' is not a whole number"),
        ("0x1 3", "'0x1' is not a whole number"),
        ("1,3", "'1,3' is not a whole number"),
        ("1\t3", r"'1\t3' is not a whole number"),
        ("1 3\n", r"'3\n' is not a whole number"),
        ("1 3\x00", r"'3\x00' is not a whole number"),
        ("nan", "'nan' is not a whole number"),
        ("-", "'-' is not a whole number"),
        ("inf 1", "'inf' is not a whole number"),
        ("१ ३", "'१' is not a whole number"),  # digits to int(), but not to a contest
        ("1\u00a03", r"'1\xa03' is not a whole number"),
        ("1 9223372036854775807", "'9223372036854775807' is past the last pixel 65536"),
        ("9223372036854775807 9223372036854775807", "'9223372036854775807' is past the last pixel"),
        ("18446744073709551617 1", "'18446744073709551617' is past the last pixel"),
        ("1 18446744073709551617", "'18446744073709551617' is past the last pixel"),
        ("1000000000000000000 1", "run 1000000000000000000 1 ends at 1000000000000000000, past"),
        ("9" * 100_000 + " 1", "'99999999999999999999999…' is past the last pixel"),
        ("x" * 100_000, "'xxxxxxxxxxxxxxxxxxxxxxx…' is not a whole number"),
    ],
)
def test_hostile_texts_are_refused_with_the_rule(text: str, words: str) -> None:
    for decode in (decode_runs, decode_mask):
        with pytest.raises(RleError) as raised:
            decode(text, (256, 256))
        assert words in str(raised.value)
        assert len(str(raised.value)) < 150
        assert "\n" not in str(raised.value)
    with pytest.raises(RleError) as raised:
        decode_labels(["1 1", text], (256, 256))
    assert f"object 2: {words}" in str(raised.value)


def test_leading_noughts_and_more_spaces_are_harmless() -> None:
    assert decode_runs("  001  3 " + "0" * 40 + "10 5 ", (4, 5)).tolist() == [[0, 3], [9, 5]]


def slow_check(text: str, pixels: int, base: int) -> bool:
    """Whether a text follows all rules, word by word."""
    words = [word for word in text.split(" ") if word]
    if not all(set(word) <= set("0123456789") for word in words) or len(words) % 2:
        return False
    free = base
    for start, length in zip(map(int, words[::2]), map(int, words[1::2]), strict=True):
        if start < free or length < 1 or start + length > pixels + base:
            return False
        free = start + length
    return True


@settings(deadline=None)
@given(
    st.one_of(
        st.lists(st.integers(0, 9), max_size=6).map(lambda numbers: " ".join(map(str, numbers))),
        st.text("0123456789 -+.\t٣", max_size=12),
        st.text(max_size=8),
    ),
    st.integers(0, 1),
)
def test_exactly_the_texts_that_follow_the_rules_are_read(text: str, base: int) -> None:
    try:
        mask = decode_mask(text, (3, 4), base=base)
    except RleError:
        assert not slow_check(text, 12, base)
    else:
        assert slow_check(text, 12, base)
        assert np.array_equal(mask, slow_decode(text, (3, 4), "column", base))


def test_overlapping_and_empty_objects_are_named() -> None:
    with pytest.raises(RleError, match=r"^object 3 overlaps object 1 at pixel 12$"):
        decode_labels(["10 5", "1 2", "5 2 12 1"], (4, 5))
    with pytest.raises(RleError, match=r"^object 2 overlaps object 1 at pixel 3$"):
        decode_labels(["1 10", "3 1"], (4, 5))
    with pytest.raises(RleError, match=r"^object 2 overlaps object 1 at pixel 1$"):
        decode_labels(["1 10", "1 1"], (4, 5))
    with pytest.raises(RleError, match=r"^object 2 has no pixels$"):
        decode_labels(["1 10", ""], (4, 5))
    with pytest.raises(RleError, match=r"^label -1 is negative$"):
        encode_labels(np.array([[0, -1]], np.int32))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 11), max_size=4, unique=True).filter(bool), max_size=3))
def test_overlap_is_found_exactly_where_pixels_are_shared(objects: list[list[int]]) -> None:
    texts = [" ".join(f"{pixel + 1} 1" for pixel in sorted(pixels)) for pixels in objects]
    shared = len({pixel for pixels in objects for pixel in pixels}) < sum(map(len, objects))
    if shared:
        with pytest.raises(RleError, match="overlaps object"):
            decode_labels(texts, (3, 4))
    else:
        flat = decode_labels(texts, (3, 4)).ravel("F")
        assert [np.flatnonzero(flat == n + 1).tolist() for n in range(len(objects))] == [sorted(o) for o in objects]


@pytest.mark.data
def test_all_real_objects_survive_a_round_trip(contest_data: Callable[[str], Path]) -> None:
    folder = contest_data("dsb2018")
    sizes = {
        row["ImageId"]: (int(row["Height"]), int(row["Width"]))
        for row in read_table(folder / "stage1_train_meta.csv", ("ImageId", "Width", "Height"))
    }
    texts = defaultdict(list)
    for row in read_table(folder / "stage1_train_labels.csv", ("ImageId", "EncodedPixels")):
        texts[row["ImageId"]].append(row["EncodedPixels"])
    assert sum(map(len, texts.values())) == 22_108
    for name, objects in texts.items():
        assert encode_labels(decode_labels(objects, sizes[name])) == objects


@pytest.mark.parametrize("order", ["col", "rows", "F", None])
def test_another_word_for_the_order_is_refused(order: Any) -> None:
    for call in (lambda: encode_mask(np.ones((2, 3), bool), order), lambda: decode_mask("1 2", (2, 3), order)):
        with pytest.raises(RleError, match=r"order = .*; allowed: 'column', 'row'"):
            call()


def test_a_mask_has_two_axes() -> None:
    with pytest.raises(RleError, match=r"a mask is \[H, W\], and this array is \[2, 2, 2\]"):
        encode_mask(np.ones((2, 2, 2), bool))


@given(LABELS, st.sampled_from(ORDERS), st.integers(1, 40))
def test_blocks_of_any_size_change_nothing(labels: NDArray[np.int32], order: Order, pixels: int) -> None:
    """Large images are read and written block by block; here blocks are a line or a few."""
    mask = labels > 1
    whole = encode_mask(mask, order), encode_labels(labels, order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medalist.codecs.rle.BLOCK_PIXELS", pixels)
        assert (encode_mask(mask, order), encode_labels(labels, order)) == whole
        assert encode_mask(mask.astype(np.uint8) * 7, order) == whole[0]
        np.testing.assert_array_equal(decode_mask(whole[0], (mask.shape[0], mask.shape[1]), order), mask)
