"""Hard pixels, heavy pixels and numbers against loops."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from medalist.tasks.segment.channels import Activation
from medalist.tasks.segment.loss_settings import LossConfig, OhemConfig
from medalist.tasks.segment.losses import segmentation_loss
from medalist.tasks.segment.pixel_losses import Pixels, hardest

from .test_softmax_and_void import NAMES, batch, rows, softmax

CHANNELS = ("body", "distance", "offset_x")


def hard(losses: list[float], share: float, least: int) -> list[int]:
    """The slow twin: the places of the highest losses, and of those that are equal to the lowest of them."""
    wanted = math.ceil(float(share * torch.tensor(float(len(losses)))))  # rounded to float32, as there
    count = min(len(losses), max(wanted, least))
    lowest = sorted(losses, reverse=True)[count - 1]
    return [place for place, loss in enumerate(losses) if loss >= lowest]


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=30),
    st.floats(0.01, 1),
    st.integers(1, 40),
)
def test_the_hardest_pixels_are_kept(losses: list[float], share: float, least: int) -> None:
    kept = hardest(torch.tensor(losses)[None, None], Pixels(), OhemConfig(share=share, min_pixels=least))
    assert kept.flatten().nonzero().flatten().tolist() == hard(losses, share, least)


@pytest.mark.parametrize("void", [0.0, 0.4])
@pytest.mark.parametrize(("name", "activation"), [("bce", "sigmoid"), ("focal", "sigmoid"), ("ce", "softmax")])
def test_ohem_is_the_mean_of_the_hardest_judged_pixels(name: str, activation: Activation, void: float) -> None:
    config = LossConfig.model_validate({name: 1, "ohem": {"share": 0.3, "min_pixels": 5}})
    weights = {"car": 2.5, "sky": 0.3} if activation == "softmax" else {}
    config = config.model_copy(update={"channels": weights})
    for seed in range(5):
        logits, target, judged = batch(seed, void=void)
        got = segmentation_loss(logits, target, config, NAMES, judged if void else None, activation)["loss"]
        zs, ts = rows(logits, judged), rows(target, judged)
        if activation == "softmax":
            losses = [-math.log(softmax(z)[t.index(1)]) for z, t in zip(zs, ts, strict=True)]
            heavy = [(1.0, 2.5, 0.3)[t.index(1)] for t in ts]
            kept = hard(losses, 0.3, 5)
            twin = sum(losses[n] * heavy[n] for n in kept) / sum(heavy[n] for n in kept)
        else:
            twin = 0.0
            for channel in range(3):
                each = [one_loss(name, z[channel], t[channel]) for z, t in zip(zs, ts, strict=True)]
                kept = hard(each, 0.3, 5)
                twin += sum(each[n] for n in kept) / len(kept) / 3
        assert got.item() == pytest.approx(twin, rel=1e-5)


def one_loss(name: str, z: float, t: float) -> float:
    bce = math.log1p(math.exp(-z)) if t else math.log1p(math.exp(z))
    return bce if name == "bce" else (1 - math.exp(-bce)) ** 2 * bce


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_ohem_of_a_batch_of_void_alone_is_0(activation: Activation) -> None:
    name = "bce" if activation == "sigmoid" else "ce"
    logits, target, judged = batch(0)
    leaf = logits.requires_grad_()
    config = LossConfig.model_validate({name: 1, "ohem": {}})
    loss = segmentation_loss(leaf, target, config, NAMES, judged * 0, activation)["loss"]
    loss.backward()
    assert loss == 0 and leaf.grad is not None and leaf.grad.eq(0).all()


def test_pixels_that_are_not_hard_have_no_gradient() -> None:
    logits, target, judged = batch(1)
    leaf = logits.requires_grad_()
    config = LossConfig(ce=1, ohem=OhemConfig(share=0.2, min_pixels=1))
    segmentation_loss(leaf, target, config, NAMES, judged, "softmax")["loss"].backward()
    assert leaf.grad is not None
    moved = leaf.grad.ne(0).any(dim=1).sum().item()
    assert moved == math.ceil(0.2 * judged.sum().item())


@pytest.mark.parametrize("void", [0.0, 0.4])
@pytest.mark.parametrize("name", ["bce", "focal"])
def test_pixels_between_objects_count_more(name: str, void: float) -> None:
    logits, target, judged = batch(2, void=void)
    near = torch.rand(2, 1, 4, 5)
    config = LossConfig.model_validate({name: 1, "border_weight": 7.0})
    given_judged = judged if void else None
    got = segmentation_loss(logits, target, config, NAMES, given_judged, near=near)["loss"].item()
    zs, ts, heavy = rows(logits, judged), rows(target, judged), rows(near, judged)
    twin = sum(
        (1 + 7 * heavy[place][0]) * one_loss(name, zs[place][channel], ts[place][channel])
        for channel in range(3)
        for place in range(len(zs))
    ) / (3 * len(zs))
    assert got == pytest.approx(twin, rel=1e-5)
    unweighed = LossConfig.model_validate({name: 1, "border_weight": 0.0})
    plain = segmentation_loss(logits, target, unweighed, NAMES, given_judged)["loss"].item()
    assert segmentation_loss(logits, target, unweighed, NAMES, given_judged, near=near)["loss"].item() == pytest.approx(
        plain, rel=1e-6
    )


def number_batch(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, (2, 3, 4, 5)).astype(np.float32))
    target = torch.from_numpy(rng.random((2, 3, 4, 5)).astype(np.float32))
    target[:, 0] = (target[:, 0] > 0.5).float()
    target[:, 2] *= target[:, 0]  # an offset is 0 where no object is
    return logits, target, torch.from_numpy(rng.random((2, 1, 4, 5)) > 0.3).float()


@pytest.mark.parametrize("error", ["l1", "l2"])
def test_numbers_are_compared_and_offsets_only_inside_of_objects(error: Literal["l1", "l2"]) -> None:
    config = LossConfig(bce=1, dice=1, regression=2, regression_error=error, channels={"offset_x": 3.0})
    for seed in range(4):
        logits, target, judged = number_batch(seed)
        got = segmentation_loss(logits, target, config, CHANNELS, judged)
        zs, ts = rows(logits, judged), rows(target, judged)
        power = 1 if error == "l1" else 2
        errors = [
            [abs(1 / (1 + math.exp(-z)) - t) ** power for z, t in zip(*pair, strict=True)]
            for pair in zip(zs, ts, strict=True)
        ]
        distance = sum(row[1] for row in errors) / len(errors)
        inside = [row[2] for row, truth in zip(errors, ts, strict=True) if truth[2] > 0]
        twin = (distance + 3 * sum(inside) / len(inside)) / 4
        assert got["regression"].item() == pytest.approx(twin, rel=1e-5)
        body = segmentation_loss(logits[:, :1], target[:, :1], LossConfig(bce=1, dice=1), ("body",), judged)
        assert got["bce"].item() == pytest.approx(body["bce"].item(), rel=1e-6)
        assert got["loss"].item() == pytest.approx(body["loss"].item() + 2 * twin, rel=1e-5)


def test_an_image_without_objects_has_no_offsets_to_learn() -> None:
    logits, target, _ = number_batch(0)
    target[:, 2] = 0
    leaf = logits.requires_grad_()
    config = LossConfig(regression=1, channels={"distance": 0.0})
    loss = segmentation_loss(leaf, target, config, CHANNELS)["loss"]
    loss.backward()
    assert loss == 0 and leaf.grad is not None and leaf.grad.eq(0).all()
