from __future__ import annotations

import numpy as np
import pytest

from medalist.errors import ConfigError
from medalist.tasks.detect.anchors import corner_iou, fitted_shapes, listed_shapes, sizes_seen
from medalist.tasks.detect.model_settings import RetinaConfig

CONFIG = RetinaConfig(kind="retinanet", encoder="x", coarsest=32, scales=(2.0,), ratios=(0.25, 1.0), anchors="fitted")


def test_listed_shapes_have_the_area_of_their_scale() -> None:
    shapes = listed_shapes(CONFIG)
    assert shapes.shape == (3, 2, 2)
    assert shapes[0].tolist() == [[32.0, 8.0], [16.0, 16.0]] and shapes[2, 0].tolist() == [128.0, 32.0]


def test_fitted_shapes_are_those_of_the_boxes_the_smallest_first() -> None:
    random = np.random.default_rng(0)
    true = np.array([[8, 8], [9, 30], [40, 10], [50, 50], [20, 90], [120, 100]], np.float32)
    sizes = np.concatenate([shape * random.uniform(0.95, 1.05, (30, 2)) for shape in true]).astype(np.float32)
    shapes = fitted_shapes(CONFIG, sizes, seed=3)
    flat = shapes.reshape(-1, 2).numpy().astype(np.float64)
    assert (np.diff(flat.prod(axis=1)) >= 0).all()
    assert corner_iou(sizes.astype(np.float64), flat).max(axis=1).mean() > 0.75
    with pytest.raises(ConfigError, match="needs 6 boxes in the training part, and there are 2"):
        fitted_shapes(CONFIG, sizes[:2], seed=3)


def test_the_overlap_of_boxes_in_one_corner() -> None:
    one, other = np.array([[2.0, 4.0]]), np.array([[2.0, 4.0], [4.0, 2.0], [1.0, 1.0]])
    assert corner_iou(one, other).tolist() == [[1.0, 4 / 12, 1 / 8]]


def test_boxes_are_as_large_as_in_their_frame() -> None:
    boxes = [np.array([[0, 0, 4, 8]], np.float32), np.zeros((0, 4), np.float32)]
    assert sizes_seen(boxes, [0.5, 2.0]).tolist() == [[2, 4]] and sizes_seen([], []).shape == (0, 2)
