"""Each loss against plain loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import DiceLoss, JaccardLoss
from torch import Tensor

from medalist.errors import ConfigError
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.losses import segmentation_loss

TERMS = ("bce", "dice", "jaccard", "focal", "lovasz", "tversky", "log_dice", "log_jaccard")
CHANNELS = ("body", "border")


def slow_bce(z: float, t: float) -> float:
    p = 1 / (1 + math.exp(-z))
    return -(t * math.log(p) + (1 - t) * math.log(1 - p))


def slow_tversky(zs: list[float], ts: list[float], alpha: float, beta: float) -> float:
    ps = [1 / (1 + math.exp(-z)) for z in zs]
    if sum(ts) == 0:
        return sum(ps) / len(ps)
    tp = fp = fn = 0.0
    for p, t in zip(ps, ts, strict=True):
        tp += min(p, t)
        fp += max(p - t, 0)
        fn += max(t - p, 0)
    return 1 - tp / (tp + alpha * fp + beta * fn)


def slow_lovasz(zs: list[float], ts: list[float]) -> float:
    """By its definition: hinge errors, worst first, each times the growth of the Jaccard loss."""
    truth = {i for i, t in enumerate(ts) if t >= 0.5}
    errors = [1 - z * (1 if i in truth else -1) for i, z in enumerate(zs)]

    def jaccard_loss(wrong: set[int]) -> float:
        return len(wrong) / len(truth | wrong) if truth | wrong else 0.0

    total, wrong = 0.0, set[int]()
    for i in sorted(range(len(zs)), key=lambda i: -errors[i]):
        grown = wrong | {i}
        total += max(errors[i], 0) * (jaccard_loss(grown) - jaccard_loss(wrong))
        wrong = grown
    return total


def slow_term(name: str, zs: list[float], ts: list[float]) -> float:
    bces = [slow_bce(z, t) for z, t in zip(zs, ts, strict=True)]
    return {
        "bce": lambda: sum(bces) / len(bces),
        "focal": lambda: sum((1 - math.exp(-b)) ** 2 * b for b in bces) / len(bces),
        "dice": lambda: slow_tversky(zs, ts, 0.5, 0.5),
        "jaccard": lambda: slow_tversky(zs, ts, 1, 1),
        "tversky": lambda: slow_tversky(zs, ts, 0.3, 0.7),
        "lovasz": lambda: slow_lovasz(zs, ts),
        "log_dice": lambda: -math.log(1 - slow_tversky(zs, ts, 0.5, 0.5) + 1e-7),
        "log_jaccard": lambda: -math.log(1 - slow_tversky(zs, ts, 1, 1) + 1e-7),
    }[name]()


def slow_loss(logits: Tensor, target: Tensor, config: LossConfig) -> float:
    total = 0.0
    for name, weight in config.terms.items():
        for c, share in enumerate(config.channel_weights(CHANNELS)):
            zs, ts = logits[:, c].flatten().tolist(), target[:, c].flatten().tolist()
            total += weight * share * slow_term(name, zs, ts)
    return total


def batch(seed: int, soft: bool = False, absent: bool = False) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, (2, 2, 4, 5)).astype(np.float32))
    target = rng.random((2, 2, 4, 5))
    target = target if soft else (target < 0.3)
    if absent:
        target[:, 1] = 0
    return logits, torch.from_numpy(target.astype(np.float32))


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", TERMS)
def test_each_term_equals_its_slow_twin(name: str, soft: bool, absent: bool) -> None:
    config = LossConfig.model_validate({name: 0.7, "channels": {"border": 2.5}})
    for seed in range(5):
        logits, target = batch(seed, soft, absent)
        got = segmentation_loss(logits, target, config, CHANNELS)
        assert set(got) == {"loss", name}
        assert got["loss"].item() == pytest.approx(slow_loss(logits, target, config), rel=1e-5, abs=1e-6)
        assert got["loss"].item() == pytest.approx(0.7 * got[name].item(), rel=1e-6)


@given(st.integers(0, 10**6), st.lists(st.floats(0, 3), min_size=8, max_size=8).filter(any), st.floats(0.01, 5))
def test_weighted_sums(seed: int, weights: list[float], border: float) -> None:
    config = LossConfig.model_validate({**dict(zip(TERMS, weights, strict=True)), "channels": {"border": border}})
    logits, target = batch(seed)
    got = segmentation_loss(logits, target, config, CHANNELS)
    assert got["loss"].item() == pytest.approx(slow_loss(logits, target, config), rel=1e-4, abs=1e-5)
    assert set(got) == {"loss", *config.terms}


def test_hand_worked() -> None:
    logits = torch.zeros(1, 1, 1, 4)  # every probability is a half
    target = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    config = LossConfig(bce=1, dice=1, jaccard=1, focal=1, lovasz=1, tversky=1)
    got = segmentation_loss(logits, target, config, ["body"])
    assert got["bce"].item() == pytest.approx(math.log(2))
    assert got["focal"].item() == pytest.approx(math.log(2) / 4)
    assert got["dice"].item() == pytest.approx(1 - 2 * 1 / (2 + 2))
    assert got["jaccard"].item() == pytest.approx(1 - 1 / 3)
    assert got["tversky"].item() == pytest.approx(1 - 1 / (1 + 0.3 * 1 + 0.7 * 1))
    assert got["lovasz"].item() == pytest.approx(1.0)  # every error is 1, and all wrong is a Jaccard of 0


def test_equals_smp_where_every_channel_is_present() -> None:
    logits, target = batch(3)
    got = segmentation_loss(logits, target, LossConfig(dice=1, jaccard=1), CHANNELS)
    assert got["dice"].item() == pytest.approx(DiceLoss("multilabel")(logits, target).item(), rel=1e-6)
    assert got["jaccard"].item() == pytest.approx(JaccardLoss("multilabel")(logits, target).item(), rel=1e-6)


@pytest.mark.parametrize("name", TERMS)
def test_an_absent_channel_still_pulls_on_false_positives(name: str) -> None:
    logits, target = torch.full((2, 1, 3, 3), 2.0, requires_grad=True), torch.zeros(2, 1, 3, 3)
    segmentation_loss(logits, target, LossConfig.model_validate({name: 1}), ["body"])["loss"].backward()
    assert logits.grad is not None
    assert logits.grad.min() >= 0
    assert logits.grad.max() > 0
    silent = segmentation_loss(torch.full((2, 1, 3, 3), -50.0), target, LossConfig.model_validate({name: 1}), ["body"])
    assert silent["loss"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("fill", [0.0, 1.0, None])
@pytest.mark.parametrize("extreme", [0.0, 50.0, 1e4, 1e30])
@pytest.mark.parametrize("name", TERMS)
def test_extreme_logits_give_finite_losses_and_gradients(name: str, extreme: float, fill: float | None) -> None:
    signs, target = batch(0)
    logits = (signs.sign() * extreme).requires_grad_()
    if fill is not None:
        target = torch.full_like(target, fill)
    loss = segmentation_loss(logits, target, LossConfig.model_validate({name: 1}), CHANNELS)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", TERMS)
def test_half_precision_is_computed_in_float32(name: str) -> None:
    logits, target = batch(1)
    rounded = logits.bfloat16()
    config = LossConfig.model_validate({name: 1})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = segmentation_loss(rounded, target.to(torch.uint8), config, CHANNELS)
    assert got["loss"].dtype == torch.float32
    expected = segmentation_loss(rounded.float(), target, config, CHANNELS)
    assert torch.equal(got["loss"], expected["loss"])


def test_parts_carry_no_graph_and_the_loss_does() -> None:
    logits, target = batch(2)
    got = segmentation_loss(logits.requires_grad_(), target, LossConfig(bce=1, dice=1), CHANNELS)
    assert got["loss"].requires_grad
    assert not got["bce"].requires_grad
    assert not got["dice"].requires_grad


def test_a_channel_with_weight_zero_does_not_count() -> None:
    logits, target = batch(4)
    config = LossConfig(bce=1, lovasz=1, channels={"border": 0})
    alone = segmentation_loss(logits[:, :1], target[:, :1], LossConfig(bce=1, lovasz=1), ["body"])
    assert segmentation_loss(logits, target, config, CHANNELS)["loss"].item() == pytest.approx(alone["loss"].item())


def test_an_unknown_channel_is_an_error() -> None:
    logits, target = batch(5)
    with pytest.raises(ConfigError, match="no channel 'bodies'"):
        segmentation_loss(logits, target, LossConfig(bce=1, channels={"bodies": 1}), CHANNELS)
