"""The sum of terms: what holds of every kind, and each own term against loops, numbers by hand and the library."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses
from torch import Tensor, nn
from torch.nn import functional

from medalist.errors import DataError
from medalist.tasks.embed.losses.metric import MetricLoss, ProxyNca, Siamese, build_metric_loss
from medalist.tasks.embed.losses.settings import MetricLossConfig, ProxyNcaTerm

CLASSES, DIM = 4, 8
ALL: dict[str, dict[str, Any]] = {
    "arcface": {},
    "cosface": {},
    "sub-centres": {"kind": "arcface", "prototypes": 3, "by_size": "power", "smoothing": 0.1},
    "triplet": {},
    "triplet, all": {"kind": "triplet", "miner": "none"},
    "triplet, by distance": {"kind": "triplet", "miner": "distance"},
    "contrastive": {},
    "contrastive, hard": {"kind": "contrastive", "miner": "hard"},
    "siamese": {},
    "multi_similarity": {},
    "multi_similarity, all": {"kind": "multi_similarity", "miner": "none"},
    "circle": {"scale": 32},
    "supcon": {},
    "proxy_nca": {},
    "prototype": {},
}
ON_PAIRS = [name for name in ALL if not name.startswith(("arcface", "cosface", "sub-centres", "proxy"))]
WITH_MEMORY = ["triplet", "contrastive", "multi_similarity", "circle", "supcon"]


def build(*terms: dict[str, Any], seed: int = 0, sizes: Sequence[int] = (4,) * CLASSES) -> MetricLoss:
    torch.manual_seed(seed)
    return build_metric_loss(MetricLossConfig.model_validate({"terms": terms}), DIM, sizes)


def made(*names: str, seed: int = 0, **more: Any) -> MetricLoss:
    return build(*({"kind": name, **ALL[name], **more} for name in names), seed=seed)


def batch(seed: int, labels: Sequence[int]) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    rows = functional.normalize(torch.randn(len(labels), DIM, generator=random))
    return rows.requires_grad_(), torch.tensor(labels)


LABELS = [0, 1, 2, 3] * 3


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_also_for_equal_and_opposite_rows(name: str) -> None:
    module = made(name)
    rows, labels = batch(1, LABELS)
    rows = torch.cat([rows.detach(), rows.detach(), -rows.detach()]).requires_grad_()
    parts = module(rows, labels.repeat(3))
    parts["loss"].backward()
    assert parts["loss"].dtype == torch.float32 and parts["loss"].isfinite() and parts["loss"] > 0
    for value in (rows, *module.parameters()):
        assert value.grad is not None and value.grad.isfinite().all() and value.grad.abs().sum() > 0


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("triplet, by distance", "prototype")])
@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(12)))
def test_the_order_of_the_batch_does_not_matter(name: str, order: list[int]) -> None:
    rows, labels = batch(2, LABELS)
    module = made(name)
    torch.testing.assert_close(module(rows[order], labels[order])["loss"], module(rows, labels)["loss"])


def test_prototypes_ask_for_the_order_within_an_identity_alone() -> None:
    rows, labels = batch(2, LABELS)
    module = made("prototype")
    order = [4 * turn + identity for identity in (2, 0, 3, 1) for turn in range(3)]
    expected = module(rows, labels)["loss"]
    torch.testing.assert_close(module(rows[order], labels[order])["loss"], expected)
    swapped = [4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11]
    assert not torch.isclose(module(rows[swapped], labels)["loss"], expected)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [2]])
@pytest.mark.parametrize("name", ON_PAIRS)
def test_without_a_positive_pair_a_term_on_pairs_is_0_and_has_a_graph(name: str, labels: list[int]) -> None:
    module = made(name)
    rows, classes = batch(3, labels)
    rows = functional.normalize(rows.detach() + 2).requires_grad_()  # near each other: negatives alone would cost
    loss = module(rows, classes)["loss"]
    loss.backward()
    assert loss == 0 and rows.grad is not None and (rows.grad == 0).all()
    assert all(value.grad is not None and (value.grad == 0).all() for value in module.parameters())


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_one_identity_is_finite(name: str) -> None:
    rows, labels = batch(3, [1, 1, 1])
    loss = made(name)(rows, labels)["loss"]
    loss.backward()
    assert loss.isfinite() and rows.grad is not None and rows.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [name for name in ALL if name != "triplet, by distance"])
def test_half_precision_is_computed_in_single(name: str, dtype: torch.dtype) -> None:
    module = made(name)
    rows, labels = batch(4, LABELS)
    half = rows.detach().to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module(half, labels)["loss"]
    loss.backward()
    expected = module(half.detach().float(), labels)["loss"]
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)
    # Rounding made the rows longer or shorter than 1; that does not count.
    of_length_1 = module(functional.normalize(half.detach().float()), labels)["loss"]
    torch.testing.assert_close(loss, of_length_1, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, module(half.detach().float() * 1.5, labels)["loss"], rtol=1e-4, atol=1e-5)
    assert half.grad is not None and half.grad.dtype == dtype and half.grad.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_a_few_steps_lower_the_loss_and_separate_the_classes(name: str) -> None:
    random = torch.Generator().manual_seed(5)
    means = torch.randn(CLASSES, 16, generator=random)
    labels = torch.arange(CLASSES).repeat_interleave(6)
    samples = means[labels] + 1.2 * torch.randn(24, 16, generator=random)
    module = made(name)
    torch.manual_seed(6)
    network = nn.Linear(16, DIM)

    def embedded() -> Tensor:
        return functional.normalize(network(samples))

    def gap() -> float:
        cosines = embedded() @ embedded().T
        same = labels[:, None] == labels
        return float((cosines[same].mean() - cosines[~same].mean()).detach())

    before, at_first = gap(), 0.0
    optimiser = torch.optim.SGD([*network.parameters(), *module.parameters()], lr=0.05, momentum=0.9)
    for _ in range(40):
        optimiser.zero_grad()
        loss = module(embedded(), labels)["loss"]
        at_first = at_first or float(loss.detach())
        loss.backward()
        # Scales of 1 to 64 are far apart in slope; steps of one length are asked for here.
        nn.utils.clip_grad_norm_([*network.parameters(), *module.parameters()], 1.0)
        optimiser.step()
    assert float(loss.detach()) < at_first and gap() > before + 0.2


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    rows, labels = batch(7, LABELS)
    terms = [{"kind": "arcface", "weight": 2}, {"kind": "supcon", "weight": 0.5}, {"kind": "siamese"}]
    module = build(*terms)
    parts = module(rows, labels)
    assert list(parts) == ["loss", "arcface", "supcon", "siamese"]
    assert not any(parts[name].requires_grad for name in ("arcface", "supcon", "siamese"))
    torch.testing.assert_close(parts["loss"], 2 * parts["arcface"] + 0.5 * parts["supcon"] + parts["siamese"])
    torch.testing.assert_close(parts["supcon"], made("supcon")(rows, labels)["supcon"])


@pytest.mark.parametrize("kind", WITH_MEMORY)
def test_the_memory_is_the_latest_samples_of_the_epoch(kind: str) -> None:
    module, alone = made(kind, memory=6, miner="none"), made(kind, miner="none").terms[kind]
    batches = [batch(seed, [0, 1, 0, 2]) for seed in range(4)]
    for turn, (rows, labels) in enumerate(batches):
        known = torch.cat([torch.empty(0, DIM), *(earlier for earlier, _ in batches[:turn])])[-6:]
        classes = torch.cat([torch.empty(0, dtype=torch.int64), *(earlier for _, earlier in batches[:turn])])[-6:]
        torch.testing.assert_close(module(rows, labels)["loss"], alone(rows, labels, known.detach(), classes))
    module.new_epoch()
    rows, labels = batches[0]
    torch.testing.assert_close(module(rows, labels)["loss"], made(kind, miner="none")(rows, labels)["loss"])


def test_a_positive_pair_with_the_memory_counts_and_earlier_batches_get_no_gradient() -> None:
    module = made("contrastive", memory=10)
    first, labels = batch(1, [0, 1])
    assert module(first, labels)["loss"] == 0
    second, labels = batch(2, [0, 2])
    loss = module(second, labels)["loss"]
    loss.backward()
    assert loss > 0 and first.grad is None and second.grad is not None and second.grad.abs().sum() > 0


def test_each_term_has_the_memory_that_it_asks_for() -> None:
    terms: list[dict[str, Any]] = [
        {"kind": "supcon", "memory": 4},
        {"kind": "circle", "memory": 100},
        {"kind": "triplet"},
    ]
    together, singles = build(*terms), {term["kind"]: build(term) for term in terms}
    for seed in range(3):
        rows, labels = batch(seed, LABELS)
        parts = together(rows, labels)
        for term in terms:
            alone = singles[term["kind"]](rows, labels)
            torch.testing.assert_close(parts[term["kind"]], alone[term["kind"]])


def test_validation_neither_reads_nor_writes_the_memory() -> None:
    module, untouched = made("supcon", memory=50), made("supcon")
    module(*batch(1, LABELS))
    before = copy.deepcopy(module)
    module.eval()
    rows, labels = batch(2, LABELS)
    torch.testing.assert_close(module(rows, labels)["loss"], untouched(rows, labels)["loss"])
    module.train()
    torch.testing.assert_close(module(*batch(3, LABELS))["loss"], before(*batch(3, LABELS))["loss"])


def test_a_state_loaded_when_an_epoch_begins_goes_on_exactly() -> None:
    names = ("arcface", "proxy_nca", "siamese", "triplet", "supcon")

    terms = [{"kind": name, **({"memory": 8} if name in WITH_MEMORY else {})} for name in names]
    first, second = build(*terms, seed=1), build(*terms, seed=2)
    first(*batch(1, LABELS))
    first.new_epoch()
    second.load_state_dict(first.state_dict())
    second.new_epoch()
    for seed in (2, 3):
        assert torch.equal(first(*batch(seed, LABELS))["loss"], second(*batch(seed, LABELS))["loss"])
    assert {name.split(".")[1] for name in first.state_dict()} == {"arcface", "proxy_nca", "siamese"}


# The terms that are not pytorch-metric-learning's


def test_siamese_by_loops() -> None:
    module = Siamese(DIM)
    module.weight.data = torch.linspace(-1, 1, DIM)
    embeddings, labels = batch(8, [0, 0, 1, 2, 1, 0])
    weight, rows = module.weight.tolist(), embeddings.tolist()
    same, different = [], []
    for i in range(6):
        for j in range(i):
            logit = 2 + sum(w * abs(a - b) for w, a, b in zip(weight, rows[i], rows[j], strict=True))
            p = 1 / (1 + math.exp(-logit))
            if labels[i] == labels[j]:
                same.append(-math.log(p))
            else:
                different.append(-math.log(1 - p))
    expected = (sum(same) / len(same) + sum(different) / len(different)) / 2
    assert float(module(embeddings, labels).detach()) == pytest.approx(expected, rel=1e-5)


def test_siamese_starts_at_plus_2_for_equal_and_near_minus_2_for_random_directions() -> None:
    module = Siamese(256)
    first, second = functional.normalize(torch.randn(2, 500, 256, generator=torch.Generator().manual_seed(0)), dim=2)
    logits = (first - second).abs() @ module.weight + module.bias
    assert float(logits.mean().detach()) == pytest.approx(-2, abs=0.05) and module.bias == 2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.5, 12))
def test_proxy_nca_is_the_librarys(seed: int, scale: float) -> None:
    ours = ProxyNca(ProxyNcaTerm(kind="proxy_nca", scale=scale), DIM, CLASSES)
    theirs = losses.ProxyNCALoss(num_classes=CLASSES, embedding_size=DIM, softmax_scale=scale)
    theirs.proxies.data = ours.weight.data.clone()
    rows, labels = batch(seed, LABELS)
    torch.testing.assert_close(ours(rows, labels), theirs(rows, labels), rtol=1e-4, atol=1e-5)


def test_proxy_nca_keeps_what_is_farthest_off() -> None:
    module = ProxyNca(ProxyNcaTerm(kind="proxy_nca", scale=100), DIM, CLASSES)
    module.weight.data = torch.eye(CLASSES, DIM) - torch.eye(CLASSES, DIM).roll(1, dims=1)
    rows = -functional.normalize(module.weight.detach())[:1]
    logits = -100 * (rows - functional.normalize(module.weight.detach())).square().sum(dim=1)
    expected = float(logits.logsumexp(dim=0) - logits[0])
    assert expected > 90 and float(module(rows, torch.tensor([0])).detach()) == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 1000), labels=st.lists(st.integers(0, 3), min_size=1, max_size=14), shots=st.integers(1, 3))
def test_prototypes_by_loops(seed: int, labels: list[int], shots: int) -> None:
    rows, classes = batch(seed, labels)
    support: dict[int, list[Tensor]] = {}
    queries: list[tuple[int, Tensor]] = []
    for row, label in zip(rows.detach().double(), labels, strict=True):
        if len(support.setdefault(label, [])) < shots:
            support[label].append(row)
        else:
            queries.append((label, row))
    means = {label: torch.stack(taken).mean(dim=0) for label, taken in support.items()}
    terms = []
    for label, row in queries:
        weights = {other: math.exp(-5 * float((row - mean).square().sum())) for other, mean in means.items()}
        terms.append(-math.log(weights[label] / sum(weights.values())))
    loss = build({"kind": "prototype", "shots": shots, "scale": 5.0})(rows, classes)["loss"]
    assert float(loss.detach()) == pytest.approx(sum(terms) / len(terms) if terms else 0, rel=1e-4, abs=1e-6)


def test_prototypes_are_the_margin_softmaxs() -> None:
    prototypes = made("sub-centres", seed=3).prototypes()
    assert prototypes is not None and prototypes[0].shape == (3 * CLASSES, DIM)
    assert prototypes[1].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    torch.testing.assert_close(prototypes[0].norm(dim=1), torch.ones(3 * CLASSES))
    assert made("proxy_nca", "triplet").prototypes() is None


@pytest.mark.parametrize("name", ["arcface", "proxy_nca"])
def test_prototypes_and_proxies_come_from_torchs_generator(name: str) -> None:
    first, again, other = made(name, seed=1), made(name, seed=1), made(name, seed=2)
    (one,), (two,), (three,) = first.parameters(), again.parameters(), other.parameters()
    assert torch.equal(one, two) and not torch.equal(one, three)
    torch.testing.assert_close(one.detach().norm(dim=1), torch.ones(CLASSES))


def test_one_identity_is_refused() -> None:
    with pytest.raises(DataError, match="needs at least 2 identities to tell apart, the training part has 1; use more"):
        build({"kind": "arcface"}, sizes=[30])


def test_a_wrong_width_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        made("arcface")(torch.randn(3, DIM + 1), torch.tensor([0, 1, 2]))
