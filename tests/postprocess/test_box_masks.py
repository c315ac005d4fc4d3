"""Boxes around objects against plain loops over their pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medalist.postprocess.box_masks import boxes_around
from medalist.records import Instances


@given(arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 4)))
def test_boxes_are_those_of_the_pixels(values: NDArray[np.int32]) -> None:
    labels = np.unique(values, return_inverse=True)[1].reshape(values.shape).astype(np.int32)
    labels += int(values.min() > 0)
    want = []
    for number in range(1, int(labels.max()) + 1):
        rows, columns = np.nonzero(labels == number)
        want.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    boxes = boxes_around(Instances(labels))
    assert boxes.xyxy.tolist() == np.array(want, float).reshape(-1, 4).tolist()
    assert (boxes.xyxy.dtype, boxes.scores.tolist()) == (np.dtype(np.float32), [1.0] * len(want))


def test_classes_and_scores_are_kept_and_no_object_has_no_box() -> None:
    labels = np.array([[1, 1, 0], [0, 0, 2]], np.int32)
    boxes = boxes_around(Instances(labels), np.array([3, 5], np.int32), np.array([0.5, 0.25], np.float32))
    assert boxes.xyxy.tolist() == [[0, 0, 2, 1], [2, 1, 3, 2]]
    assert (boxes.labels.tolist(), boxes.scores.tolist()) == ([3, 5], [0.5, 0.25])
    assert boxes_around(Instances(np.zeros((4, 5), np.int32))).xyxy.shape == (0, 4)
