from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.config import parse_config
from medalist.errors import ConfigError, SearchError
from medalist.records import Ranking, RetrievalSplit
from medalist.retrieval.rank import Asked, Candidates, ClassPrototypes, answers, asked, candidates
from medalist.retrieval.settings import RankConfig
from medalist.search.embeddings import Embeddings

Vectors = NDArray[np.float32]
BY = {"weights": "a"}


def config(**values: Any) -> RankConfig:
    return RankConfig.model_validate(values)


def unit(values: Any) -> Vectors:
    values = np.asarray(values, np.float64)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def crowd(
    people: int, each: int, seed: int = 0, dim: int = 6, spread: float = 0.5
) -> tuple[Embeddings, dict[str, str]]:
    """Embeddings of some people's pictures, and who is on each."""
    rng = np.random.default_rng(seed)
    who = np.arange(people).repeat(each)
    vectors = unit(unit(rng.normal(size=(people, dim)))[who] + spread * rng.normal(size=(len(who), dim)))
    mixed = rng.permutation(len(who))
    ids = tuple(f"s{at}" for at in range(len(who)))
    identities = {name: f"p{who[at]}" for name, at in zip(ids, mixed, strict=True)}
    return Embeddings(ids, vectors[mixed], BY), identities


def slow(
    embeddings: Embeddings,
    split: RetrievalSplit,
    identities: dict[str, str] | None,
    *,
    depth: int,
    head: str = "nearest",
    k: int = 50,
    temperature: float = 0.1,
    new: str | None = None,
    exclusion: dict[str, Any] | None = None,
    prototypes: ClassPrototypes | None = None,
    share: float = 0.0,
) -> dict[str, list[tuple[str, float]]]:
    """Candidates by loops over all samples."""
    vector = dict(zip(embeddings.ids, embeddings.vectors.astype(np.float64), strict=True))
    found = {}
    for query in split.queries:
        samples = [
            (float(vector[name] @ vector[query]), identities[name] if identities else name, vector[name])
            for name in split.gallery
            if name != query
            and (exclusion is None or exclusion.get(name) != exclusion.get(query))
            and (identities is None or identities[name] != new)
        ]
        samples.sort(key=lambda sample: -sample[0])
        score: dict[str, float] = {}
        for name in dict.fromkeys(name for _, name, _ in samples):
            mine = [cosine for cosine, other, _ in samples if other == name]
            score[name] = mine[0]
            if head == "knn":
                votes = [cosine for cosine, other, _ in samples[:k] if other == name]
                if votes:
                    score[name] = temperature * float(np.log(np.sum(np.exp(np.array(votes) / temperature))))
            if head == "prototype":
                mean = np.sum([one for _, other, one in samples if other == name], axis=0)
                score[name] = float(mean @ vector[query] / np.linalg.norm(mean))
            if prototypes is not None and name in prototypes.names:
                best = max(
                    float(one @ vector[query])
                    for other, one in zip(prototypes.names, prototypes.vectors.astype(np.float64), strict=True)
                    if other == name
                )
                score[name] = (1 - share) * score[name] + share * best
        found[query] = sorted(score.items(), key=lambda item: -item[1])[:depth]
    return found


def compare(found: dict[str, Candidates], expected: dict[str, list[tuple[str, float]]]) -> None:
    assert list(found) == list(expected)
    for query, one in found.items():
        assert one.names == tuple(name for name, _ in expected[query])
        assert one.scores.dtype == np.float32
        np.testing.assert_allclose(one.scores, [score for _, score in expected[query]], atol=3e-6)
        assert one.best == one.scores.max(initial=-np.inf)


EVERYBODY, WHO = crowd(12, 6)
ALL = RetrievalSplit(EVERYBODY.ids, EVERYBODY.ids)
CAMERA = {name: f"c{at % 3}" for at, name in enumerate(EVERYBODY.ids) if at % 5}
"""Some samples have no camera: they exclude one another too."""
OTHERS = RetrievalSplit(EVERYBODY.ids[:20], EVERYBODY.ids[20:])


# ------------------------------------------------------------------------------------------------- against a slow twin


@pytest.mark.parametrize("split", [ALL, OTHERS], ids=["leave one out", "others"])
@pytest.mark.parametrize("exclusion", [None, CAMERA], ids=["", "exclusion"])
@pytest.mark.parametrize("depth", [1, 5, 100])
def test_samples(split: RetrievalSplit, exclusion: dict[str, Any] | None, depth: int) -> None:
    found = candidates(asked(split, EVERYBODY, EVERYBODY, exclusion=exclusion), config(), names="samples", depth=depth)
    compare(found, slow(EVERYBODY, split, None, depth=depth, exclusion=exclusion))


