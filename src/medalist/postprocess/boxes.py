"""Decide the boxes of an image: from what networks predict to what is answered. Only this module acts on the kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import assert_never

import numpy as np

from medalist.errors import ConfigError
from medalist.postprocess.box_fusion import wbf
from medalist.postprocess.box_overlaps import Corners, Floats, Places, are_boxes, by_value
from medalist.postprocess.box_settings import BoxDecideConfig, BoxesConfig, NmsConfig, SoftNmsConfig, WbfConfig
from medalist.postprocess.box_suppression import nms, soft_nms
from medalist.records import Boxes, BoxPrediction


def decide(
    prediction: BoxPrediction,
    config: BoxDecideConfig,
    classes: Sequence[str] = (),
    weights: Sequence[float] | None = None,
) -> Boxes:
    """Return the boxes of one image, the highest score first.

    The same boxes give the same answer in any order: ties are broken by the corners, then by the class. Boxes without
    an area, or with corners that are not finite, are dropped.

    Args:
        prediction: the boxes of all networks and views.
        config: the settings; their `kind` selects what is done with doubles.
        classes: the names of the contest's classes; needed where `config.score` names classes.
        weights: how much each source counts in a fusion, above 0; by default all count alike. Other kinds ignore it.

    Raises ConfigError where `config.score` names no class.
    """
    cuts = score_cuts(config, classes, int(prediction.labels.max(initial=-1)) + 1)
    own = are_boxes(prediction.xyxy)
    if config.min_size:
        own &= (prediction.xyxy[:, 2:] - prediction.xyxy[:, :2]).min(axis=1, initial=np.inf) >= config.min_size
    # In the order of values from here on, so that what comes first in a tie does not depend on the order of the boxes.
    rows = np.flatnonzero(own)
    rows = rows[by_value(prediction.scores[rows], prediction.xyxy[rows], prediction.labels[rows])]
    xyxy, scores = prediction.xyxy[rows].astype(np.float64), prediction.scores[rows].astype(np.float64)
    labels = prediction.labels[rows].astype(np.int64)
    groups = labels if config.by_class else np.zeros_like(labels)
    match config:
        case NmsConfig():
            kept = np.flatnonzero(scores > cuts[labels])
            kept = kept[nms(xyxy[kept], scores[kept], groups[kept], config.iou)]
            return answered(xyxy[kept], scores[kept], labels[kept], config.max_boxes)
        case SoftNmsConfig():
            kept, lowered = soft_nms(xyxy, scores, groups, config, cuts[labels])
            return answered(xyxy[kept], lowered, labels[kept], config.max_boxes)
        case WbfConfig():
            by_source = np.ones(prediction.sources) if weights is None else np.array(weights, np.float64)
            assert by_source.shape == (prediction.sources,) and (by_source > 0).all(), by_source
            kept = np.flatnonzero(scores > config.skip_below)
            if config.doubles is not None:
                votes = groups[kept] * prediction.sources + prediction.source[rows[kept]]
                kept = np.sort(kept[nms(xyxy[kept], scores[kept], votes, config.doubles)])
            fused = wbf(
                xyxy[kept],
                scores[kept],
                labels[kept],
                by_source[prediction.source[rows[kept]]],
                float(np.sort(by_source).sum()),  # sorted, so that the order of the sources changes no digit
                config.iou,
                by_class=config.by_class,
                confidence=config.confidence,
            )
            sure = fused.scores > cuts[fused.labels]
            return answered(fused.xyxy[sure], fused.scores[sure], fused.labels[sure], config.max_boxes)
        case _:
            assert_never(config)


def score_cuts(config: BoxesConfig, classes: Sequence[str], count: int = 0) -> Floats:
    """Return float64[C], the score above which a box of each class is answered; C is at least `count`.

    Raises ConfigError where `config.score` names a class that the contest does not have.
    """
    size = max(len(classes), count)
    if not isinstance(config.score, Mapping):
        return np.full(size, config.score)
    for name in config.score:
        if name not in classes:
            near = get_close_matches(name, classes, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            listed = ", ".join(classes[:20]) or "none"
            raise ConfigError(f"decide.score: no class '{name}', only {listed}{hint}")
    common = BoxesConfig.model_fields["score"].default
    named = [config.score.get(name, common) for name in classes]
    return np.array([*named, *[common] * (size - len(named))], np.float64)


def answered(xyxy: Corners, scores: Floats, labels: Places, most: int | None = None) -> Boxes:
    """Return boxes as an answer, the highest score first, at most `most`.

    Boxes that are so thin that float32 has no area for them are dropped.
    """
    best = by_value(scores, xyxy, labels)
    corners = xyxy[best].astype(np.float32).reshape(-1, 4)
    some = np.flatnonzero(are_boxes(corners))[:most]
    return Boxes(corners[some], labels[best][some].astype(np.int32), scores[best][some].astype(np.float32))
