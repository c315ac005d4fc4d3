"""Gather values and tensors of several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Value = TypeVar("Value")


def all_gather_lists(values: list[Value], fabric: Fabric) -> list[Value]:
    """Return the values of all processes, in the order of their ranks."""
    if fabric.world_size == 1:
        return values
    shares: list[list[Value]] = [[] for _ in range(fabric.world_size)]
    dist.all_gather_object(shares, values)
    return [value for share in shares for value in share]


def all_gather_with_gradient(rows: Tensor) -> Tensor:
    """Join the rows [n, ...] of all processes in the order of their ranks, so that gradients flow back to each process.

    All processes must have the same number of rows. A loss of the joined rows is the same in each process, and its
    gradients from all processes are added here. So with N processes a gradient is N times too large. Distributed
    training then takes the mean over the processes, and the result is right.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    joined_rows: Tensor = _Join.apply(rows)
    return joined_rows


class _Join(torch.autograd.Function):
    """Joins the rows of all processes. A row's gradient is the sum of its gradients from all processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
