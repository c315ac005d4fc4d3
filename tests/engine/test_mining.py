from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.samplers import ShuffleBatchSampler
from medalist.engine import mining
from medalist.engine.mining import HardBatches, fed, skipped


def batch_of(number: int) -> Batch:
    return Batch(torch.full((1, 1, 1, 1), float(number)), None, (number,), (Padding(1, 1),))


def run(batches: Sequence[Batch], losses: Sequence[float], every: int) -> tuple[list[int], list[bool]]:
    """Numbers of the batches as they come, and whether something is pending after each; a second time losses fall."""
    hard = HardBatches(batches, every)
    came: list[int] = []
    pending: list[bool] = []
    for batch in hard:
        number = batch.indices[0]
        hard.tell(batch, torch.tensor(losses[number] - 100 * (number in came)))
        came.append(number)
        pending.append(hard.pending)
    assert not hard.pending
    return came, pending


def slow(losses: Sequence[float], every: int) -> tuple[list[int], list[bool]]:
    """The same, reading every loss when it is there."""
    came: list[int] = []
    pending: list[bool] = []
    worst = 0
    for number, loss in enumerate(losses):
        came.append(number)
        pending.append(every > 0)
        if every and (number % every == 0 or loss > losses[worst]):
            worst = number
        if every and (number + 1) % every == 0:
            came.append(worst)
            pending.append(False)
    return came, pending


some_losses = st.lists(st.integers(0, 6).map(float), max_size=70)
some_every = st.integers(0, 40).filter(lambda every: every != 1)


@settings(deadline=None)
@given(some_losses, some_every)
def test_it_feeds_what_its_slow_twin_feeds(losses: list[float], every: int) -> None:
    batches = [batch_of(number) for number in range(len(losses))]
    assert run(batches, losses, every) == slow(losses, every)


@settings(deadline=None)
@given(some_losses, some_every)
def test_counts_of_fed_and_skipped(losses: list[float], every: int) -> None:
    """Wherever nothing is pending, the rest of the epoch is that of the order without the batches behind."""
    batches = [batch_of(number) for number in range(len(losses))]
    came, pending = run(batches, losses, every)
    assert len(came) == fed(len(losses), every)
    for done in range(1, len(came) + 1):
        if pending[done - 1]:
            with pytest.raises(AssertionError, match="no whole groups"):
                skipped(done, every)
        else:
            behind = skipped(done, every)
            assert fed(behind, every) == done
            assert run(batches[behind:], losses, every)[0] == came[done:]
    assert skipped(0, every) == 0


def test_by_hand() -> None:
    """Groups of three: 1 is the worst of 0 1 2, of 3 4 5 the first of two that are alike, and 6 has no whole group."""
    batches = [batch_of(number) for number in range(7)]
    came, pending = run(batches, [1, 5, 2, 4, 3, 4, 9], 3)
    assert came == [0, 1, 2, 1, 3, 4, 5, 3, 6]
    assert pending == [True, True, True, False, True, True, True, False, True]
    assert (fed(7, 3), fed(7, 0), skipped(8, 3), skipped(5, 0)) == (9, 7, 6, 5)


def test_it_is_the_very_batch_that_comes_again() -> None:
    batches = [batch_of(number) for number in range(4)]
    came = []
    hard = HardBatches(batches, 2)
    for batch in hard:
        came.append(batch)
        hard.tell(batch, batch.image.sum().requires_grad_())
    assert all(one is other for one, other in zip(came, [batches[n] for n in (0, 1, 1, 2, 3, 3)], strict=True))


def test_each_epoch_begins_anew() -> None:
    hard = HardBatches([batch_of(number) for number in range(5)], 2)
    for _ in range(2):
        came = []
        for batch in hard:
            came.append(batch.indices[0])
            hard.tell(batch, torch.tensor(float(-batch.indices[0])))
        assert came == [0, 1, 0, 2, 3, 2, 4]
    for batch in hard:  # one that is left in the middle
        hard.tell(batch, torch.tensor(1.0))
        if batch.indices[0] == 2:
            break
    assert hard.pending
    assert [batch.indices[0] for batch in _told(hard)] == [0, 1, 0, 2, 3, 2, 4]


def _told(hard: HardBatches) -> Iterator[Batch]:
    for batch in hard:
        hard.tell(batch, torch.tensor(float(-batch.indices[0])))
        yield batch


def test_losses_are_read_seldom_and_few_batches_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading is what makes a GPU wait: once a group of ten; in a group of a hundred once in ten batches."""
    reads = []
    keep = HardBatches._keep_worst

    def counted(self: HardBatches) -> None:
        reads.append(len(self._told))
        keep(self)

    monkeypatch.setattr(HardBatches, "_keep_worst", counted)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda _: pytest.fail("a loss was read"))
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda _: pytest.fail("a loss was read"))
    monkeypatch.setattr(torch.Tensor, "item", lambda _: pytest.fail("a loss was read"))
    for every, times in ((10, 10), (100, 10), (4, 25)):
        reads.clear()
        assert sum(1 for _ in _told(HardBatches((batch_of(n) for n in range(100)), every))) == fed(100, every)
        assert len(reads) == times and max(reads) <= mining.HELD + 1


def test_a_loss_that_is_not_a_number_counts_as_the_highest() -> None:
    assert run([batch_of(number) for number in range(3)], [1, float("nan"), 5], 3)[0] == [0, 1, 2, 1]


def test_no_mining_asks_for_nothing() -> None:
    hard = HardBatches([batch_of(0), batch_of(1)], 0)
    assert [batch.indices[0] for batch in hard] == [0, 1] and not hard.pending
    hard.tell(batch_of(5), torch.tensor(1.0))
    assert not hard.pending


def test_misuse_is_an_assertion() -> None:
    batches = [batch_of(0), batch_of(1)]
    with pytest.raises(AssertionError):
        HardBatches(batches, 1)
    hard = HardBatches(batches, 2)
    given = iter(hard)
    first = next(given)
    assert hard.pending
    with pytest.raises(AssertionError, match="as it came"):
        hard.tell(replace(first), torch.tensor(1.0))
    with pytest.raises(AssertionError, match="before you take the next"):
        next(given)


def test_processes_feed_equally_many() -> None:
    """Each picks by its own losses; the counts of steps agree, as they do not depend on the losses."""
    counts = set()
    for rank in range(3):
        order = ShuffleBatchSampler(50, 2, 1, rank, 3)
        batches = [batch_of(keys[0][1]) for keys in order]
        losses = [float((7 * number + rank) % 11) for number in range(50)]
        counts.add(len(run(batches, losses, 3)[0]))
    assert counts == {fed(8, 3)} == {10}
