"""The terms of the loss under softmax, and with void pixels, against plain loops over the pixels that are judged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import LovaszLoss
from torch import Tensor
from torch.nn import functional

from medalist.tasks.segment.channels import Activation
from medalist.tasks.segment.loss_settings import TERMS, LossConfig
from medalist.tasks.segment.losses import segmentation_loss

from .test_losses import slow_term, slow_tversky

NAMES = ("road", "car", "sky")
SIGMOID = tuple(name for name in TERMS if name not in ("ce", "regression"))
SOFTMAX = tuple(name for name in TERMS if name not in ("bce", "regression"))
BOTH: list[tuple[str, Activation]] = [(name, "sigmoid") for name in SIGMOID]
BOTH += [(name, "softmax") for name in SOFTMAX]
WEIGHTS = {"car": 2.5, "sky": 0.3}


def batch(seed: int, soft: bool = False, void: float = 0.3, absent: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, targets that sum to 1, and judged pixels of two samples of 4x5 pixels."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, (2, 3, 4, 5)).astype(np.float32))
    target = rng.dirichlet([0.5, 0.5] if absent else [0.5, 0.5, 0.5], (2, 4, 5)).transpose(0, 3, 1, 2)
    if absent:
        target = np.concatenate([target, np.zeros((2, 1, 4, 5))], axis=1)
    if not soft:
        target = (target == target.max(axis=1, keepdims=True)).astype(float)
    judged = torch.from_numpy(rng.random((2, 1, 4, 5)) >= void)
    return logits, torch.from_numpy(target.astype(np.float32)), judged.float()


def rows(maps: Tensor, judged: Tensor) -> list[list[float]]:
    """Return a list of channels for each judged pixel."""
    where = judged[:, 0] > 0
    kept: list[list[float]] = maps.permute(0, 2, 3, 1)[where].tolist()
    return kept


def softmax(logits: Sequence[float]) -> list[float]:
    powers = [math.exp(z - max(logits)) for z in logits]
    return [power / sum(powers) for power in powers]


def slow_lovasz_of_class(scores: Sequence[float], truths: Sequence[bool]) -> float:
    """By its definition: errors, worst first, each times the growth of the Jaccard loss."""
    errors = [abs(float(t) - p) for t, p in zip(truths, scores, strict=True)]
    there = {number for number, t in enumerate(truths) if t}
    total, wrong, before = 0.0, set[int](), 0.0
    for number in sorted(range(len(errors)), key=lambda number: -errors[number]):
        wrong = wrong | {number}
        loss = len(wrong) / len(there | wrong)
        total += errors[number] * (loss - before)
        before = loss
    return total


def slow_softmax(name: str, logits: list[list[float]], targets: list[list[float]], weights: list[float]) -> float:
    scores = [softmax(row) for row in logits]
    if name in ("ce", "focal"):
        total = norm = 0.0
        for ps, ts in zip(scores, targets, strict=True):
            right = math.exp(sum(t * math.log(p) for p, t in zip(ps, ts, strict=True)))
            factor = (1 - right) ** 2 if name == "focal" else 1.0
            total += factor * -sum(w * t * math.log(p) for w, p, t in zip(weights, ps, ts, strict=True))
            norm += sum(w * t for w, t in zip(weights, ts, strict=True))
        return total / norm
    kind = name.removeprefix("log_")
    costs = {"dice": (0.5, 0.5), "jaccard": (1, 1), "tversky": (0.3, 0.7), "lovasz": (0, 0)}[kind]
    found, norm = 0.0, 0.0
    for channel, weight in enumerate(weights):
        ps, ts = [row[channel] for row in scores], [row[channel] for row in targets]
        if name == "lovasz":
            if any(t >= 0.5 for t in ts):
                found += weight * slow_lovasz_of_class(ps, [t >= 0.5 for t in ts])
                norm += weight
            continue
        logs = [math.log(p / (1 - p)) for p in ps]  # because the twin of sigmoid takes logits
        loss = slow_tversky(logs, ts, *costs)
        found += weight * (-math.log(1 - loss + 1e-7) if name != kind else loss)
        norm += weight
    return found / norm


# The boundary loss depends on where pixels are, so its twin is in test_region_losses.
PLACELESS = tuple(name for name in SOFTMAX if name != "boundary"), tuple(name for name in SIGMOID if name != "boundary")


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("void", [0.0, 0.4])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", PLACELESS[0])
def test_each_term_of_softmax_equals_its_slow_twin(name: str, soft: bool, void: float, absent: bool) -> None:
    config = LossConfig.model_validate({name: 0.7, "channels": WEIGHTS})
    for seed in range(4):
        logits, target, judged = batch(seed, soft, void, absent)
        given_judged = judged if void else None
        got = segmentation_loss(logits, target, config, NAMES, given_judged, "softmax")
        twin = slow_softmax(name, rows(logits, judged), rows(target, judged), [1.0, 2.5, 0.3])
        assert set(got) == {"loss", name}
        assert got[name].item() == pytest.approx(twin, rel=1e-5, abs=1e-6)
        assert got["loss"].item() == pytest.approx(0.7 * twin, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", PLACELESS[1])
def test_each_term_of_sigmoid_sees_judged_pixels_alone(name: str, soft: bool, absent: bool) -> None:
    config = LossConfig.model_validate({name: 1, "channels": WEIGHTS})
    for seed in range(4):
        logits, target, judged = batch(seed, soft, absent=absent)
        got = segmentation_loss(logits, target, config, NAMES, judged)
        zs, ts = rows(logits, judged), rows(target, judged)
        twin = sum(
            share * slow_term(name, [row[channel] for row in zs], [row[channel] for row in ts])
            for channel, share in enumerate(config.channel_weights(NAMES))
        )
        assert got["loss"].item() == pytest.approx(twin, rel=1e-5, abs=1e-6)


def test_cross_entropy_is_that_of_torch() -> None:
    logits, target, judged = batch(3)
    weights = torch.tensor([1.0, 2.5, 0.3])
    labels = torch.where(judged[:, 0] > 0, target.argmax(dim=1), 255)
    expected = functional.cross_entropy(logits, labels, weights, ignore_index=255)
    config = LossConfig(ce=1, channels=WEIGHTS)
    got = segmentation_loss(logits, target, config, NAMES, judged, "softmax")["loss"]
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)


def test_lovasz_softmax_is_that_of_smp() -> None:
    for seed in range(4):
        logits, target, judged = batch(seed)
        labels = torch.where(judged[:, 0] > 0, target.argmax(dim=1), 255)
        expected = LovaszLoss("multiclass", ignore_index=255)(logits, labels)
        got = segmentation_loss(logits, target, LossConfig(lovasz=1), NAMES, judged, "softmax")["loss"]
        assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def computed(
    name: str, activation: Activation, logits: Tensor, target: Tensor, judged: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss and the gradient."""
    leaf = logits.clone().requires_grad_()
    config = LossConfig.model_validate({name: 1, "channels": WEIGHTS})
    loss = segmentation_loss(leaf, target, config, NAMES, judged, activation)["loss"]
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


