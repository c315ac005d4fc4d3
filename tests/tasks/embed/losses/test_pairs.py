"""Mining against pytorch-metric-learning's miners, and losses on pairs against loops over the published formulas."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning import distances, miners
from torch import Tensor
from torch.nn import functional

from medalist.tasks.embed.losses.pairs import PairLoss, PairTerm, choose
from medalist.tasks.embed.losses.settings import (
    CircleTerm,
    ContrastiveTerm,
    MultiSimilarityTerm,
    SupConTerm,
    TripletTerm,
)

DIM = 3
EMPTY = torch.empty(0, DIM), torch.empty(0, dtype=torch.int64)
SEEDS = st.integers(0, 10_000)


def some(seed: int, rows: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    embeddings = functional.normalize(torch.randn(rows, DIM, generator=random))
    return embeddings, torch.randint(0, classes, (rows,), generator=random)


def chosen(term: PairTerm, embeddings: Tensor, labels: Tensor) -> list[Counter[tuple[int, ...]]]:
    """The triplets, or the positive and the negative pairs, counted."""
    same = labels[:, None] == labels[None]
    rows = choose(term, embeddings @ embeddings.T, same & ~torch.eye(len(labels), dtype=torch.bool), ~same, DIM)
    return counted(rows)


def counted(rows: tuple[Tensor, ...]) -> list[Counter[tuple[int, ...]]]:
    parts = [rows] if len(rows) == 3 else [rows[:2], rows[2:]]
    return [Counter(zip(*(part.tolist() for part in each), strict=True)) for each in parts]


@given(seed=SEEDS, rows=st.integers(2, 14))
def test_hard_is_the_librarys(seed: int, rows: int) -> None:
    batch = some(seed, rows)
    assert chosen(ContrastiveTerm(kind="contrastive", miner="hard"), *batch) == counted(
        miners.BatchHardMiner(distance=distances.CosineSimilarity())(*batch)
    )


@given(seed=SEEDS, rows=st.integers(2, 14), margin=st.sampled_from([0.05, 0.2, 1.0]))
def test_semihard_is_the_librarys_in_squared_distances(seed: int, rows: int, margin: float) -> None:
    batch = some(seed, rows)
    squared = miners.TripletMarginMiner(margin, "semihard", distance=distances.LpDistance(power=2))
    assert chosen(TripletTerm(kind="triplet", margin=margin), *batch) == counted(squared(*batch))
    if margin == 0.2:  # what terms without such a margin take
        assert chosen(SupConTerm(kind="supcon", miner="semihard"), *batch) == counted(squared(*batch))


@given(seed=SEEDS, rows=st.integers(2, 14))
def test_multi_similarity_is_the_librarys(seed: int, rows: int) -> None:
    batch = some(seed, rows)
    theirs = counted(miners.MultiSimilarityMiner(epsilon=0.1)(*batch))
    assert chosen(MultiSimilarityTerm(kind="multi_similarity"), *batch) == theirs
    as_triplets = chosen(TripletTerm(kind="triplet", miner="multi_similarity"), *batch)
    assert as_triplets == [Counter((a, p, n) for (a, p), (b, n) in product(*theirs) if a == b)]


def test_distance_draws_a_negative_for_each_positive_pair_with_the_published_odds() -> None:
    # One pair, and negatives at distances 0.3 (as if 0.5), 1.0 and 1.5 (never) of both.
    dim, exclusion_key = 6, torch.tensor([0.3, 1.0, 1.5])
    cosines = torch.cat([torch.ones(2, 2), (1 - exclusion_key.square() / 2).expand(2, 3)], dim=1)
    same = torch.tensor([[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    different = torch.tensor([[0, 0, 1, 1, 1]] * 2).bool()
    term = ContrastiveTerm(kind="contrastive", miner="distance")
    torch.manual_seed(0)
    draws: Counter[int] = Counter()
    for _ in range(1500):
        anchors, positives, negatives = choose(term, cosines, same, different, dim)
        assert (anchors.tolist(), positives.tolist()) == ([0, 1], [1, 0])
        draws.update(negatives.tolist())

    def odds(distance: float) -> float:
        return distance ** (2 - dim) * (1 - distance**2 / 4) ** ((3 - dim) / 2)

    expected = odds(0.5) / (odds(0.5) + odds(1.0))
    assert set(draws) == {2, 3} and draws[2] / 3000 == pytest.approx(expected, abs=0.02)
    none_near = choose(term, cosines, same, different & (cosines < 0), dim)
    assert [len(rows) for rows in none_near] == [0, 0, 0]


def distance(a: Tensor, b: Tensor) -> float:
    return math.dist(a.tolist(), b.tolist())


def slow(term: PairTerm, embeddings: Tensor, labels: Tensor, known: Tensor, known_labels: Tensor) -> float:
    """The published formula over all pairs of the batch with itself and the memory."""
    others, classes = [*embeddings, *known], [*labels.tolist(), *known_labels.tolist()]
    same = {a: [b for b in range(len(others)) if b != a and classes[b] == c] for a, c in enumerate(labels.tolist())}
    different = {a: [b for b in range(len(others)) if classes[b] != c] for a, c in enumerate(labels.tolist())}
    anchors = range(len(labels))
    d = {(a, b): distance(embeddings[a], others[b]) for a in anchors for b in range(len(others))}
    s = {pair: 1 - length**2 / 2 for pair, length in d.items()}
    terms: list[float] = []

    def mean(values: list[float]) -> float:
        counting = [value for value in values if value > 0]
        return sum(counting) / len(counting) if counting else 0.0

    match term:
        case TripletTerm():
            for a in anchors:
                terms += [d[a, p] ** 2 - d[a, n] ** 2 + term.margin for p in same[a] for n in different[a]]
        case ContrastiveTerm():
            near = mean([d[a, p] ** 2 for a in anchors for p in same[a]])
            return near + mean([max(0.0, term.margin - d[a, n]) ** 2 for a in anchors for n in different[a]])
        case MultiSimilarityTerm():
            for a in anchors:
                pull = sum(math.exp(-term.alpha * (s[a, p] - term.base)) for p in same[a])
                push = sum(math.exp(term.beta * (s[a, n] - term.base)) for n in different[a])
                terms.append(math.log1p(pull) / term.alpha + math.log1p(push) / term.beta)
            return sum(terms) / len(terms)
        case CircleTerm():
            m, g = term.margin, term.scale
            for a in anchors:
                pull = sum(math.exp(-g * max(0, 1 + m - s[a, p]) * (s[a, p] - (1 - m))) for p in same[a])
                push = sum(math.exp(g * max(0, s[a, n] + m) * (s[a, n] - m)) for n in different[a])
                terms.append(math.log1p(pull * push))
        case SupConTerm():
            for a in anchors:
                whole = math.log(sum(math.exp(s[a, b] / term.temperature) for b in same[a] + different[a]))
                each = [whole - s[a, p] / term.temperature for p in same[a]]
                terms.append(sum(each) / len(each) if each else 0.0)
    return mean(terms)


TERMS: dict[str, PairTerm] = {
    "triplet": TripletTerm(kind="triplet", margin=0.3, miner="none"),
    "contrastive": ContrastiveTerm(kind="contrastive", margin=0.8),
    "multi_similarity": MultiSimilarityTerm(kind="multi_similarity", alpha=3, beta=20, base=0.4, miner="none"),
    "circle": CircleTerm(kind="circle", margin=0.3, scale=16),
    "supcon": SupConTerm(kind="supcon", temperature=0.2),
}


@given(seed=SEEDS, kind=st.sampled_from(sorted(TERMS)), rows=st.integers(3, 10), known=st.sampled_from([0, 1, 7]))
def test_the_published_formulas_with_and_without_a_memory(seed: int, kind: str, rows: int, known: int) -> None:
    embeddings, labels = some(seed, rows)
    memory = some(seed + 1, known) if known else EMPTY
    everyone = torch.cat([labels, memory[1]]).tolist()
    if not any(everyone.count(label) > 1 for label in labels.tolist()) or len(set(everyone)) == 1:
        return
    result = PairLoss(TERMS[kind])(embeddings, labels, *memory)
    assert float(result) == pytest.approx(slow(TERMS[kind], embeddings, labels, *memory), rel=2e-3, abs=2e-5)


@pytest.mark.parametrize("miner", ["none", "hard", "semihard", "multi_similarity", "distance"])
@pytest.mark.parametrize("kind", sorted(TERMS))
def test_a_memory_is_paired_with_but_nobody_with_oneself(kind: str, miner: str) -> None:
    term = TERMS[kind].model_copy(update={"miner": miner})
    embeddings, labels = some(3, 6, classes=3)
    rows: list[tuple[Tensor, ...]] = []
    module = PairLoss(term)
    module.published.register_forward_pre_hook(lambda _, given: rows.append(given[2]))
    module(embeddings, labels, *some(4, 9, classes=3))
    (pairs,) = rows
    positive, negative = pairs[:2], (pairs[-3] if len(pairs) == 3 else pairs[2], pairs[-1])
    everyone = torch.cat([labels, some(4, 9, classes=3)[1]])
    assert (positive[0] != positive[1]).all()
    assert (labels[positive[0]] == everyone[positive[1]]).all()
    assert (labels[negative[0]] != everyone[negative[1]]).all()
    assert torch.cat(pairs).max() >= 6  # the memory takes part


def test_hadsells_positive_and_negative_by_hand() -> None:
    rows = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0]])
    loss = PairLoss(ContrastiveTerm(kind="contrastive", margin=1.0))(rows, torch.tensor([0, 0, 1]), *EMPTY)
    far, near = math.sqrt(0.8), math.sqrt(0.08)  # of the third to the first and to the second
    assert float(loss) == pytest.approx(0.4 + ((1 - far) ** 2 + (1 - near) ** 2) / 2, rel=1e-5)


def test_facenets_triplet_by_hand() -> None:
    rows = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0]])
    loss = PairLoss(TripletTerm(kind="triplet", margin=0.5))(rows, torch.tensor([0, 0, 1]), *EMPTY)
    # |first - second|^2 = 0.4, |first - third|^2 = 0.8: 0.1 is missing; for the second anchor the third
    # sample is nearer than the first, and so not semihard
    assert float(loss) == pytest.approx(0.1, rel=1e-4)
