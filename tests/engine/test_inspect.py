"""Planted faults are named; nothing that is looked at is changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medalist.engine.inspect import anatomy, counted, idleness, own_copy, set_training

Make = Callable[..., Any]


def first(job: Any, count: int = 1) -> list[Any]:
    job.train.batch_sampler.epoch = 0
    made = [raw.to(job.fabric.device, job.config.channels_last) for raw in job.train]
    return made[:count]


class Stages(nn.Module):
    """An encoder of two stages under a wrapper, a list of decoder blocks, a head."""

    def __init__(self) -> None:
        super().__init__()
        stages = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.Conv2d(4, 5, 1), nn.ReLU()))
        self.encoder = nn.Sequential(stages)
        self.decoder = nn.ModuleList([nn.Conv2d(5, 6, 1), nn.Conv2d(6, 6, 1)])
        self.head = nn.Conv2d(6, 2, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        maps = self.encoder(image)
        for block in self.decoder:
            maps = block(maps)
        logits: Tensor = self.head(maps) * self.scale
        return logits


def test_parts_of_a_hand_worked_network(make: Make) -> None:
    job = make(model=Stages(), channels_last=False)
    job.model.head.weight.requires_grad_(False)
    seen = anatomy(job, first(job)[0])
    rows = {part.name: (part.depth, part.shapes, part.parameters, part.trainable, part.flops) for part in seen.parts}
    pixels = 2 * 16 * 16
    assert rows == {
        "encoder": (0, ((2, 5, 16, 16),), 112 + 25, 137, 2 * pixels * (27 * 4 + 4 * 5)),
        "encoder.0.0": (1, ((2, 4, 16, 16),), 112, 112, 2 * pixels * 27 * 4),
        "encoder.0.1.0": (1, ((2, 5, 16, 16),), 25, 25, 2 * pixels * 4 * 5),
        "decoder": (0, (), 36 + 42, 78, 2 * pixels * (5 * 6 + 6 * 6)),
        "decoder.0": (1, ((2, 6, 16, 16),), 36, 36, 2 * pixels * 5 * 6),
        "decoder.1": (1, ((2, 6, 16, 16),), 42, 42, 2 * pixels * 6 * 6),
        "head": (0, ((2, 2, 16, 16),), 12, 0, 2 * pixels * 6 * 2),
    }
    assert seen.parameters == sum(value.numel() for value in job.model.parameters()) == 137 + 78 + 12 + 1
    assert seen.trainable == seen.parameters - 12
    assert seen.flops == sum(row[4] for row in rows.values() if row[0] == 0)
    assert (seen.image, seen.output) == ((2, 3, 16, 16), ((2, 2, 16, 16),))


def test_shared_parameters_count_once() -> None:
    both = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    both["b"].weight = both["a"].weight
    assert counted(both) == (9 + 3 + 3, 15)


def test_a_planted_dead_channel_is_found_and_no_other(make: Make, network: Any) -> None:
    model = network(dropout=0.0)
    with torch.no_grad():
        model.encoder[1].bias[2] = -1e4
    job = make(model=model)
    found = idleness(job, first(job, 3))
    assert [(layer.layer, layer.channels, layer.dead) for layer in found.activations] == [("encoder.2", 6, (2,))]
    assert found.activations[0].share == pytest.approx(1 / 6)
    assert [(layer.layer, layer.dead) for layer in found.norms] == [("encoder.1", ())]
    assert found.samples == 6


def test_a_channel_that_lives_on_one_batch_alone_is_not_dead(make: Make) -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.calls = nn.Conv2d(3, 2, 1), nn.ReLU(), 0

        def forward(self, image: Tensor) -> Tensor:
            self.calls += 1
            shift = torch.tensor([1e3, 1e3 if self.calls == 2 else -1e3]).view(1, 2, 1, 1)
            logits: Tensor = self.act(self.conv(image) + shift)
            return logits

    job = make(model=Late())
    batches = first(job, 3)
    assert idleness(job, batches[:1]).activations[0].dead == (1,)
    assert idleness(job, batches).activations[0].dead == ()


def test_an_activation_called_twice_is_counted_by_call(make: Make) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 2, 1), nn.ReLU6()

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = self.act(-self.act(self.conv(image).abs()))
            return logits

    job = make(model=Twice())
    found = idleness(job, first(job))
    assert [(layer.layer, layer.dead) for layer in found.activations] == [("act", ()), ("act (call 2)", (0, 1))]


def test_a_constant_channel_before_a_batch_norm_is_found(make: Make, network: Any) -> None:
    model = network()
    with torch.no_grad():
        model.encoder[0].weight[4] = 0
    job = make(model=model)
    assert [layer.dead for layer in idleness(job, first(job, 2)).norms] == [(4,)]


def test_nothing_is_changed(make: Make, network: Any) -> None:
    job = make(model=network())
    before = copy.deepcopy(job.model.state_dict())
    batches = first(job, 2)
    anatomy(job, batches[0])
    idleness(job, batches)
    after = job.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in job.model.modules())


def test_network_and_loss_are_copied_together(make: Make) -> None:
    job = make()
    job.task.criterion = job.model.decoder
    own = own_copy(job)
    assert own.task.criterion is own.model.decoder is not job.model.decoder


def test_a_frozen_part_stays_in_evaluation(network: Any) -> None:
    model = network()
    model.encoder.requires_grad_(False)
    set_training(model)
    assert (model.encoder.training, model.decoder.training) == (False, True)
