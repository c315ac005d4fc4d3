"""Metrics of image classification: one label, several labels, ordered grades, and probabilities.

A metric takes truths and answers by sample id and returns a Score. Functions that take settings return a metric, which
can be pickled. Every metric raises DataError where ids differ, where there are no samples, and for a label that is not
in `classes`. Metrics of probabilities raise ConfigError, which names a sample whose answer has no probabilities, does
not have one for each class, or has one that is NaN or outside 0..1; they ignore the names of answers. Settings that are
not possible raise ConfigError at once.

The parts of single classes leave out classes for which the figure is not defined. Losses are negated, also in parts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.metrics import label_arrays as arrays
from medalist.metrics import label_ranks as ranks
from medalist.metrics.retrieval import map_at
from medalist.records import Labels, Ranking, Score

LabelsById = Mapping[str, Labels]
Metric = Callable[[LabelsById, LabelsById], Score]
Pooling = Literal["macro", "micro"]
"""macro: the mean over classes; micro: all classes together."""
Average = Literal["micro", "macro", "samples"]
"""micro: all labels together; macro: the mean over classes; samples: the mean over samples."""

# ------------------------------------------------------------------------------------------------------- one label


def accuracy(truths: LabelsById, answers: LabelsById) -> Score:
    """Return the share of samples whose first answered name is right; an answer without names is wrong.

    A truth has one label. parts: `recall c` for each class c that a truth has.
    """
    return _share_right(truths, answers, balanced=False)


def balanced_accuracy(truths: LabelsById, answers: LabelsById) -> Score:
    """Return the mean recall of the classes that truths have; otherwise it is like `accuracy`.

    `by_sample` is 1 where the answer is right and 0 where it is wrong; the mean of `by_sample` is the accuracy.
    """
    return _share_right(truths, answers, balanced=True)


def _share_right(truths: LabelsById, answers: LabelsById, balanced: bool) -> Score:
    ids = arrays.paired_ids(truths, answers)
    arrays.require_one_label(truths)
    first = [(truths[name].names[0], answers[name].names[:1]) for name in ids]
    right = np.array([bool(said) and said[0] == label for label, said in first], np.float64)
    classes = sorted({label for label, _ in first})
    recall = _mean_by_class(arrays.as_codes(truths, ids, classes, "truth"), right, len(classes))
    value = recall.mean() if balanced else right.mean()
    return _score(ids, value, _parts("recall", classes, recall), right)


def quadratic_kappa(classes: Sequence[str]) -> Metric:
    """Return the metric Cohen's kappa with quadratic weights, for grades: `classes` in their order, at least 2.

    A truth has one label. An answer has at least one name, and the first one counts. Where all truths and all answers
    are the same grade, the score is 1 (the formula is 0/0); where only the truths are all the same grade, it is 0.

    `by_sample` is 1 - (distance in grades / the longest)². parts: `accuracy`, and `recall c` of the grades that truths
    have. Source: https://www.kaggle.com/competitions/aptos2019-blindness-detection/overview/evaluation
    """
    return partial(_quadratic_kappa, classes=_checked(classes, least=2))


def _quadratic_kappa(truths: LabelsById, answers: LabelsById, classes: tuple[str, ...]) -> Score:
    ids = arrays.paired_ids(truths, answers)
    truth = arrays.as_codes(truths, ids, classes, "truth")
    answer = arrays.as_codes(answers, ids, classes, "answer")
    right = (truth == answer).astype(np.float64)
    recall = _mean_by_class(truth, right, len(classes))
    parts = {"accuracy": float(right.mean()), **_parts("recall", classes, recall)}
    value = arrays.quadratic_kappa(truth, answer, len(classes))
    return _score(ids, value, parts, 1 - ((truth - answer) / (len(classes) - 1)) ** 2)


def log_loss(classes: Sequence[str], clip: float = 1e-15, normalise: bool = True) -> Metric:
    """Return the metric multi-class log loss, negated: the mean of log p of the true class. A truth has one label.

    normalise: each row is first divided by its sum, as Kaggle does; a row of zeros then raises ConfigError. clip: then
    p is clipped to clip .. 1 - clip; use the value of the contest's page, which must be above 0.

    `by_sample` is the sample's own log p. parts: `log_loss c`, the mean over samples of class c, negated.
    Source: https://www.kaggle.com/competitions/state-farm-distracted-driver-detection/overview/evaluation
    """
    return partial(_log_loss, classes=_checked(classes), clip=_checked_clip(clip), normalise=normalise)


def _log_loss(truths: LabelsById, answers: LabelsById, classes: tuple[str, ...], clip: float, normalise: bool) -> Score:
    ids = arrays.paired_ids(truths, answers)
    truth = arrays.as_codes(truths, ids, classes, "truth")
    probabilities = arrays.as_probabilities(answers, ids, classes, "log loss")
    sums = probabilities.sum(axis=1)
    if normalise and not sums.all():
        raise ConfigError(
            f"sample {ids[int((sums == 0).argmax())]}: all its probabilities are 0, so there is no sum to divide "
            "them by; give one of them more, or use log_loss(normalise=False)"
        )
    own = -arrays.log_losses(truth, probabilities, clip, normalise)
    return _score(ids, own.mean(), _parts("log_loss", classes, _mean_by_class(truth, own, len(classes))), own)


def label_map_at(k: int) -> Metric:
    """Return the metric MAP@k of names, best first: the mean of 1/min(m, k) times the sum of precision(i) * right(i).

    i goes over the places up to k, and m is the number of right labels; with one right label it is 1/rank. A name that
    is answered twice scores only at its first place. Samples without a right label are left out. It is
    `medalist.metrics.retrieval.map_at` for Labels, with the same parts, `by_sample` and errors.
    """
    return partial(_as_rankings, metric=map_at(k))


def _as_rankings(truths: LabelsById, answers: LabelsById, metric: Callable[..., Score]) -> Score:
    arrays.paired_ids(truths, answers)
    right, ranked = ({name: Ranking(one.names) for name, one in side.items()} for side in (truths, answers))
    return metric(right, ranked)


# -------------------------------------------------------------------------------------------------- several labels


def f1(
    classes: Sequence[str], average: Average, *, empty: float | None = 1.0, zero_division: float | None = 0.0
) -> Metric:
    """Return the metric F1 of labels: `f_beta` with beta = 1."""
    return f_beta(1.0, classes, average, empty=empty, zero_division=zero_division)


def f_beta(
    beta: float,
    classes: Sequence[str],
    average: Average,
    *,
    empty: float | None = 1.0,
    zero_division: float | None = 0.0,
) -> Metric:
    """Return the metric (1 + beta²) both / (beta² truth + answer) of label counts; beta above 1 favours recall.

    "Mean F1" can mean three metrics. micro: of all labels together (iMet 2020). macro: the mean over classes. samples:
    the mean over samples (Kaggle's MeanFScore; Planet 2017 with beta = 2).

    empty: the value of a sample that has no label in truth and answer; None leaves the sample out. It is also the micro
    score where no sample has a label. zero_division: the value in macro of a class that is in no truth and no answer;
    None leaves the class out. The default 0 is that of scikit-learn: where a class is absent, even perfect answers then
    score below 1. Where all classes or samples are left out, the score is 1.

    `by_sample`: for samples and micro the sample's own figure, 1 where it is left out; for macro the share of classes
    on which truth and answer agree. parts: `f1 c`, or `f2 c` and so on by beta.
    """
    if isinstance(beta, bool) or not 0 < beta < math.inf:
        raise ConfigError(f"beta={beta!r}: expected a number above 0, as in f_beta(2.0, ...)")
    if average not in ("micro", "macro", "samples"):
        raise ConfigError(f"average={average!r}: expected 'micro', 'macro' or 'samples'; the contest's page says which")
    for name, value in (("empty", empty), ("zero_division", zero_division)):
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"{name}={value!r}: expected 0, 1 or a number between, or None to leave them out")
    return partial(
        _f_beta, beta=float(beta), classes=_checked(classes), average=average, empty=empty, zero_division=zero_division
    )


def _f_beta(
    truths: LabelsById,
    answers: LabelsById,
    beta: float,
    classes: tuple[str, ...],
    average: Average,
    empty: float | None,
    zero_division: float | None,
) -> Score:
    ids = arrays.paired_ids(truths, answers)
    truth = arrays.as_flags(truths, ids, classes, "truth")
    answer = arrays.as_flags(answers, ids, classes, "answer")
    by_class = arrays.class_counts(truth, answer)
    if average == "macro":
        value, own = arrays.mean_f_beta(by_class, beta, zero_division), (truth == answer).mean(axis=1)
    else:
        by_row = arrays.row_counts(truth, answer)
        own = arrays.f_beta(by_row, beta, 1.0 if empty is None else empty)
        value = arrays.mean_f_beta(by_row if average == "samples" else by_class.total(), beta, empty)
    return _score(ids, value, _parts(f"f{beta:g}", classes, arrays.f_beta(by_class, beta, zero_division)), own)


# --------------------------------------------------------------------------------------------------- probabilities


def mean_column_log_loss(classes: Sequence[str], clip: float = 1e-15, weights: Sequence[float] | None = None) -> Metric:
    """Return the metric mean over classes of the binary log loss, negated. A truth has any number of labels.

    clip: probabilities are first clipped to clip .. 1 - clip. weights: a weight above 0 for each class, where the
    contest weighs classes (RSNA haemorrhage 2019); the mean over classes is then weighted.

    `by_sample` is the sample's own mean over classes. parts: `log_loss c`, negated.
    Source: https://www.kaggle.com/competitions/rsna-intracranial-hemorrhage-detection/overview/evaluation
    """
    known = _checked(classes)
    shares = tuple(weights) if weights is not None else (1.0,) * len(known)
    if len(shares) != len(known) or not all(0 < share < math.inf for share in shares):
        raise ConfigError(f"weights={weights!r}: expected {len(known)} numbers above 0, one for each class")
    return partial(_mean_column_log_loss, classes=known, clip=_checked_clip(clip), weights=shares)


def _mean_column_log_loss(
    truths: LabelsById, answers: LabelsById, classes: tuple[str, ...], clip: float, weights: tuple[float, ...]
) -> Score:
    ids, truth, probabilities = _truth_and_probabilities(truths, answers, classes, "log loss")
    losses = arrays.column_log_losses(truth, probabilities, clip)
    own = -np.average(losses, axis=1, weights=weights)
    return _score(ids, own.mean(), _parts("log_loss", classes, -losses.mean(axis=0)), own)


def roc_auc(classes: Sequence[str], average: Pooling = "macro") -> Metric:
    """Return the metric area under the ROC curve. A truth has any number of labels; with one class, one or none.

    macro: the mean over classes; classes that all samples or no samples have are left out. micro: all classes together.
    Where all classes are left out, as may happen in a small fold, the score is the mean of `by_sample`.

    `by_sample` is the mean over classes of the probability of the truth (p for labels of the sample, 1 - p for others),
    because AUC is no mean over samples. parts: `auc c`, and `left out`, the number of classes that are left out.
    """
    return partial(_pooled, kind="auc", classes=_checked(classes), average=_checked_pooling(average))


def average_precision(classes: Sequence[str], average: Pooling = "macro") -> Metric:
    """Return the metric average precision, not interpolated; its mean over classes is called "mAP".

    Classes that no sample has are left out of macro. parts: `ap c`, and `left out`. Otherwise it is like `roc_auc`.
    """
    return partial(_pooled, kind="ap", classes=_checked(classes), average=_checked_pooling(average))


def _pooled(
    truths: LabelsById, answers: LabelsById, kind: Literal["auc", "ap"], classes: tuple[str, ...], average: Pooling
) -> Score:
    metric = "ROC AUC" if kind == "auc" else "average precision"
    ids, truth, probabilities = _truth_and_probabilities(truths, answers, classes, metric)
    figure = ranks.roc_auc if kind == "auc" else ranks.average_precision
    by_class = figure(truth, probabilities)
    kept = by_class[~np.isnan(by_class)] if average == "macro" else figure(truth.ravel(), probabilities.ravel())
    own = np.where(truth, probabilities, 1 - probabilities).mean(axis=1)
    value = own.mean() if np.isnan(kept).all() else kept.mean()
    parts = {**_parts(kind, classes, by_class), "left out": float(np.isnan(by_class).sum())}
    return _score(ids, value, parts, own)


def pf1(positive: str, classes: Sequence[str] | None = None) -> Metric:
    """Return the metric probabilistic F1 of one class: 2 t / (t + f + positives), of probabilities, not of answers.

    t and f are the sums of the probabilities of samples with and without the class. The score is 1 where both are 0 and
    no sample has the class. classes: all classes of the contest, where it has more than `positive`.

    `by_sample` is the probability that the answer gives to the truth. parts: `precision` t / (t + f) and `recall`
    t / positives; each is left out where its divisor is 0.
    Source: https://www.kaggle.com/competitions/rsna-breast-cancer-detection/overview/evaluation
    """
    known = _checked((positive,) if classes is None else classes)
    if positive not in known:
        raise ConfigError(f"positive={positive!r} is none of the {len(known)} classes; name one of them")
    return partial(_pf1, positive=positive, classes=known)


def _pf1(truths: LabelsById, answers: LabelsById, positive: str, classes: tuple[str, ...]) -> Score:
    ids, truth, probabilities = _truth_and_probabilities(truths, answers, classes, "pF1")
    at = classes.index(positive)
    there, probability = truth[:, at], probabilities[:, at]
    hits, said, positives = float(probability[there].sum()), float(probability.sum()), int(there.sum())
    parts = {"precision": hits / said} if said else {}
    parts |= {"recall": hits / positives} if positives else {}
    value = 2 * hits / (said + positives) if said + positives else 1.0
    return _score(ids, value, parts, np.where(there, probability, 1 - probability))


def _truth_and_probabilities(
    truths: LabelsById, answers: LabelsById, classes: tuple[str, ...], metric: str
) -> tuple[tuple[str, ...], NDArray[np.bool_], NDArray[np.float64]]:
    ids = arrays.paired_ids(truths, answers)
    truth = arrays.as_flags(truths, ids, classes, "truth")
    return ids, truth, arrays.as_probabilities(answers, ids, classes, metric)


def _checked(classes: Sequence[str], least: int = 1) -> tuple[str, ...]:
    names = tuple(classes) if isinstance(classes, Sequence) and not isinstance(classes, str) else ()
    if len(names) < least or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"classes={classes!r}: expected a tuple of at least {least} names, in the contest's order")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"classes: {name!r} is there {times} times; name each class once")
    return names


def _checked_clip(clip: float) -> float:
    if not 0 < clip < 0.5:
        raise ConfigError(f"clip={clip!r}: expected a number above 0 and below 0.5, as 1e-15")
    return float(clip)


def _checked_pooling(average: Pooling) -> Pooling:
    if average not in ("macro", "micro"):
        raise ConfigError(f"average={average!r}: expected 'macro' or 'micro'")
    return average


def _mean_by_class(codes: NDArray[np.int64], values: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """The mean of the values [N] of each class: float64[C], NaN for a class that no sample has."""
    samples = np.bincount(codes, minlength=classes)
    return np.bincount(codes, values, classes) / np.where(samples > 0, samples, np.nan)


def _parts(name: str, classes: Iterable[str], figures: NDArray[np.float64]) -> dict[str, float]:
    return {
        f"{name} {one}": value for one, value in zip(classes, figures.tolist(), strict=True) if not math.isnan(value)
    }


def _score(
    ids: tuple[str, ...], value: float | np.floating, parts: Mapping[str, float], own: NDArray[np.float64]
) -> Score:
    return Score(float(value), parts, dict(zip(ids, own.tolist(), strict=True)))