@pytest.mark.parametrize("split", [ALL, OTHERS], ids=["leave one out", "others"])
@pytest.mark.parametrize("exclusion", [None, CAMERA], ids=["", "exclusion"])
@pytest.mark.parametrize("head", [{}, {"head": "knn", "k": 9, "temperature": 0.2}, {"head": "prototype"}], ids=str)
@pytest.mark.parametrize(("depth", "new"), [(1, None), (5, "p3"), (100, None)])
def test_identities(
    split: RetrievalSplit, exclusion: dict[str, Any] | None, head: dict[str, Any], depth: int, new: str | None
) -> None:
    asks = asked(split, EVERYBODY, EVERYBODY, identities=WHO, exclusion=exclusion)
    found = candidates(asks, config(**head), names="identities", depth=depth, new=new)
    compare(found, slow(EVERYBODY, split, WHO, depth=depth, new=new, exclusion=exclusion, **head))


def test_many_samples_of_few_identities_are_looked_at_until_there_are_enough_names() -> None:
    near = unit(np.array([1.0, 0, 0]) + 0.01 * np.random.default_rng(1).normal(size=(400, 3)))
    far = unit([[0, 1, 0], [0, 1, 0.2], [-1, 0, 0]])
    ids = (*(f"n{at}" for at in range(400)), "f0", "f1", "f2", "q")
    embeddings = Embeddings(ids, np.concatenate([near, far, unit([[1, 0, 0]])]), BY)
    who = {name: "same" if name[0] == "n" else name for name in ids}
    split = RetrievalSplit(("q",), ids[:-1])
    for head in ({}, {"head": "knn", "k": 9}):
        found = candidates(
            asked(split, embeddings, embeddings, identities=who), config(**head), names="identities", depth=3
        )
        compare(found, slow(embeddings, split, who, depth=3, **head))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("depth", [2, 50])
@pytest.mark.parametrize("head", ["nearest", "prototype"])
def test_prototypes_join_in(share: float, depth: int, head: str) -> None:
    """With all samples found the blend is exact; names without a prototype keep their score."""
    rng = np.random.default_rng(3)
    names = (*(f"p{who}" for who in range(10) for _ in range(2)), "elsewhere")
    prototypes = ClassPrototypes(names, unit(rng.normal(size=(21, 6))))
    asks = asked(ALL, EVERYBODY, EVERYBODY, identities=WHO, exclusion=CAMERA)
    rank = config(head=head, prototypes=share)
    found = candidates(asks, rank, names="identities", depth=50, prototypes=prototypes)
    expected = slow(
        EVERYBODY,
        ALL,
        WHO,
        depth=50,
        head=head,
        exclusion=CAMERA,
        prototypes=prototypes if share else None,
        share=share,
    )
    compare(found, expected)
    short = candidates(asks, rank, names="identities", depth=depth, prototypes=prototypes)
    assert all(len(one.names) == min(depth, len(expected[query])) for query, one in short.items())


def test_a_prototype_finds_a_name_that_the_samples_did_not() -> None:
    """400 samples are nearer than the right one; with its prototype the name comes first."""
    rng = np.random.default_rng(4)
    near = unit(np.array([1.0, 0, 0]) + 0.1 * rng.normal(size=(400, 3)))
    ids = (*(f"n{at}" for at in range(400)), "right", "query")
    embeddings = Embeddings(ids, np.concatenate([near, unit([[0, 0, 1], [1, 0, 0]])]), BY)
    who = {name: name for name in ids} | {"n0": "n1"}
    asks = asked(RetrievalSplit(("query",), ids[:-1]), embeddings, embeddings, identities=who)
    prototypes = ClassPrototypes(("right", *ids[:-2]), unit([[1, 0, 0]] + [[0, 1, 0]] * 400))
    without = candidates(asks, config(), names="identities", depth=3)["query"]
    assert "right" not in without.names
    found = candidates(asks, config(prototypes=0.5), names="identities", depth=3, prototypes=prototypes)["query"]
    assert found.names[0] == "right"
    # A name whose only sample is the query itself does not come back by its prototype.
    own = asked(RetrievalSplit(("right",), ids[:-1]), embeddings, embeddings, identities=who)
    assert (
        "right"
        not in candidates(own, config(prototypes=0.5), names="identities", depth=3, prototypes=prototypes)[
            "right"
        ].names
    )


