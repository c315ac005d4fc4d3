from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from medalist.errors import SearchError
from medalist.search.embeddings import Embeddings
from medalist.search.entities import DEAD, Entities, How
from medalist.search.gallery import Gallery

DIM = 5
QUERIES = np.random.default_rng(99).normal(size=(4, DIM)).astype(np.float32)


def vector(number: int) -> Any:
    return np.random.default_rng(number).normal(size=DIM).astype(np.float32)


class Twin:
    """Brute force over a dict: mention -> (identity, vector), nothing kept up to date."""

    def __init__(self, how: How):
        self.how, self.held = how, dict[str, tuple[str, Any]]()

    def ranked(self, query: Any) -> list[tuple[float, str, str]]:
        asked = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
        units = {name: (who, one / np.linalg.norm(one.astype(np.float64))) for name, (who, one) in self.held.items()}
        if self.how == "set":
            scored = [(float(one @ asked), name, who) for name, (who, one) in units.items()]
        else:
            scored = []
            for who in dict.fromkeys(who for who, _ in units.values()):
                mean = np.mean([one for other, one in units.values() if other == who], axis=0)
                scored.append((float(mean @ asked / np.linalg.norm(mean)), who, who))
        return sorted(scored, reverse=True)

    def search(self, query: Any, k: int, per: int | None = None) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        seen: dict[str, int] = {}
        for score, name, who in self.ranked(query):
            if seen.get(who, 0) < (per or 1) and len(found) < k:
                seen[who] = seen.get(who, 0) + 1
                found.append((who if per is None else name, score))
        return found


def same(entities: Entities, twin: Twin, k: int, per: int | None = None, **how: Any) -> None:
    hits = entities.search(QUERIES, k, per=per, **how)
    for query, ids, scores, count in zip(QUERIES, hits.ids, hits.scores, hits.counts.tolist(), strict=True):
        wanted = twin.search(query, k, per)
        assert ids[:count].tolist() == [name for name, _ in wanted]
        np.testing.assert_allclose(scores[:count], [score for _, score in wanted], atol=2e-6)
        assert set(ids[count:].tolist()) <= {""} and (scores[count:] == -np.inf).all()


class ComeAndGo(RuleBasedStateMachine):
    """Mentions and identities come and go; after each step the answers are those of brute force."""

    how: How = "set"

    def __init__(self) -> None:
        super().__init__()
        self.entities, self.twin, self.next = Entities(DIM, self.how), Twin(self.how), 0

    @rule(whose=st.lists(st.integers(0, 5), min_size=0, max_size=6))
    def add(self, whose: list[int]) -> None:
        names = [f"m{self.next + number}" for number in range(len(whose))]
        rows = np.array([vector(self.next + number) for number in range(len(whose))]).reshape(-1, DIM)
        self.next += len(whose)
        identities = [f"who{one}" for one in whose]
        self.entities.add(identities, names, rows)
        self.twin.held.update({name: (who, row) for name, who, row in zip(names, identities, rows, strict=True)})

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from(sorted(self.twin.held) or ["none"]), unique=True, max_size=4))
        if self.twin.held:
            self.entities.remove(names)
            for name in names:
                del self.twin.held[name]

    @rule(data=st.data())
    def remove_identity(self, data: st.DataObject) -> None:
        known = sorted({who for who, _ in self.twin.held.values()})
        if known:
            gone = data.draw(st.sampled_from(known))
            self.entities.remove_identity(gone)
            self.twin.held = {name: one for name, one in self.twin.held.items() if one[0] != gone}

    @invariant()
    def answers_are_those_of_brute_force(self) -> None:
        identities = {who for who, _ in self.twin.held.values()}
        assert len(self.entities) == len(identities)
        for k in (1, 3, 9):
            same(self.entities, self.twin, k)
            assert (self.entities.search(QUERIES, k).counts == min(k, len(identities))).all()
        if self.how == "set":
            same(self.entities, self.twin, 7, per=2)
        assert self.entities.dead <= DEAD * (self.entities.dead + len(self.twin.held))


class MeansComeAndGo(ComeAndGo):
    how = "mean"


TestSet = ComeAndGo.TestCase
TestMean = MeansComeAndGo.TestCase
TestSet.settings = TestMean.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)


@pytest.mark.parametrize("how", ["set", "mean"])
def test_one_crowd_does_not_hide_the_others_in_a_graph(how: How) -> None:
    rng = np.random.default_rng(1)
    crowd = QUERIES[0] + 0.01 * rng.normal(size=(2500, DIM)).astype(np.float32)
    rest = rng.normal(size=(40, DIM)).astype(np.float32)
    entities, twin = Entities(DIM, how), Twin(how)
    for prefix, whose, rows in (("c", ["crowd"] * 2500, crowd), ("r", [f"r{row % 20}" for row in range(40)], rest)):
        names = [f"{prefix}{row}" for row in range(len(rows))]
        entities.add(whose, names, rows)
        twin.held.update(zip(names, zip(whose, rows, strict=True), strict=True))
    same(entities, twin, 10, exact=True)
    hits = entities.search(QUERIES, 21)
    assert hits.counts.tolist() == [21] * 4 and all(len(set(row)) == 21 for row in hits.ids.tolist())
    entities.remove([f"c{row}" for row in range(0, 2500, 5)])  # a fifth is dead, and is not found
    twin.held = {name: one for name, one in twin.held.items() if name[0] == "r" or int(name[1:]) % 5}
    assert entities.dead == (500 if how == "set" else entities.dead)
    same(entities, twin, 10, exact=True)
    if how == "set":
        found = entities.search(QUERIES, 2040, per=2500).ids.tolist()
        assert all(set(row) == set(twin.held) for row in found)


