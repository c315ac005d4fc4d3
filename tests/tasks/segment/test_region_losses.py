"""The boundary loss, and the logarithms of overlaps, against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medalist.tasks.segment.channels import Activation
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.losses import segmentation_loss
from medalist.tasks.segment.region_losses import signed_distance

from .test_softmax_and_void import NAMES, batch


def plain_distance(target: NDArray[np.bool_], judged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The slow twin: look for the nearest judged pixel of the other side."""
    found = np.zeros(target.shape)
    for row, column in np.argwhere(judged):
        other = np.argwhere(judged & (target != target[row, column]))
        if len(other):
            nearest = np.sqrt(((other - (row, column)) ** 2).sum(axis=1).min())
            found[row, column] = 1 - nearest if target[row, column] else nearest
    return found


@given(
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9).flatmap(
        lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape))
    )
)
def test_the_signed_distance_is_to_the_nearest_pixel_of_the_other_side(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> None:
    target, judged = pair
    np.testing.assert_allclose(signed_distance(target, judged), plain_distance(target, judged), atol=1e-4)
    everywhere = np.ones_like(judged)
    np.testing.assert_allclose(signed_distance(target), plain_distance(target, everywhere), atol=1e-4)


def test_the_signed_distance_by_hand() -> None:
    target = np.array([[0, 0, 1, 1, 1, 0]], np.bool_)
    assert signed_distance(target).tolist() == [[2, 1, 0, -1, 0, 1]]


@pytest.mark.parametrize("void", [0.0, 0.4])
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_the_boundary_loss_is_the_mean_of_probability_times_distance(activation: Activation, void: float) -> None:
    config = LossConfig(boundary=1, channels={"car": 2.5, "sky": 0.3})
    for seed in range(4):
        logits, target, judged = batch(seed, void=void)
        got = segmentation_loss(logits, target, config, NAMES, judged if void else None, activation)["loss"]
        scores = (logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)).numpy()
        known = judged[:, 0].numpy() > 0
        twin = 0.0
        for channel, weight in enumerate((1.0, 2.5, 0.3)):
            each = [
                (scores[n, channel] * plain_distance(target[n, channel].numpy() > 0.5, known[n]))[known[n]]
                for n in range(2)
            ]
            twin += weight / 3.8 * float(np.concatenate(each).mean())
        assert got.item() == pytest.approx(twin, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["dice", "jaccard"])
def test_the_logarithm_of_an_overlap_is_steep_where_nothing_is_found(name: str) -> None:
    """A target that is missed altogether has a finite loss, and a gradient."""
    logits = torch.full((1, 1, 4, 4), -30.0, requires_grad=True)
    target = torch.zeros(1, 1, 4, 4)
    target[..., :2] = 1
    loss = segmentation_loss(logits, target, LossConfig.model_validate({f"log_{name}": 1}), ["body"])["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-7), rel=1e-3)
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and (logits.grad[..., :2] < 0).all()
    perfect = segmentation_loss(60 * target - 30, target, LossConfig.model_validate({f"log_{name}": 1}), ["body"])
    assert perfect["loss"].item() == pytest.approx(0, abs=1e-6)
