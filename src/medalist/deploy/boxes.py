"""From a decoded image to predicted boxes: the frame, the best scores of each level, and doubles. No torch.

The twin in torch is `tasks.detect.decoding` with `tasks.detect.inference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from medalist.data.placing import Placed, fitted, framed
from medalist.data.preparing import gray, made_ready
from medalist.deploy.description import BoxRules, Described, Turned
from medalist.deploy.forms import seen
from medalist.deploy.sessions import Runner
from medalist.postprocess.box_slices import ImageSlice, merge_slices, slices_of
from medalist.postprocess.box_suppression import nms
from medalist.records import BoxPrediction

if TYPE_CHECKING:
    from medalist.postprocess.box_settings import SlicesConfig

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Slices:
    """The numbers of `SlicesConfig`, without pydantic."""

    size: int
    overlap: int
    cover: float
    iou: float
    touch: float


@dataclass(frozen=True, eq=False)
class _Found:
    """Boxes of one source in pixels of the frame: xyxy float32[N, 4], scores float32[N] and labels int64[N]."""

    xyxy: Floats
    scores: Floats
    labels: NDArray[np.int64]


def predict_boxes(runner: Runner, described: Described, folds: Sequence[int], image: Pixels) -> BoxPrediction:
    """Return the boxes of an image in its pixels; each fold in each view is a source."""
    rules = described.boxes
    assert rules is not None
    made = made_ready(image, described.prepare)
    if rules.slices is None:
        return _in_frame(runner, described, rules, folds, made)
    slices = _Slices(**rules.slices)  # type: ignore[arg-type]  # read_description has made whole numbers of two of them
    size = (made.shape[0], made.shape[1])
    there: list[ImageSlice] = list(slices_of(*size, slices.size, slices.overlap))
    parts = [_in_frame(runner, described, rules, folds, made[one.rows, one.columns]) for one in there]
    return merge_slices(parts, there, size, cast("SlicesConfig", slices))


def _in_frame(
    runner: Runner, described: Described, rules: BoxRules, folds: Sequence[int], image: Pixels
) -> BoxPrediction:
    native = (image.shape[0], image.shape[1])
    factor = rules.factor(native)
    canvas, _ = framed(image, rules.frame, rules.fill, factor)
    canvas = gray(canvas) if described.gray else canvas
    names = [f"{name}{fold}" for fold in folds for name in ("scores", "boxes")]
    by_view = [runner.run(names, np.ascontiguousarray(seen(canvas, view))[np.newaxis]) for view in described.views]
    sources: list[_Found] = []
    for at in range(len(folds)):
        for view, found in zip(described.views, by_view, strict=True):
            side = rules.frame[::-1] if view.turns % 2 else rules.frame
            one = best_boxes(found[2 * at][0], found[2 * at + 1][0], rules, side)
            sources.append(_Found(straightened(one.xyxy, view, side), one.scores, one.labels))
    return _placed(sources, fitted(native, rules.frame, factor), native)


def best_boxes(scores: Floats, boxes: Floats, rules: BoxRules, frame: tuple[int, int]) -> _Found:
    """Return the boxes of one image of one network, the highest scores first, cut to the frame.

    scores: float32[P, C] in 0..1 and boxes: float32[P, 4] of all places, the levels one after another. Only the
    `rules.most` best scores of each level are looked at.
    """
    classes, flat = scores.shape[1], scores.ravel()
    chosen: list[NDArray[np.int64]] = []
    start = 0
    for count in rules.levels:
        level = flat[start : start + count * classes]
        most = min(rules.most, len(level))
        best = np.argpartition(-level, most - 1)[:most] if most < len(level) else np.arange(len(level))
        chosen.append(best[level[best] >= rules.floor] + start)
        start += count * classes
    at = np.concatenate(chosen)
    place, labels, kept = at // classes, at % classes, flat[at]
    high = np.array([frame[1], frame[0]] * 2, np.float32)
    xyxy = np.clip(boxes[place], 0, high)
    whole = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
    xyxy, labels, kept = xyxy[whole], labels[whole], kept[whole]
    if rules.doubles is None:
        order = np.argsort(-kept, kind="stable")
    else:
        order = nms(xyxy.astype(np.float64), kept.astype(np.float64), labels, rules.doubles)
    order = order[: rules.most]
    return _Found(xyxy[order], kept[order], labels[order])


def straightened(xyxy: Floats, view: Turned, side: tuple[int, int]) -> Floats:
    """Undo the mirroring and the quarter turns of boxes float32[N, 4]; side: (height, width) of the view's frame."""
    height, width = side
    x1, y1, x2, y2 = xyxy.T
    if view.mirror:
        x1, x2 = width - x2, width - x1
    for _ in range(view.turns):
        x1, y1, x2, y2 = height - y2, x1, height - y1, x2
        height, width = width, height
    return np.stack([x1, y1, x2, y2], axis=1)


def _placed(sources: Sequence[_Found], placed: Placed, native: tuple[int, int]) -> BoxPrediction:
    """Return the boxes of all sources in pixels of the image; those in the filled rest of the frame are dropped."""
    whole = np.concatenate([placed.back(one.xyxy, native) for one in sources])
    kept = (whole[:, 2:] > whole[:, :2]).all(axis=1)
    return BoxPrediction(
        whole[kept],
        np.concatenate([one.labels for one in sources])[kept].astype(np.int32),
        np.concatenate([one.scores for one in sources])[kept].astype(np.float32).clip(0, 1),
        np.repeat(np.arange(len(sources)), [len(one.scores) for one in sources])[kept].astype(np.int16),
        len(sources),
    )
