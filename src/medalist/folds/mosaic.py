"""Find images that were cut from one field of view, or show one picture twice: folds must not split them.

Two rules, both on the square root of gray values, so that a camera's noise is equal in dark and in bright:

border: the last row of one image and the first of another (or the columns) continue each other. Three numbers
  tell: c, the correlation along the border; z, how many standard deviations c is from chance, where a smooth
  border counts as few independent values (Bartlett 1935; Pyper & Peterman 1998, doi:10.1139/f98-104); and the
  step, the mean square difference over the seam divided by that of neighbouring rows inside (1 where true).
  A join needs each side to be the other's best, c > 0.6, z > 3.5 and a step < 1.4. Where four images close a
  2x2 ring, z > 2 and a step < 2 are enough: four chances would have to agree. Borders of noise have no c, and
  smooth ones no z: nothing joins through a blank border.
twin: thumbnails less their smooth part (uneven light) correlate by > 0.95 in one of the 8 flips and turns.

The thresholds are read off the 664 images of the 2018 Data Science Bowl, against controls that can hold no
true seam (top with top, mirrored borders, and so on): one false join or two in 480, and no false ring.
Thumbnails of different pictures there stay under 0.9. Overlapping crops are missed, and so are tiles whose
common border is blank.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from medalist.codecs.images import read_image
from medalist.records import Grouping, Sample

Floats = NDArray[np.float32]
Rule = Literal["below", "right", "twin"]

_CORRELATION, _SURPRISE, _STEP = 0.6, 3.5, 1.4  # one border alone
_RING_SURPRISE, _RING_STEP = 2.0, 2.0  # a border in a closed ring of four
_TWIN = 0.95
_SIDE = 24  # of a thumbnail; unrelated nuclei reach 0.77 at 16, 0.75 at 24
_QUIET = 2e-3  # mean square of the rounding to 8 bits, after the root
_FLAT = 0.2  # standard deviation after the root under which a thumbnail shows nothing


@dataclass(frozen=True)
class Join:
    """Why two images are in one group: `second` lies below or right of `first`, or is its twin.

    correlation: along the border, or of the thumbnails. surprise: z of the border (0 for twins).
    step: mean square difference over the seam, in units of that inside the images (0 for twins).
    """

    first: str
    second: str
    rule: Rule
    correlation: float
    surprise: float = 0.0
    step: float = 0.0


@dataclass(frozen=True)
class Fields:
    """The field of view of each sample id, named by its smallest id, and the joins that say so."""

    group_of: Mapping[str, str]
    joins: tuple[Join, ...]

    @property
    def shared(self) -> tuple[tuple[str, ...], ...]:
        """The fields of more than one image: their sorted ids, in the order of their names."""
        members = defaultdict(list)
        for name in sorted(self.group_of):
            members[self.group_of[name]].append(name)
        return tuple(tuple(names) for _, names in sorted(members.items()) if len(names) > 1)


@dataclass(frozen=True)
class _Look:
    """What is kept of an image: two rows at each border, outermost first, float32[2, L], and a thumbnail."""

    top: Floats
    bottom: Floats
    left: Floats
    right: Floats
    thumbnail: Floats


def find_fields(samples: Sequence[Sample], read: Callable[[Path], NDArray[np.uint8]] = read_image) -> Fields:
    """Group the samples by field of view; `read` gives the first image of each, once, as uint8[H, W, 3].

    Borders are compared among images of one size. The result does not depend on the order of the samples.
    Time and memory grow with the square of the number of images: 664 take about a second after decoding.
    """
    ordered = sorted(samples, key=lambda sample: sample.id)
    ids = [sample.id for sample in ordered]
    looks: list[_Look] = []
    by_size: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index, sample in enumerate(ordered):
        pixels = read(sample.images[0])
        looks.append(_look(pixels))
        by_size[(pixels.shape[0], pixels.shape[1])].append(index)
    joins = _twins(ids, looks)
    for _, members in sorted(by_size.items()):
        joins += _seams([ids[i] for i in members], [looks[i] for i in members])
    fields = DisjointSet(ids)
    for join in joins:
        fields.merge(join.first, join.second)
    group_of = {name: min(subset) for subset in fields.subsets() for name in subset}
    return Fields(dict(sorted(group_of.items())), tuple(joins))


def field_groups(samples: Sequence[Sample]) -> Grouping:
    """`find_fields` in the form that a competition's `groups` wants."""
    fields = find_fields(samples)
    joins = (
        (join.first, join.second, f"{join.rule} correlation {join.correlation:.3f}, step {join.step:.2f}")
        for join in fields.joins
    )
    return Grouping(fields.group_of, tuple(joins))


def _look(pixels: NDArray[np.uint8]) -> _Look:
    root = np.sqrt(pixels.mean(axis=2, dtype=np.float32))
    height, width = root.shape
    rows, columns = [0, min(1, height - 1)], [0, min(1, width - 1)]
    return _Look(
        top=root[rows],
        bottom=root[::-1][rows],
        left=root.T[columns],
        right=root.T[::-1][columns],
        thumbnail=cv2.resize(root, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32),
    )


def _seams(ids: Sequence[str], looks: Sequence[_Look]) -> list[Join]:
    """Find borders that continue each other among images of one size."""
    if len(ids) < 2:
        return []
    below = _candidates(ids, [look.bottom for look in looks], [look.top for look in looks], "below")
    right = _candidates(ids, [look.right for look in looks], [look.left for look in looks], "right")
    ringed = _ringed(below, right) | _ringed(right, below)
    return [
        join
        for join in (*below.values(), *right.values())
        if (join.rule, join.first) in ringed
        or (join.correlation > _CORRELATION and join.surprise > _SURPRISE and join.step < _STEP)
    ]


