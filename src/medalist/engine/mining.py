"""Hard-example mining by whole batches: the batch with the highest loss of each group is trained on once more.

Carvana's winners fed the worst of each ten batches again (https://www.kaggle.com/c/carvana-image-masking-challenge).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from medalist.data.loader import Batch

HELD = 10
"""How many batches are held at most, beside the worst so far, before their losses are read."""


class HardBatches:
    """The batches of an epoch; after each group of `every` batches, the one with the highest loss comes once more.

        hard = HardBatches(loader, every)
        for raw in hard:
            losses = ...
            hard.tell(raw, losses["loss"])

    A repeated batch has the same augmented pixels as before, but the dropout and the mixes of its new step. An
    incomplete group at the end of an epoch repeats no batch. Each process picks among its own batches. All processes
    repeat the same number of batches, so their steps stay aligned.

    Losses stay on the device and are read together, at the end of a group or after `HELD` batches, whichever comes
    first. So a GPU seldom waits, and a group of a thousand batches does not need the memory of a thousand.
    """

    def __init__(self, batches: Iterable[Batch], every: int):
        """`every` is 2 or more, or 0 to repeat no batch. Each new iteration starts a new epoch."""
        assert every != 1 and every >= 0, every
        self._batches, self._every = batches, every
        self._told: list[tuple[Batch, Tensor]] = []
        self._out: Batch | None = None
        self._again = False

    @property
    def pending(self) -> bool:
        """Whether a batch is held that may be repeated, or the loss of the last batch is not recorded yet.

        A state does not keep such a batch. So while this is true, a state may only be saved at the end of an epoch.
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
        """Record the loss of the last batch, a scalar on any device; call it once for each batch.

        `batch` is the object that the iteration gave, not its copy on a device. The loss of a repeated batch is
        ignored. NaN counts as the highest loss.
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
        """Keep only the batch with the highest loss; of equal losses, the first."""
        worst = int(torch.stack([loss for _, loss in self._told]).argmax())
        self._told = [self._told[worst]]


def fed(count: int, every: int) -> int:
    """Return the number of batches of an epoch of `count` batches, repeated ones included."""
    return count + (count // every if every else 0)


def skipped(done: int, every: int) -> int:
    """Return how many batches of the loader are done after `done` batches of the epoch, repeated ones included.

    Only for places where `HardBatches.pending` is false, which means after whole groups.
    """
    if not every:
        return done
    groups, rest = divmod(done, every + 1)
    assert rest == 0, f"{done} batches fed are no whole groups of {every} and one"
    return groups * every
