from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medalist.data.class_sampler import ClassBatchSampler
from medalist.data.items import Key
from medalist.data.settings import ClassSampler
from medalist.errors import ConfigError

Kind = Literal["pxk", "balanced", "group"]


def sampler(kind: Kind, classes: int, per_class: int = 4) -> ClassSampler:
    return ClassSampler(kind=kind, classes=classes, per_class=per_class)


def labels_of(sizes: Sequence[int], seed: int = 0) -> list[int]:
    """Shuffled labels, label k `sizes[k]` times."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).tolist()


def epoch_of(order: ClassBatchSampler, epoch: int) -> list[list[Key]]:
    order.epoch = epoch
    found = list(order)
    assert len(found) == len(order)
    assert all(key[0] == epoch for batch in found for key in batch)
    return found


def classes_of(batch: Sequence[Key], labels: Sequence[int], per_class: int) -> list[int]:
    """The classes of a batch, whose samples stand together."""
    rows = np.array([labels[key[1]] for key in batch]).reshape(-1, per_class)
    assert (rows == rows[:, :1]).all()
    return rows[:, 0].tolist()


def assert_turns(batch: Sequence[Key], labels: Sequence[int], per_class: int) -> None:
    """A class repeats samples only as far as it must."""
    sizes = Counter(labels)
    for start in range(0, len(batch), per_class):
        came = Counter(key[1] for key in batch[start : start + per_class])
        size = sizes[labels[batch[start][1]]]
        assert len(came) == min(size, per_class)
        assert max(came.values()) - min(came.values()) <= 1


some_sizes = st.lists(st.integers(1, 9), min_size=2, max_size=12)


@given(some_sizes, st.integers(2, 12), st.integers(1, 6), st.integers(0, 5), st.integers(0, 3))
def test_pxk_deals_each_class_equally_often(
    sizes: list[int], classes: int, per_class: int, epoch: int, seed: int
) -> None:
    assume(classes <= len(sizes))
    labels = labels_of(sizes)
    order = ClassBatchSampler(labels, sampler("pxk", classes, per_class), seed)
    batches = epoch_of(order, epoch)
    assert (len(batches) - 1) * classes * per_class < len(labels) <= len(batches) * classes * per_class
    dealt = [classes_of(batch, labels, per_class) for batch in batches]
    assert all(len(names) == len(set(names)) == classes for names in dealt)
    often = Counter(chain(*dealt))
    assert max(often.values()) - min(often[label] for label in range(len(sizes))) <= 1
    for batch in batches:
        assert_turns(batch, labels, per_class)


@given(some_sizes, st.integers(2, 4), st.integers(1, 4), st.integers(2, 3), st.sampled_from(["pxk", "group"]))
def test_processes_share_batches_without_a_common_class(
    sizes: list[int], classes: int, per_class: int, world: int, kind: Kind
) -> None:
    assume(classes * world <= len(sizes))
    labels = labels_of(sizes)
    groups = ["a" if label < 4 else "b" for label in labels]
    ranks = [
        ClassBatchSampler(labels, sampler(kind, classes, per_class), 7, groups, rank, world) for rank in range(world)
    ]
    shares = [epoch_of(order, 2) for order in ranks]
    assert len({len(share) for share in shares}) == 1
    for parts in zip(*shares, strict=True):
        names = list(chain(*(classes_of(part, labels, per_class) for part in parts)))
        assert len(names) == len(set(names)) == classes * world
    keys = [key for share in shares for batch in share for key in batch]
    assert len(keys) == len(set(keys))
    if kind == "pxk":  # one process with batches of all of them sees the same
        alone = epoch_of(ClassBatchSampler(labels, sampler(kind, classes * world, per_class), 7), 2)
        assert alone == [list(chain(*parts)) for parts in zip(*shares, strict=True)]


@pytest.mark.parametrize("kind", ["pxk", "group", "balanced"])
def test_a_sample_that_comes_again_in_an_epoch_has_another_key(kind: Kind) -> None:
    labels = labels_of([1, 2, 3, 30])
    batches = epoch_of(ClassBatchSampler(labels, sampler(kind, 3), 1, ["a"] * len(labels)), 5)
    keys = list(chain(*batches))
    assert len(keys) == len(set(keys)) == len(batches) * 12
    seen: Counter[int] = Counter()
    for key in keys:
        assert key == ((5, key[1], seen[key[1]]) if seen[key[1]] else (5, key[1]))
        seen[key[1]] += 1
    assert max(seen.values()) > 1


@pytest.mark.parametrize("kind", ["pxk", "group", "balanced"])
def test_only_seed_and_epoch_count(kind: Kind) -> None:
    labels = labels_of([7] * 8)
    groups = [label % 2 for label in labels]

    def made(seed: int, epoch: int) -> list[list[Key]]:
        return epoch_of(ClassBatchSampler(labels, sampler(kind, 3), seed, groups), epoch)

    order = ClassBatchSampler(labels, sampler(kind, 3), 4, groups)
    epoch_of(order, 0)
    assert epoch_of(order, 3) == made(4, 3) == epoch_of(order, 3)  # whatever came before
    positions = [[[key[1] for key in batch] for batch in made(*at)] for at in ((4, 3), (4, 2), (5, 3))]
    assert positions[0] != positions[1] and positions[0] != positions[2]


@pytest.mark.parametrize(("size", "per_class"), [(12, 4), (10, 4), (5, 2), (3, 3), (2, 4), (7, 1)])
def test_samples_of_a_class_come_in_turns_over_epochs(size: int, per_class: int) -> None:
    """Two classes of one size: each is drawn equally often in every epoch, and the turns go on where they stopped."""
    labels = labels_of([size, size])
    order = ClassBatchSampler(labels, sampler("pxk", 2, per_class), 3)
    drawn = [key[1] for epoch in range(12) for batch in epoch_of(order, epoch) for key in batch if labels[key[1]] == 0]
    rows = -(-size // per_class)
    rounds = [drawn[start : start + rows * per_class] for start in range(0, len(drawn), rows * per_class)]
    assert len(rounds) >= 3
    for one in rounds[:-1]:
        came = Counter(one)
        assert len(came) == size and max(came.values()) - min(came.values()) <= 1
        assert len(set(one[:size])) == min(size, len(one))  # all of them first
    assert rounds[0] != rounds[1]


def test_a_large_class_among_small_ones_shows_all_its_samples_over_epochs() -> None:
    """40 draws an epoch over 31 classes: each comes once or twice in an epoch, and equally often over epochs."""
    labels = labels_of([40] + [4] * 30)
    order = ClassBatchSampler(labels, sampler("pxk", 5), 0)
    drawn: list[int] = []
    often: Counter[int] = Counter()
    for epoch in range(12):
        for batch in epoch_of(order, epoch):
            often.update(classes_of(batch, labels, 4))
            drawn += [key[1] for key in batch if labels[key[1]] == 0]
        assert max(often.values()) - min(often.values()) <= 1
    assert len(drawn) in (60, 64)
    assert len(set(drawn[:40])) == 40


def test_balanced_classes_are_equally_likely() -> None:
    labels = labels_of([1, 3, 200, 36])
    order = ClassBatchSampler(labels, sampler("balanced", 4), 2)
    batches = [batch for epoch in range(20) for batch in epoch_of(order, epoch)]
    assert all(len(batch) == 16 for batch in batches) and len(batches) == 20 * 15
    for places in (range(16), range(1)):
        often = Counter(labels[batch[place][1]] for batch in batches for place in places)
        share = np.array([often[label] for label in range(4)]) / (len(batches) * len(places))
        assert np.abs(share - 0.25).max() < 5 * np.sqrt(0.1875 / (len(batches) * len(places)))
    unlike = {tuple(sorted(Counter(labels[key[1]] for key in batch).values())) for batch in batches}
    assert len(unlike) > 5  # per_class is not forced


def test_balanced_processes_share_what_one_would_draw() -> None:
    labels = labels_of([5, 9, 2])
    alone = epoch_of(ClassBatchSampler(labels, sampler("balanced", 2, 4), 2), 1)
    shares = [epoch_of(ClassBatchSampler(labels, sampler("balanced", 2, 2), 2, None, rank, 2), 1) for rank in range(2)]
    assert alone == [[*first, *second] for first, second in zip(*shares, strict=True)]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(2, 6),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_groups_make_batches(sizes: list[int], classes: int, per_class: int, epoch: int) -> None:
    """`sizes`: classes in each group; each class has five samples."""
    assume(sum(sizes) >= classes and max(sizes) > 1)
    group_of = np.repeat(np.arange(len(sizes)), sizes).tolist()
    labels = labels_of([5] * len(group_of))
    order = ClassBatchSampler(
        labels, sampler("group", classes, per_class), 1, [f"g{group_of[label]}" for label in labels]
    )
    alone = {label for label, group in enumerate(group_of) if sizes[group] == 1}
    batches = epoch_of(order, epoch)
    for batch in batches:
        names = classes_of(batch, labels, per_class)
        assert len(names) == len(set(names)) == classes
        assert_turns(batch, labels, per_class)
        lead = {group_of[name] for name in names if name not in alone}
        whole = [group for group in lead if {n for n, g in enumerate(group_of) if g == group} <= set(names)]
        if len({group_of[name] for name in names}) > 1:  # filled: then a group that is too small is all there
            small = [group for group in whole if sizes[group] < classes]
            assert small or (alone and alone <= set(names)) or set(names) <= alone


def test_every_class_comes_in_every_round_of_groups() -> None:
    """Groups of 8, 5, 2, 1 and 1 classes in batches of 4: 2 + 2 + 1 + 1 batches make a round."""
    group_of = [0] * 8 + [1] * 5 + [2] * 2 + [3, 4]
    labels = labels_of([8] * 17)  # 136 samples: 17 batches of 4 * 2
    order = ClassBatchSampler(labels, sampler("group", 4, 2), 1, [group_of[label] for label in labels])
    batches = [classes_of(batch, labels, 2) for batch in epoch_of(order, 0)]
    assert len(batches) == 17
    for start in (0, 6):
        assert set(chain(*batches[start : start + 6])) == set(range(17))
    pure = [{group_of[name] for name in names} for names in batches]
    assert sum(groups == {0} for groups in pure[:12]) == sum(groups == {1} for groups in pure[:12]) == 4
    assert sum({15, 16} <= set(names) for names in batches[:12]) >= 2


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 1, 1, 1]])
def test_samples_without_a_group_say_nothing(labels: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"^sampler.kind = group, but no group has two identities"):
        ClassBatchSampler(labels, sampler("group", 2), 0, [None] * 4)
    with pytest.raises(ConfigError, match=r"^sampler.kind = group, but no group has two identities"):
        ClassBatchSampler(labels, sampler("group", 2), 0, labels)
    with pytest.raises(ConfigError, match=r"no group has two identities in training; set sampler.kind=pxk$"):
        ClassBatchSampler(labels, sampler("group", 2), 0)


@pytest.mark.parametrize(
    ("kind", "sizes", "classes", "world", "said"),
    [
        ("pxk", [4] * 3, 4, 1, "classes = 4 needs 4 identities, but the training part has 3; set sampler.classes=3 or"),
        (
            "group",
            [4] * 3,
            2,
            2,
            "= 2 on 2 processes needs 4 identities, but the training part has 3; set .*kind=shuffle$",
        ),
        ("pxk", [4] * 9, 5, 2, "= 5 on 2 processes needs 10 identities, but .* has 9; set .*classes=4 or less$"),
        ("balanced", [9], 2, 1, "classes = 2 needs 2 identities, but the training part has 1; set sampler.kind=shuff"),
        ("pxk", [], 2, 1, "but the training part has 0"),
    ],
)
def test_too_few_identities(kind: Kind, sizes: list[int], classes: int, world: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ClassBatchSampler(labels_of(sizes), sampler(kind, classes), 0, None, 0, world)


def test_an_identity_in_two_groups_is_named() -> None:
    with pytest.raises(ConfigError, match=r"class 1 has samples in 'a' and in 'b'; set sampler.kind=pxk$"):
        ClassBatchSampler([0, 1, 1], sampler("group", 2), 0, ["a", "a", "b"])


def test_labels_need_not_be_without_gaps() -> None:
    labels: list[Any] = np.array([5, 900, 5, 17], np.int32).tolist()
    batches = epoch_of(ClassBatchSampler(labels, sampler("pxk", 3, 2), 0), 0)
    assert {labels[key[1]] for batch in batches for key in batch} == {5, 17, 900}