def test_equal_scores_stand_in_the_order_of_the_gallery() -> None:
    ids = tuple("dbacq")
    embeddings = Embeddings(ids, unit([[1, 0]] * 5), BY)
    split = RetrievalSplit(("q",), ids[:4])
    assert candidates(asked(split, embeddings, embeddings), config(), names="samples", depth=9)["q"].names == ids[:4]
    who = dict(zip(ids, "XYXZQ", strict=True))
    for head in ("nearest", "prototype"):
        found = candidates(
            asked(split, embeddings, embeddings, identities=who), config(head=head), names="identities", depth=9
        )
        assert found["q"].names == ("X", "Y", "Z")


def test_large_galleries_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody, who = crowd(150, 20, dim=16)
    asks = asked(RetrievalSplit(everybody.ids[:300], everybody.ids), everybody, everybody, identities=who)
    told: list[tuple[int, int]] = []
    rank = config(recall=0.99, expand=3, augment_gallery=2)
    exact = candidates(asks, rank, names="identities", depth=5)
    for limit in ("FEW_QUERIES", "FEW_ROWS", "FEW_PRODUCTS"):
        monkeypatch.setattr(f"medalist.retrieval.neighbours.{limit}", 100)
    monkeypatch.setattr("medalist.retrieval.rank._ANSWERS", 36 * 130)
    found = candidates(asks, rank, names="identities", depth=5, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 300) for done in range(1, 301)]
    assert list(found) == list(exact)
    assert np.mean([found[query].names == exact[query].names for query in exact]) > 0.97


# ----------------------------------------------------------------------------------------------------------- steps


def accuracy(found: dict[str, Candidates], who: dict[str, str]) -> float:
    return float(np.mean([one.names[0] == who[query] for query, one in found.items()]))


@pytest.mark.parametrize(
    "steps",
    [
        {"augment_gallery": 4},
        {"expand": 3},
        {"rerank": {"kind": "k_reciprocal", "k1": 8, "k2": 3}},
        {"rerank": {"kind": "diffusion", "k": 8, "queries": 4}},
    ],
    ids=str,
)
@pytest.mark.parametrize("outside", [False, True], ids=["in the gallery", "outside"])
def test_each_step_is_done_and_finds_more(steps: dict[str, Any], outside: bool) -> None:
    everybody, who = crowd(20, 12, seed=8, dim=16, spread=0.2)
    split = RetrievalSplit(everybody.ids[:80], everybody.ids[80:] if outside else everybody.ids)
    asks = asked(split, everybody, everybody)

    def precision(rank: RankConfig) -> float:
        found = candidates(asks, rank, names="samples", depth=8)
        assert all(query not in one.names for query, one in found.items())
        assert all((np.diff(one.scores) <= 0).all() and one.best <= 1.001 for one in found.values())
        return float(np.mean([who[name] == who[query] for query, one in found.items() for name in one.names]))

    plain = precision(config())
    assert 0.4 < plain < 0.9
    assert precision(config(**steps)) > plain + 0.01


def test_k_reciprocal_of_weight_1_changes_nothing() -> None:
    asks = asked(ALL, EVERYBODY, EVERYBODY, identities=WHO, exclusion=CAMERA)
    plain = candidates(asks, config(head="knn", k=7), names="identities", depth=5)
    same = candidates(
        asks, config(head="knn", k=7, rerank={"kind": "k_reciprocal", "weight": 1.0}), names="identities", depth=5
    )
    for query, one in plain.items():
        assert one.names == same[query].names
        np.testing.assert_array_equal(one.scores, same[query].scores)


def test_diffusion_deals_out_the_same_cosines() -> None:
    asks = asked(ALL, EVERYBODY, EVERYBODY)
    plain = candidates(asks, config(), names="samples", depth=100)
    spread = candidates(asks, config(rerank={"kind": "diffusion", "k": 5}), names="samples", depth=100)
    for query, one in plain.items():
        np.testing.assert_array_equal(one.scores, spread[query].scores)
        assert set(one.names) == set(spread[query].names)
    assert any(one.names != spread[query].names for query, one in plain.items())


