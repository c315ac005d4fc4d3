"""Metrics of masks. Every class above 0 is foreground. Void pixels of a truth count on neither side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.errors import DataError
from medalist.records import Mask, Score

IOU_STEPS = tuple(range(10, 20))
"""IoU thresholds 0.50, 0.55 ... 0.95, in twentieths: an IoU is above k/20 when 20 * inter > k * union.

They are whole numbers, because a list of floats has 0.6000000000000001 or 0.6, depending on how it was made.
"""


def mean_dice(truths: Mapping[str, Mask], answers: Mapping[str, Mask]) -> Score:
    """Return the mean Dice over images, 2 |P ∩ G| / (|P| + |G|), as in Carvana and HuBMAP.

    An image without foreground in truth and answer scores 1. truths, answers: masks by sample id. Raises DataError
    where ids or sizes differ, or where there are no images.
    Source: https://www.kaggle.com/competitions/carvana-image-masking-challenge/overview/evaluation
    """
    dice = _areas(truths, answers).dice()
    return Score(float(dice.mean()), {}, _by_sample(truths, dice))


def global_dice(truths: Mapping[str, Mask], answers: Mapping[str, Mask]) -> Score:
    """Return the Dice of all images together, 2 |P ∩ G| / (|P| + |G|), as in the contrails contest.

    It is 1 where no image has foreground in truth or answer. It can differ much from mean_dice: one false pixel on one
    of two images may give 0.5 there and 0.99 here. `by_sample` has each image's own Dice. Raises DataError as mean_dice
    does. Source: the evaluation page of
    https://www.kaggle.com/competitions/google-research-identify-contrails-reduce-global-warming
    """
    areas = _areas(truths, answers)
    whole = _Areas(areas.truth.sum(keepdims=True), areas.answer.sum(keepdims=True), areas.inter.sum(keepdims=True))
    return Score(float(whole.dice()[0]), {}, _by_sample(truths, areas.dice()))


def mean_precision_over_iou(truths: Mapping[str, Mask], answers: Mapping[str, Mask]) -> Score:
    """Return the mean over images of the share of IoU thresholds 0.50 ... 0.95 that the mask's IoU is above (TGS Salt).

    Each image has one mask, so an image scores 1 or 0 at a threshold. An image without foreground in truth and answer
    scores 1; with foreground in only one of them it scores 0. IoUs are compared as whole numbers, so 0.6 is not above
    0.6.

    parts: `precision@0.50` ... `precision@0.95`, the mean over images at one threshold. Raises DataError as
    mean_dice does.
    Source: https://www.kaggle.com/competitions/tgs-salt-identification-challenge/overview/evaluation
    """
    areas = _areas(truths, answers)
    union = areas.truth + areas.answer - areas.inter
    passed = 20 * areas.inter[:, np.newaxis] > np.array(IOU_STEPS) * union[:, np.newaxis]
    passed |= (union == 0)[:, np.newaxis]
    by_step = passed.mean(axis=0).tolist()
    parts = {f"precision@{step / 20:.2f}": value for step, value in zip(IOU_STEPS, by_step, strict=True)}
    shares = passed.mean(axis=1)
    return Score(float(shares.mean()), parts, _by_sample(truths, shares))


def require_pairs(truths: Mapping[str, tuple[int, ...]], answers: Mapping[str, tuple[int, ...]]) -> None:
    """Raise DataError where truths and answers differ in their ids or sizes, or where there are none.

    truths, answers: the size of each, by sample id.
    """
    missing = [name for name in truths if name not in answers]
    if missing:
        raise DataError(f"no answer for {len(missing)} of {len(truths)} samples; the first is {missing[0]}")
    extra = [name for name in answers if name not in truths]
    if extra:
        raise DataError(f"{len(extra)} answers to samples without truth; the first is {extra[0]}")
    if not truths:
        raise DataError("no samples to score")
    for name, size in truths.items():
        if answers[name] != size:
            shown = ["x".join(map(str, shape)) for shape in (answers[name], size)]
            raise DataError(f"sample {name}: the answer has {shown[0]} pixels, the truth {shown[1]}")


@dataclass(frozen=True, eq=False)
class _Areas:
    """Numbers of foreground pixels, int64[N]: in the truths, in the answers, and in both."""

    truth: NDArray[np.int64]
    answer: NDArray[np.int64]
    inter: NDArray[np.int64]

    def dice(self) -> NDArray[np.float64]:
        total = self.truth + self.answer
        dice: NDArray[np.float64] = np.where(total > 0, 2 * self.inter / np.maximum(total, 1), 1.0)
        return dice


def _areas(truths: Mapping[str, Mask], answers: Mapping[str, Mask]) -> _Areas:
    """Count the foreground pixels of each image, in the order of `truths`."""
    require_pairs(
        {name: truth.classes.shape for name, truth in truths.items()},
        {name: answer.classes.shape for name, answer in answers.items()},
    )
    counts = np.empty((3, len(truths)), np.int64)
    for at, (name, truth) in enumerate(truths.items()):
        there, found = truth.classes > 0, answers[name].classes > 0
        if truth.void is not None:
            there, found = there & ~truth.void, found & ~truth.void
        counts[:, at] = [np.count_nonzero(part) for part in (there, found, there & found)]
    return _Areas(truth=counts[0], answer=counts[1], inter=counts[2])


def _by_sample(truths: Mapping[str, Mask], values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(truths, values.tolist(), strict=True))
