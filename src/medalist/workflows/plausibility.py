"""Look for truths that decode and are wrong all the same: read in the other order, turned, or of other pictures.

Each finding is one line with its evidence (`discovery.outlines`) and with what to do. At most LOOKED training samples
with objects are looked at, spread evenly over all, and as many whose images have an EXIF orientation. Large images are
reduced, so it costs no more than decoding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.images import upright
from medalist.codecs.rle import Order, RleError, decode_labels, decode_mask
from medalist.contest import Contest
from medalist.discovery.outlines import (
    SHIFTS,
    Bools,
    brightness_steps,
    coherence,
    contrast,
    contrast_rank,
    fitted,
    reduced,
)
from medalist.records import Answer, Instances, Mask, Sample
from medalist.workflows.mask_files import mask_file

LOOKED = 100
"""Training samples that are looked at."""

_COHERENT = 0.2  # a reading is better where its coherence is higher by this
_SHARE = 0.85  # or where the contrast is higher in this share of the samples,
_FEWEST = 8  # of which there must be this many for a claim from contrast alone
_SURE = 2.0  # standard errors above chance that the contrast of true truths has
_FEW, _TIMES = 3, 2.0  # or this many where the contrast is higher in all, and this many times as high on average
_EXCHANGED = "with rows and columns exchanged"
_MIRRORS: dict[str, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]] = {
    "mirrored left to right": lambda mask: mask[:, ::-1],
    "upside down": lambda mask: mask[::-1],
    "turned by 180 degrees": lambda mask: mask[::-1, ::-1],
    _EXCHANGED: lambda mask: mask.T,
}


@dataclass(frozen=True, eq=False)
class Pair:
    """A training sample with its truth as bool[H, W], and the steps of brightness of its image, float32[H, W].

    turn: the image's EXIF orientation. order, base: those of the run-length codes, if the annotation is some.
    """

    sample: Sample
    mask: Bools
    steps: NDArray[np.float32]
    turn: int
    order: Order | None
    base: int = 1


def implausible_truths(contest: Contest, truths: Mapping[str, Answer], turned: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each sign that truths are not those of their pictures.

    truths: by the id of the sample. turned: the EXIF orientation of images that have one, by the id of the sample.
    """
    pairs = list(_pairs(contest, truths, turned))
    if not pairs:
        return
    line = _turn_line(contest, pairs)
    if line:
        yield line
    # Codes of turned images that were made on other pixels would look as if they were in the other order.
    upright_ones = [pair for pair in pairs if pair.turn == 1]
    # One line is enough: what follows would only repeat it.
    line = _order_line(upright_ones) or _mirror_line(upright_ones) or _contrast_line(upright_ones)
    if line:
        yield line


