"""Metrics of ranked answers: MAP, recall, MRR and GAP of a contest's rankings, and similar figures of arrays of hits.

A truth has the right names, in any order. A name that is answered twice takes two places and scores only at the first.
Queries without any right name ("unanswerable") are left out of MAP, recall and MRR; for GAP they are the distractors.
`by_sample` has these queries too: 1 where the answer has no names, 0 where it has some.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError, DataError
from medalist.metrics.masks import require_pairs
from medalist.records import Ranking, Score

Rankings = Mapping[str, Ranking]
Relevant = NDArray[np.bool_]
"""bool[Q, K]: whether the name at each place is right, the best first; no name counts twice. Padding is False."""
Counts = NDArray[np.int64]
"""int64[Q]: how many right answers the gallery has for each query."""


def map_at(k: int) -> Callable[[Rankings, Rankings], Score]:
    """Return the metric MAP@k: the mean over queries of 1/min(m, k) times the sum of precision(i) * right(i), i <= k.

    m is the number of right names; with one right name it is 1/rank (humpback whale k=5, landmark retrieval k=100).

    The metric takes truths and answers by query id. parts: `map@k`, `recall@1`, `recall@5` and `recall@k` up to k,
    `mrr` over the first k, and `unanswerable`, the number of queries that are left out. Where all queries are left out,
    the value and the other parts are the mean of `by_sample`. Raises ConfigError where k is below 1. The metric raises
    DataError where truths and answers have different ids, or none.
    Source: https://www.kaggle.com/competitions/landmark-retrieval-2020/overview/evaluation
    """
    return partial(_mean_over_queries, kind="map", k=_checked(k))


def recall_at(k: int) -> Callable[[Rankings, Rankings], Score]:
    """Return the metric recall@k: the share of queries with a right name among the first k. recall_at(1) is accuracy.

    It is also called CMC rank-k (re-identification) and Recall@k (metric learning). parts and errors: as of `map_at`.
    """
    return partial(_mean_over_queries, kind="recall", k=_checked(k))


def mrr(truths: Rankings, answers: Rankings) -> Score:
    """Return the mean over queries of 1/rank of the first right name, 0 where no name of the answer is right.

    parts: `recall@1`, `recall@5`, `mrr`, `unanswerable`. Errors: as of `map_at`.
    """
    longest = max((len(answer.names) for answer in answers.values()), default=1)
    return _mean_over_queries(truths, answers, kind="mrr", k=max(longest, 1))


def gap(truths: Rankings, answers: Rankings) -> Score:
    """Return global average precision (landmark recognition): 1/M times the sum of precision(i) * right(i).

    i goes over the first names of all queries, sorted by confidence, the highest first. M is the number of queries with
    a right name; the other queries lower the precision where they are answered. An answer without names is not in the
    list. Among equal confidences, wrong names come first, so GAP is the worst that the contest may compute; therefore
    make confidences unique. Where M = 0, it is 1 if no query is answered, else 0.

    parts: `accuracy` over the M queries, `predicted`, and `unanswerable`. Raises ConfigError, which names the query,
    where an answer has no confidence, or NaN. Raises DataError as `map_at` does.
    Source: https://www.kaggle.com/competitions/landmark-recognition-2020/overview/evaluation; Perronnin et al. 2009.
    """
    _check_ids(truths, answers)
    predictions = []
    by_sample = {}
    for name, truth in truths.items():
        answer = answers[name]
        right = bool(answer.names) and answer.names[0] in truth.names
        by_sample[name] = float(right or not (answer.names or truth.names))
        if answer.names:
            if answer.confidence is None or math.isnan(answer.confidence):
                raise ConfigError(
                    f"query {name}: its answer has confidence {answer.confidence}, and GAP compares confidences over "
                    "queries; use Retrieval(confident=True), and give a number in the submission"
                )
            predictions.append((-answer.confidence, right))
    answerable = sum(bool(truth.names) for truth in truths.values())
    hits = np.array([right for _, right in sorted(predictions)], bool)
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    value = float(precision[hits].sum() / answerable) if answerable else float(not predictions)
    parts = {
        "accuracy": float(hits.sum() / answerable) if answerable else value,
        "predicted": float(len(predictions)),
        "unanswerable": float(len(truths) - answerable),
    }
    return Score(value, parts, by_sample)


def _checked(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ConfigError(f"k={k!r}: expected a whole number of at least 1")
    return k


def _check_ids(truths: Rankings, answers: Rankings) -> None:
    try:
        require_pairs(dict.fromkeys(truths, ()), dict.fromkeys(answers, ()))
    except DataError as error:
        raise DataError(str(error).replace("samples", "queries")) from error


def _mean_over_queries(truths: Rankings, answers: Rankings, *, kind: str, k: int) -> Score:
    """Return a Score with one of the figures at k as its value; all figures are parts."""
    _check_ids(truths, answers)
    answerable = [name for name, truth in truths.items() if truth.names]
    places = min(k, max((len(answer.names) for answer in answers.values()), default=0))
    relevant = np.zeros((len(answerable), max(places, 1)), bool)
    positives = np.zeros(len(answerable), np.int64)
    for row, name in enumerate(answerable):
        left = set(truths[name].names)
        positives[row] = len(left)
        for place, answer in enumerate(answers[name].names[:places]):
            if answer in left:
                left.remove(answer)
                relevant[row, place] = True
    depths = {1, 5} if kind == "mrr" else {1, min(5, k), k}  # for MRR, k is only the length of the longest answer
    figures = {f"recall@{depth}": found_within(relevant, depth) for depth in sorted(depths)}
    if kind != "mrr":
        figures = {f"map@{k}": average_precision(relevant, positives, k), **figures}
    figures["mrr"] = reciprocal_rank(relevant)
    own = figures["mrr" if kind == "mrr" else f"{kind}@{k}"]
    by_sample = {name: float(not answers[name].names) for name in truths}
    by_sample |= dict(zip(answerable, own.tolist(), strict=True))
    nothing = sum(by_sample.values()) / len(by_sample)
    parts = {name: float(values.mean()) if len(answerable) else nothing for name, values in figures.items()}
    value = float(own.mean()) if answerable else nothing
    return Score(value, {**parts, "unanswerable": float(len(truths) - len(answerable))}, by_sample)


def found_within(relevant: Relevant, k: int) -> NDArray[np.float64]:
    """Return 1 where a right name is among the first k, else 0: float64[Q]. The mean is recall@k, or CMC at rank k."""
    found: NDArray[np.float64] = np.asarray(relevant[:, :k].any(axis=1), np.float64)
    return found


def reciprocal_rank(relevant: Relevant) -> NDArray[np.float64]:
    """Return 1/rank of the first right name, 0 where there is none: float64[Q]. The mean is MRR."""
    if not relevant.shape[1]:
        return np.zeros(len(relevant))
    first: NDArray[np.float64] = relevant.any(axis=1) / (relevant.argmax(axis=1) + 1.0)
    return first


def average_precision(relevant: Relevant, positives: Counts, k: int) -> NDArray[np.float64]:
    """Return 1/min(positives, k) times the sum of precision(i) * right(i), i <= k: float64[Q]; 0 without positives.

    The mean over queries with positives is MAP@k. Where `relevant` has fewer than min(k, positives) places, the missing
    places count as wrong.
    """
    hits = relevant[:, :k]
    precision: NDArray[np.float64] = _summed_precision(hits) / np.maximum(np.minimum(positives, k), 1)
    return precision


def average_precision_at_r(relevant: Relevant, positives: Counts) -> NDArray[np.float64]:
    """Return 1/R times the sum of precision(i) * right(i), i <= R = positives: float64[Q]; 0 without positives.

    The mean is MAP@R (Musgrave et al. 2020, arXiv 2003.08505). Where `relevant` has fewer than R places, the missing
    places count as wrong, so the figure is then a lower bound.
    """
    hits = relevant & (np.arange(relevant.shape[1]) < positives[:, np.newaxis])
    precision: NDArray[np.float64] = _summed_precision(hits) / np.maximum(positives, 1)
    return precision


def r_precision(relevant: Relevant, positives: Counts) -> NDArray[np.float64]:
    """Return the share of right names among the first R = positives: float64[Q]; 0 without positives.

    Where `relevant` has fewer than R places, the missing places count as wrong.
    """
    hits = relevant & (np.arange(relevant.shape[1]) < positives[:, np.newaxis])
    share: NDArray[np.float64] = hits.sum(axis=1) / np.maximum(positives, 1)
    return share


def _summed_precision(hits: Relevant) -> NDArray[np.float64]:
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    summed: NDArray[np.float64] = np.where(hits, precision, 0).sum(axis=1)
    return summed


def nmi(vectors: NDArray[np.float32], labels: NDArray[np.int64], seed: int = 0) -> float:
    """Return the normalised mutual information, 0..1, of the labels and of as many k-means clusters as labels.

    vectors: float32[N, D]; labels: [N]. It is slow for many labels: k-means needs N * labels * D operations in each
    iteration.
    """
    from sklearn.cluster import KMeans  # imported here: the import takes a second, and only this function needs it
    from sklearn.metrics import normalized_mutual_info_score

    clusters = KMeans(len(np.unique(labels)), n_init=1, random_state=seed).fit_predict(vectors)
    return float(normalized_mutual_info_score(labels, clusters))
