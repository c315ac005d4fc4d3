"""The search by cells finds every box that overlaps enough, at all scales and shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.postprocess.box_grid import cell_of, keys_of, levels_above, searched
from medalist.postprocess.box_overlaps import are_boxes, overlaps


def found(xyxy: np.ndarray, groups: np.ndarray, least: float) -> np.ndarray:
    """Which boxes (columns) each box (rows) finds."""
    search, count = searched(xyxy, groups, least), len(xyxy)
    above = levels_above(least)
    rows = zip(xyxy.tolist(), groups.tolist(), strict=True)
    keys = [set(keys_of(cell_of(x1, y1, x2, y2), group, above)) for (x1, y1, x2, y2), group in rows]
    return np.array([[bool(keys[two] & set(search.of(one))) for two in range(count)] for one in range(count)], bool)


@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.3, 0.5, 0.55, 0.8]), st.sampled_from([0.01, 1.0, 3e6]))
def test_boxes_that_overlap_enough_are_found(seed: int, least: float, scale: float) -> None:
    random = np.random.default_rng(seed)
    corner, sides = random.normal(0, 1, (12, 2)), np.exp2(random.uniform(-2, 1, (12, 2)))
    xyxy = scale * np.concatenate([corner, corner + sides], axis=1)
    xyxy = np.concatenate([xyxy, xyxy[:6] + random.normal(0, 0.1, (6, 4)) * np.tile(sides[:6], 2) * scale])
    xyxy = xyxy[are_boxes(xyxy)]
    groups = random.integers(0, 2, len(xyxy))
    strong = (overlaps(xyxy, xyxy) > least) & (groups[:, np.newaxis] == groups)
    assert found(xyxy, groups, least)[strong].all()


@pytest.mark.parametrize(("least", "above"), [(0.55, 1), (0.5, 1), (0.49, 2), (0.1, 4)])
def test_grids_above_are_as_many_as_sides_differ(least: float, above: int) -> None:
    assert levels_above(least) == above


def test_far_boxes_are_not_compared_with_each_other() -> None:
    random = np.random.default_rng(0)
    corner = random.uniform(0, 1000, (200, 2))
    xyxy = np.concatenate([corner, corner + random.uniform(5, 20, (200, 2))], axis=1)
    assert found(xyxy, np.zeros(200, np.int64), 0.5).mean() < 0.03


def test_nothing_is_searched_among_no_boxes() -> None:
    assert searched(np.empty((0, 4)), np.empty(0, np.int64), 0.5).starts == [0]