def test_one_to_one_assignment() -> None:
    gallery = unit([[1, 0], [0, 1], [-1, -1]])
    queries = unit([[1, 0.1], [1, 0.3], [-1, 0]])
    embeddings = Embeddings(tuple("ABCxyz"), np.concatenate([gallery, queries]), BY)
    asks = asked(
        RetrievalSplit(tuple("xyz"), tuple("ABC")), embeddings, embeddings, identities={name: name for name in "ABC"}
    )
    each = candidates(asks, config(), names="identities", depth=1)
    assert [one.names[0] for one in each.values()] == ["A", "A", "C"]
    found = candidates(asks, config(assign=True), names="identities", depth=1)
    assert [one.names for one in found.values()] == [("A", "B", "C"), ("B", "A", "C"), ("C", "B", "A")]
    assert found["y"].best > found["y"].scores[0]
    assert answers(found, 1)["y"] == Ranking(("B",))


def test_assignment_is_the_best_of_all() -> None:
    from itertools import permutations

    everybody, _ = crowd(6, 2, seed=5, dim=3, spread=2.0)
    split = RetrievalSplit(everybody.ids[:5], everybody.ids[6:])
    asks = asked(split, everybody, everybody, identities={name: name for name in everybody.ids})
    found = candidates(asks, config(assign=True), names="identities", depth=3)
    cosines = asks.query_vectors @ asks.gallery_vectors.T
    best = max(permutations(range(6), 5), key=lambda order: sum(cosines[row, at] for row, at in enumerate(order)))
    assert [one.names[0] for one in found.values()] == [split.gallery[at] for at in best]


def test_more_queries_than_names_are_assigned_as_far_as_it_goes() -> None:
    embeddings = Embeddings(tuple("Axy"), unit([[1, 0], [1, 0.5], [1, 0.1]]), BY)
    asks = asked(RetrievalSplit(tuple("xy"), ("A",)), embeddings, embeddings, identities={"A": "A"})
    assert [one.names for one in candidates(asks, config(assign=True), names="identities", depth=1).values()] == [
        ("A",),
        ("A",),
    ]


# --------------------------------------------------------------------------------------------------------- answers


ONE = {"q": Candidates(("a", "b", "c"), np.array([0.9, 0.5, 0.25], np.float32))}


@pytest.mark.parametrize(
    ("threshold", "depth", "names"),
    [
        (None, 2, ("a", "b")),
        (0.95, 5, ("new", "a", "b", "c")),
        (0.9, 5, ("new", "a", "b", "c")),  # float32 of 0.9 is a little below 0.9
        (0.6, 5, ("a", "new", "b", "c")),
        (0.5, 5, ("a", "b", "new", "c")),
        (0.5, 2, ("a", "b")),
        (0.5, 3, ("a", "b", "new")),
        (0.1, 5, ("a", "b", "c", "new")),
        (0.1, 3, ("a", "b", "c")),
    ],
)
def test_new_comes_before_the_first_below_the_threshold(
    threshold: float | None, depth: int, names: tuple[str, ...]
) -> None:
    assert answers(ONE, depth, new="new", threshold=threshold) == {"q": Ranking(names)}


def test_confidence() -> None:
    assert answers(ONE, 1, confident=True)["q"].confidence == pytest.approx(0.9)
    assert answers(ONE, 1, confident=True, new="new", threshold=1.0)["q"].confidence == pytest.approx(1.1)
    assert answers({"q": Candidates((), np.empty(0, np.float32))}, 1, confident=True)["q"] == Ranking((), None)
    nobody = answers({"q": Candidates((), np.empty(0, np.float32))}, 1, confident=True, new="new", threshold=0.5)
    assert nobody["q"] == Ranking(("new",), 2.0)


# -------------------------------------------------------------------------------------------------------- bad input


def refusal(match: str, kind: type[Exception] = SearchError) -> Any:
    return pytest.raises(kind, match=match)


