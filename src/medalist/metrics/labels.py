"""Metrics of image classification: one label, several labels, ordered grades, and probabilities.

A metric takes truths and answers by sample id and gives a Score. The functions that take settings return a metric; it
pickles. Every metric raises DataError where ids differ, where there are no samples, and for a label that is none of
`classes`. Those that read probabilities raise ConfigError that names a sample whose answer has none, has not one for
each class, or has one that is NaN or outside 0..1; they do not look at the names of answers. Settings that cannot be
raise ConfigError at once.

Parts of single classes leave out those for which the figure does not exist. Losses are negated, in parts too.
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
"""macro: the mean over classes; micro: all classes taken as one."""
Average = Literal["micro", "macro", "samples"]
"""micro: all labels taken as one; macro: the mean over classes; samples: the mean over samples."""

# ------------------------------------------------------------------------------------------------------- one label


def accuracy(truths: LabelsById, answers: LabelsById) -> Score:
    """Share of samples whose first answered name is right; an answer without names is wrong. A truth has one label.

    parts: `recall c` for each class c that a truth has.
    """
    return _share_right(truths, answers, balanced=False)


def balanced_accuracy(truths: LabelsById, answers: LabelsById) -> Score:
    """Mean of the recall of the classes that truths have; otherwise as `accuracy`.

    `by_sample` is 1 where the sample is right and 0 where not; their mean is the accuracy.
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
    """The metric Cohen's kappa with quadratic weights, of grades: `classes` in their order, at least 2.

    A truth has one label; an answer's first name counts, and it has one. Where all truths and all answers are one and
    the same grade it is 1 (the formula has 0/0); where only the truths are of one grade it is 0.

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
    """The metric multi-class log loss, negated: the mean of log p of the true class. A truth has one label.

    normalise: each row is divided by its sum first, as Kaggle does; a row of zeros is then a ConfigError. clip: then p
    is clipped to clip .. 1 - clip; take it from the contest's page, above 0.

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
            "them by; give one of them more, or say log_loss(normalise=False)"
        )
    own = -arrays.log_losses(truth, probabilities, clip, normalise)
    return _score(ids, own.mean(), _parts("log_loss", classes, _mean_by_class(truth, own, len(classes))), own)


def label_map_at(k: int) -> Metric:
    """The metric MAP@k of names, the best first: the mean of 1/min(m, k) times the sum of precision(i) * right(i).

    i goes over the places up to k, m is the number of right labels; with one it is 1/rank. A name that is answered
    twice scores at its first place. Samples without a right label are left out. parts, `by_sample` and the rest are as
    of `medalist.metrics.retrieval.map_at`, of which this is the same over Labels.
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
    """The metric F1 of labels: `f_beta` with beta = 1."""
    return f_beta(1.0, classes, average, empty=empty, zero_division=zero_division)


def f_beta(
    beta: float,
    classes: Sequence[str],
    average: Average,
    *,
    empty: float | None = 1.0,
    zero_division: float | None = 0.0,
) -> Metric:
    """The metric (1 + beta²) both / (beta² truth + answer), where these count labels; beta above 1 favours recall.

    "Mean F1" is three different things. micro: of all labels taken as one (iMet 2020). macro: the mean over classes.
    samples: the mean over samples (Kaggle's MeanFScore; Planet 2017 with beta = 2).

    empty: what a sample counts that neither has nor is given a label; None leaves it out. It is also the micro figure
    where no sample has any. zero_division: what a class counts in macro that no sample has or is given; None leaves it
    out. The default 0 is scikit-learn's, and even perfect answers score below 1 with it where a class is absent. What
    is left out of everything scores 1.

    `by_sample`: of samples and micro the sample's own figure, 1 where it is left out; of macro the share of classes on
    which truth and answer agree. parts: `f1 c`, or `f2 c` and so on by beta.
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
    """The metric binary log loss of each class, averaged over classes and negated. A truth has any number of labels.

    clip: probabilities are clipped to clip .. 1 - clip first. weights: one above 0 for each class where the contest
    weighs them (RSNA haemorrhage 2019); the mean is then weighted.

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
    """The metric area under the ROC curve. A truth has any number of labels; of one class, one or none.

    macro: the mean over classes; classes that all samples or none have are left out. micro: all classes taken as one.
    Where nothing is left, as in a small fold, the value is the mean of `by_sample`.

    `by_sample` is the probability that is given to the side of the truth (p of a label that is there, 1 - p of one that
    is not), as a mean over classes: AUC is no mean over samples. parts: `auc c`, and `left out`, their number.
    """
    return partial(_pooled, kind="auc", classes=_checked(classes), average=_checked_pooling(average))


def average_precision(classes: Sequence[str], average: Pooling = "macro") -> Metric:
    """The metric average precision, not interpolated; "mAP" where it is averaged over classes. Otherwise as `roc_auc`.

    Classes that no sample has are left out of macro. parts: `ap c`, and `left out`.
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
    """The metric probabilistic F1 of one class: 2 t / (t + f + positives), of probabilities instead of answers.

    t and f are the sums of the probabilities that samples with and without the class have. It is 1 where both are 0
    and no sample has the class. classes: those of the contest, where it has others beside `positive`.

    `by_sample` is the probability that is given to the side of the truth. parts: `precision` t / (t + f) and `recall`
    t / positives, each left out where it does not exist.
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
        raise ConfigError(f"classes: {name!r} stands there {times} times; name each class once")
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
    """Mean of the values [N] by class: float64[C], NaN for a class that no sample has."""
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