def test_one_at_a_time_and_one_query() -> None:
    entities = Entities(DIM)
    assert entities.search(QUERIES[0], 3).counts == 0
    entities.add("ann", "photo 1", QUERIES[0])
    entities.add("bob", "photo 2", -QUERIES[0])
    hits = entities.search(QUERIES[0], 3)
    assert hits.ids.tolist() == ["ann", "bob", ""] and hits.counts == 2
    np.testing.assert_allclose(hits.scores[:2], [1, -1], atol=1e-6)
    assert entities.mentions("ann") == ("photo 1",) and entities.identity_of("photo 2") == "bob"
    entities.remove("photo 1")
    assert entities.search(QUERIES[0], 3).ids.tolist() == ["bob", "", ""] and len(entities) == 1
    entities.add("ann", "photo 1", QUERIES[1])  # it may come back, with another vector
    assert entities.search(QUERIES[1], 1).ids.tolist() == ["ann"]


@pytest.mark.parametrize("how", ["set", "mean"])
def test_a_change_that_is_refused_changes_nothing(how: How) -> None:
    entities, twin = Entities(DIM, how), Twin(how)
    rows = np.array([vector(row) for row in range(6)])
    entities.add(["a", "a", "b", "c", "c", "c"], [f"m{row}" for row in range(6)], rows)
    twin.held = {f"m{row}": ("aabccc"[row], rows[row]) for row in range(6)}
    nan = np.full((1, DIM), np.nan)
    for change, words in (
        (lambda: entities.add(["d", "d"], ["x", "m1"], rows[:2]), "1 are there already: 'm1'"),
        (lambda: entities.add(["d", "d"], ["x", "x"], rows[:2]), "ids are repeated: 'x'"),
        (lambda: entities.add(["d"], ["x", "y"], rows[:2]), "1 ids for 2"),
        (lambda: entities.add(["d", ""], ["x", "y"], rows[:2]), "an empty string"),
        (lambda: entities.add([1, 2], ["x", "y"], rows[:2]), "strings"),  # type: ignore[list-item]
        (lambda: entities.add("d", "x", rows[:2]), "shape"),
        (lambda: entities.add("d", "x", rows[0][:3]), "shape"),
        (lambda: entities.add(["d"], ["x"], nan), "row 0: nan"),
        (lambda: entities.add(["d"], ["x"], rows[:1] * 0), "zero vector"),
        (lambda: entities.remove(["m0", "who"]), "1 of 2 are not there: 'who'"),
        (lambda: entities.remove(["m0", "m0"]), "ids are repeated"),
        (lambda: entities.remove_identity("z"), "no identity 'z'; there are 3"),
        (lambda: entities.identity_of("z"), "no mention 'z'; there are 6"),
        (lambda: entities.mentions("z"), "no identity 'z'"),
        (lambda: entities.search(QUERIES, -1), "k=-1"),
        (lambda: entities.search(QUERIES[:, :3], 1), "shape"),
    ):
        with pytest.raises(SearchError, match=words):
            change()
        same(entities, twin, 9)
    with pytest.raises(SearchError, match="expected 'set' or 'mean'"):
        Entities(DIM, "median")  # type: ignore[arg-type]


def test_means_that_cancel_out_are_refused() -> None:
    entities = Entities(DIM, "mean")
    entities.add(["a", "a"], ["m0", "m1"], np.array([vector(0), vector(1)]))
    with pytest.raises(SearchError, match="identity 'a': its 4 mentions cancel out"):
        unit = [one / np.linalg.norm(one) for one in (vector(0), vector(1))]
        entities.add("b", "m5", vector(5))
        third = -(unit[0] + unit[1])
        # Two unit vectors and a third that is as long as it must be: make the third by two of length one.
        half, side = third / 2, np.linalg.svd(third[None])[2][1]
        side = side * np.sqrt(max(0.0, 1 - float(half @ half)))
        entities.add(["a", "a"], ["m2", "m3"], np.array([half + side, half - side]))
    assert entities.mentions("a") == ("m0", "m1") and len(entities) == 2
    with pytest.raises(SearchError, match="per: identities are means"):
        entities.search(QUERIES, 3, per=2)


@pytest.mark.parametrize("how", ["set", "mean"])
def test_save_and_open(tmp_path: Path, how: How) -> None:
    entities, twin = Entities(DIM, how), Twin(how)
    rows = np.array([vector(row) for row in range(40)])
    whose = [f"{row % 7:03}" for row in range(40)]
    entities.add(whose, [f"m{row}" for row in range(40)], rows)
    entities.remove(["m1", "m8"])
    twin.held = {f"m{row}": (whose[row], rows[row]) for row in range(40) if row not in (1, 8)}
    gallery = entities.save(tmp_path / "g", {"fold0": "aa"})
    assert gallery.fields == {"identity": "tag"} and len(gallery) == 38
    assert gallery.delete(["m2"])[1] == 1
    del twin.held["m2"]
    back = Entities.open(Gallery.open(tmp_path / "g"), how)
    for k in (1, 5, 20):
        same(back, twin, k)
    names = tuple(gallery.index.ids().tolist())
    lone = Gallery.create(
        tmp_path / "l", Embeddings(names, gallery.index.vectors(list(names)), {}), {"identity": ["", "x"] * 19}
    )
    assert set(Entities.open(lone).search(QUERIES[0], 20).ids.tolist()) == {*names[::2], "x"}  # "" is one of its own
    Gallery.create(tmp_path / "h", Embeddings(names, gallery.index.vectors(list(names)), {}))
    with pytest.raises(SearchError, match="no field 'identity'"):
        Entities.open(Gallery.open(tmp_path / "h"))
    assert len(Entities(DIM).save(tmp_path / "e", {})) == 0
    assert len(Entities.open(Gallery.open(tmp_path / "e"))) == 0
