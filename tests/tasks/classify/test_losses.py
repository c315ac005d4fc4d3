"""Losses against formulas worked by hand, against torch's own, and against what they must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.nn import functional

from medalist.errors import ConfigError
from medalist.tasks.classify.loss_settings import LossConfig
from medalist.tasks.classify.losses import LabelLoss, as_predictions, class_totals, class_weights, outputs_of

CLASSES = ("ant", "bee", "cat")
EVEN = (5, 5, 5)


def config(text: dict[str, object]) -> LossConfig:
    found: LossConfig = TypeAdapter(LossConfig).validate_python(text)
    return found


def loss(text: dict[str, object], counts: tuple[int, ...] = EVEN) -> LabelLoss:
    return LabelLoss(config(text), CLASSES, counts)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


OUTPUTS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 0.0, 0.0]])
ONE = torch.tensor([0, 2])
SEVERAL = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])


def test_cross_entropy_by_hand() -> None:
    z = math.exp(2) + math.exp(0.5) + math.exp(-1)
    expected = [-(2 - math.log(z)), math.log(3)]
    assert loss({"kind": "cross_entropy"})(OUTPUTS, ONE).tolist() == pytest.approx(expected, rel=1e-5)


def test_smoothing_spreads_its_share_over_all_classes() -> None:
    log_p = functional.log_softmax(OUTPUTS, dim=1)
    target = torch.tensor([[0.8 + 0.2 / 3, 0.2 / 3, 0.2 / 3], [0.2 / 3, 0.2 / 3, 0.8 + 0.2 / 3]])
    expected = -(target * log_p).sum(dim=1)
    found = loss({"kind": "cross_entropy", "smoothing": 0.2})(OUTPUTS, ONE)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_smoothed_bce_by_hand() -> None:
    found = loss({"kind": "bce", "smoothing": 0.2})(torch.tensor([[logit(0.9), logit(0.2), 0.0]]), SEVERAL[:1])
    terms = [
        -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)),
        -(0.1 * math.log(0.2) + 0.9 * math.log(0.8)),
        math.log(2),
    ]
    assert found.tolist() == pytest.approx([sum(terms) / 3], rel=1e-5)


@pytest.mark.parametrize(("values", "plain"), [(ONE, "cross_entropy"), (SEVERAL, "bce")])
def test_focal_without_focus_is_the_plain_loss(values: torch.Tensor, plain: str) -> None:
    found = loss({"kind": "focal", "gamma": 0.0})(OUTPUTS, values)
    assert found.tolist() == pytest.approx(loss({"kind": plain})(OUTPUTS, values).tolist(), rel=1e-5)


def test_focal_by_hand() -> None:
    p = OUTPUTS.softmax(dim=1)[0, 0].item()
    found = loss({"kind": "focal", "gamma": 2.0})(OUTPUTS[:1], ONE[:1])
    assert found.tolist() == pytest.approx([-((1 - p) ** 2) * math.log(p)], rel=1e-5)
    found = loss({"kind": "focal", "gamma": 2.0})(torch.tensor([[logit(0.9), logit(0.2), 0.0]]), SEVERAL[:1])
    terms = [0.1**2 * -math.log(0.9), 0.2**2 * -math.log(0.8), 0.5**2 * math.log(2)]
    assert found.tolist() == pytest.approx([sum(terms) / 3], rel=1e-5)


def test_asymmetric_by_hand() -> None:
    """p = 0.9 and 0.6 of classes that are there, 0.2 of one that is not, and 0.04, below the clip."""
    text = {"kind": "asymmetric", "negative": 4.0, "positive": 1.0, "clip": 0.05}
    outputs = torch.tensor([[logit(0.9), logit(0.2), logit(0.6)]])
    terms = [0.1 * -math.log(0.9), 0.15**4 * -math.log(0.85), 0.4 * -math.log(0.6)]
    assert loss(text)(outputs, SEVERAL[:1]).tolist() == pytest.approx([sum(terms) / 3], rel=1e-4)
    easy = torch.full((1, 3), logit(0.04))
    assert loss(text)(easy, torch.zeros(1, 3)).tolist() == [0.0]


def test_asymmetric_without_focus_is_bce() -> None:
    text = {"kind": "asymmetric", "negative": 0.0, "positive": 0.0, "clip": 0.0}
    expected = loss({"kind": "bce"})(OUTPUTS, SEVERAL)
    assert loss(text)(OUTPUTS, SEVERAL).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_no_gradient_goes_through_the_focusing_of_the_asymmetric_loss() -> None:
    outputs = torch.tensor([[logit(0.9), logit(0.2), logit(0.6)]], requires_grad=True)
    text = {"kind": "asymmetric", "negative": 0.0, "positive": 1.0, "clip": 0.0}
    loss(text)(outputs, SEVERAL[:1]).sum().backward()
    assert outputs.grad is not None
    # d/dx of -(1-p) log p with (1-p) held is -(1-p)², over 3 classes; of -log(1-p) it is p.
    expected = [-(0.1**2) / 3, 0.2 / 3, -(0.4**2) / 3]
    assert outputs.grad[0].tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("error", "expected"), [("squared", [4.0, 0.25]), ("smooth_l1", [1.5, 0.125])])
def test_regression_by_hand(error: str, expected: list[float]) -> None:
    found = loss({"kind": "regression", "error": error})(torch.tensor([[2.0], [1.5]]), torch.tensor([0, 2]))
    assert found.tolist() == pytest.approx(expected)


def test_coral_by_hand() -> None:
    """Grade 1 of 0..2: the first step is reached, the second is not."""
    found = loss({"kind": "coral"})(torch.tensor([[logit(0.7), logit(0.4)]]), torch.tensor([1]))
    assert found.tolist() == pytest.approx([(-math.log(0.7) - math.log(0.6)) / 2], rel=1e-5)


@pytest.mark.parametrize(
    "text", [{"kind": "cross_entropy"}, {"kind": "focal"}, {"kind": "regression"}, {"kind": "coral"}]
)
def test_class_weights_count_for_samples_of_a_class(text: dict[str, object]) -> None:
    outputs = torch.randn(2, outputs_of(config(text), 3), generator=torch.Generator().manual_seed(1))
    plain = loss(text)(outputs, ONE)
    weighted = loss({**text, "class_weights": {"cat": 3.0}})(outputs, ONE)
    # Mean weight over 5, 5, 5 samples is (1 + 1 + 3) / 3.
    assert (weighted / plain).tolist() == pytest.approx([3 / 5, 9 / 5], rel=1e-4)


def test_class_weights_count_for_positives_alone_where_there_are_several_labels() -> None:
    outputs = torch.tensor([[1.0, 1.0, 1.0]])
    weighted = loss({"kind": "bce", "class_weights": {"ant": 4.0, "bee": 1.0, "cat": 1.0}})
    assert weighted(outputs, torch.zeros(1, 3)).tolist() == loss({"kind": "bce"})(outputs, torch.zeros(1, 3)).tolist()
    there = torch.tensor([[1.0, 0.0, 0.0]])
    sides = functional.binary_cross_entropy_with_logits(outputs, there, reduction="none")[0]
    assert weighted(outputs, there).tolist() == pytest.approx([(2 * sides[0] + sides[1] + sides[2]).item() / 3])


def test_balanced_weights_undo_the_counts() -> None:
    found = class_weights("balanced", CLASSES, (1, 3, 6))
    assert (found * [1, 3, 6]).tolist() == pytest.approx([10 / 3] * 3)


def test_effective_weights_as_published() -> None:
    counts = np.array([10, 1000, 100_000])
    plain = (1 - 0.999) / (1 - 0.999**counts)
    found = class_weights("effective", CLASSES, counts.tolist())
    assert (found / found[0]).tolist() == pytest.approx((plain / plain[0]).tolist())


@given(st.lists(st.integers(0, 10_000), min_size=3, max_size=3), st.sampled_from(["none", "balanced", "effective"]))
def test_weights_have_mean_one_over_the_samples(counts: list[int], kind: str) -> None:
    found = class_weights(kind, CLASSES, counts)  # type: ignore[arg-type]
    sizes = np.maximum(counts, 1)
    assert np.isfinite(found).all() and (found * sizes).sum() / sizes.sum() == pytest.approx(1)


def test_weights_of_unknown_classes_and_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss\.class_weights: there is no class 'cow'; there are: ant, bee, cat"):
        class_weights({"cow": 2.0}, CLASSES, EVEN)
    with pytest.raises(ConfigError, match="all classes with samples have weight 0"):
        class_weights({"ant": 0.0, "bee": 0.0, "cat": 0.0}, CLASSES, EVEN)


def test_predictions_are_probabilities_or_grades() -> None:
    one = as_predictions(config({"kind": "cross_entropy"}), False, OUTPUTS)
    assert one.sum(dim=1).tolist() == pytest.approx([1, 1])
    multi_label = as_predictions(config({"kind": "bce"}), True, OUTPUTS)
    assert multi_label[1].tolist() == [0.5, 0.5, 0.5]
    assert as_predictions(config({"kind": "regression"}), False, torch.tensor([[2.5]])).tolist() == [[2.5]]
    steps = torch.tensor([[logit(0.9), logit(0.3)]])
    assert as_predictions(config({"kind": "coral"}), False, steps)[0].tolist() == pytest.approx([1.2])


def test_targets_are_counted_by_class() -> None:
    assert class_totals([np.array(0), np.array(2), np.array(2)], 3) == [1, 0, 2]
    assert class_totals([np.float32([1, 0, 1]), np.float32([0, 0, 0])], 3) == [1, 0, 1]


@pytest.mark.parametrize("values", [torch.tensor([0, 1]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_gradients_of_sure_samples_are_finite(values: torch.Tensor, gamma: float) -> None:
    outputs = torch.tensor([[40.0, -80.0], [-80.0, 40.0]], requires_grad=True)
    found = LabelLoss(config({"kind": "focal", "gamma": gamma}), ("ant", "bee"), (1, 1))(outputs, values)
    found.mean().backward()
    assert outputs.grad is not None and torch.isfinite(outputs.grad).all() and torch.isfinite(found).all()
