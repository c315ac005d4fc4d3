from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.records import Ranking, RetrievalSplit, Sample
from medalist.retrieval.splits import (
    against_training,
    answerable,
    by_part,
    identity,
    identity_of,
    leave_one_out,
    one_shot,
    right_names,
    splits_of_test,
)


def sample(name: str, who: str, group: str | None = None, **meta: str) -> Sample:
    return Sample(name, (), (1, 1), (who,), group, None, meta)


TRAINING = [sample("t1", "ann"), sample("t2", "bob")]
HELD = [sample("a1", "ann"), sample("a2", "ann"), sample("b1", "bob"), sample("c1", "cid")]
BY_ID = {one.id: one for one in (*TRAINING, *HELD)}


def names(truths: dict[str, Ranking]) -> dict[str, tuple[str, ...]]:
    return {name: truth.names for name, truth in truths.items()}


def test_the_truth_of_a_sample_is_its_identity() -> None:
    assert identity_of(HELD[0]) == "ann"
    assert identity(Path("unused"), HELD[0]) == Ranking(("ann",))


def test_leave_one_out_asks_all_others() -> None:
    (split,) = leave_one_out(TRAINING, HELD)
    assert split == RetrievalSplit(("a1", "a2", "b1", "c1"), ("a1", "a2", "b1", "c1"))
    assert names(right_names([split], BY_ID, "samples")) == {"a1": ("a2",), "a2": ("a1",), "b1": (), "c1": ()}
    assert names(right_names([split], BY_ID, "identities")) == {"a1": ("ann",), "a2": ("ann",), "b1": (), "c1": ()}


def test_against_training_new_identities_are_named_so() -> None:
    splits = against_training(TRAINING, HELD)
    assert splits == (RetrievalSplit(("a1", "a2", "b1", "c1"), ("t1", "t2")),)
    truths = right_names(splits, BY_ID, "identities", new="new")
    assert names(truths) == {"a1": ("ann",), "a2": ("ann",), "b1": ("bob",), "c1": ("new",)}
    assert names(right_names(splits, BY_ID, "samples")) == {"a1": ("t1",), "a2": ("t1",), "b1": ("t2",), "c1": ()}


def test_samples_of_no_known_identity_are_never_right() -> None:
    by_id = {one.id: one for one in (sample("q", "new"), sample("g", "new"), sample("h", "ann"))}
    splits = (RetrievalSplit(("q",), ("g", "h")),)
    assert names(right_names(splits, by_id, "samples", new="new")) == {"q": ()}
    assert names(right_names(splits, by_id, "identities", new="new")) == {"q": ("new",)}
    assert names(right_names(splits, by_id, "identities")) == {"q": ("new",)}, "an identity like any other"


def test_samples_of_the_same_camera_are_not_right() -> None:
    by_id = {
        one.id: one for one in (sample("q", "ann", cam="1"), sample("g", "ann", cam="1"), sample("h", "ann", cam="2"))
    }
    splits = (RetrievalSplit(("q",), ("g", "h")),)
    assert names(right_names(splits, by_id, "samples", exclusion="cam")) == {"q": ("h",)}
    only = (RetrievalSplit(("q",), ("g",)),)
    assert names(right_names(only, by_id, "identities", new="new", exclusion="cam")) == {"q": ("new",)}


def test_by_part_some_ask_and_the_rest_or_some_others_answer() -> None:
    asks = partial(by_part, asks=lambda one: one.id.endswith("1"))
    assert asks(TRAINING, HELD) == (RetrievalSplit(("a1", "b1", "c1"), ("a2",)),)
    few = partial(asks, answers=lambda one: one.id.startswith("b"))
    assert few(TRAINING, HELD) == (RetrievalSplit(("a1", "b1", "c1"), ("b1",)),)


def test_splits_of_the_test_part_are_one_or_by_name() -> None:
    plain = [Sample(name, (), (1, 1)) for name in ("q1", "q2", "g1", "g2")]
    assert splits_of_test(plain[:2], plain[2:]) == (RetrievalSplit(("q1", "q2"), ("g1", "g2")),)
    named = [Sample(f"{run}/{name}", (), (1, 1), meta={"trial": run}) for name in ("a", "b") for run in ("r2", "r1")]
    assert splits_of_test(named[:2], named[2:]) == (
        RetrievalSplit(("r2/a",), ("r2/b",)),
        RetrievalSplit(("r1/a",), ("r1/b",)),
    )
    assert splits_of_test(named[:2], ()) == (RetrievalSplit(("r2/a",), ()), RetrievalSplit(("r1/a",), ()))


