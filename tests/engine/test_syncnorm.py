from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import together
from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn

from medalist.engine.syncnorm import SyncedNorm, synchronised
from medalist.models.recompute import recompute

WORLD = 2
Results = dict[str, Tensor]


class Net(nn.Module):
    """Plain batch norms and timm's, one of them used twice and one with a running mean of all batches."""

    def __init__(self) -> None:
        super().__init__()
        act = BatchNormAct2d(4, act_layer=nn.LeakyReLU)
        self.encoder = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3), act), nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        )
        self.again = self.encoder[1][1]
        self.head = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, momentum=None), nn.Tanh())
        self.last = nn.BatchNorm1d(5, affine=False)

    def forward(self, image: Tensor) -> Tensor:
        pooled = self.again(self.encoder(image).square()).mean((2, 3))
        out: Tensor = self.last(self.head(pooled))
        return out


def built() -> Net:
    torch.manual_seed(1)
    model = Net().double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    return model


def images(number: int) -> Tensor:
    """Seven images of a step, which the processes share unevenly."""
    return torch.randn(7, 3, 6, 5, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


def part_of(rank: int, world: int) -> slice:
    return slice(0, 7) if world == 1 else (slice(0, 5), slice(5, 7))[rank]


def train(model: Net, rank: int, world: int) -> Results:
    """Two steps; the loss of each process is its share of the mean over all seven images, times `world`.

    Averaged gradients, as DDP makes them, are then those of the whole batch.
    """
    results: Results = {}
    for number in range(2):
        model.zero_grad()
        image = images(number)[part_of(rank, world)].requires_grad_()
        out = model(image)
        weights = torch.linspace(-1, 2, 5, dtype=torch.float64)
        ((out - 0.3) * weights).tanh().sum().mul(world / 7).backward()
        assert image.grad is not None
        results |= {f"out{number}": out.detach(), f"image{number}": image.grad / world}
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            if world > 1:
                dist.all_reduce(parameter.grad)
                parameter.grad /= world
            parameter.data -= 0.1 * parameter.grad
            results[f"grad{number}.{name}"] = parameter.grad.clone()
    with torch.no_grad():
        results["again"] = model(images(5)[part_of(rank, world)])
    results |= {f"state.{name}": value.clone() for name, value in model.state_dict().items()}
    results["eval"] = model.eval()(images(9)).detach()
    return results


def work(folder: Path, rank: int) -> None:
    torch.save(train(converted(), rank, WORLD), folder / f"plain-{rank}.pt")
    model = converted()
    recompute(model)
    torch.save(train(model, rank, WORLD), folder / f"recomputed-{rank}.pt")
    norm = SyncedNorm(nn.BatchNorm1d(3))
    found = norm(torch.arange(3.0).view(1, 3) * (rank + 1))  # one value on each process
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = SyncedNorm(nn.BatchNorm1d(3))(torch.randn(4, 3).bfloat16())
    torch.save({"single": found.detach(), "half": half.detach()}, folder / f"other-{rank}.pt")


def converted() -> Net:
    model = synchronised(built(), "cpu", WORLD)
    assert isinstance(model, Net)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left what they computed."""
    found = tmp_path_factory.mktemp("processes")
    together(WORLD, found, partial(work, found))
    return found


def results(folder: Path, kind: str) -> list[Results]:
    return [torch.load(folder / f"{kind}-{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("kind", ["plain", "recomputed"])
def test_two_processes_are_as_one_with_the_joined_batch(folder: Path, kind: str) -> None:
    one, many = train(built(), 0, 1), results(folder, kind)
    assert many[0].keys() == many[1].keys() == one.keys()
    for name, expected in one.items():
        shared = name not in ("out0", "out1", "image0", "image1", "again")
        if shared:
            assert torch.equal(many[0][name], many[1][name]), f"{name} is the same on both, to the last bit"
        found = many[0][name] if shared else torch.cat([part[name] for part in many])
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def test_the_statistics_of_one_process_alone_would_not_do(folder: Path) -> None:
    """So the comparison above can fail."""
    alone = built()
    out = alone(images(0)[part_of(0, WORLD)])
    assert not torch.allclose(out, results(folder, "plain")[0]["out0"], atol=1e-3)


def test_one_value_on_each_process_is_enough(folder: Path) -> None:
    low, high = (part["single"][0] for part in results(folder, "other"))
    torch.testing.assert_close(low, torch.tensor([0.0, -1, -1]), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(high, torch.tensor([0.0, 1, 1]), rtol=1e-3, atol=1e-3)
    assert results(folder, "other")[0]["half"].dtype == torch.bfloat16


def test_one_process_keeps_its_network() -> None:
    model = built()
    assert synchronised(model, "cpu", 1) is model
    assert not any(isinstance(part, SyncedNorm) for part in model.modules())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_names_parameters_and_modes_stay(device: str) -> None:
    plain, model = built(), built()
    parameters = {name: id(value) for name, value in model.named_parameters()}
    model.head.eval()
    made = synchronised(model, device, WORLD)
    assert {name: id(value) for name, value in made.named_parameters()} == parameters
    assert made.state_dict().keys() == plain.state_dict().keys()
    made.load_state_dict(plain.state_dict())
    assert not made.get_submodule("head.1").training and made.get_submodule("last").training
    assert made.get_submodule("head.1").momentum is None
    kinds = {type(part) for part in made.modules() if "BatchNorm" in type(part).__name__ or type(part) is SyncedNorm}
    assert kinds == ({SyncedNorm} if device == "cpu" else {nn.SyncBatchNorm, SyncBatchNormAct})


def test_prediction_is_that_of_the_plain_network() -> None:
    plain, model = built(), converted()
    with torch.no_grad():
        for value in plain.state_dict().values():
            value.copy_(value.abs() + 1)
    model.load_state_dict(plain.state_dict())
    assert torch.equal(model.eval()(images(0)), plain.eval()(images(0)))
    assert model.again is model.encoder[1][1], "a norm that is used twice stays one"


def test_a_norm_by_itself() -> None:
    assert isinstance(synchronised(nn.BatchNorm2d(3), "cpu", WORLD), SyncedNorm)
