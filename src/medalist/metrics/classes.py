"""Metrics of masks of several classes: IoU, Dice and accuracy, from one confusion of pixels for each image.

`classes` are the names of the values 0, 1, 2 ... of masks, as `Competition.classes` has them. A metric takes truths and
answers by sample id. Void pixels of a truth are not judged: they count nowhere, whatever the answer says there; void of
answers is ignored. Every metric raises DataError where ids or sizes differ, where there are no images, and for a value
that is no class; it names the sample. Settings that are not possible raise ConfigError at once.

How figures of images and classes become one number is said by `over`:

| over | the mean |
|---|---|
| dataset | the pixels of all images are counted together; then over classes |
| pairs | over all pairs of an image and a class |
| images | over the classes of each image; then over images |
| classes | over the images of each class; then over classes |

A class that neither the truth nor the answer has any judged pixel of (in the data set, or in the image) is *absent*: it
has no figure (0/0), and is left out of the mean (`absent=None`) or counts as a number, as 1. What a mean has nothing
left for counts as 1: nothing was asked, and nothing was answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.metrics.class_counts import (
    ClassCounts,
    Floats,
    Masks,
    Metric,
    Over,
    by_sample,
    checked_names,
    checked_settings,
    count_classes,
    filled,
    mean_of,
    row_means,
)
from medalist.records import Score

# ---------------------------------------------------------------------------------------------------------- metrics


def mean_iou(
    classes: Sequence[str], *, over: Over = "dataset", absent: float | None = None, without: Sequence[str] = ()
) -> Metric:
    """Return the metric mean IoU: the mean over classes of |P ∩ G| / |P ∪ G| (Cityscapes, PASCAL VOC, ADE20K).

    over: what is averaged, see above; the contests named here count the pixels of all images together. absent: what an
    absent class counts as; None leaves it out, as the code of Cityscapes does. A class that only the answers have is
    not absent: it has 0. without: classes that are left out of the mean, such as a background; their pixels still count
    as wrong where another class is answered or true.

    parts: `iou c` for each class c that is not absent, of all images together. by_sample: the image's own mean over
    its classes. Sources: https://github.com/mcordts/cityscapesScripts (evalPixelLevelSemanticLabeling.py); Everingham
    et al., The PASCAL Visual Object Classes Challenge, IJCV 2010.
    """
    return partial(_overlap, kind="iou", **checked_settings(classes, over, absent, without))


def mean_class_dice(
    classes: Sequence[str],
    *,
    over: Over = "pairs",
    absent: float | None = 1.0,
    without: Sequence[str] = ("background",),
) -> Metric:
    """Return the metric Dice by class (macro): the mean of 2 |P ∩ G| / (|P| + |G|).

    absent: what a class counts as in an image that has it neither in truth nor answer: 1 in Severstal, which averages
    over all pairs of image and class; None leaves the pair out, as UW-Madison does. over, without: as of `mean_iou`;
    the background is left out where the contest has a class of this name.

    parts: `dice c` for each class c, of all images together, but for absent ones. by_sample: the image's own mean.
    Sources: https://www.kaggle.com/competitions/severstal-steel-defect-detection/overview/evaluation,
    https://www.kaggle.com/competitions/uw-madison-gi-tract-image-segmentation/overview/evaluation
    """
    left_out = [name for name in without if name in classes or name != "background"]
    return partial(_overlap, kind="dice", **checked_settings(classes, over, absent, left_out))


def frequency_weighted_iou(classes: Sequence[str]) -> Metric:
    """Return the metric frequency-weighted IoU: the mean IoU of classes, weighted by their judged pixels in the truths.

    All images are counted together. Classes without a true pixel weigh nothing. parts, by_sample: as of `mean_iou`;
    by_sample is weighted by the pixels of the image. Source: Long, Shelhamer, Darrell, Fully Convolutional Networks for
    Semantic Segmentation, CVPR 2015, section 5.
    """
    return partial(_weighted, classes=checked_names(classes))


def pixel_accuracy(classes: Sequence[str]) -> Metric:
    """Return the metric pixel accuracy: the share of judged pixels whose answered class is right, over all images.

    parts: `recall c`, the same of the pixels of class c. by_sample: of the image. Source: Long et al., CVPR 2015,
    section 5.
    """
    return partial(_accuracy, classes=checked_names(classes))


# ---------------------------------------------------------------------------------------------------------- figures


def _overlap(
    truths: Masks,
    answers: Masks,
    kind: Literal["iou", "dice"],
    classes: tuple[str, ...],
    over: Over,
    absent: float | None,
    without: tuple[str, ...],
) -> Score:
    counts = count_classes(truths, answers, classes)
    judged = [at for at, name in enumerate(classes) if name not in without]
    of_images = _shares(counts.truth, counts.answer, counts.both, kind)[:, judged]
    whole = _of_all(counts, kind)
    parts = {f"{kind} {name}": float(one) for name, one in zip(classes, whole, strict=True) if not np.isnan(one)}
    if over == "dataset":
        value = mean_of(filled(whole[np.newaxis, judged], absent), "pairs")
        return Score(value, parts, by_sample(truths, row_means(of_images)))
    table = filled(of_images, absent)
    return Score(mean_of(table, over), parts, by_sample(truths, row_means(table)))


def _of_all(counts: ClassCounts, kind: Literal["iou", "dice"]) -> Floats:
    """IoU or Dice of each class over the pixels of all images; NaN where it is absent."""
    return _shares(counts.truth.sum(axis=0), counts.answer.sum(axis=0), counts.both.sum(axis=0), kind)


def _shares(
    truth: NDArray[np.int64], answer: NDArray[np.int64], both: NDArray[np.int64], kind: Literal["iou", "dice"]
) -> Floats:
    """IoU or Dice of counts of any shape; NaN where a class is absent."""
    total = truth + answer
    above, below = (2 * both, total) if kind == "dice" else (both, total - both)
    share: Floats = np.where(total > 0, above / np.maximum(below, 1), np.nan)
    return share


def _weighted(truths: Masks, answers: Masks, classes: tuple[str, ...]) -> Score:
    counts = count_classes(truths, answers, classes)
    whole = _of_all(counts, "iou")
    of_images = _shares(counts.truth, counts.answer, counts.both, "iou")
    parts = {f"iou {name}": float(one) for name, one in zip(classes, whole, strict=True) if not np.isnan(one)}
    value = _weighted_mean(whole[np.newaxis], counts.truth.sum(axis=0)[np.newaxis])[0]
    return Score(float(value), parts, by_sample(truths, _weighted_mean(of_images, counts.truth)))


def _weighted_mean(shares: Floats, weights: NDArray[np.int64]) -> Floats:
    """The weighted means of rows; 1 for a row without weights."""
    total = weights.sum(axis=1)
    means: Floats = np.where(total > 0, (np.nan_to_num(shares) * weights).sum(axis=1) / np.maximum(total, 1), 1.0)
    return means


def _accuracy(truths: Masks, answers: Masks, classes: tuple[str, ...]) -> Score:
    counts = count_classes(truths, answers, classes)
    true, right = counts.truth.sum(axis=0), counts.both.sum(axis=0)
    parts = {f"recall {name}": float(right[at] / true[at]) for at, name in enumerate(classes) if true[at]}
    judged = counts.truth.sum(axis=1)
    by_image = np.where(judged > 0, counts.both.sum(axis=1) / np.maximum(judged, 1), 1.0)
    value = float(right.sum() / true.sum()) if true.sum() else 1.0
    return Score(value, parts, by_sample(truths, by_image))
