"""Merged boxes of slices are those of the whole image: objects are cut by hand and put together again."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.postprocess.box_settings import SlicesConfig
from medalist.postprocess.box_slices import ImageSlice, merge_slices, slices_of
from medalist.records import BoxPrediction

Row = tuple[float, ...]


def seen(xyxy: np.ndarray, labels: np.ndarray, scores: np.ndarray, source: np.ndarray, sources: int) -> BoxPrediction:
    kinds = (np.float32, np.int32, np.float32, np.int16)
    parts = [part.astype(kind) for part, kind in zip((xyxy, labels, scores, source), kinds, strict=True)]
    return BoxPrediction(parts[0].reshape(-1, 4), parts[1], parts[2], parts[3], sources)


def cut(whole: BoxPrediction, slices: list[ImageSlice]) -> list[BoxPrediction]:
    """What a perfect network sees of some objects in each slice."""
    parts = []
    for one in slices:
        low, high = np.array([one.left, one.top]), np.array([one.right, one.bottom])
        inside = np.clip(whole.xyxy.reshape(-1, 2, 2), low, high) - low
        some = (inside[:, 0] < inside[:, 1]).all(axis=1)
        parts.append(seen(inside[some], whole.labels[some], whole.scores[some], whole.source[some], whole.sources))
    return parts


def rows_of(boxes: BoxPrediction) -> list[Row]:
    rows = zip(boxes.source.tolist(), boxes.labels.tolist(), boxes.scores.tolist(), boxes.xyxy.tolist(), strict=True)
    return sorted((source, label, score, *box) for source, label, score, box in rows)


def apart(random: np.random.Generator, height: int, width: int, sources: int) -> BoxPrediction:
    """Objects of all sizes that are at least 8 pixels apart; some are larger than a slice."""
    rows: list[Row] = []
    for _ in range(40):
        x, y = random.integers(0, width - 6), random.integers(0, height - 6)
        w, h = np.exp(random.uniform(1.8, 5, 2)).round()
        box = (x, y, min(x + w, width), min(y + h, height))
        if all(box[0] > r[2] + 8 or box[2] < r[0] - 8 or box[1] > r[3] + 8 or box[3] < r[1] - 8 for r in rows):
            rows.append(box)
    count = len(rows)
    labels, source = random.integers(0, 3, count), random.integers(0, sources, count)
    return seen(np.array(rows), labels, random.uniform(0.1, 1, count), source, sources)


@given(st.integers(0, 10_000), st.sampled_from([(64, 16), (64, 0), (64, 40), (100, 31)]))
def test_objects_are_whole_again(seed: int, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(50, 300, 2).tolist()
    slices = slices_of(height, width, *shape)
    whole = apart(random, height, width, 2)
    config = SlicesConfig(size=shape[0], overlap=shape[1])
    merged = merge_slices(cut(whole, slices), slices, (height, width), config)
    assert rows_of(merged) == rows_of(whole)
    assert merged.sources == 2
    order = random.permutation(len(slices)).tolist()
    parts = cut(whole, slices)
    turned = merge_slices([parts[at] for at in order], [slices[at] for at in order], (height, width), config)
    assert rows_of(turned) == rows_of(whole)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([(32, 0), (64, 20), (50, 49)]))
def test_slices_have_all_pixels_and_share_enough(height: int, width: int, shape: tuple[int, int]) -> None:
    size, overlap = shape
    slices = slices_of(height, width, size, overlap)
    there = np.zeros((height, width), bool)
    for one in slices:
        there[one.rows, one.columns] = True
        assert (one.bottom - one.top, one.right - one.left) == (min(size, height), min(size, width))
    assert there.all()
    for starts in ({one.left for one in slices}, {one.top for one in slices}):
        assert all(after - before <= size - overlap for before, after in pairwise(sorted(starts)))


TWO = [ImageSlice(0, 0, 100, 100), ImageSlice(80, 0, 180, 100)]
CONFIG = SlicesConfig(size=100, overlap=20)


def of(rows: list[Row]) -> BoxPrediction:
    """Boxes of one network: rows (score, x1, y1, x2, y2)."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    zeros = np.zeros(len(table), int)
    return seen(table[:, 1:], zeros, table[:, 0], zeros, 1)


@pytest.mark.parametrize(
    ("left", "right", "want"),
    [
        # parts of a wide object, seen a little differently: the box around both, with the higher score
        ([(0.6, 40, 10, 99, 30)], [(0.8, 1, 11, 60, 31)], [(0.8, 40, 10, 140, 31)]),
        # the left slice sees it whole: its box, with the score of the part, which is surer
        ([(0.6, 75, 10, 95, 30)], [(0.8, 0, 10, 16, 30)], [(0.8, 75, 10, 95, 30)]),
        # both see it whole, a little differently: the surer one
        ([(0.6, 82, 10, 96, 30)], [(0.8, 3, 10, 16, 30)], [(0.8, 83, 10, 96, 30)]),
        # a small object before a large one that goes on to the right
        ([(0.9, 84, 40, 92, 50), (0.7, 60, 0, 100, 90)], [(0.9, 4, 40, 12, 50), (0.6, 0, 0, 70, 90)],
         [(0.7, 60, 0, 150, 90), (0.9, 84, 40, 92, 50)]),
        # two objects at different heights, both cut
        ([(0.9, 70, 0, 100, 20)], [(0.8, 0, 50, 40, 70)], [(0.8, 80, 50, 120, 70), (0.9, 70, 0, 100, 20)]),
        # doubles in one slice
        ([(0.9, 10, 10, 30, 30), (0.8, 10, 10, 30, 31)], [], [(0.9, 10, 10, 30, 30)]),
    ],
)  # fmt: skip
def test_two_slices_worked_out_by_hand(left: list[Row], right: list[Row], want: list[Row]) -> None:
    merged = merge_slices([of(left), of(right)], TWO, (100, 180), CONFIG)
    rows = sorted((round(score, 6), *box) for _, _, score, *box in rows_of(merged))
    assert rows == sorted(want)


def test_an_object_of_three_slices_is_one() -> None:
    slices = slices_of(100, 260, 100, 20)
    whole = of([(0.5, 10, 20, 250, 80)])
    assert len(slices) == 3
    assert rows_of(merge_slices(cut(whole, slices), slices, (100, 260), CONFIG)) == rows_of(whole)


def test_a_border_of_the_image_cuts_nothing() -> None:
    """Boxes at the outer borders are whole, so that boxes beside them are not taken for their parts."""
    merged = merge_slices([of([(0.9, 0, 0, 100, 5), (0.8, 0, 0, 100, 9)])], TWO[:1], (100, 100), CONFIG)
    assert len(merged.labels) == 1
    assert merge_slices([of([])], TWO[:1], (100, 100), CONFIG).xyxy.shape == (0, 4)
