"""Batches with several samples of each class; which ones depends on seed, epoch and rank, and on nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from medalist.data.dataset import Key
from medalist.data.settings import ClassSampler
from medalist.errors import ConfigError

Numbers = NDArray[np.int64]

DEALING = 1
"""Sets the generator of who is dealt apart from that of `ShuffleBatchSampler`."""


class ClassBatchSampler(Sampler[list[Key]]):
    """Batches of classes * per_class positions, as `ClassSampler` says; set `epoch` before iterating.

    `first` leaves out so many batches at the epoch's beginning, which are behind.

    An epoch has as many batches as hold every position once. With `world` processes each takes its part of every global
    batch; under `pxk` and `group` no class then stands in two parts.

    The samples of a class come in turns, over epochs too: shuffled, each comes once before any comes a third time. A
    class with fewer than per_class samples gives each of them as nearly equally often as it can; a sample that comes
    again in an epoch has a key of three, and is augmented anew.

    pxk: classes come in shuffled rounds, so each as often as any other, or once more, in one epoch and over all.
    group: each group is shuffled and cut into batches, which come in shuffled order. What its last batch lacks is
    filled with the group's other classes, and, where the group is too small, with those of other groups, one group
    after the other. Classes that are alone in their group, or have none, make up one group together.
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
        """`labels` and `groups` of the set's positions; a group of None says nothing.

        ConfigError where there are too few classes, or groups that do not tell classes apart.
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
                f"sampler.classes = {sampler.classes}{shared} wants {wanted} identities, but there are "
                f"{len(self._members)} in training; set sampler."
                + (f"classes={fewer} or less" if fewer > 1 else "kind=shuffle")
            )
        self._groups: list[list[int]] = []
        if sampler.kind == "group":
            self._groups = _groups_of_classes(labels, groups, list(self._members))
        self._length = -(-len(labels) // (sampler.classes * sampler.per_class * world))

    @property
    def units(self) -> int:
        """Classes of a batch on one process."""
        return self.sampler.classes

    @property
    def samples_per_unit(self) -> int:
        """Samples of each class."""
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
        behind = np.full(len(names), epoch * -(-draws // len(names)))  # about: chance and fillers decide
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
            # The other processes' parts are drawn too: the turns go on in one order for all.
            for position in (p for one in dealt[start : start + width] for p in turns.draw(int(names[one]))):
                again = came[position]
                keys.append((epoch, position, again) if again else (epoch, position))
                came[position] += 1
            if number % self.world == self.rank and number // self.world >= self.first:
                yield keys


class _Turns:
    """The samples of each class, some at a time, in an order that goes on over epochs and is looked up, not kept."""

    def __init__(self, members: dict[int, Numbers], per_draw: int, seed: int, behind: Sequence[int]):
        """`behind`: how often each class, in the order of `members`, was drawn before this epoch."""
        self.members, self.per_draw, self.seed = members, per_draw, seed
        self._next = dict(zip(members, behind, strict=True))
        self._rounds: dict[int, tuple[int, Numbers]] = {}

    def draw(self, label: int) -> list[int]:
        """The next per_draw positions of a class; all different where it has so many."""
        members = self.members[label]
        cycle, row = divmod(self._next[label], -(-len(members) // self.per_draw))
        self._next[label] += 1
        if len(members) > 1 and self._rounds.get(label, (-1,))[0] != cycle:
            # A counter-based generator is set to a place, which costs less than to seed one.
            place = np.random.Philox(key=self.seed, counter=(0, label, cycle, 0))
            self._rounds[label] = cycle, np.random.Generator(place).permutation(members)
        shuffled = self._rounds[label][1] if len(members) > 1 else members
        # The last draw of a cycle begins it again where it lacks some, and so repeats none in itself if it need not.
        start = row * self.per_draw
        positions: list[int] = shuffled.take(np.arange(start, start + self.per_draw), mode="wrap").tolist()
        return positions


def _by_label(labels: Sequence[int]) -> dict[int, Numbers]:
    """Numbers of each label, labels ascending."""
    values = np.asarray(labels, np.int64)
    order = np.argsort(values, kind="stable")
    names, starts = np.unique(values[order], return_index=True)
    assert not len(names) or names[0] >= 0, "a sample without a label cannot be dealt"
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=False))


def _once_more(classes: int, draws: int, seed: int, epoch: int) -> tuple[Numbers, Numbers]:
    """Which classes are drawn once more than others in this epoch, and how often each was drawn before it."""
    every, extra = divmod(draws, classes)
    places = np.random.default_rng((seed, DEALING)).permutation(classes)  # they take turns by these places
    chosen = np.flatnonzero((places - epoch * extra) % classes < extra)
    return chosen, epoch * every + -((places - epoch * extra) // classes)


def _deal_rounds(first: Numbers, classes: int, width: int, draws: int, random: np.random.Generator) -> Numbers:
    """Numbers below `classes`, `width` different ones in each batch: once those of `first`, then all in rounds."""
    rounds = [random.permutation(first)]
    dealt = len(first)
    while dealt < draws:
        shuffled = random.permutation(classes)
        begun = dealt % width
        if begun:  # a batch that the last round could not complete: what stands in it must come later in this round
            late = np.isin(shuffled, rounds[-1][-begun:])
            head = shuffled[~late][: width - begun]
            shuffled = np.concatenate([head, shuffled[~np.isin(shuffled, head)]])
        rounds.append(shuffled)
        dealt += classes
    return np.concatenate(rounds)


def _groups_of_classes(
    labels: Sequence[int], groups: Sequence[Hashable] | None, names: Sequence[int]
) -> list[list[int]]:
    """Classes by group, as numbers into `names`; those that are alone in their group come last, as one group."""
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
    """`steps` * `world` batches of `width` classes, those of one step all different; see `ClassBatchSampler`."""
    dealt: list[int] = []
    deck: list[tuple[int, list[int]]] = []
    used: set[int] = set()  # in this step
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
        if not batch:  # a filler of this step all the same
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
