"""Find images that were cut from one field of view, or that show the same picture: folds must not split them.

There are two rules. Both use the square root of gray values, so that the noise of a camera is equal in dark and bright
parts:

border: the last row (or column) of one image continues in the first row (or column) of another. Three numbers decide:
  c, the correlation along the border; z, how many standard deviations c is from chance, where a smooth border counts as
  few independent values (Bartlett 1935; Pyper & Peterman 1998, doi:10.1139/f98-104); and the step, the mean square
  difference across the seam divided by that of neighbouring rows inside the images (about 1 at a true seam).
  Two images are joined where each is the other's best match, c > 0.6, z > 3.5 and step < 1.4. Where four images form a
  closed 2x2 ring, z > 2 and step < 2 are enough, because four borders would have to agree by chance. A border of noise
  has a low c and a smooth border a low z, so a blank border joins nothing.
twin: thumbnails without their smooth part (uneven light) have a correlation > 0.95 in one of the 8 flips and turns.

The thresholds were chosen on the 664 images of the 2018 Data Science Bowl. The controls were pairs of borders that
cannot be a true seam (top with top, mirrored borders, and so on): they gave one or two false joins in 480, and no false
ring. There, thumbnails of different pictures have a correlation under 0.9. Overlapping crops are not found, and neither
are tiles whose common border is blank.
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

from medalist.codecs.images import read_image
from medalist.records import Grouping, Sample

Floats = NDArray[np.float32]
Rule = Literal["below", "right", "twin"]

_CORRELATION, _SURPRISE, _STEP = 0.6, 3.5, 1.4  # the bounds of c, z and step for a single border
_RING_SURPRISE, _RING_STEP = 2.0, 2.0  # the bounds of z and step for a border in a closed ring of four
_TWIN = 0.95
# Bounds of near copies, for a warning about the images of any contest: the correlation of thumbnails, and that of what
# is left of the blocks of finer thumbnails without their smooth part; and the most pairs whose detail is compared.
_COPY, _DETAIL, _CONFIRMED = 0.98, 0.95, 2_000
_FINE, _BLOCK, _BLUR = 64, 16, 2.0  # pixels of a finer thumbnail's side, of a block's, and of the blur
_SIDE = 24  # pixels of a thumbnail's side; unrelated nuclei correlate by up to 0.77 with 16, and 0.75 with 24
_QUIET = 2e-3  # the mean square of the rounding to 8 bits, after the square root
_FLAT = 0.2  # a thumbnail with a smaller standard deviation, after the square root, shows nothing


@dataclass(frozen=True)
class Join:
    """Why two images are in one group: `second` is below or to the right of `first`, or is its twin.

    correlation: that of the borders, or of the thumbnails. surprise: z of the border (0 for twins).
    step: the mean square difference across the seam, divided by that inside the images (0 for twins).
    """

    first: str
    second: str
    rule: Rule
    correlation: float
    surprise: float = 0.0
    step: float = 0.0


@dataclass(frozen=True)
class Fields:
    """The field of view of each sample id, and the joins that show it. A field is named by its smallest id."""

    group_of: Mapping[str, str]
    joins: tuple[Join, ...]

    @property
    def shared(self) -> tuple[tuple[str, ...], ...]:
        """The sorted ids of each field with more than one image, in the order of the fields' names."""
        members = defaultdict(list)
        for name in sorted(self.group_of):
            members[self.group_of[name]].append(name)
        return tuple(tuple(names) for _, names in sorted(members.items()) if len(names) > 1)


@dataclass(frozen=True)
class _Look:
    """The parts of an image that are compared: two rows at each border, outermost first, float32[2, L]; a thumbnail."""

    top: Floats
    bottom: Floats
    left: Floats
    right: Floats
    thumbnail: Floats


