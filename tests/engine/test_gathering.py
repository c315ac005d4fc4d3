from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from ranks import together
from torch import Tensor

from medalist.engine.gathering import all_gather_lists, all_gather_with_gradient

WORLD = 3
ROWS = 2
"""Of each process."""


def rows() -> Tensor:
    """Those of all processes, one after the other."""
    return torch.randn(WORLD * ROWS, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def weight() -> Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()


def pair_loss(vectors: Tensor) -> Tensor:
    """Of all pairs, so that it is no sum over the processes' own rows."""
    return (vectors @ vectors.T).tanh().sum()


def part_of(rank: int) -> slice:
    return slice(rank * ROWS, (rank + 1) * ROWS)


class Joined(Fabric):
    """A fabric that only knows how many processes there are."""

    world_size = WORLD


def work(folder: Path, rank: int) -> None:
    own, matrix = rows()[part_of(rank)].requires_grad_(), weight()
    vectors = all_gather_with_gradient(own @ matrix)
    loss = pair_loss(vectors)
    loss.backward()
    assert matrix.grad is not None and own.grad is not None
    mean = matrix.grad.clone()
    dist.all_reduce(mean)
    fabric = Joined(accelerator="cpu", devices=1)
    found: dict[str, Any] = {
        "vectors": vectors.detach(),
        "loss": loss.detach(),
        "weight": mean / WORLD,
        "own": own.grad / WORLD,
        "labels": all_gather_with_gradient(torch.tensor([10 * rank, 10 * rank + 1])),
        "columns": all_gather_with_gradient(own.detach().T).T,  # not contiguous
        "gathered": all_gather_lists([f"{rank}.{number}" for number in range(rank)], fabric),
        "nothing": all_gather_lists([], fabric),
    }
    torch.save(found, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of three processes has."""
    folder = tmp_path_factory.mktemp("processes")
    together(WORLD, folder, partial(work, folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def test_joined_rows_are_those_of_all_processes_in_order(found: list[dict[str, Any]]) -> None:
    for part in found:
        torch.testing.assert_close(part["vectors"], (rows() @ weight()).detach(), rtol=1e-12, atol=1e-12)
        assert part["labels"].tolist() == [0, 1, 10, 11, 20, 21]
        assert part["labels"].dtype == torch.int64
        assert torch.equal(part["columns"], torch.cat([rows()[part_of(rank)].T for rank in range(WORLD)]).T)


def test_the_mean_of_the_gradients_is_that_of_one_process_with_all_rows(found: list[dict[str, Any]]) -> None:
    whole, matrix = rows().requires_grad_(), weight()
    loss = pair_loss(whole @ matrix)
    loss.backward()
    assert whole.grad is not None and matrix.grad is not None
    for rank, part in enumerate(found):
        torch.testing.assert_close(part["loss"], loss.detach(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(part["weight"], matrix.grad, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(part["own"], whole.grad[part_of(rank)], rtol=1e-10, atol=1e-10)


def test_pairs_of_each_processs_own_rows_would_not_do() -> None:
    """So the comparison above can fail."""
    whole, parts = weight(), weight()
    pair_loss(rows() @ whole).backward()
    sum((pair_loss(rows()[part_of(rank)] @ parts) for rank in range(WORLD)), torch.zeros(())).backward()
    assert whole.grad is not None and parts.grad is not None
    assert not torch.allclose(whole.grad, parts.grad, atol=1e-2)


def test_values_of_all_processes_in_order_however_many_each_has(found: list[dict[str, Any]]) -> None:
    for part in found:
        assert part["gathered"] == ["1.0", "2.0", "2.1"]
        assert part["nothing"] == []


def test_one_process_keeps_what_it_has() -> None:
    own = rows()
    assert all_gather_with_gradient(own) is own
    values = ["a"]
    assert all_gather_lists(values, Fabric(accelerator="cpu", devices=1)) is values
