from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.errors import DataError
from medalist.postprocess.box_instances import decide_instances, patch_of, scored_instances
from medalist.postprocess.box_settings import MasksConfig
from medalist.records import BoxPrediction

PLAIN = MasksConfig(kind="masks", score=0.0)
FULL = np.full((4, 4), 255, np.uint8)


def seen(
    boxes: list[tuple[float, ...]], scores: list[float], masks: list[NDArray[np.uint8]] | None = None
) -> BoxPrediction:
    count = len(boxes)
    return BoxPrediction(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros(count, np.int32),
        np.array(scores, np.float32),
        np.zeros(count, np.int16),
        1,
        np.stack(masks or [FULL] * count) if count else np.zeros((0, 4, 4), np.uint8),
        (8, 10),
    )


def test_a_full_mask_fills_the_pixels_whose_centres_are_in_its_box() -> None:
    found = decide_instances(seen([(1, 2, 4, 5), (6.4, 0.6, 8.6, 3.4)], [0.9, 0.8]), PLAIN)
    labels = np.zeros((8, 10), np.int32)
    labels[2:5, 1:4] = 1
    labels[1:3, 6:9] = 2
    assert found.labels.tolist() == labels.tolist() and found.labels.dtype == np.int32


def test_what_reaches_out_of_the_image_is_cut_and_not_squeezed() -> None:
    left_half = np.zeros((4, 4), np.uint8)
    left_half[:, :2] = 255
    found = decide_instances(seen([(-4, 0, 4, 4)], [0.9], [left_half]), PLAIN)
    assert found.count == 0
    right_half = np.ascontiguousarray(left_half[:, ::-1])
    found = decide_instances(seen([(-4, 0, 4, 4)], [0.9], [right_half]), PLAIN)
    assert found.labels[:4, :4].all() and found.labels.sum() == 16
    assert decide_instances(seen([(-9, -9, -1, -1), (20, 20, 30, 30)], [0.9, 0.8]), PLAIN).count == 0


@given(
    st.tuples(*[st.floats(-6, 12)] * 2, *[st.floats(0.3, 9)] * 2),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 5]),
    st.floats(0.05, 0.95),
)
def test_a_patch_is_the_mask_interpolated_at_each_pixel(
    place: tuple[float, float, float, float], seed: int, cells: int, threshold: float
) -> None:
    mask = np.random.default_rng(seed).integers(0, 256, (cells, cells), np.uint8)
    x1, y1, x2, y2 = place[0], place[1], place[0] + place[2], place[1] + place[3]
    config = PLAIN.model_copy(update={"threshold": threshold})
    patch = patch_of(mask, np.array([x1, y1, x2, y2]), (8, 10), config)
    whole = np.zeros((8, 10), bool)
    whole[patch.window] = patch.inside
    for row in range(8):
        for column in range(10):
            x, y = column + 0.5, row + 0.5
            u = min(max((x - x1) / (x2 - x1) * cells - 0.5, 0), cells - 1)
            v = min(max((y - y1) / (y2 - y1) * cells - 0.5, 0), cells - 1)
            left, top = int(u), int(v)
            right, bottom = min(left + 1, cells - 1), min(top + 1, cells - 1)
            upper = mask[top, left] * (1 - u + left) + mask[top, right] * (u - left)
            lower = mask[bottom, left] * (1 - u + left) + mask[bottom, right] * (u - left)
            value = upper * (1 - v + top) + lower * (v - top)
            if abs(value - 255 * threshold) < 1e-6:
                continue
            inside = x1 <= x <= x2 and y1 <= y <= y2
            assert whole[row, column] == (inside and value > 255 * threshold)


def test_masks_tell_apart_what_boxes_cannot() -> None:
    upper = np.triu(np.full((28, 28), 255, np.uint8), 2)
    lower = np.tril(np.full((28, 28), 255, np.uint8), -2)
    pair = seen([(0, 0, 8, 8), (0, 0, 8, 8)], [0.9, 0.8], [upper, lower])
    assert decide_instances(pair, PLAIN).count == 2
    assert decide_instances(pair, PLAIN.model_copy(update={"doubles": "boxes"})).count == 1
    same = seen([(0, 0, 8, 8), (0, 0, 8, 8)], [0.9, 0.8], [upper, upper])
    assert decide_instances(same, PLAIN).count == 1


def test_the_highest_score_is_on_top_and_rests_are_dropped() -> None:
    pair = seen([(0, 0, 4, 4), (2, 0, 6, 4)], [0.7, 0.9])
    found = decide_instances(pair, PLAIN)
    assert found.labels[0].tolist() == [2, 2, 1, 1, 1, 1, 0, 0, 0, 0]
    assert decide_instances(pair, PLAIN.model_copy(update={"least": 0.6})).count == 1
    assert decide_instances(pair, PLAIN.model_copy(update={"min_area": 9})).count == 1
    assert decide_instances(pair, PLAIN.model_copy(update={"max_boxes": 1})).count == 1
    assert decide_instances(pair, PLAIN.model_copy(update={"score": 0.8})).count == 1
    assert decide_instances(pair, PLAIN.model_copy(update={"min_size": 4.5})).count == 0


def test_holes_are_filled_on_request() -> None:
    ring = np.full((5, 5), 255, np.uint8)
    ring[2, 2] = 0
    one = seen([(0, 0, 5, 5)], [0.9], [ring])
    assert (decide_instances(one, PLAIN).labels > 0).sum() == 24
    assert (decide_instances(one, PLAIN.model_copy(update={"fill_holes": True})).labels > 0).sum() == 25


def test_boxes_without_masks_are_refused() -> None:
    bare = BoxPrediction(
        np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int16)
    )
    with pytest.raises(DataError, match=r"model\.kind=mask_rcnn"):
        decide_instances(bare, PLAIN)
    assert decide_instances(seen([], []), PLAIN).labels.shape == (8, 10)


def crowd(seed: int, count: int) -> BoxPrediction:
    random = np.random.default_rng(seed)
    low = random.uniform(-2, 8, (count, 2))
    boxes = np.concatenate([low, low + random.uniform(1, 6, (count, 2))], axis=1)
    scores = random.choice(np.array([0.2, 0.4, 0.4, 0.6, 0.8], np.float32), count)
    masks = (random.random((count, 4, 4)) * 256).astype(np.uint8)
    return seen([tuple(box) for box in boxes.tolist()], scores.tolist(), list(masks))


@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.sampled_from(["masks", "boxes"]), st.floats(0.1, 0.9))
def test_objects_do_not_depend_on_the_order_and_a_cut_is_a_cut(seed: int, count: int, doubles: str, cut: float) -> None:
    config = PLAIN.model_copy(update={"doubles": doubles, "least": 0.3, "min_area": 2})
    one, order = crowd(seed, count), np.random.default_rng(seed).permutation(count)
    assert one.masks is not None
    other = BoxPrediction(one.xyxy[order], one.labels, one.scores[order], one.source, 1, one.masks[order], one.size)
    found = scored_instances(one, config)
    assert (found.instances.labels == decide_instances(other, config).labels).all()
    assert found.instances.count == len(found.scores)
    assert np.unique(found.instances.labels[found.instances.labels > 0]).tolist() == [*range(1, len(found.scores) + 1)]
    decided = decide_instances(one, config.model_copy(update={"score": cut, "max_boxes": 2}))
    assert (found.above(cut, 2).labels == decided.labels).all()
