"""Planted values that are not finite are found where they were planted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medalist.data.targets import MapTargets
from medalist.engine.nan_hunt import hunt, in_words, is_finite

Make = Callable[..., Any]


def first(job: Any, count: int = 2) -> list[Any]:
    job.train.batch_sampler.epoch = 0
    return [raw.to(job.fabric.device, job.config.channels_last) for raw in job.train][:count]


class Break(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, maps: Tensor) -> Tensor:
        broken = maps.clone()
        broken[0, 0, 0, 0] = self.value
        return broken


class SquareRoot(nn.Module):
    """Finite forward, and an infinite gradient at 0."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.sqrt(maps * 0)


class Block(nn.Module):
    """What breaks is an operation between its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(6, 6, 1), nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.after(torch.log(-self.before(maps).abs() - 1))
        return out


def planted(network: Any, part: nn.Module, at: int = 2) -> nn.Module:
    """The network with something put in behind its encoder's batch norm."""
    model: nn.Module = network(dropout=0.0)
    layers = list(model.encoder)  # type: ignore[arg-type]
    model.encoder = nn.Sequential(*layers[:at], part, *layers[at:])
    return model


def test_a_sound_network_has_no_culprit(make: Make, network: Any) -> None:
    job = make(model=network())
    before = copy.deepcopy(job.model.state_dict())
    found = hunt(job, first(job))
    assert (found.batches, found.samples, found.culprit) == (2, 4, None)
    assert all(torch.equal(before[name], value) for name, value in job.model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in job.model.modules())


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "inf"), (-float("inf"), "-inf")])
def test_a_module_in_the_middle_is_named(make: Make, network: Any, value: float, word: str) -> None:
    job = make(model=planted(network, Break(value)))
    culprit = hunt(job, first(job)).culprit
    assert culprit is not None
    assert (culprit.where, culprit.name, culprit.kind, culprit.value) == ("forward", "encoder.2", "Break", word)
    assert culprit.samples == tuple(job.names[index] for index in first(job)[0].indices)


def test_an_operation_between_modules_is_blamed_on_the_module_around_it(make: Make, network: Any) -> None:
    culprit = hunt(job := make(model=planted(network, Block())), first(job)).culprit
    assert culprit is not None and (culprit.where, culprit.name, culprit.kind) == ("forward", "encoder.2", "Block")


def test_a_gradient_is_blamed_on_the_module_that_passes_it_back(make: Make, network: Any) -> None:
    job = make(model=planted(network, SquareRoot()))
    culprit = hunt(job, first(job)).culprit
    assert culprit is not None
    assert (culprit.where, culprit.name, culprit.kind) == ("gradient", "encoder.2", "SquareRoot")


def test_a_gradient_between_modules_arrives_at_the_one_before(make: Make) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.tail = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1)

        def forward(self, image: Tensor) -> Tensor:
            out: Tensor = self.tail(torch.sqrt(self.stem(image) * 0))
            return out

    job = make(model=Bare())
    culprit = hunt(job, first(job)).culprit
    assert culprit is not None and (culprit.where, culprit.name) == ("arriving", "stem")


def test_input_weights_and_running_statistics(make: Make, network: Any) -> None:
    job = make(model=network())
    one, two = first(job)
    two.image[1, 0, 3, 3] = torch.nan
    culprit = hunt(job, [one, two]).culprit
    assert culprit is not None
    assert (culprit.where, culprit.batch, culprit.samples) == ("image", 1, (job.names[two.indices[1]],))
    maps = one.target.maps.clone()
    maps[0] = torch.inf
    culprit = hunt(job, [replace(one, target=MapTargets(maps))]).culprit
    assert culprit is not None and (culprit.where, culprit.samples) == ("target", (job.names[one.indices[0]],))

    with torch.no_grad():
        job.model.encoder[0].bias[1] = torch.nan
    culprit = hunt(job, [one]).culprit
    assert culprit is not None and (culprit.where, culprit.name) == ("weights", "encoder.0.bias")

    job = make(model=network())
    job.model.encoder[1].running_var.fill_(-1.0)
    culprit = hunt(job, [one]).culprit
    assert culprit is not None and (culprit.where, culprit.name) == ("evaluation", "encoder.1")


class Loss:
    """A loss that is not finite, or whose gradient is not."""

    def __init__(self, finite: bool) -> None:
        self.finite = finite

    def begin_epoch(self, epoch: int) -> None:
        pass

    def loss(self, outputs: Tensor, batch: Any) -> Mapping[str, Tensor]:
        bad = torch.sqrt((outputs * 0).sum())
        bad = bad if self.finite else bad / 0
        return {"loss": outputs.mean() + bad, "odd": bad.detach()}


@pytest.mark.parametrize(("finite", "expected"), [(False, ("loss", "odd")), (True, ("gradient", ""))])
def test_the_loss_is_named(make: Make, network: Any, finite: bool, expected: tuple[str, str]) -> None:
    job = make(model=network(), task=Loss(finite))
    culprit = hunt(job, first(job)).culprit
    assert culprit is not None and (culprit.where, culprit.name) == expected


def test_large_values_are_finite_though_their_sum_is_not() -> None:
    assert is_finite(torch.full((4,), 3e38)) and is_finite(torch.zeros(0)) and is_finite(torch.tensor([2**62] * 4))
    assert not is_finite(torch.tensor([1.0, torch.inf, -torch.inf]))
    assert in_words(torch.tensor([torch.inf, torch.nan])) == "nan"
