"""Which of many boxes are learned: a random choice of objects and background that a seed decides."""

from __future__ import annotations

import torch
from torch import Tensor

from medalist.data.targets import IGNORED
from medalist.tasks.detect.assigned import BACKGROUND


def drawn(number: Tensor, most: int, share: float, random: torch.Generator) -> Tensor:
    """Return int64[n], the numbers of the boxes that are learned, in their order; n is at most `most`.

    number: int64[P], the object of each box, or BACKGROUND, or IGNORED for boxes that are never drawn. At most the
    `share` of `most` have objects, as in Faster R-CNN (arXiv 1506.01497), and background fills up the rest. `random`
    is a generator of the processor: the choice is then the same on all devices, whatever else was drawn before.
    """
    keys = torch.rand(len(number), generator=random).to(number.device)
    objects = _lowest(keys, (number != BACKGROUND) & (number != IGNORED), int(most * share))
    background = _lowest(keys, number == BACKGROUND, most - len(objects))
    return torch.cat([objects, background]).sort().values


def _lowest(keys: Tensor, among: Tensor, most: int) -> Tensor:
    """Return the numbers int64[n] of at most `most` boxes with the lowest keys."""
    found = among.nonzero().flatten()
    return found if len(found) <= most else found[keys[found].argsort(stable=True)[:most]]
