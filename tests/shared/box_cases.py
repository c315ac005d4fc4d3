"""Boxes for tests: small ones with many ties for Hypothesis, and crowds as several detectors see them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.records import Boxes, BoxPrediction

SCORES = st.sampled_from([0.1, 0.2, 0.5, 0.5, 0.9, 1.0])
CORNERS = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 9), st.integers(1, 9))


@st.composite
def predictions(draw: st.DrawFn, most: int = 14, classes: int = 2, sources: int = 3) -> BoxPrediction:
    """Few boxes with whole corners, so that scores and overlaps are often equal."""
    count = draw(st.integers(0, most))
    rows = [draw(CORNERS) for _ in range(count)]
    xyxy = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32).reshape(-1, 4)
    return BoxPrediction(
        xyxy,
        np.array([draw(st.integers(0, classes - 1)) for _ in range(count)], np.int32),
        np.array([draw(SCORES) for _ in range(count)], np.float32),
        np.array([draw(st.integers(0, sources - 1)) for _ in range(count)], np.int16),
        sources,
    )


def crowd(objects: int, sources: int, seed: int = 0, size: float = 400.0, classes: int = 3) -> BoxPrediction:
    """Boxes of widths from 4 to 64 pixels, each seen a little differently by every source."""
    random = np.random.default_rng(seed)
    centre, sides = random.uniform(0, size, (objects, 2)), np.exp2(random.uniform(2, 6, (objects, 2)))
    base = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
    seen = [base + random.normal(0, 0.08, base.shape) * np.tile(sides, 2) for _ in range(sources)]
    return BoxPrediction(
        np.concatenate(seen).astype(np.float32),
        np.tile(random.integers(0, classes, objects), sources).astype(np.int32),
        random.uniform(0.05, 1, objects * sources).astype(np.float32),
        np.repeat(np.arange(sources), objects).astype(np.int16),
        sources,
    )


def shuffled(prediction: BoxPrediction, order: NDArray[np.int64], sources: NDArray[np.int64]) -> BoxPrediction:
    """The same boxes in another order, and the sources with other numbers."""
    return BoxPrediction(
        prediction.xyxy[order],
        prediction.labels[order],
        prediction.scores[order],
        sources[prediction.source[order]].astype(np.int16),
        prediction.sources,
    )


def rows_of(boxes: Boxes) -> list[tuple[float, ...]]:
    """Boxes as (label, score, corners), in their order."""
    rows = zip(boxes.labels.tolist(), boxes.scores.tolist(), boxes.xyxy.tolist(), strict=True)
    return [(label, score, *corners) for label, score, corners in rows]


def iou_by_hand(one: list[float], two: list[float]) -> float:
    """The intersection of two boxes divided by their union."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    common = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return common / (sum(areas) - common)
