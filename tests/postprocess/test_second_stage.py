"""Objects, their alternative splits, and the choice among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.postprocess.instances import instance_labels
from medalist.postprocess.second_stage import PackedLabels, candidates_of, chosen, true_ious
from medalist.postprocess.settings import SecondStageConfig, SplitConfig, WatershedConfig
from medalist.records import MapPrediction

SEEDS = SecondStageConfig(splits=(SplitConfig(seed=0.8), SplitConfig(seed=0.95)), drop_below=0.3)
CONFIG = WatershedConfig(min_size=4, min_seed=4)


def maps() -> MapPrediction:
    """An object with two lights, of which one has two brighter ones, and an object that no seed splits."""
    body = np.zeros((1, 20, 60), np.uint8)
    body[0, 4:16, 4:40] = 180  # 0.71
    body[0, 6:14, 6:18], body[0, 6:14, 22:38] = 210, 210  # 0.82
    body[0, 7:13, 23:28], body[0, 7:13, 32:37] = 250, 250  # 0.98
    body[0, 4:16, 46:56] = 255
    return MapPrediction(body, ("body",))


def test_candidates_are_the_objects_and_the_parts_of_each_way() -> None:
    found = candidates_of(maps(), CONFIG, SEEDS)
    layers = [layer.labels for layer in found.layers]
    np.testing.assert_array_equal(layers[0], instance_labels(maps(), CONFIG))
    assert [parent.tolist() for parent in found.parents] == [[1, 2], [1, 1], [1, 1]]
    assert layers[1][10, 10] != layers[1][10, 30] == layers[1][10, 25]
    assert layers[2][10, 25] != layers[2][10, 35] and not layers[2][:, 46:].any()
    assert found.rows.shape == (6, len(found.names)) and np.isfinite(found.rows).all()
    columns = {name: found.rows[:, at].tolist() for at, name in enumerate(found.names)}
    assert columns["way"] == [0, 0, 1, 1, 2, 2] and columns["siblings"] == [1, 1, 2, 2, 2, 2]
    sizes = [float(np.count_nonzero(layer == number)) for layer in layers for number in range(1, layer.max() + 1)]
    assert columns["area"] == sizes
    assert columns["share"][2] + columns["share"][3] == pytest.approx(1)
    assert columns["objects"][:2] == [2, 2] and columns["objects"][2:] == [3, 3, 3, 3]


def test_the_ious_of_all_candidates() -> None:
    found = candidates_of(maps(), CONFIG, SEEDS)
    truth = found.layers[1].labels.copy()  # the parts of the first way are the true objects, the other is false
    ious = true_ious(found, truth)
    assert (
        ious[1] == 0
        and ious[2:4].tolist() == [1, 1]
        and ious[0] == pytest.approx((truth == 2).sum() / (truth > 0).sum())
    )


@pytest.mark.parametrize(
    ("ious", "gain", "objects"),
    [
        ((0.9, 0.9, 0.5, 0.5, 0.5, 0.5), 0.0, 2),  # nothing is better than the objects
        ((0.5, 0.9, 0.6, 0.6, 0.4, 0.9), 0.0, 3),  # the second way is better on average than the first
        ((0.5, 0.9, 0.6, 0.6, 0.5, 0.7), 0.0, 3),  # of equal ways the first
        ((0.5, 0.9, 0.6, 0.6, 0.0, 0.0), 0.2, 2),  # better, but by too little
        ((0.5, 0.2, 0.9, 0.2, 0.0, 0.0), 0.0, 1),  # split, and one part is dropped, and the other object too
        ((0.3, 0.3, 0.0, 0.0, 0.0, 0.0), 0.0, 2),  # not below the threshold
        ((0.1, 0.2, 0.0, 0.0, 0.0, 0.0), 0.0, 0),
    ],
)
def test_what_is_chosen(ious: tuple[float, ...], gain: float, objects: int) -> None:
    found = candidates_of(maps(), CONFIG, SEEDS)
    answer = chosen(found, np.array(ious), SEEDS.model_copy(update={"split_gain": gain}))
    assert answer.max() == objects and answer.dtype == np.int32
    layers = [layer.labels for layer in found.layers]
    if ious[4:] == (0.4, 0.9):
        np.testing.assert_array_equal(answer[:, :44], layers[2][:, :44])
    if ious[4:] == (0.5, 0.7):
        np.testing.assert_array_equal(answer[:, :44], layers[1][:, :44])
    if ious[:4] == (0.5, 0.2, 0.9, 0.2):
        np.testing.assert_array_equal(answer > 0, layers[1] == 1)


@given(st.integers(0, 200))
def test_chosen_objects_are_candidates_and_do_not_overlap(seed: int) -> None:
    random = np.random.default_rng(seed)
    body = (255 * random.random((1, 25, 30))).astype(np.uint8)
    stage = SecondStageConfig(splits=(SplitConfig(seed=0.7), SplitConfig(radius=2)), drop_below=0.4)
    config = WatershedConfig(body=0.4, seed=0.5, min_size=2, min_seed=1)
    found = candidates_of(MapPrediction(body, ("body",)), config, stage)
    ious = random.random(len(found.rows))
    answer = chosen(found, ious, stage)
    known = {
        (layer.labels == number).tobytes(): ious[at]
        for at, (layer, number) in reversed(
            list(
                enumerate(
                    (layer, n + 1)
                    for layer, parent in zip(found.layers, found.parents, strict=True)
                    for n in range(len(parent))
                )
            )
        )
    }
    for number in range(1, int(answer.max()) + 1):
        assert (answer == number).tobytes() in known
    nothing = chosen(found, np.full(len(ious), 0.39), stage)
    assert not nothing.any()


def test_an_image_without_objects() -> None:
    found = candidates_of(MapPrediction(np.zeros((1, 5, 6), np.uint8), ("body",)), CONFIG, SEEDS)
    assert found.rows.shape == (0, len(found.names)) and len(found.layers) == 1
    assert chosen(found, np.zeros(0), SEEDS).tolist() == np.zeros((5, 6)).tolist()


def test_packed_labels_come_back() -> None:
    labels = np.arange(12, dtype=np.int32).reshape(3, 4) * 70_000
    packed = PackedLabels.of(labels)
    np.testing.assert_array_equal(packed.labels, labels)
    assert packed.labels.dtype == np.int32 and packed.labels.flags.writeable


def test_a_split_needs_one_way() -> None:
    for wrong in ({}, {"seed": 0.5, "radius": 3}):
        with pytest.raises(ValueError, match="either seed or radius"):
            SplitConfig.model_validate(wrong)