def test_what_may_be_answered() -> None:
    splits = (RetrievalSplit(("a1", "b1"), ("t1", "t2")), RetrievalSplit(("c1",), ("a2",)))
    may = answerable(splits, BY_ID, "samples")
    assert may == {"a1": {"t1", "t2"}, "b1": {"t1", "t2"}, "c1": {"a2"}}
    assert may["a1"] is may["b1"], "one set in memory for all queries of a split"
    assert answerable(splits, BY_ID, "identities") == {"a1": {"ann", "bob"}, "b1": {"ann", "bob"}, "c1": {"ann"}}
    assert answerable(splits, BY_ID, "identities", "new")["c1"] == {"ann", "new"}
    assert answerable(splits[1:], {}, "samples") == {"c1": {"a2"}}, "galleries of a test part have no identities"


# -------------------------------------------------------------------------------- one-shot

ALPHABETS = {"Greek": (24, 6), "Latin": (3, 4)}  # characters and drawers


def written(alphabets: dict[str, tuple[int, int]] = ALPHABETS) -> list[Sample]:
    return [
        sample(f"{alphabet}/{sign:02}_{drawer}", f"{alphabet}/{sign:02}", alphabet, drawer=str(drawer))
        for alphabet, (signs, drawers) in alphabets.items()
        for sign in range(signs)
        for drawer in range(1, drawers + 1)
    ]


def held_to_its_promise(splits: Sequence[RetrievalSplit], samples: Sequence[Sample], ways: int) -> None:
    by_id = {one.id: one for one in samples}
    asked = Counter(name for split in splits for name in split.queries)
    assert set(asked.values()) <= {1}
    for split in splits:
        asking, answering = ([by_id[name] for name in part] for part in (split.queries, split.gallery))
        assert [one.annotation for one in asking] == [one.annotation for one in answering]
        assert 2 <= len({one.annotation for one in asking}) == len(asking) <= ways
        assert len({one.group for one in (*asking, *answering)}) == 1
        (asker,), (answerer,) = ({one.meta["drawer"] for one in part} for part in (asking, answering))
        assert asker != answerer
    assert all(len(truth.names) == 1 for truth in right_names(splits, by_id, "samples").values())


def test_one_shot_splits_are_made_as_the_official_runs() -> None:
    samples = written()
    splits = one_shot([], samples, by="drawer", ways=20)
    held_to_its_promise(splits, samples, 20)
    assert [len(split.queries) for split in splits] == [20] * 6 + [3] * 4
    by_id = {one.id: one for one in samples}
    for alphabet, (_, drawers) in ALPHABETS.items():
        of = [split for split in splits if by_id[split.queries[0]].group == alphabet]
        for part in ("queries", "gallery"):  # each drawer asks once and answers once
            assert len({by_id[getattr(split, part)[0]].meta["drawer"] for split in of}) == drawers
    greek = {frozenset(by_id[name].annotation for name in split.queries) for split in splits[:6]}
    assert len(greek) == 6, "each split draws its own 20 of 24 characters"


def test_one_shot_splits_do_not_depend_on_the_order_or_on_other_alphabets() -> None:
    samples = written()
    splits = one_shot([], samples, by="drawer", ways=20)
    assert one_shot(samples, samples[::-1], by="drawer", ways=20) == splits
    assert one_shot([], written({"Greek": (24, 6)}), by="drawer", ways=20) == splits[:6]
    assert one_shot([], samples, by="drawer", ways=20, seed=1) != splits


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.integers(1, 4)), max_size=40),
    st.integers(2, 6),
)
def test_one_shot_splits_of_patchy_alphabets(marks: list[tuple[str, int, int]], ways: int) -> None:
    samples = [
        sample(f"{n:02}", f"{group}{sign}", group, drawer=str(drawer)) for n, (group, sign, drawer) in enumerate(marks)
    ]
    held_to_its_promise(one_shot([], samples, by="drawer", ways=ways), samples, ways)


@pytest.mark.parametrize("alphabets", [{}, {"Greek": (5, 1)}, {"Greek": (1, 5)}])
def test_there_are_no_one_shot_splits_of_one_drawer_or_one_character(alphabets: dict[str, tuple[int, int]]) -> None:
    assert one_shot([], written(alphabets), by="drawer", ways=20) == ()