def test_what_asked_refuses() -> None:
    small = Embeddings(("a", "b"), unit([[1, 0], [0, 1]]), BY)
    with refusal(r"split, queries: .*'zebra'.*embed them with this run"):
        asked(RetrievalSplit(("a", "zebra"), ("b",)), small, small)
    with refusal(r"split, gallery: .*'yak'"):
        asked(RetrievalSplit(("a",), ("yak",)), small, small)
    with refusal(r"split of 1 queries \('a'\): its gallery is empty"):
        asked(RetrievalSplit(("a",), ()), small, small)
    with refusal("split, queries: .*'a'"):
        asked(RetrievalSplit(("a", "a"), ("b",)), small, small)
    with refusal("split, gallery: .*'b'"):
        asked(RetrievalSplit(("a",), ("b", "b")), small, small)
    with refusal("1 gallery samples have no identity: 'b'"):
        asked(RetrievalSplit(("a",), ("b",)), small, small, identities={"a": "x"})
    with refusal("2 components .* 3"):
        asked(RetrievalSplit(("a",), ("b",)), small, Embeddings(("b",), unit([[1, 0, 0]]), BY))
    with refusal("other weights"):
        asked(RetrievalSplit(("a",), ("b",)), small, Embeddings(("b",), unit([[1, 0]]), {"weights": "other"}))


def small_asked(identities: bool = True) -> Asked:
    small = Embeddings(("a", "b"), unit([[1, 0], [0, 1]]), BY)
    return asked(RetrievalSplit(("a",), ("b",)), small, small, identities={"b": "new"} if identities else None)


def test_what_candidates_refuses() -> None:
    with refusal("all 1 gallery samples are 'new'"):
        candidates(small_asked(), config(), names="identities", depth=1, new="new")
    with refusal("every gallery sample needs one"):
        candidates(small_asked(False), config(), names="identities", depth=1)
    with refusal("class prototypes of 3 components, and vectors of 2"):
        candidates(
            small_asked(),
            config(prototypes=0.5),
            names="identities",
            depth=1,
            prototypes=ClassPrototypes(("new",), unit([[1, 0, 0]])),
        )
    with refusal("set decide.prototypes=0"):
        candidates(small_asked(), config(prototypes=0.5), names="identities", depth=1)
    for wrong in ({"head": "knn"}, {"prototypes": 0.5}):
        with refusal(f"decide.{next(iter(wrong))}=.* answers gallery samples", ConfigError):
            candidates(small_asked(), config(**wrong), names="samples", depth=1)
    with refusal("decide.head=prototype compares only means", ConfigError):
        candidates(small_asked(), config(head="prototype", rerank={"kind": "diffusion"}), names="identities", depth=1)
    with refusal("length 2"):
        ClassPrototypes(("a",), np.array([[2, 0]], np.float32))


def test_samples_are_assigned_too() -> None:
    """Both queries are nearest to the first sample; the one that is nearer gets it."""
    gallery = Embeddings(("a", "b"), unit([[1, 0], [0.6, 0.8]]), {})
    queries = Embeddings(("p", "q"), unit([[1, 0.1], [1, 0.3]]), {})
    question = asked(RetrievalSplit(("p", "q"), ("a", "b")), queries, gallery)
    free = candidates(question, config(), names="samples", depth=1)
    assert {name: one.names for name, one in free.items()} == {"p": ("a",), "q": ("a",)}
    one_each = candidates(question, config(assign=True), names="samples", depth=1)
    assert {name: one.names[0] for name, one in one_each.items()} == {"p": "a", "q": "b"}


def test_assignment_of_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.retrieval.rank._MOST_PAIRS", 100)
    with refusal("72 queries and 12 names .* decide.assign=false"):
        candidates(asked(ALL, EVERYBODY, EVERYBODY, identities=WHO), config(assign=True), names="identities", depth=1)


def test_small_splits() -> None:
    """One sample that asks itself, and nobody who asks."""
    lone = Embeddings(("a",), unit([[1, 0]]), BY)
    for steps in (
        {},
        {"augment_gallery": 3, "expand": 3},
        {"rerank": {"kind": "k_reciprocal"}},
        {"rerank": {"kind": "diffusion"}},
    ):
        found = candidates(asked(RetrievalSplit(("a",), ("a",)), lone, lone), config(**steps), names="samples", depth=3)
        assert found["a"].names == () and found["a"].best == -np.inf
    for head in ("nearest", "knn", "prototype"):
        asks = asked(RetrievalSplit(("a",), ("a",)), lone, lone, identities={"a": "x"})
        assert candidates(asks, config(head=head), names="identities", depth=3)["a"].names == ()
    assert candidates(asked(RetrievalSplit((), ("a",)), lone, lone), config(), names="samples", depth=3) == {}


def test_the_settings_read_as_yaml() -> None:
    read = parse_config("kind: rank\nrerank: {kind: k_reciprocal, k1: 10}\nhead: nearest\n", "x.yaml", RankConfig)
    assert read.rerank.kind == "k_reciprocal"