def find_fields(samples: Sequence[Sample], read: Callable[[Path], NDArray[np.uint8]] = read_image) -> Fields:
    """Group the samples by field of view. `read` is called once for the first image of each: path -> uint8[H, W, 3].

    Borders are compared among images of the same size. The result does not depend on the order of the samples. Time and
    memory grow with the square of the number of images: 664 images take about a second after decoding.
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
    from scipy.cluster.hierarchy import DisjointSet  # a third of a second, which few commands need

    fields = DisjointSet(ids)
    for join in joins:
        fields.merge(join.first, join.second)
    group_of = {name: min(subset) for subset in fields.subsets() for name in subset}
    return Fields(dict(sorted(group_of.items())), tuple(joins))


def field_groups(samples: Sequence[Sample]) -> Grouping:
    """Return the result of `find_fields` as a Grouping, for a competition's `groups`."""
    fields = find_fields(samples)
    joins = (
        (join.first, join.second, f"{join.rule} correlation {join.correlation:.3f}, step {join.step:.2f}")
        for join in fields.joins
    )
    return Grouping(fields.group_of, tuple(joins))


def _look(pixels: NDArray[np.uint8]) -> _Look:
    root = _root(pixels)
    height, width = root.shape
    rows, columns = [0, min(1, height - 1)], [0, min(1, width - 1)]
    return _Look(
        top=root[rows],
        bottom=root[::-1][rows],
        left=root.T[columns],
        right=root.T[::-1][columns],
        thumbnail=_reduced(root),
    )


def _root(pixels: NDArray[np.uint8]) -> Floats:
    root: Floats = np.sqrt(pixels.mean(axis=2, dtype=np.float32))
    return root