def _candidates(ids: Sequence[str], ends: Sequence[Floats], starts: Sequence[Floats], rule: Rule) -> dict[str, Join]:
    """Return by first id the pairs that are each other's best and meet the weaker bounds (a ring's)."""
    surprise, correlation, step = compare_borders(np.stack(ends), np.stack(starts))
    np.fill_diagonal(surprise, -np.inf)  # an image does not continue itself
    best = (surprise >= surprise.max(axis=1, keepdims=True)) & (surprise >= surprise.max(axis=0, keepdims=True))
    good = best & (surprise > _RING_SURPRISE) & (step < _RING_STEP)
    return {
        ids[i]: Join(ids[i], ids[j], rule, float(correlation[i, j]), float(surprise[i, j]), float(step[i, j]))
        for i, j in np.argwhere(good)
    }


def compare_borders(ends: Floats, starts: Floats) -> tuple[Floats, Floats, Floats]:
    """Compare the far border of each of N images with the near border of each of M: float32[N, M] each.

    ends, starts: float32[N, 2, L] and [M, 2, L], roots of gray values, the outermost row first.
    Returns z (Fisher's, over the effective number of independent values), correlation and step. A parabola
    is taken off each border before it is correlated, as uneven light is the same in strangers.
    """
    outer, other = ends[:, 0], starts[:, 0]
    length = outer.shape[1]
    first, second = _detrended(outer), _detrended(other)
    norms = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)[None]
    correlation = (first @ second.T) / np.maximum(norms, 1e-6)
    inflation = 1 + 2 * _autocorrelation(first) @ _autocorrelation(second).T
    independent = length / np.maximum(inflation, 1)
    bounded = np.clip(correlation, -0.99, 0.99)  # a perfect fit of a few values is no proof
    surprise = np.arctanh(bounded) * np.sqrt(np.maximum(independent - 3, 0))
    inside = (_roughness(ends)[:, None] + _roughness(starts)[None]) / 2
    step = (_differences(outer, other) + _QUIET) / (inside + _QUIET)
    return surprise.astype(np.float32), correlation.astype(np.float32), step.astype(np.float32)


def _detrended(rows: Floats) -> Floats:
    """Return rows float32[N, L] less the parabola that fits each best."""
    powers = np.linspace(-1, 1, rows.shape[1])[:, None] ** np.arange(3)
    smooth, _ = np.linalg.qr(powers)
    detrended: Floats = (rows - (rows @ smooth) @ smooth.T).astype(np.float32)
    return detrended


def _differences(rows: Floats, others: Floats) -> NDArray[np.float64]:
    """Return the mean square difference of each of N rows and each of M others, [N, M]."""
    level = rows.mean()  # near zero the squares do not cancel in rounding
    x, y = rows.astype(np.float64) - level, others.astype(np.float64) - level
    squares: NDArray[np.float64] = (x * x).mean(axis=1)[:, None] + (y * y).mean(axis=1)[None]
    squares -= 2 * (x @ y.T) / rows.shape[1]
    return squares.clip(0)


def _autocorrelation(centred: Floats) -> Floats:
    """Return the autocorrelation of each row at the lags 1 .. L/2-1, zero padded."""
    length = centred.shape[1]
    power = np.abs(np.fft.rfft(centred, 2 * length, axis=1)) ** 2
    lags = np.fft.irfft(power, axis=1)[:, : max(length // 2, 1)]
    normed: Floats = (lags[:, 1:] / np.maximum(lags[:, :1], 1e-6)).astype(np.float32)
    return normed


def _roughness(borders: Floats) -> Floats:
    """Return the mean square difference of the two rows at each border."""
    rough: Floats = ((borders[:, 0] - borders[:, 1]) ** 2).mean(axis=1)
    return rough


def _ringed(along: Mapping[str, Join], across: Mapping[str, Join]) -> set[tuple[Rule, str]]:
    """Return the joins of `along` that are two sides of a closed 2x2 ring, as (rule, first id)."""
    ringed: set[tuple[Rule, str]] = set()
    for name, join in along.items():
        if name in across and join.second in across:
            start, end = across[name].second, across[join.second].second
            if start in along and along[start].second == end and len({name, join.second, start, end}) == 4:
                ringed |= {(join.rule, name), (join.rule, start)}
    return ringed


def _twins(ids: Sequence[str], looks: Sequence[_Look]) -> list[Join]:
    """Find pairs whose thumbnails agree in one of the eight flips and turns; sizes may differ."""
    if len(ids) < 2:
        return []
    stack = np.stack([look.thumbnail for look in looks])
    plain = _detailed(stack)
    best = np.full((len(ids), len(ids)), -1, np.float32)
    for turned in (stack, stack[:, :, ::-1]):
        for turns in range(4):
            np.maximum(best, plain @ _detailed(np.rot90(turned, turns, (1, 2))).T, out=best)
    return [Join(ids[i], ids[j], "twin", float(best[i, j])) for i, j in np.argwhere(np.triu(best, 1) > _TWIN)]


def _detailed(thumbnails: Floats) -> Floats:
    """Return unit vectors of thumbnails without their quadratic part; zeros where nothing is left to see."""
    grid = np.linspace(-1, 1, _SIDE)
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    smooth, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1))
    flat = thumbnails.reshape(len(thumbnails), -1)
    detail = flat - (flat @ smooth) @ smooth.T
    norm = np.linalg.norm(detail, axis=1, keepdims=True)
    shows = norm > _FLAT * _SIDE
    unit: Floats = np.where(shows, detail / np.maximum(norm, 1e-6), 0).astype(np.float32)
    return unit
