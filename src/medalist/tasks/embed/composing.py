"""Made-up identities of signs: parts of two training identities are joined into a new sign."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.data.cache import PixelCache
from medalist.data.fitting import Pixels, fit_image, kept_size, trimmed
from medalist.data.settings import FitConfig
from medalist.data.transforms import sample_seed
from medalist.errors import ConfigError

COMPOSING = 3
"""A part of the generator's seed, so that compositions use other random numbers than the rest of the run."""

LOTS = 18
"""Number of random values that one composition uses."""

FROM_ONE_GROUP, ALONG_AN_AXIS, CUT = 0.6, 0.6, 0.35
"""Share of compositions with both identities from one group, share of compositions whose parts are joined along an
axis, and share of parts that are cut."""

SCALE_JITTER, SHIFT_JITTER = 0.08, 3 / 64
"""Largest random change of a part from draw to draw: of its sides, as a share of them, and of its position, as a share
of the image's side."""

LIGHT, LEFT_AT_LEAST = 128, 1 / 160
"""A part is not cut where fewer than the share `LEFT_AT_LEAST` of the image's pixels would be left with a value of at
least `LIGHT`."""


@dataclass(frozen=True)
class SignPart:
    """The part of one identity in a composition.

    turns: counter-clockwise quarter turns. scale: factor of width and height. aspect: a further factor of the height
    only. cut: None uses the whole sign; (x, y, offset) removes everything on one side of a line, before turning and
    scaling: pixels stay where x * column + y * row < offset. Columns and rows count from the image's middle, and the
    offset is in sides of the sign.
    """

    identity: int
    turns: int
    scale: float
    aspect: float
    cut: tuple[float, float, float] | None


@dataclass(frozen=True)
class Composition:
    """A made-up identity of two parts.

    angle: the direction from the first to the second part, in radians, with y downwards. distance: between the parts'
    middles, in sides of a whole sign. samples: the number of its samples, the smaller count of its two identities.
    """

    first: SignPart
    second: SignPart
    angle: float
    distance: float
    samples: int


def compose(seed: int, count: int, sizes: Sequence[int], groups: Sequence[Hashable | None]) -> tuple[Composition, ...]:
    """Return `count` compositions of identities; each depends only on the seed, its number and the identities.

    sizes: the number of samples of each identity. groups: the group (for example the alphabet) of each identity, None =
    no group. Only identities with at least two samples are used. Raises ConfigError where there are fewer than two such
    identities.
    """
    if not count:
        return ()
    able = [identity for identity, size in enumerate(sizes) if size > 1]
    if len(able) < 2:
        raise ConfigError(
            f"task.composed = {count} needs two identities with at least two training samples each, but {len(able)} of "
            f"{len(sizes)} identities have two; set task.composed=0"
        )
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for identity in able:
        if groups[identity] is not None:
            alike[groups[identity]].append(identity)
    # Drawn row by row, so that a larger count begins with the same compositions.
    lots = np.random.default_rng((seed, COMPOSING)).random((count, LOTS)).tolist()
    return tuple(_composition(iter(row), able, alike, sizes, groups) for row in lots)


def _composition(
    lot: Iterator[float],
    able: Sequence[int],
    alike: Mapping[Hashable, Sequence[int]],
    sizes: Sequence[int],
    groups: Sequence[Hashable | None],
) -> Composition:
    """Make a composition from `lot`, random values in 0..1; every composition uses the same number of them."""
    one = able[int(next(lot) * len(able))]
    group = alike.get(groups[one], ())
    others = group if next(lot) < FROM_ONE_GROUP and len(group) > 1 else able
    place = int(next(lot) * (len(others) - 1))
    two = others[place + (place >= bisect_left(others, one))]  # any identity but `one`
    first, second = _part(one, 0.6, lot), _part(two, 0.4, lot)
    along, turn = next(lot) < ALONG_AN_AXIS, 4 * next(lot)
    angle = pi / 2 * (int(turn) if along else turn)
    distance = (0.35 + 0.65 * next(lot)) * (first.scale + second.scale) / 2
    return Composition(first, second, angle, distance, min(sizes[one], sizes[two]))


def _part(identity: int, smallest: float, lot: Iterator[float]) -> SignPart:
    turns, scale, aspect = int(4 * next(lot)), smallest + (1 - smallest) * next(lot), 0.7 + 0.3 * next(lot)
    is_cut, side = next(lot) < CUT, 2 * pi * next(lot)
    cut = cos(side), sin(side), -0.04 + 0.23 * next(lot)  # keeps from a little less than half to most of the sign
    return SignPart(identity, turns, scale, aspect, cut if is_cut else None)


