"""Boundary F1: how well the outlines of classes agree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.metrics.class_counts import (
    Masks,
    Metric,
    OverImages,
    by_sample,
    checked_settings,
    count_classes,
    filled,
    mean_of,
    row_means,
)
from medalist.records import Mask, Score


def boundary_f1(
    classes: Sequence[str],
    tolerance: float,
    *,
    over: OverImages = "images",
    absent: float | None = None,
    without: Sequence[str] = (),
) -> Metric:
    """Return the metric boundary F1: how well the outlines of classes agree within `tolerance` pixels.

    The outline of a class is those of its pixels that have a judged pixel of another class above, below, left or right;
    the edge of the image, and of void, is no outline. Precision is the share of the answer's outline within the
    (Euclidean) tolerance of the truth's, recall the reverse, and F1 = 2PR / (P + R) for each image and class; it is 0
    where only one side has an outline. A class without an outline on both sides is absent in the image.

    parts: `boundary_f1 c`, the mean over images that have the class. by_sample: the image's mean over its classes.
    Source: Csurka, Larlus, Perronnin, What is a good evaluation measure for semantic segmentation?, BMVC 2013, which
    takes 0.75 % of the image's diagonal as tolerance.
    """
    if not tolerance >= 0 or tolerance > 1000:
        raise ConfigError(f"boundary_f1: tolerance = {tolerance}: give pixels, 0..1000")
    if over not in ("pairs", "images", "classes"):
        raise ConfigError(f"boundary_f1: over = {over!r}; allowed: 'pairs', 'images', 'classes'")
    return partial(_boundary, tolerance=tolerance, **checked_settings(classes, over, absent, without))


def _boundary(
    truths: Masks,
    answers: Masks,
    tolerance: float,
    classes: tuple[str, ...],
    over: OverImages,
    absent: float | None,
    without: tuple[str, ...],
) -> Score:
    count_classes(truths, answers, classes)  # for its errors
    judged = [at for at, name in enumerate(classes) if name not in without]
    near = _disk(tolerance)
    table = np.array([[_outline_f1(truth, answers[name], at, near) for at in judged] for name, truth in truths.items()])
    of_classes = {
        f"boundary_f1 {classes[at]}": float(np.nanmean(column))
        for at, column in zip(judged, table.T, strict=True)
        if not np.isnan(column).all()
    }
    shares = filled(table, absent)
    return Score(mean_of(shares, over), of_classes, by_sample(truths, row_means(shares)))


def _outline_f1(truth: Mask, answer: Mask, number: int, near: NDArray[np.uint8]) -> float:
    """F1 of the outlines of one class of one image; NaN where neither side has one."""
    void = truth.void
    there, said = outline(truth.classes == number, void), outline(answer.classes == number, void)
    true, answered = np.count_nonzero(there), np.count_nonzero(said)
    if not true and not answered:
        return np.nan
    if not true or not answered:
        return 0.0
    right = np.count_nonzero(said & cv2.dilate(there.view(np.uint8), near).view(np.bool_))
    found = np.count_nonzero(there & cv2.dilate(said.view(np.uint8), near).view(np.bool_))
    precision, recall = right / answered, found / true
    return 2 * precision * recall / (precision + recall) if right and found else 0.0


def outline(mask: NDArray[np.bool_], void: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Return the judged pixels of bool[H, W] that have a judged pixel outside the mask above, below, left or right."""
    own, other = (mask, ~mask) if void is None else (mask & ~void, ~mask & ~void)
    edge = np.zeros(mask.shape, np.bool_)
    edge[1:] |= own[1:] & other[:-1]
    edge[:-1] |= own[:-1] & other[1:]
    edge[:, 1:] |= own[:, 1:] & other[:, :-1]
    edge[:, :-1] |= own[:, :-1] & other[:, 1:]
    return edge


def _disk(radius: float) -> NDArray[np.uint8]:
    """The pixels within a Euclidean distance of the middle one: uint8[side, side] of 0 and 1."""
    side = np.arange(-int(radius), int(radius) + 1)
    return (side[:, np.newaxis] ** 2 + side**2 <= radius**2).astype(np.uint8)
