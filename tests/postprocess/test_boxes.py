"""The decision of boxes: the order of boxes and sources changes nothing; cuts, sizes and counts are kept."""

import numpy as np
import pytest
from box_cases import predictions, rows_of, shuffled
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import ConfigError
from medalist.postprocess.box_settings import BoxDecideConfig, NmsConfig, SoftNmsConfig, WbfConfig
from medalist.postprocess.boxes import decide, score_cuts
from medalist.records import BoxPrediction

KINDS = [
    *(NmsConfig(by_class=each) for each in (True, False)),
    *(SoftNmsConfig(decay=decay, by_class=each) for decay in ("linear", "gaussian") for each in (True, False)),
    *(WbfConfig(by_class=each, confidence=one) for one in ("mean", "max") for each in (True, False)),
]
XYXY = np.array([(0, 0, 10, 10), (1, 0, 10, 10), (30, 30, 34, 50), (5, 5, 5, 9), (np.nan, 0, 9, 9)], np.float32)
SEEN = BoxPrediction(
    XYXY,
    np.array([0, 1, 1, 0, 0], np.int32),
    np.array([0.9, 0.8, 0.3, 1, 1], np.float32),
    np.array([0, 1, 1, 0, 0], np.int16),
    2,
)


@given(config=st.sampled_from(KINDS), seen=predictions(most=10), data=st.data())
def test_the_order_of_boxes_and_sources_changes_no_bit(
    config: BoxDecideConfig, seen: BoxPrediction, data: st.DataObject
) -> None:
    order = np.array(data.draw(st.permutations(range(len(seen.labels)))), np.int64)
    sources = np.array(data.draw(st.permutations(range(3))), np.int64)
    weights = np.array([1.0, 0.3, 2.1])
    first = decide(seen, config, weights=weights.tolist())
    second = decide(shuffled(seen, order, sources), config, weights=weights[np.argsort(sources)].tolist())
    assert rows_of(first) == rows_of(second)
    assert (first.scores[:-1] >= first.scores[1:]).all()
    assert (first.xyxy.dtype, first.labels.dtype, first.scores.dtype) == (np.float32, np.int32, np.float32)


@pytest.mark.parametrize("config", KINDS, ids=str)
def test_no_boxes_are_decided_to_no_boxes(config: BoxDecideConfig) -> None:
    corners, scores = np.empty((0, 4), np.float32), np.empty(0, np.float32)
    empty = BoxPrediction(corners, np.empty(0, np.int32), scores, np.empty(0, np.int16))
    answer = decide(empty, config.model_copy(update={"min_size": 3.0}))
    assert (answer.xyxy.shape, answer.count) == ((0, 4), 0)


def test_boxes_without_an_area_are_dropped_and_classes_are_kept_apart() -> None:
    assert decide(SEEN, NmsConfig()).labels.tolist() == [0, 1, 1]
    assert decide(SEEN, NmsConfig(by_class=False)).labels.tolist() == [0, 1]


def test_small_boxes_are_dropped_by_their_shorter_side() -> None:
    assert decide(SEEN, NmsConfig(min_size=4)).count == 3
    assert decide(SEEN, NmsConfig(min_size=4.5)).count == 2


@pytest.mark.parametrize("config", [NmsConfig(max_boxes=2), SoftNmsConfig(max_boxes=2)], ids=str)
def test_the_highest_scores_are_kept(config: BoxDecideConfig) -> None:
    assert decide(SEEN, config).scores.tolist() == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize("config", KINDS, ids=str)
def test_scores_are_cut_by_class(config: BoxDecideConfig) -> None:
    cut = config.model_copy(update={"score": {"dog": 0.35}})
    assert decide(SEEN, cut, ("cat", "dog")).scores.min() > 0.35


def test_fused_scores_are_cut_after_the_fusion_and_weak_boxes_before_it() -> None:
    config = WbfConfig(by_class=False, score=0.5)
    assert decide(SEEN, config).scores.tolist() == pytest.approx([0.85])
    assert decide(SEEN, config.model_copy(update={"skip_below": 0.85})).count == 0  # one of two sources: 0.45


def test_a_network_votes_once_on_an_object() -> None:
    xyxy = np.array([(0, 0, 10, 10), (0, 0, 10, 14), (0, 0, 10, 10), (50, 50, 60, 60)], np.float32)
    scores, source = np.array([0.9, 0.3, 0.7, 0.8], np.float32), np.array([0, 0, 1, 1], np.int16)
    seen = BoxPrediction(xyxy, np.zeros(4, np.int32), scores, source, 2)
    once = decide(seen, WbfConfig(score=0.0))
    assert once.scores.tolist() == pytest.approx([0.8, 0.4]) and once.xyxy[0].tolist() == [0, 0, 10, 10]
    published = decide(seen, WbfConfig(score=0.0, doubles=None))
    assert published.scores[0] == pytest.approx(1.9 / 3) and published.xyxy[0, 3] == pytest.approx(10 + 4 * 0.3 / 1.9)


def test_a_class_that_is_not_there_is_named() -> None:
    config = NmsConfig(score={"dgo": 0.3})
    with pytest.raises(ConfigError, match=r"no class 'dgo', only cat, dog; did you mean 'dog'\?"):
        decide(SEEN, config, ("cat", "dog"))
    assert score_cuts(NmsConfig(score={"dog": 0.3}), ("cat", "dog")).tolist() == [0.05, 0.3]
    assert score_cuts(NmsConfig(score=0.2), ("cat", "dog")).tolist() == [0.2, 0.2]
