"""Batches with several samples of each class. The choice depends only on seed, epoch and rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from medalist.data.items import Key
from medalist.data.settings import ClassSampler
from medalist.errors import ConfigError

Numbers = NDArray[np.int64]

DEALING = 1
"""A part of the generator's seed, so that this sampler draws other numbers than `ShuffleBatchSampler`."""


class ClassBatchSampler(Sampler[list[Key]]):
    """Batches of classes * per_class positions, as `ClassSampler` describes. Set `epoch` before iterating.

    first: the number of batches at the beginning of the epoch that are skipped, because a resumed training has done
    them already.

    An epoch has as many batches as are needed to hold every position once. With `world` processes each process takes
    its part of every global batch. Under `pxk` and `group` no class is in the parts of two processes.

    The samples of a class are drawn in a shuffled order that continues over epochs: each sample is drawn once before
    any sample is drawn a third time. A class with fewer than per_class samples repeats its samples as equally as
    possible. A sample that is repeated in an epoch has a key of three numbers, so it is augmented differently.

    pxk: classes are drawn in shuffled rounds, so the counts of two classes differ by at most one, in each epoch and
    over all epochs.
    group: each group is shuffled and cut into batches, and the batches come in shuffled order. A last batch with too
    few classes is filled with other classes of the group and, where the group is too small, with classes of other
    groups, one group after the other. Classes without a group, or alone in their group, form one group together.
    """

    setting = "sampler.classes"

    def __init__(
        self,
        labels: Sequence[int],
        sampler: ClassSampler,
        seed: int,
        groups: Sequence[Hashable] | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        """`labels`, `groups`: of the dataset's positions; None is no group.

        Raises ConfigError where there are too few classes, where the samples of one class are in two groups, or where
        no group has two classes.
        """
        self.sampler, self.seed, self.rank, self.world = sampler, seed, rank, world
        self.epoch = 0
        self.first = 0
        self._members = _by_label(labels)
        wanted = sampler.classes * (1 if sampler.kind == "balanced" else world)
        if len(self._members) < wanted:
            shared = f" on {world} processes" if wanted > sampler.classes else ""
            fewer = len(self._members) // world
            raise ConfigError(
                f"sampler.classes = {sampler.classes}{shared} needs {wanted} identities, but the training part has "
                f"{len(self._members)}; set sampler." + (f"classes={fewer} or less" if fewer > 1 else "kind=shuffle")
            )
        self._groups: list[list[int]] = []
        if sampler.kind == "group":
            self._groups = _groups_of_classes(labels, groups, list(self._members))
        self._length = -(-len(labels) // (sampler.classes * sampler.per_class * world))

    @property
    def units(self) -> int:
        """Number of classes in a batch of one process."""
        return self.sampler.classes

    @property
    def samples_per_unit(self) -> int:
        """Number of samples of each class in a batch."""
        return self.sampler.per_class

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[Key]]:
        sampler, epoch = self.sampler, self.epoch
        random = np.random.default_rng((self.seed, epoch, DEALING))
        names = np.array(list(self._members))
        per_draw, width = sampler.per_class, sampler.classes
        if sampler.kind == "balanced":
            per_draw, width = 1, width * per_draw
        draws = len(self) * width * self.world
        behind = np.full(len(names), epoch * -(-draws // len(names)))  # an estimate; only `pxk` has exact counts
        if sampler.kind == "balanced":
            dealt = random.integers(len(names), size=draws)
        elif sampler.kind == "group":
            dealt = _deal_groups(self._groups, width, len(self), self.world, random)
        else:
            once_more, behind = _once_more(len(names), draws, self.seed, epoch)
            dealt = _deal_rounds(once_more, len(names), width * self.world, draws, random)
        turns = _Turns(self._members, per_draw, self.seed, behind.tolist())
        came: Counter[int] = Counter()
        for number, start in enumerate(range(0, len(dealt), width)):
            keys: list[Key] = []
            # The parts of the other processes are drawn too, because the order of samples is the same for all.
            for position in (p for one in dealt[start : start + width] for p in turns.draw(int(names[one]))):
                again = came[position]
                keys.append((epoch, position, again) if again else (epoch, position))
                came[position] += 1
            if number % self.world == self.rank and number // self.world >= self.first:
                yield keys


class _Turns:
    """Draws the samples of each class in a shuffled order that continues over epochs.

    The order is computed from the seed and the number of earlier draws, so no state has to be saved.
    """

    def __init__(self, members: dict[int, Numbers], per_draw: int, seed: int, behind: Sequence[int]):
        """`behind`: the number of earlier draws of each class before this epoch, in the order of `members`."""
        self.members, self.per_draw, self.seed = members, per_draw, seed
        self._next = dict(zip(members, behind, strict=True))
        self._rounds: dict[int, tuple[int, Numbers]] = {}

    def draw(self, label: int) -> list[int]:
        """Return the next per_draw positions of a class; they are all different where the class has enough samples."""
        members = self.members[label]
        cycle, row = divmod(self._next[label], -(-len(members) // self.per_draw))
        self._next[label] += 1
        if len(members) > 1 and self._rounds.get(label, (-1,))[0] != cycle:
            # A counter-based generator is set to a place in its sequence, because this is cheaper than seeding one.
            place = np.random.Philox(key=self.seed, counter=(0, label, cycle, 0))
            self._rounds[label] = cycle, np.random.Generator(place).permutation(members)
        shuffled = self._rounds[label][1] if len(members) > 1 else members
        # A last draw with too few samples is filled from the beginning of the same cycle, so that a draw has no sample
        # twice unless the class has fewer than per_draw samples.
        start = row * self.per_draw
        positions: list[int] = shuffled.take(np.arange(start, start + self.per_draw), mode="wrap").tolist()
        return positions


def _by_label(labels: Sequence[int]) -> dict[int, Numbers]:
    """Return the positions of each label, with the labels in ascending order."""
    values = np.asarray(labels, np.int64)
    order = np.argsort(values, kind="stable")
    names, starts = np.unique(values[order], return_index=True)
    assert not len(names) or names[0] >= 0, "a sample without a label cannot be dealt"
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=False))


def _once_more(classes: int, draws: int, seed: int, epoch: int) -> tuple[Numbers, Numbers]:
    """Return the classes that are drawn once more than others in this epoch, and each class's earlier draws.

    The second value is int64[classes], the number of draws of each class before this epoch.
    """
    every, extra = divmod(draws, classes)
    places = np.random.default_rng((seed, DEALING)).permutation(classes)  # the extra draws go round in this order
    chosen = np.flatnonzero((places - epoch * extra) % classes < extra)
    return chosen, epoch * every + -((places - epoch * extra) // classes)


def _deal_rounds(first: Numbers, classes: int, width: int, draws: int, random: np.random.Generator) -> Numbers:
    """Return class numbers 0..classes-1 with `width` different ones in each batch.

    The classes of `first` come once, then all classes in shuffled rounds, until there are at least `draws` numbers.
    """
    rounds = [random.permutation(first)]
    dealt = len(first)
    while dealt < draws:
        shuffled = random.permutation(classes)
        begun = dealt % width
        if begun:  # the last batch is not full yet: classes that are already in it must come later in this round
            late = np.isin(shuffled, rounds[-1][-begun:])
            head = shuffled[~late][: width - begun]
            shuffled = np.concatenate([head, shuffled[~np.isin(shuffled, head)]])
        rounds.append(shuffled)
        dealt += classes
    return np.concatenate(rounds)


def _groups_of_classes(
    labels: Sequence[int], groups: Sequence[Hashable] | None, names: Sequence[int]
) -> list[list[int]]:
    """Return the classes of each group, as numbers into `names`.

    Classes without a group, or alone in their group, are the last group together. Raises ConfigError as
    `ClassBatchSampler` does.
    """
    assert groups is None or len(groups) == len(labels), len(labels)
    group_of: dict[int, Hashable] = {}
    for label, group in zip(labels, groups or [None] * len(labels), strict=True):
        if group_of.setdefault(label, group) != group:
            raise ConfigError(
                f"sampler.kind = group wants each identity in one group, but class {label} has samples in "
                f"'{group_of[label]}' and in '{group}'; set sampler.kind=pxk"
            )
    members: dict[Hashable, list[int]] = {}
    alone: list[int] = []
    for number, name in enumerate(names):
        if group_of[name] is None:
            alone.append(number)
        else:
            members.setdefault(group_of[name], []).append(number)
    several = [numbers for numbers in members.values() if len(numbers) > 1]
    if not several:
        raise ConfigError("sampler.kind = group, but no group has two identities in training; set sampler.kind=pxk")
    alone += [numbers[0] for numbers in members.values() if len(numbers) == 1]
    return [*several, alone] if alone else several


def _deal_groups(
    groups: Sequence[Sequence[int]], width: int, steps: int, world: int, random: np.random.Generator
) -> Numbers:
    """Return `steps` * `world` batches of `width` classes; all classes of one step differ. See `ClassBatchSampler`."""
    dealt: list[int] = []
    deck: list[tuple[int, list[int]]] = []
    used: set[int] = set()  # the classes of this step
    while len(dealt) < steps * world * width:
        if not deck:
            deck = [
                (number, shuffled[start : start + width])
                for number, group in enumerate(groups)
                for shuffled in [random.permutation(group).tolist()]
                for start in range(0, len(group), width)
            ]
            random.shuffle(deck)
        number, chunk = deck.pop()
        batch = [one for one in chunk if one not in used]
        if not batch:  # all its classes were used in this step to fill other batches
            continue
        sources = [number]
        while len(batch) < width:
            if not sources:
                sources = random.permutation(len(groups)).tolist()
            taken = used.union(batch)
            free = [one for one in random.permutation(groups[sources.pop()]).tolist() if one not in taken]
            batch += free[: width - len(batch)]
        dealt += batch
        used.update(batch)
        if len(dealt) % (world * width) == 0:
            used.clear()
    return np.array(dealt)
