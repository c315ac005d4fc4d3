"""One process of a distributed training: NCCL on a GPU, gloo on a processor; nothing of it may need a second one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm as SyncedOverAll

from medalist.engine.devices import mean_over_processes
from medalist.engine.gathering import _Join
from medalist.engine.job import TrainJob
from medalist.engine.syncnorm import SyncedNorm, synchronised

Make = Callable[..., TrainJob]
Trained = Callable[[TrainJob], tuple[list[float], dict[str, Tensor]]]


@pytest.fixture
def joined(device: str) -> Iterator[Fabric]:
    """Fabric in a group of one process, wrapped as one of several is."""
    if device == "cuda" and not dist.is_nccl_available():
        pytest.skip("this torch has no NCCL")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "TORCHELASTIC_RUN_ID": "test",  # so that Fabric starts no processes
    }
    with patch.dict(os.environ, shared):
        strategy = DDPStrategy(timeout=timedelta(seconds=60))
        fabric = Fabric(accelerator=device, devices=1, strategy=strategy)
        fabric.launch()
        assert dist.get_backend() == ("nccl" if device == "cuda" else "gloo")
        yield fabric
        dist.destroy_process_group()


def as_one_of_two(model: nn.Module, device_type: str, world: int) -> nn.Module:
    """The conversion, which is left out where there is one process."""
    assert world == 1
    return synchronised(model, device_type, 2)


def test_a_wrapped_training_is_the_plain_one(
    make: Make, trained: Trained, device: str, joined: Fabric, exact: None
) -> None:
    """Wrapped for distributed training, its batch norms exchanged for those that look at all processes."""
    settings = {"optimizer": "sgd", "lr": 0.005, "accumulate": 2, "clip": 0.5}
    expected, weights = trained(make(device, "plain", **settings))
    with patch("medalist.engine.train.synchronised", as_one_of_two):
        job = make(device, "wrapped", fabric=joined, **settings)
        found, wrapped = trained(job)
    kinds = {type(part).__name__ for part in job.model.modules() if "Norm" in type(part).__name__}
    assert kinds <= ({"SyncBatchNorm", "SyncBatchNormAct"} if device == "cuda" else {"SyncedNorm"}) and kinds
    assert found == pytest.approx(expected, rel=1e-3)
    assert wrapped.keys() == weights.keys()
    for name, value in weights.items():
        most = 5e-3 if "running" in name else 5e-4
        torch.testing.assert_close(
            wrapped[name], value, rtol=0.01, atol=most, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_values_of_all_processes_come_together(device: str, joined: Fabric) -> None:
    rows = torch.arange(6.0, device=device).reshape(3, 2).requires_grad_(True)
    together: Tensor = _Join.apply(rows)
    assert torch.equal(together, rows)
    (together * torch.arange(6.0, device=device).reshape(3, 2)).sum().backward()
    assert rows.grad is not None and torch.equal(rows.grad.flatten(), torch.arange(6.0, device=device))
    assert torch.equal(mean_over_processes(rows.detach()), rows.detach())
    shares: list[list[str]] = [[]]
    dist.all_gather_object(shares, ["what", "a", "task", "counts"])
    assert shares == [["what", "a", "task", "counts"]]
    assert joined.broadcast({"fold": 3}) == {"fold": 3}
    joined.barrier()


@pytest.mark.parametrize("channels_last", [False, True])
def test_statistics_over_the_group_are_those_of_the_batch(device: str, joined: Fabric, channels_last: bool) -> None:
    """The kernels that several processes use: torch's own on a GPU, and ours on both."""
    torch.manual_seed(1)
    plain = BatchNormAct2d(6).to(device).train()
    ours = SyncedNorm(BatchNormAct2d(6)).to(device).train()
    x = (torch.randn(4, 6, 5, 7) * 3 + 1).to(device)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    first, second = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    expected, found = plain(first), ours(second)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    expected.square().sum().backward()
    found.square().sum().backward()
    assert first.grad is not None and second.grad is not None
    torch.testing.assert_close(second.grad, first.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.running_var, plain.running_var, rtol=1e-5, atol=1e-6)
    if device == "cuda":
        mean, variance = torch.zeros(6, device=device), torch.ones(6, device=device)
        weight, bias = torch.ones(6, device=device), torch.zeros(6, device=device)
        over_all = SyncedOverAll.apply(x, weight, bias, mean, variance, 1e-5, 0.1, dist.group.WORLD, 1)
        torch.testing.assert_close(over_all.relu(), expected, rtol=1e-4, atol=1e-5)
