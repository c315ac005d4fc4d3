"""Say what the masks of a contest hold: the share of pixels of each class, and how many pixels are void."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.records import Answer, Mask

_NAMED = 5  # the most ids that one line lists


@dataclass(frozen=True, eq=False)
class ClassShares:
    """The pixels of N masks.

    classes: the names of their values, or none. ids: of the masks. judged: int64[N, classes], their pixels of each
    class. void, pixels: int64[N], their void pixels, and all their pixels.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    judged: NDArray[np.int64]
    void: NDArray[np.int64]
    pixels: NDArray[np.int64]

    def lines(self) -> Iterator[str]:
        """Yield a line with the share of each class, where classes have names, and one of void, where there is any."""
        if self.classes and self.ids:
            counts, images = self.judged.sum(axis=0), np.count_nonzero(self.judged, axis=0)
            total = max(int(counts.sum()), 1)
            shares = [f"{name} {100 * counts[at] / total:.2f} % ({images[at]})" for at, name in enumerate(self.classes)]
            yield f"classes, by their share of judged pixels (and images that have them): {', '.join(shares)}"
        if self.void.any():
            share = 100 * self.void.sum() / self.pixels.sum()
            images_with = np.count_nonzero(self.void)
            yield f"void: {self.void.sum():,} pixels ({share:.2f} %) in {images_with} of {len(self.ids)} images"

    def doubts(self) -> Iterator[str]:
        """Yield a line where a class has no pixel in any mask, and one where every pixel of a mask is void."""
        lacking = [name for name, count in zip(self.classes, self.judged.sum(axis=0), strict=True) if not count]
        if lacking and self.ids:
            yield (
                f"no training image has a pixel of {', '.join(lacking)}, so nothing can be learnt of "
                f"{'it' if len(lacking) == 1 else 'them'}; is a value missing in `ids` or `colours`?"
            )
        blank = [name for name, void, pixels in zip(self.ids, self.void, self.pixels, strict=True) if void == pixels]
        if blank:
            more = f" and {len(blank) - _NAMED} more" if len(blank) > _NAMED else ""
            yield (
                f"every pixel is void in {len(blank)} training image{'s' * (len(blank) > 1)} "
                f"({', '.join(blank[:_NAMED])}{more}), which teach nothing and score nothing; leave them out in `read`"
            )


def class_shares(classes: Sequence[str], truths: Mapping[str, Answer]) -> ClassShares:
    """Count the pixels of all truths that are masks. classes: the names of their values, or none."""
    masks = {name: truth for name, truth in truths.items() if isinstance(truth, Mask)}
    void = np.array([0 if one.void is None else np.count_nonzero(one.void) for one in masks.values()], np.int64)
    judged = np.zeros((len(masks), len(classes)), np.int64)
    if classes:
        for at, mask in enumerate(masks.values()):
            judged[at] = np.bincount(mask.classes.ravel(), minlength=len(classes))
        judged[:, 0] -= void  # void pixels have the number 0
    pixels = np.array([one.classes.size for one in masks.values()], np.int64)
    return ClassShares(tuple(classes), tuple(masks), judged, void, pixels)
