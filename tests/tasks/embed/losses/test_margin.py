"""The margin softmax against pytorch-metric-learning's and against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning import losses
from torch import Tensor
from torch.nn import functional

from medalist.tasks.embed.losses.margin import MarginSoftmax, margins_by_size
from medalist.tasks.embed.losses.settings import MarginTerm

CLASSES, DIM = 5, 4


def some(seed: int, rows: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    embeddings = functional.normalize(torch.randn(rows, DIM, generator=random))
    return embeddings.requires_grad_(), torch.randint(0, CLASSES, (rows,), generator=random)


@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["arcface", "cosface", "sub-centres"]),
    margin=st.floats(0, 1.5),
    scale=st.floats(1, 64),
)
def test_like_the_library(seed: int, kind: str, margin: float, scale: float) -> None:
    prototypes = 3 if kind == "sub-centres" else 1
    term = MarginTerm(
        kind="cosface" if kind == "cosface" else "arcface", margin=margin, scale=scale, prototypes=prototypes
    )
    ours = MarginSoftmax(term, DIM, [1] * CLASSES)
    given_as = {"num_classes": CLASSES, "embedding_size": DIM, "scale": scale}
    match kind:
        case "arcface":
            theirs = losses.ArcFaceLoss(margin=math.degrees(margin), **given_as)
        case "cosface":
            theirs = losses.CosFaceLoss(margin=margin, **given_as)
        case _:
            theirs = losses.SubCenterArcFaceLoss(margin=math.degrees(margin), sub_centers=prototypes, **given_as)
    theirs.W.data = ours.weight.data.T.clone()
    embeddings, labels = some(seed, 12)
    mine, expected = ours(embeddings, labels), theirs(embeddings, labels)
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)
    (at_rows, at_centres), (rows, weight) = (
        torch.autograd.grad(mine, [embeddings, ours.weight]),
        torch.autograd.grad(expected, [embeddings, theirs.W]),
    )
    # The library normalises the rows once more: only what lies along the sphere is the same.
    along = at_rows - (at_rows * embeddings).sum(dim=1, keepdim=True) * embeddings
    torch.testing.assert_close(along, rows, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(at_centres, weight.T, rtol=1e-3, atol=1e-3)


def loss_at(angle: float, term: MarginTerm, sizes: tuple[int, int] = (1, 1), label: int = 0) -> float:
    """The loss of one unit vector at an angle to the first centre, with the second at a right angle to that."""
    module = MarginSoftmax(term, 2, sizes)
    module.weight.data = torch.eye(2).repeat_interleave(term.prototypes, dim=0)
    row = torch.tensor([[math.cos(angle), math.sin(angle)]])
    return float(module(row, torch.tensor([label])).detach())


def test_arcface_by_hand() -> None:
    term = MarginTerm(kind="arcface", margin=0.5, scale=8)
    angle = math.pi / 3
    right, wrong = 8 * math.cos(angle + 0.5), 8 * math.sin(angle)
    assert loss_at(angle, term) == pytest.approx(math.log1p(math.exp(wrong - right)), rel=1e-5)
    right, wrong = 8 * math.cos(0.5), 0.0
    assert loss_at(0.0, term) == pytest.approx(math.log1p(math.exp(wrong - right)), rel=1e-3)


def test_beyond_pi_by_hand() -> None:
    term = MarginTerm(kind="arcface", margin=0.5, scale=2)
    angle = math.pi - 0.3
    right, wrong = 2 * (math.cos(angle) - 0.5 * math.sin(0.5)), 2 * math.sin(angle)
    assert loss_at(angle, term) == pytest.approx(math.log1p(math.exp(wrong - right)), rel=1e-5)


def test_cosface_by_hand() -> None:
    term = MarginTerm(kind="cosface", margin=0.35, scale=10)
    assert loss_at(0.0, term) == pytest.approx(math.log1p(math.exp(-6.5)), rel=1e-4)


def test_smoothing_by_hand() -> None:
    term = MarginTerm(kind="cosface", margin=0.5, scale=2, smoothing=0.2)
    logs = np.log(np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum())
    assert loss_at(0.0, term) == pytest.approx(-(0.9 * logs[0] + 0.1 * logs[1]), rel=1e-5)


@pytest.mark.parametrize("kind", ["arcface", "cosface"])
def test_a_larger_angle_to_the_own_centre_never_gives_more(kind: str) -> None:
    module = MarginSoftmax(MarginTerm.model_validate({"kind": kind, "margin": 1.2}), 2, [1, 1])
    angles = torch.linspace(0, math.pi, 500)
    values = module._with_margin(angles.cos(), torch.tensor(1.2))
    assert (values.diff() <= 1e-6).all() and (values <= angles.cos() + 1e-6).all()


@pytest.mark.parametrize("kind", ["arcface", "cosface"])
def test_gradients_are_finite_at_the_centre_and_opposite(kind: str) -> None:
    module = MarginSoftmax(MarginTerm.model_validate({"kind": kind, "margin": 0.5, "scale": 64}), DIM, [3] * CLASSES)
    unit = functional.normalize(module.weight.detach())
    near = functional.normalize(unit + 1e-5 * torch.randn(CLASSES, DIM))
    rows = torch.cat([unit, -unit, near, -near]).requires_grad_()
    module(functional.normalize(rows), torch.arange(CLASSES).repeat(4)).backward()
    assert rows.grad is not None and module.weight.grad is not None
    assert rows.grad.isfinite().all() and module.weight.grad.isfinite().all()
    assert rows.grad.norm(dim=1).max() <= 64 * 4  # scale * |difference of two unit vectors| at most, and rounding


def test_gradients_are_finite_where_the_cosine_is_exactly_1() -> None:
    module = MarginSoftmax(MarginTerm(kind="arcface", margin=0.5), 2, [1, 1])
    module.weight.data = torch.eye(2)
    rows = torch.cat([torch.eye(2), -torch.eye(2)]).requires_grad_()
    module(rows, torch.tensor([0, 1, 0, 1])).backward()
    assert rows.grad is not None and module.weight.grad is not None
    assert rows.grad.isfinite().all() and module.weight.grad.isfinite().all()


def test_margins_by_power_and_by_log_by_hand() -> None:
    power = MarginTerm(kind="arcface", margin=0.45, least=0.05, by_size="power", power=0.5)
    # 1, 1/2 and 1/4 of an inverse root: the middle one is a third of the way from the least
    assert margins_by_size(power, [1, 4, 16]).tolist() == pytest.approx([0.45, 0.05 + 0.4 / 3, 0.05])
    log = power.model_copy(update={"by_size": "log"})
    assert margins_by_size(log, [100, 1, 10]).tolist() == pytest.approx([0.05, 0.45, 0.25])


def test_classes_of_one_size_get_the_margin() -> None:
    for by_size in ("none", "power", "log"):
        term = MarginTerm.model_validate({"kind": "arcface", "margin": 0.4, "by_size": by_size})
        assert margins_by_size(term, [7, 7]).tolist() == pytest.approx([0.4, 0.4])
    assert margins_by_size(MarginTerm(kind="arcface", margin=0.4), [1, 9]).tolist() == pytest.approx([0.4, 0.4])


def test_each_sample_has_its_own_class_margin() -> None:
    term = MarginTerm(kind="cosface", margin=0.5, least=0.1, by_size="log", scale=1)
    rare = loss_at(math.pi / 4, term, sizes=(1, 50), label=0)
    common = loss_at(math.pi / 4, term, sizes=(1, 50), label=1)
    assert rare == pytest.approx(math.log1p(math.exp(0.5)), rel=1e-5)
    assert common == pytest.approx(math.log1p(math.exp(0.1)), rel=1e-5)


def test_a_class_without_samples_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="class 1 has no samples"):
        margins_by_size(MarginTerm(kind="arcface"), [3, 0])


def test_prototypes_are_unit_rows_from_torchs_generator_class_after_class() -> None:
    def made(seed: int) -> MarginSoftmax:
        torch.manual_seed(seed)
        return MarginSoftmax(MarginTerm(kind="arcface", prototypes=2), DIM, [1, 1, 1])

    first, second = made(1), made(1)
    assert torch.equal(first.weight, second.weight) and not torch.equal(first.weight, made(2).weight)
    first.weight.data *= 3
    rows, classes = first.prototypes()
    assert classes.tolist() == [0, 0, 1, 1, 2, 2] and not rows.requires_grad and rows.dtype == torch.float32
    torch.testing.assert_close(rows, second.weight.detach())
    assert list(first.state_dict()) == ["weight"]
