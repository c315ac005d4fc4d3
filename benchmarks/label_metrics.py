"""Compare our classification metrics with scikit-learn on arrays, and time them on labels by sample.

python benchmarks/label_metrics.py [--rows 1000000] [--columns 100] [--runs 3]

Our metric and that of scikit-learn take turns in one process, and get the same arrays. A line has the two medians,
their ratio (below 1, ours is faster), and the peak memory that ours takes beside the arrays. Before the timing, the
values of both are compared. Then each contest metric scores labels by sample, from objects to a Score.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from sklearn import metrics as theirs

from medalist.metrics import labels
from medalist.metrics.label_arrays import class_counts, mean_f_beta, quadratic_kappa, row_counts
from medalist.metrics.label_ranks import average_precision, roc_auc
from medalist.records import Labels

Case = tuple[str, Callable[[], float], Callable[[], float]]


def rank_cases(random: np.random.Generator, rows: int, columns: int) -> list[Case]:
    """Return cases with labels that are true for 2 to 50 % of the rows, depending on the column.

    The cases in which our functions are slower (float64, logits, average precision) have a tenth of the columns.
    """
    few = max(columns // 10, 1)
    truth = random.random((rows, columns), np.float32) < np.linspace(0.02, 0.5, columns)
    scores = random.standard_normal((rows, columns), np.float32)
    scores += truth
    logits = scores[:, :few].copy()
    np.negative(scores, out=scores)
    np.exp(scores, out=scores)
    scores += 1
    np.reciprocal(scores, out=scores)
    some, double = truth[:, -few:].copy(), scores[:, -few:].astype(np.float64)
    return [
        (
            f"ROC AUC, {columns} columns, float32",
            lambda: float(roc_auc(truth, scores).mean()),
            lambda: float(theirs.roc_auc_score(truth, scores)),
        ),
        (
            f"ROC AUC, {few} columns, float64",
            lambda: float(roc_auc(some, double).mean()),
            lambda: float(theirs.roc_auc_score(some, double)),
        ),
        (
            f"ROC AUC, {few} columns, logits",
            lambda: float(roc_auc(truth[:, :few], logits).mean()),
            lambda: float(theirs.roc_auc_score(truth[:, :few], logits)),
        ),
        (
            f"average precision, {few} columns",
            lambda: float(average_precision(some, double).mean()),
            lambda: float(theirs.average_precision_score(some, double)),
        ),
    ]


def count_cases(random: np.random.Generator, rows: int, columns: int) -> list[Case]:
    """Return cases with grades 0..4, and with labels of which 10 % are true and 3 % are answered wrongly."""
    grade = random.integers(0, 5, rows)
    graded = np.clip(grade + random.integers(-1, 2, rows), 0, 4)
    truth = random.random((rows, columns), np.float32) < 0.1
    answer = truth ^ (random.random((rows, columns), np.float32) < 0.03)
    f1 = partial(theirs.f1_score, truth, answer)
    return [
        (
            "quadratic kappa",
            lambda: quadratic_kappa(grade, graded, 5),
            lambda: float(theirs.cohen_kappa_score(grade, graded, weights="quadratic")),
        ),
        (
            f"F1 micro, {columns} columns",
            lambda: mean_f_beta(class_counts(truth, answer).total()),
            lambda: float(f1(average="micro")),
        ),
        (
            f"F1 macro, {columns} columns",
            lambda: mean_f_beta(class_counts(truth, answer)),
            lambda: float(f1(average="macro")),
        ),
        (
            f"F1 samples, {columns} columns",
            lambda: mean_f_beta(row_counts(truth, answer), empty=1.0),
            lambda: float(f1(average="samples", zero_division=1.0)),
        ),
    ]


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def against_scikit_learn(cases: list[Case], runs: int) -> None:
    for name, ours, other in cases:
        tracemalloc.start()
        value = ours()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        first = time.perf_counter()
        expected = other()
        seconds: tuple[list[float], list[float]] = ([timed(ours)], [time.perf_counter() - first])
        assert abs(value - expected) < 1e-9, (name, value, expected)
        for _ in range(runs - 1):
            seconds[0].append(timed(ours))
            seconds[1].append(timed(other))
        a, b = median(seconds[0]), median(seconds[1])
        print(f"  {name:36} {a:8.3f} / {b:8.3f} = {a / b:6.3f}   {peak / 2**20:6.0f} MiB")


def by_sample(random: np.random.Generator, samples: int, classes: int, runs: int) -> None:
    names = tuple(f"class {at}" for at in range(classes))
    flags, odds = random.random((samples, classes)) < 0.15, random.random((samples, classes))
    several = {f"{at}": Labels(tuple(np.array(names)[flags[at]].tolist()), odds[at]) for at in range(samples)}
    single = {f"{at}": Labels((names[odds[at].argmin()],), odds[at]) for at in range(samples)}
    ranked = {
        f"{at}": Labels(tuple(names[c] for c in order), odds[at]) for at, order in enumerate(odds.argsort(axis=1))
    }
    cases = {
        "accuracy": (labels.accuracy, single),
        "balanced_accuracy": (labels.balanced_accuracy, single),
        "quadratic_kappa": (labels.quadratic_kappa(names), single),
        "log_loss": (labels.log_loss(names), single),
        "label_map_at(5)": (labels.label_map_at(5), single),
        "f1 micro": (labels.f1(names, "micro"), several),
        "f1 macro": (labels.f1(names, "macro"), several),
        "f1 samples": (labels.f1(names, "samples"), several),
        "mean_column_log_loss": (labels.mean_column_log_loss(names), several),
        "roc_auc": (labels.roc_auc(names), several),
        "average_precision": (labels.average_precision(names), several),
        "pf1": (labels.pf1(names[0], names), several),
    }
    print(f"{samples} samples of {classes} classes, medians of {runs}: milliseconds from labels to a Score")
    for name, (metric, truths) in cases.items():
        answers = single if name == "quadratic_kappa" else several if name.startswith("f1") else ranked
        print(f"  {name:36} {median(timed(partial(metric, truths, answers)) for _ in range(runs)) * 1e3:8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="not read: the arrays are random")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    random = np.random.default_rng(2018)
    print(f"{options.rows} rows, {options.runs} interleaved runs, medians: ours s / scikit-learn s = ratio; our memory")
    for cases in (count_cases, rank_cases):
        against_scikit_learn(cases(random, options.rows, options.columns), options.runs)
    by_sample(random, 20_000, 12, max(options.runs, 5))


if __name__ == "__main__":
    main()