@pytest.mark.parametrize("rubbish", [0.0, -3.0, 1e30, float("inf"), float("nan")])
@pytest.mark.parametrize(("name", "activation"), BOTH)
def test_void_pixels_change_neither_loss_nor_gradient(name: str, activation: Activation, rubbish: float) -> None:
    logits, target, judged = batch(5)
    void = (judged == 0).expand_as(logits)
    loss, gradient = computed(name, activation, logits, target, judged)
    assert gradient[void].eq(0).all() and gradient[~void].ne(0).any() and torch.isfinite(loss)
    changed = torch.where(void, torch.full_like(logits, rubbish), logits)
    other = torch.where(void, torch.rand_like(target) if math.isfinite(rubbish) else rubbish, target)
    for seen in (
        computed(name, activation, changed, target, judged),
        computed(name, activation, changed, other, judged),
    ):
        assert torch.equal(seen[0], loss) and torch.equal(seen[1], gradient)


@pytest.mark.parametrize(("name", "activation"), BOTH)
def test_a_batch_of_void_alone_has_loss_0_and_gradient_0(name: str, activation: Activation) -> None:
    logits, target, judged = batch(6)
    loss, gradient = computed(name, activation, logits, target, torch.zeros_like(judged))
    assert loss == 0 and gradient.eq(0).all()


@pytest.mark.parametrize(("name", "activation"), BOTH)
def test_all_pixels_judged_is_as_if_nothing_were_said_of_void(name: str, activation: Activation) -> None:
    logits, target, judged = batch(7)
    config = LossConfig.model_validate({name: 1, "channels": WEIGHTS})
    said = segmentation_loss(logits, target, config, NAMES, torch.ones_like(judged), activation)["loss"]
    unsaid = segmentation_loss(logits, target, config, NAMES, None, activation)["loss"]
    assert said.item() == pytest.approx(unsaid.item(), rel=1e-6)


@given(st.integers(0, 10**6), st.sampled_from(BOTH))
def test_the_gradient_is_that_of_differences(seed: int, term: tuple[str, Activation]) -> None:
    """Both sides of the difference in one line: where a kink lies between, the mean of its slopes is near."""
    name, activation = term
    logits, target, judged = batch(seed)
    _, gradient = computed(name, activation, logits, target, judged)
    direction = torch.from_numpy(np.random.default_rng(seed + 1).normal(size=logits.shape).astype(np.float32))
    config = LossConfig.model_validate({name: 1, "channels": WEIGHTS})

    def at(step: float) -> float:
        moved = logits + step * direction
        return segmentation_loss(moved, target, config, NAMES, judged, activation)["loss"].item()

    step = 5e-3
    slope = (at(step) - at(-step)) / (2 * step)
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=0.05, abs=0.03)


@pytest.mark.parametrize("extreme", [50.0, 1e4, 1e30])
@pytest.mark.parametrize("name", SOFTMAX)
def test_extreme_logits_give_finite_losses_and_gradients(name: str, extreme: float) -> None:
    for seed in range(3):
        signs, target, judged = batch(seed)
        loss, gradient = computed(name, "softmax", signs.sign() * extreme, target, judged)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", SOFTMAX)
def test_half_precision_is_computed_in_float32(name: str) -> None:
    logits, target, judged = batch(1)
    config = LossConfig.model_validate({name: 1})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = segmentation_loss(logits.bfloat16(), target, config, NAMES, judged, "softmax")["loss"]
    expected = segmentation_loss(logits.bfloat16().float(), target, config, NAMES, judged, "softmax")["loss"]
    assert got.dtype == torch.float32 and torch.equal(got, expected)


def test_a_perfect_answer_has_loss_0() -> None:
    _, target, judged = batch(2)
    config = LossConfig.model_validate(dict.fromkeys(PLACELESS[0], 1))
    for logits in (40 * target, 40 * target - 20):
        got = segmentation_loss(logits, target, config, NAMES, judged, "softmax")
        assert got["loss"].item() == pytest.approx(0, abs=1e-5)