def _reduced(root: Floats) -> Floats:
    return cv2.resize(root, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def thumbnail(pixels: NDArray[np.uint8]) -> Floats:
    """Return the thumbnail of an image uint8[H, W, 3] by which near copies are found: float32, square."""
    return cv2.resize(_root(pixels), (_FINE, _FINE), interpolation=cv2.INTER_AREA).astype(np.float32)


def near_copies(ids: Sequence[str], thumbnails: Sequence[Floats]) -> list[Join]:
    """Return the pairs of images that are near copies, also flipped or turned, by their thumbnails.

    The bound on the correlation is higher than that of twins, and the fine detail must agree too: pictures of one sort
    (eyes, X-rays) are alike without it. Time and memory grow with the square of the number of images.
    """
    if len(ids) < 2:
        return []
    small = [cv2.resize(one, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for one in thumbnails]
    alike = sorted(_alike(ids, np.stack(small), _COPY), key=lambda join: -join.correlation)[:_CONFIRMED]
    fine = {name: _fine_detail(one) for name, one in zip(ids, thumbnails, strict=True)}
    return [join for join in alike if _detail_agrees(fine[join.first], fine[join.second])]


def _fine_detail(one: Floats) -> Floats:
    """A thumbnail without its smooth part, as blocks float32[n, n, b, b]."""
    detail = one - cv2.GaussianBlur(one, (0, 0), _BLUR)
    many = _FINE // _BLOCK
    return np.ascontiguousarray(detail.reshape(many, _BLOCK, many, _BLOCK).swapaxes(1, 2), dtype=np.float32)


def _detail_agrees(one: Floats, other: Floats) -> bool:
    """Whether the detail of all blocks but one agrees, in one of the eight flips and turns.

    Blocks without detail do not count. Pictures of one sort, such as eyes, share strong outlines, which agree in most
    blocks; the one block is for what changes between two pictures of one scene.
    """
    for side in (other, other[:, ::-1, :, ::-1]):
        for turns in range(4):
            turned = np.rot90(np.rot90(side, turns), turns, (2, 3))
            norms = np.linalg.norm(one, axis=(2, 3)) * np.linalg.norm(turned, axis=(2, 3))
            shows = norms > (_QUIET * _BLOCK * _BLOCK)
            agree = (one * turned).sum(axis=(2, 3))[shows] / norms[shows]
            if agree.size > 1 and np.partition(agree, 1)[1] > _DETAIL:
                return True
    return False


def _seams(ids: Sequence[str], looks: Sequence[_Look]) -> list[Join]:
    """Find borders that continue each other, among images of the same size."""
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
    """Return, by first id, the pairs that are each other's best match and within the weaker bounds, those of a ring."""
    surprise, correlation, step = compare_borders(np.stack(ends), np.stack(starts))
    np.fill_diagonal(surprise, -np.inf)  # an image does not continue itself
    best = (surprise >= surprise.max(axis=1, keepdims=True)) & (surprise >= surprise.max(axis=0, keepdims=True))
    good = best & (surprise > _RING_SURPRISE) & (step < _RING_STEP)
    return {
        ids[i]: Join(ids[i], ids[j], rule, float(correlation[i, j]), float(surprise[i, j]), float(step[i, j]))
        for i, j in np.argwhere(good)
    }


def compare_borders(ends: Floats, starts: Floats) -> tuple[Floats, Floats, Floats]:
    """Compare the last borders of N images with the first borders of M images: return three float32[N, M].

    ends, starts: float32[N, 2, L] and [M, 2, L], square roots of gray values, with the outermost row first.
    Returns z (Fisher's z for the effective number of independent values), correlation and step. The best parabola is
    subtracted from each border before the correlation, because unrelated images can have the same uneven light.
    """
    outer, other = ends[:, 0], starts[:, 0]
    length = outer.shape[1]
    first, second = _detrended(outer), _detrended(other)
    norms = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)[None]
    correlation = (first @ second.T) / np.maximum(norms, 1e-6)
    inflation = 1 + 2 * _autocorrelation(first) @ _autocorrelation(second).T
    independent = length / np.maximum(inflation, 1)
    bounded = np.clip(correlation, -0.99, 0.99)  # a perfect correlation of only a few values must not give a huge z
    surprise = np.arctanh(bounded) * np.sqrt(np.maximum(independent - 3, 0))
    inside = (_roughness(ends)[:, None] + _roughness(starts)[None]) / 2
    step = (_differences(outer, other) + _QUIET) / (inside + _QUIET)
    return surprise.astype(np.float32), correlation.astype(np.float32), step.astype(np.float32)


def _detrended(rows: Floats) -> Floats:
    """Return rows float32[N, L], each minus the parabola that fits it best."""
    powers = np.linspace(-1, 1, rows.shape[1])[:, None] ** np.arange(3)
    smooth, _ = np.linalg.qr(powers)
    detrended: Floats = (rows - (rows @ smooth) @ smooth.T).astype(np.float32)
    return detrended


def _differences(rows: Floats, others: Floats) -> NDArray[np.float64]:
    """Return the mean square difference between each of N rows and each of M others, [N, M]."""
    level = rows.mean()  # subtracted, because squares of values near zero lose less by rounding
    x, y = rows.astype(np.float64) - level, others.astype(np.float64) - level
    squares: NDArray[np.float64] = (x * x).mean(axis=1)[:, None] + (y * y).mean(axis=1)[None]
    squares -= 2 * (x @ y.T) / rows.shape[1]
    return squares.clip(0)


def _autocorrelation(centred: Floats) -> Floats:
    """Return the autocorrelation of each row at the lags 1 .. L/2-1, with zero padding."""
    length = centred.shape[1]
    power = np.abs(np.fft.rfft(centred, 2 * length, axis=1)) ** 2
    lags = np.fft.irfft(power, axis=1)[:, : max(length // 2, 1)]
    normed: Floats = (lags[:, 1:] / np.maximum(lags[:, :1], 1e-6)).astype(np.float32)
    return normed


def _roughness(borders: Floats) -> Floats:
    """Return the mean square difference between the two rows of each border."""
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
    """Find pairs whose thumbnails agree in one of the eight flips and turns; the sizes of the images may differ."""
    if len(ids) < 2:
        return []
    return _alike(ids, np.stack([look.thumbnail for look in looks]), _TWIN)


def _alike(ids: Sequence[str], stack: Floats, bound: float) -> list[Join]:
    plain = _detailed(stack)
    best = np.full((len(ids), len(ids)), -1, np.float32)
    for turned in (stack, stack[:, :, ::-1]):
        for turns in range(4):
            np.maximum(best, plain @ _detailed(np.rot90(turned, turns, (1, 2))).T, out=best)
    return [Join(ids[i], ids[j], "twin", float(best[i, j])) for i, j in np.argwhere(np.triu(best, 1) > bound)]


def _detailed(thumbnails: Floats) -> Floats:
    """Return thumbnails without their quadratic part, as unit vectors; zeros where hardly any detail is left."""
    grid = np.linspace(-1, 1, _SIDE)
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    smooth, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1))
    flat = thumbnails.reshape(len(thumbnails), -1)
    detail = flat - (flat @ smooth) @ smooth.T
    norm = np.linalg.norm(detail, axis=1, keepdims=True)
    shows = norm > _FLAT * _SIDE
    unit: Floats = np.where(shows, detail / np.maximum(norm, 1e-6), 0).astype(np.float32)
    return unit