def _pairs(contest: Contest, truths: Mapping[str, Answer], turned: Mapping[str, int]) -> Iterator[Pair]:
    """Read the samples that are looked at, LOOKED upright and LOOKED turned ones.

    Truths without pixels, and those that are empty or full, say nothing.
    """
    filled = [sample for sample in contest.split.train if _foreground(truths.get(sample.id)) is not None]
    parts = ([one for one in filled if one.id not in turned], [one for one in filled if one.id in turned])
    for sample in (one for part in parts for one in part[:: max(1, -(-len(part) // LOOKED))]):
        mask = _foreground(truths[sample.id])
        assert mask is not None
        steps = brightness_steps(reduced(contest.competition.image(sample.images[0])))
        yield Pair(sample, mask, steps, turned.get(sample.id, 1), *_order_of(sample, mask))


def _foreground(truth: Answer | None) -> Bools | None:
    match truth:
        case Mask(classes=values) | Instances(labels=values) if 0 < np.count_nonzero(values) < values.size:
            found: Bools = values > 0
            return found
        case _:
            return None


def _order_of(sample: Sample, mask: Bools) -> tuple[Order | None, int]:
    """The order and base by which a sample's codes give this mask; None where its annotation is no run-length codes."""
    orders: tuple[Order, ...] = ("column", "row")
    for order in orders:
        for base in (1, 0):
            found = _decoded(sample, sample.size, order, base)
            if found is not None and np.array_equal(found, mask):
                return order, base
    return None, 1


def _decoded(sample: Sample, size: tuple[int, int], order: Order, base: int) -> Bools | None:
    try:
        return decode_labels(sample.annotation, size, order, base) > 0
    except RleError:  # objects that overlap are joined one by one, which is slower
        found = np.zeros(size, np.bool_)
    try:
        for code in sample.annotation:
            found |= decode_mask(code, size, order, base)
    except RleError:
        return None
    return found


def _order_line(pairs: Sequence[Pair]) -> str:
    """A line where the codes are more coherent in the other order."""
    read = [pair for pair in pairs if pair.order is not None]
    order = read[0].order if read else None
    # The other order exchanges rows and columns of a square image, which `_mirror_line` looks for.
    read = [pair for pair in read if pair.order == order and pair.mask.shape[0] != pair.mask.shape[1]]
    if order is None:
        return ""
    other: Order = "row" if order == "column" else "column"
    scores = []
    for pair in read:
        changed = _decoded(pair.sample, pair.sample.size, other, pair.base)
        if changed is not None:
            scores.append((coherence(pair.mask), coherence(changed), _length(pair.mask), _length(changed)))
    if not scores:
        return ""
    here, there, long, short = np.mean(scores, axis=0).tolist()
    better = float(np.mean([score[1] > score[0] for score in scores]))
    if there - here < _COHERENT or better < _SHARE:
        return ""
    return (
        f"the run-length codes are read in {order} order, where outlines are {long / max(short, 1):.1f} times as long "
        f"as in {other} order, and neighbouring lines agree by {100 * here:.0f} % in place of {100 * there:.0f} % "
        f"(means of {len(scores)} samples); if they were made in {other} order, type order='{other}' in `truth` and in "
        "the submission's format"
    )


def _length(mask: Bools) -> int:
    return int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))


def _turn_line(contest: Contest, pairs: Sequence[Pair]) -> str:
    """A line where images have an EXIF orientation, and it is not plain that the truths were made as they are read."""
    turned = [pair for pair in pairs if pair.turn != 1 and not _fits_by_size(contest, pair)]
    if not turned:
        return ""
    now = contest.competition.orientation
    other = "stored" if now == "shown" else "shown"
    scores = [score for pair in turned if (score := _both_ways(pair, now)) is not None]
    some = f"of {len(pairs)} training images that were looked at, {len(turned)} have an EXIF orientation"
    name = f"{some} (the first is sample {turned[0].sample.id}, orientation {turned[0].turn})"
    if scores:
        here, there, step, step_there = np.mean(scores, axis=0).tolist()
        figures = (
            f"neighbouring lines of their masks agree by {100 * here:.0f} % as {now} and {100 * there:.0f} % as "
            f"{other}, and the mean step of brightness at outlines is {step:.0f} and {step_there:.0f}"
        )
        if here - there > _COHERENT or (abs(here - there) <= _COHERENT and step > 1.5 * step_there):
            return ""
        if there - here > _COHERENT or step_there > 1.5 * step:
            return (
                f"{name}, and their truths fit the pixels as {other}: {figures}; type orientation='{other}' in the "
                "Competition and in `read`"
            )
        return f"{name}: {figures}; look at them, and type orientation='{other}' if truths were made on these pixels"
    return (
        f"{name}, and truths of pixels: look at them, and type orientation='{other}' in the Competition and in `read` "
        f"if truths were made on the pixels as {other}"
    )


def _fits_by_size(contest: Contest, pair: Pair) -> bool:
    """Whether a truth is a mask file that would have another size if it were made on the other pixels."""
    sides = pair.mask.shape
    return pair.turn >= 5 and sides[0] != sides[1] and mask_file(contest.data, pair.sample) is not None


def _both_ways(pair: Pair, now: str) -> tuple[float, float, float, float] | None:
    """Coherence and contrast of a mask as it is read, and if it was made the other way; None where both cannot be."""
    size = pair.sample.size
    turned = (size[1], size[0]) if pair.turn >= 5 else size
    if pair.order is not None:
        made = _decoded(pair.sample, turned, pair.order, pair.base)
    else:
        made = pair.mask if turned == size else None
    if made is None:
        return None
    other = upright(made.view(np.uint8), pair.turn if now == "shown" else _INVERSE[pair.turn]).view(np.bool_)
    steps = [contrast(pair.steps, fitted(mask, pair.steps)) for mask in (pair.mask, other)]
    return coherence(pair.mask), coherence(other), steps[0], steps[1]


_INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def _mirror_line(pairs: Sequence[Pair]) -> str:
    """A line where truths have more contrast once they are mirrored or turned."""
    for how, mirrored in _MIRRORS.items():
        scores = []
        for pair in pairs:
            mask = mirrored(pair.mask)
            if mask.shape == pair.mask.shape:
                there = contrast(pair.steps, fitted(mask, pair.steps))
                scores.append((contrast(pair.steps, fitted(pair.mask, pair.steps)), there))
        if not scores:
            continue
        better = float(np.mean([there > here for here, there in scores]))
        here, there = np.mean(scores, axis=0).tolist()
        many = len(scores) >= _FEWEST and better >= _SHARE
        if many or (len(scores) >= _FEW and better == 1 and there > _TIMES * here):
            codes = how == _EXCHANGED and any(pair.order is not None for pair in pairs)
            hint = ", for example by the other `order` of run-length codes" if codes else ""
            return (
                f"truths fit their images better {how}: the mean step of brightness at outlines is then {there:.0f} in "
                f"place of {here:.0f}, and larger in {100 * better:.0f} % of {len(scores)} samples; look at some, and "
                f"correct `truth`{hint}"
            )
    return ""


def _contrast_line(pairs: Sequence[Pair]) -> str:
    """A line where outlines have no more contrast than the same outlines at other places."""
    ranks = [contrast_rank(pair.steps, fitted(pair.mask, pair.steps)) for pair in pairs]
    if len(ranks) < _FEWEST:
        return ""
    chance = math.sqrt((SHIFTS + 2) / (12 * SHIFTS * len(ranks)))  # the standard error of the mean of random ranks
    mean = float(np.mean(ranks))
    if mean >= 0.5 + _SURE * chance:
        return ""
    lowest = sorted(zip(ranks, (pair.sample.id for pair in pairs), strict=True))[:3]
    return (
        f"truths have no contrast to their surroundings: the step of brightness at their outlines is larger than at "
        f"{100 * mean:.0f} % of other places in the same image (chance is 50 %, mean of {len(ranks)} samples); look "
        f"whether truths and images belong together, for example {', '.join(name for _, name in lowest)}"
    )
