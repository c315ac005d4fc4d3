"""Hard-example mining by whole batches: the worst of each group comes once more.

Carvana's winners fed the worst of each ten batches again (https://www.kaggle.com/c/carvana-image-masking-challenge).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from medalist.data.loader import Batch

HELD = 10
"""Batches that are held at most, beside the worst so far, before their losses are read."""


class HardBatches:
    """The batches of an epoch, and after each `every` of them the one with the highest loss once more.

        hard = HardBatches(loader, every)
        for raw in hard:
            losses = ...
            hard.tell(raw, losses["loss"])

    A batch comes again as the loader gave it: with the same augmented pixels, but with the dropout and the mixes of its
    new step. An incomplete group at the end of an epoch feeds none again. Each process picks among its own batches; all
    feed equally many, so their steps stay aligned.

    Losses stay on the device and are read together, at the end of a group or after `HELD` batches, whatever comes
    first: so a GPU seldom waits, and a group of a thousand batches needs not the memory of a thousand.
    """

    def __init__(self, batches: Iterable[Batch], every: int):
        """`every`: 2 or more, or 0 for the batches alone. Iterating again starts a new epoch."""
        assert every != 1 and every >= 0, every
        self._batches, self._every = batches, every
        self._told: list[tuple[Batch, Tensor]] = []
        self._out: Batch | None = None
        self._again = False

    @property
    def pending(self) -> bool:
        """Whether a batch may be fed again, or has come and is not yet told of.

        While it is true a state could not tell a resumed training which batch that is: none must be saved but at the
        end of an epoch.
        """
        return bool(self._told) or self._out is not None

    def __iter__(self) -> Iterator[Batch]:
        if not self._every:
            yield from self._batches
            return
        self._told, self._out = [], None
        for number, batch in enumerate(self._batches, 1):
            yield self._give(batch, again=False)
            if number % self._every == 0:
                assert self._out is None, "tell of each batch before you take the next"
                self._keep_worst()
                ((worst, _),) = self._told
                self._told = []
                yield self._give(worst, again=True)
        self._told, self._out = [], None

    def _give(self, batch: Batch, again: bool) -> Batch:
        assert self._out is None, "tell of each batch before you take the next"
        self._out, self._again = batch, again
        return batch

    def tell(self, batch: Batch, loss: Tensor) -> None:
        """The loss, a scalar on any device, of the batch that came last; it must be told of each, once.

        `batch` is the very one that came, not its copy on a device. A batch that came again does not count. NaN counts
        as the highest.
        """
        if not self._every:
            return
        assert batch is self._out, "tell of the batch that came last, as it came"
        self._out = None
        if not self._again:
            self._told.append((batch, loss.detach()))
        if len(self._told) > HELD:
            self._keep_worst()

    def _keep_worst(self) -> None:
        """Let go of all batches but the one with the highest loss, of equals the first."""
        worst = int(torch.stack([loss for _, loss in self._told]).argmax())
        self._told = [self._told[worst]]


def fed(count: int, every: int) -> int:
    """Batches of an epoch of `count`, those that come again among them."""
    return count + (count // every if every else 0)


def skipped(done: int, every: int) -> int:
    """How many batches of the order lie behind `done` that were fed since the epoch began.

    Only where `HardBatches.pending` is false, which is after whole groups.
    """
    if not every:
        return done
    groups, rest = divmod(done, every + 1)
    assert rest == 0, f"{done} batches fed are no whole groups of {every} and one"
    return groups * every
