"""Features of objects, against loops over the objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from medalist.postprocess.object_features import FAR, as_rows, best_ious, object_features
from medalist.records import MapPrediction

Labels = NDArray[np.int32]


def drawn(seed: int, size: tuple[int, int] = (30, 40)) -> tuple[Labels, MapPrediction]:
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=size), 2)
    pieces, _ = ndimage.label(smooth > np.quantile(smooth, 0.6))
    halves = np.where((pieces > 0) & (np.arange(size[1]) > size[1] // 2), pieces + pieces.max(), pieces)
    _, numbered = np.unique(halves, return_inverse=True)
    maps = random.integers(0, 256, (2, *size)).astype(np.uint8)
    return numbered.reshape(size).astype(np.int32), MapPrediction(maps, ("body", "border"))


@given(st.integers(0, 500))
def test_probabilities_are_those_of_a_loop(seed: int) -> None:
    labels, prediction = drawn(seed)
    found = object_features(labels, prediction)
    body = prediction.maps[0] / 255
    padded = np.pad(labels, 1, constant_values=-1)
    for number in range(1, int(labels.max()) + 1):
        inside = np.sort(body[labels == number])
        rim, beyond, touching, line = [], [], set(), []
        for row, column in np.argwhere(labels == number):
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                other = padded[row + 1 + down, column + 1 + right]
                if other in (-1, number):
                    continue
                there = body[row + down, column + right]
                rim.append(body[row, column])
                beyond.append(there)
                if other > 0:
                    touching.add(other)
                    line.append(max(body[row, column], there))
        at = number - 1
        assert found["body_mean"][at] == pytest.approx(inside.mean())
        assert found["body_spread"][at] == pytest.approx(inside.std(), abs=1e-6)
        assert (found["body_least"][at], found["body_most"][at]) == (inside[0], inside[-1])
        assert found["body_quantile0.5"][at] == inside[round(0.5 * (len(inside) - 1))]
        assert found["body_rim"][at] == pytest.approx(np.mean(rim))
        assert found["body_beyond"][at] == pytest.approx(np.mean(beyond))
        assert found["perimeter"][at] == len(rim)
        assert found["touching"][at] == len(touching)
        assert found["body_line"][at] == pytest.approx(np.mean(line) if line else 0.0)


@given(st.integers(0, 500))
def test_features_do_not_depend_on_how_the_image_is_turned(seed: int) -> None:
    labels, prediction = drawn(seed)
    straight = as_rows(object_features(labels, prediction))
    turned = np.ascontiguousarray(np.rot90(labels))
    maps = MapPrediction(np.ascontiguousarray(np.rot90(prediction.maps, axes=(1, 2))), prediction.channels)
    np.testing.assert_allclose(as_rows(object_features(turned, maps)), straight, rtol=1e-4, atol=1e-4)


def test_features_by_hand() -> None:
    """Two squares side by side, and a lone pixel in the corner."""
    labels = np.zeros((10, 14), np.int32)
    labels[2:6, 2:6], labels[2:6, 6:10], labels[9, 13] = 1, 2, 3
    maps = np.zeros((1, 10, 14), np.uint8)
    maps[0, 2:6, 2:6] = 255
    found = object_features(labels, MapPrediction(maps, ("body",)))
    assert found["area"].tolist() == [16, 16, 1]
    assert found["extent"].tolist() == found["solidity"].tolist() == [1, 1, 1]
    assert found["perimeter"].tolist() == [16, 16, 2] and found["at_image_edge"].tolist() == [0, 0, 0.5]
    assert found["deepest"].tolist() == [2, 2, 1]
    assert found["touching"].tolist() == [1, 1, 0] and found["touching_share"].tolist() == [0.25, 0.25, 0]
    assert found["body_mean"].tolist() == [1, 0, 0] and found["body_line"].tolist() == [1, 1, 0]
    assert found["nearest"][0] == pytest.approx(4 / (2 * np.sqrt(16 / np.pi)))
    assert found["objects"].tolist() == [3, 3, 3] and found["area_beside_others"].tolist() == [1, 1, 1 / 16]
    assert np.isfinite(as_rows(found)).all()


def test_images_without_objects_have_no_rows() -> None:
    labels = np.zeros((4, 5), np.int32)
    found = as_rows(object_features(labels, MapPrediction(np.zeros((1, 4, 5), np.uint8), ("body",))))
    assert found.shape[0] == 0 and found.shape[1] > 30
    one = np.ones((4, 5), np.int32)
    alone = object_features(one, MapPrediction(np.full((1, 4, 5), 9, np.uint8), ("body",)))
    assert alone["nearest"].tolist() == [FAR] and np.isfinite(as_rows(alone)).all()


@given(st.integers(0, 500))
def test_the_best_iou_is_that_of_a_loop(seed: int) -> None:
    labels, truth = drawn(seed)[0], drawn(seed + 1000)[0]
    slow = []
    for number in range(1, int(labels.max()) + 1):
        mask = labels == number
        ious = [
            (mask & (truth == other)).sum() / (mask | (truth == other)).sum() for other in range(1, truth.max() + 1)
        ]
        slow.append(max(ious))
    assert best_ious(labels, truth) == pytest.approx(slow)
    assert best_ious(labels, np.zeros_like(labels)).tolist() == [0.0] * int(labels.max())
    assert len(best_ious(np.zeros_like(labels), truth)) == 0