class Composed:
    """The samples of compositions, made from images of a cache: light signs on a background of 0.

    The n-th sample of a composition is made from the n-th samples of both identities, sorted by id. So where ids name
    the writer, both parts come from the same writer.
    """

    def __init__(
        self,
        cache: PixelCache,
        indices: Sequence[int],
        labels: Sequence[int],
        compositions: Sequence[Composition],
        image: FitConfig,
        seed: int,
    ):
        """`indices`: numbers of the cache's samples. `labels`: their identities, which the compositions refer to."""
        self.cache, self.compositions, self.image, self.seed = cache, tuple(compositions), image, seed
        self.identities = max(labels, default=-1) + 1
        self._starts = [0, *accumulate(composition.samples for composition in compositions)]
        self._members: dict[int, list[int]] = defaultdict(list)
        for index, label in sorted(zip(indices, labels, strict=True), key=lambda pair: cache.samples[pair[0]].id):
            self._members[label].append(index)

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def labels(self) -> tuple[int, ...]:
        """The number of the composition of each sample."""
        return tuple(number for number, made in enumerate(self.compositions) for _ in range(made.samples))

    def parts(self, position: int) -> tuple[int, int, int]:
        """Return the composition's number of the sample at `position`, and the cache's two samples it is made from."""
        number = bisect_right(self._starts, position) - 1
        shot, made = position - self._starts[number], self.compositions[number]
        return number, self._members[made.first.identity][shot], self._members[made.second.identity][shot]

    def draw(self, epoch: int, position: int, again: int = 0) -> Pixels:
        """Draw the sample for an epoch: uint8[H, W, 3] of `kept_size`.

        again: how often the sample was drawn before in this epoch.
        """
        number, one, two = self.parts(position)
        random = np.random.default_rng(sample_seed(self.seed, epoch, len(self.cache) + position, 1, again))
        image, made = self.image, self.compositions[number]
        # A trimmed sign takes at most this share of its image's side; real images are framed by the same rule.
        share = 1.0 if image.trim is None else image.trim
        jitter = random.uniform(-1, 1, (2, 2, 2))
        joined = joined_parts(made, *_gray(self.cache[one][0], self.cache[two][0]), share, jitter)
        if joined.shape[2] == 1:
            joined = np.asarray(cv2.cvtColor(joined, cv2.COLOR_GRAY2RGB), np.uint8)
        if image.trim is not None:
            joined = trimmed(joined, image.trim)
        return fit_image(joined, kept_size(image), image.fit)


def _gray(one: Pixels, two: Pixels) -> tuple[Pixels, Pixels]:
    """Return both images with one channel where neither has colours, because this is a third of the work."""
    single = []
    for image in (one, two):
        red, *others = cv2.split(image)
        if any(cv2.norm(red, other, cv2.NORM_INF) for other in others):
            return one, two
        single.append(np.asarray(red, np.uint8)[..., np.newaxis])
    return single[0], single[1]


def joined_parts(
    made: Composition, one: Pixels, two: Pixels, share: float, jitter: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Draw both parts on a square background of 0: uint8[S, S, C], large enough for every position of the parts.

    one, two: uint8[H, W, C] of one size, whose signs take `share` of the longer side around the middle. jitter:
    float[2, 2, 2] in -1..1: for each part its scales, then its shifts, each x before y.
    """
    longest = max(one.shape[:2])
    side = share * longest
    canvas = 2 * int(np.ceil(side * (1 + SCALE_JITTER + 1) / 2 + SHIFT_JITTER * longest + 1))
    away = made.distance * side / 2
    layers = []
    for part, whole, sign, drawn in zip((made.first, made.second), (one, two), (-1, 1), jitter.tolist(), strict=True):
        image = _cut(whole, part, side)
        (wider, higher), (right, down) = drawn
        across = part.scale * (1 + SCALE_JITTER * wider)
        along = part.scale * part.aspect * (1 + SCALE_JITTER * higher)
        x = (canvas - 1) / 2 + sign * away * cos(made.angle) + SHIFT_JITTER * longest * right
        y = (canvas - 1) / 2 + sign * away * sin(made.angle) + SHIFT_JITTER * longest * down
        # A counter-clockwise quarter turn moves (x, y) to (y, -x), because rows count downwards.
        a, b = ((1, 0), (0, 1), (-1, 0), (0, -1))[part.turns]
        middle_x, middle_y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
        affine = np.array(
            (
                (across * a, across * b, x - across * (a * middle_x + b * middle_y)),
                (-along * b, along * a, y - along * (a * middle_y - b * middle_x)),
            )
        )
        layers.append(cv2.warpAffine(image, affine, (canvas, canvas), flags=cv2.INTER_LINEAR))
    return np.asarray(cv2.max(*layers), np.uint8).reshape(canvas, canvas, one.shape[2])


def _cut(image: Pixels, part: SignPart, side: float) -> Pixels:
    """Return the image after the part's cut, or the whole image where the cut would leave almost nothing."""
    if part.cut is None:
        return image
    x, y, offset = part.cut
    height, width = image.shape[:2]
    columns, rows = np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2
    stays = x * columns + y * rows[:, np.newaxis] < offset * side
    cut = np.asarray(image * stays[..., np.newaxis], np.uint8)
    return cut if np.count_nonzero(cut[..., 0] >= LIGHT) >= LEFT_AT_LEAST * height * width else image
