"""Figures of the embeddings as a whole: a map, and the similarity of equal and of different identities.

Inputs are arrays, results are plain values and matplotlib Figures. All random choices are seeded.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType

import numpy as np
from matplotlib.figure import Figure
from numpy.random import Generator
from numpy.typing import NDArray

from medalist.report.charts import ACCENT, INK, LINES, label, legend, plain_axes
from medalist.retrieval.asking import Asked

Indices = NDArray[np.int64]
Vectors = NDArray[np.float32]

MOST_MAPPED = 2000
"""Largest number of embeddings on a map."""
MOST_PAIRS = 200_000
"""Largest number of pairs on one page, both kinds together."""

_COLOURS = (*LINES[:7], "#7a9a01", "#8c564b", "#5b5bd6")  # for the most frequent identities
_OTHERS = "#9aa1ab"  # gray, for all other identities
_BLOCK = 4096  # number of pairs whose vectors are in memory at the same time


@dataclass(frozen=True, eq=False)
class Pairs:
    """Cosines of pairs, float32[n] each. same: pairs of one identity. different: pairs of two identities."""

    same: Vectors
    different: Vectors


@dataclass(frozen=True)
class EqualError:
    """The equal error of pairs.

    cosine: the value at which both error rates are equal: the share of same pairs below it, and the share of different
    pairs at or above it. share: this error rate.
    """

    cosine: float
    share: float


def joined_pairs(parts: Iterable[Pairs]) -> Pairs:
    """Return the pairs of several draws together."""
    some = [Pairs(np.zeros(0, np.float32), np.zeros(0, np.float32)), *parts]
    return Pairs(np.concatenate([one.same for one in some]), np.concatenate([one.different for one in some]))


def sampled_pairs(
    question: Asked, mine: Sequence[str], theirs: Sequence[str], each: int, rng: Generator, new: str | None = None
) -> Pairs:
    """Draw pairs of a query and a gallery sample of one split and return their cosines.

    There are at most `each` pairs of one identity and at most `each` of two. mine, theirs: the identities of
    question.queries and of question.gallery. Pairs that the contest hides from one another are left out. A sample named
    `new` is only paired with samples of other names, because two samples named `new` may show different identities.
    """
    names, codes = np.unique(np.array([*mine, *theirs], object).astype(str), return_inverse=True)
    asking, answering = codes[: len(mine)].astype(np.int64), codes[len(mine) :].astype(np.int64)
    unknown = int(np.searchsorted(names, new)) if new is not None and new in names else -1
    pairs = (_same(asking, answering, unknown, each, rng), _others(asking, answering, each, rng))
    hidden = question.query_codes, question.gallery_codes
    cosines = []
    for queries, rows in pairs:
        seen = (hidden[0][queries] < 0) | (hidden[0][queries] != hidden[1][rows])
        cosines.append(_cosines(question, queries[seen], rows[seen]))
    return Pairs(*cosines)


def equal_error(pairs: Pairs) -> EqualError | None:
    """Return the cosine at which the two error rates are most similar, and their mean there.

    Returns None where one kind of pairs is missing.
    """
    if not len(pairs.same) or not len(pairs.different):
        return None
    same, different = np.sort(pairs.same), np.sort(pairs.different)
    levels = np.unique(np.concatenate([same, different]))
    missed = np.searchsorted(same, levels, "left") / len(same)
    taken = 1 - np.searchsorted(different, levels, "left") / len(different)
    at = int(np.argmin(np.abs(missed - taken)))
    return EqualError(float(levels[at]), float(missed[at] + taken[at]) / 2)


def flat(vectors: Vectors, *, umap: bool = False, seed: int = 0) -> tuple[NDArray[np.float64], str]:
    """Project vectors [n, D] to two dimensions; return float64[n, 2] and the method as text.

    The method is PCA (two principal components). With `umap` it is UMAP by cosines (McInnes et al. 2018, arXiv
    1802.03426) where the package `umap` is installed and there are more than 15 vectors.
    """
    if umap and len(vectors) > 15 and find_spec("umap") is not None:
        made = importlib.import_module("umap").UMAP(metric="cosine", random_state=seed, n_jobs=1)
        return np.asarray(made.fit_transform(vectors), np.float64), "UMAP by cosines"
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2))
    count = min(2, len(lengths))
    points[:, :count] = left[:, :count] * lengths[:count]
    # The signs of an SVD are arbitrary, so they are fixed: the largest value of each component is positive.
    points *= np.where(points[np.abs(points).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    total = float((lengths**2).sum())
    share = float((lengths[:2] ** 2).sum()) / total if total > 0 else 0.0
    return points, f"PCA: two principal components, {share:.0%} of the variance"


def map_figure(
    points: NDArray[np.float64],
    identities: Sequence[str],
    new: str | None = None,
    colours: Mapping[str, str] = MappingProxyType({}),
) -> Figure:
    """Draw points [n, 2]: the ten most frequent identities with several samples in colour, all others gray.

    colours: by identity, those of the strata where identities are strata; other identities have colours by frequency.
    """
    counts = Counter(name for name in identities if name != new)
    frequent = [name for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count > 1][:10]
    figure = Figure(figsize=(11.4, 5.6), layout="constrained")
    ax = figure.subplots()
    who = np.array(identities, object)
    rest = ~np.isin(who, np.array(frequent, object))
    ax.scatter(points[rest, 0], points[rest, 1], s=9, color=_OTHERS, alpha=0.55, linewidths=0, label="others")
    for place, name in enumerate(frequent):
        mark = "o" if place % 2 == 0 else "^"  # so that neighbours in the legend differ in shape too
        mine = points[who == name]
        colour = colours.get(name, _COLOURS[place])
        ax.scatter(mine[:, 0], mine[:, 1], s=30, color=colour, marker=mark, linewidths=0, label=label(name))
    plain_axes(ax, "", "")
    ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    ax.spines["bottom"].set_visible(False)
    handles, words = ax.get_legend_handles_labels()
    handles, words = [*handles[1:], handles[0]], [*words[1:], words[0]]
    box = ax.legend(
        handles, words, frameon=False, fontsize=8.5, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    for text in box.get_texts():
        text.set_parse_math(False)
    return figure


def pairs_figure(pairs: Pairs, error: EqualError | None, threshold: float | None = None) -> Figure:
    """Draw histograms of the cosines of same and different pairs, the equal error and the threshold."""
    figure = Figure(figsize=(11.4, 3.3), layout="constrained")
    ax = figure.subplots()
    every = np.concatenate([pairs.same, pairs.different, np.array([] if threshold is None else [threshold])])
    low, high = float(every.min(initial=1.0)), float(every.max(initial=-1.0))
    edges = np.linspace(low, high, 61) if high > low else np.linspace(low - 0.5, low + 0.5, 61)
    kinds = (("different identities", pairs.different, LINES[1]), ("same identity", pairs.same, ACCENT))
    for name, values, colour in kinds:
        if len(values):
            shares = np.histogram(values, edges)[0] / len(values)
            ax.stairs(shares, edges, fill=True, color=colour, alpha=0.45, label=name)
            ax.stairs(shares, edges, color=colour, linewidth=1.2)
    ax.set_ylim(0, 1.22 * ax.get_ylim()[1])  # leaves room for the text
    lines = [] if error is None else [(error.cosine, "equal error", (0, (1, 2)))]
    lines += [] if threshold is None else [(threshold, "new below", (0, (4, 2)))]
    for place, (at, words, dashes) in enumerate(lines):
        ax.axvline(at, color=INK, linewidth=1, linestyle=dashes)
        side = "right" if at > (edges[0] + edges[-1]) / 2 else "left"
        ax.annotate(
            f"{words} {at:.3f}",
            (at, 1.0),
            (-5 if side == "right" else 5, -9 - 12 * place),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha=side,
            size=8,
            color=INK,
        )
    plain_axes(ax, "share of pairs by cosine", "cosine")
    legend(ax, 2 if ax.get_legend_handles_labels()[1] else 0)
    return figure


def _same(asking: Indices, answering: Indices, unknown: int, each: int, rng: Generator) -> tuple[Indices, Indices]:
    """Return the query and gallery rows of pairs of one identity: all pairs, or `each` of them, drawn uniformly."""
    order = np.argsort(answering, kind="stable")
    first, last = (np.searchsorted(answering[order], asking, side) for side in ("left", "right"))
    ends = np.cumsum(np.where(asking == unknown, 0, last - first))
    chosen = _drawn(int(ends[-1]) if len(ends) else 0, each, rng)
    queries = np.searchsorted(ends, chosen, "right").astype(np.int64)
    within = chosen - np.concatenate([[0], ends]).astype(np.int64)[queries]
    return queries, order[first[queries] + within].astype(np.int64)


def _others(asking: Indices, answering: Indices, each: int, rng: Generator) -> tuple[Indices, Indices]:
    """Return the query and gallery rows of pairs of two names: all pairs, or about `each` of them, drawn uniformly."""
    chosen = _drawn(len(asking) * len(answering), 2 * each, rng)  # twice as many, because some have one name
    queries, rows = np.divmod(chosen, max(1, len(answering)))
    differ = np.flatnonzero(asking[queries] != answering[rows])
    kept = differ[_drawn(len(differ), each, rng)]
    return queries[kept], rows[kept]


def _drawn(count: int, most: int, rng: Generator) -> Indices:
    """Return all of 0..count-1, or `most` of them, ascending.

    For a large count the numbers are drawn with replacement and repeated ones removed, so there may be a few fewer.
    """
    if count <= most:
        return np.arange(count, dtype=np.int64)
    if count <= 16 * most:
        return np.sort(rng.choice(count, most, replace=False)).astype(np.int64)
    return np.unique(rng.integers(count, size=most)).astype(np.int64)


def _cosines(question: Asked, queries: Indices, rows: Indices) -> Vectors:
    parts = [np.zeros(0, np.float32)]
    for at in range(0, len(queries), _BLOCK):
        part = slice(at, at + _BLOCK)
        left, right = question.query_vectors[queries[part]], question.gallery_vectors[rows[part]]
        parts.append(np.einsum("ij,ij->i", left, right))
    return np.concatenate(parts).astype(np.float32)
