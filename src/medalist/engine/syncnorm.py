"""Batch norms that take their statistics over the batches of all processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


def synchronised(model: nn.Module, device_type: str, world: int) -> nn.Module:
    """The network with batch norms that look at the batches of all `world` processes; names of its state stay.

    As it is for one process. On CUDA torch's own SyncBatchNorm; it runs nowhere else, so others get `SyncedNorm`.
    Parameters are the same objects as before. torch.distributed must be set up when the network is used in training.
    """
    if world == 1:
        return model
    if device_type == "cuda":
        converted: nn.Module = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    if isinstance(model, _BatchNorm):
        return SyncedNorm(model)
    made: dict[_BatchNorm, SyncedNorm] = {}
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, _BatchNorm) and not isinstance(child, SyncedNorm):
                made.setdefault(child, SyncedNorm(child))  # one that is registered twice stays one
                setattr(parent, name, made[child])
    return model


class SyncedNorm(_BatchNorm):
    """A batch norm [B, C, ...] -> the same, over the batches of all processes, which may be of different sizes.

    In place of torch's BatchNorm1d, 2d, 3d and of timm's BatchNormAct2d, whose dropout and activation it keeps.
    In prediction it is a plain one.
    """

    def __init__(self, plain: _BatchNorm) -> None:
        """Parameters, buffers and parts of `plain` are taken over, not copied."""
        super().__init__(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        for name, parameter in plain.named_parameters(recurse=False):
            setattr(self, name, parameter)
        for name, buffer in plain.named_buffers(recurse=False):
            setattr(self, name, buffer)
        for name, part in plain.named_children():
            self.add_module(name, part)
        self.training = plain.training

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch; ValueError where all processes together have less than two values for a channel."""
        if not self.training:
            mean, variance = self.running_mean, self.running_var
            out = functional.batch_norm(
                input, mean, variance, self.weight, self.bias, mean is None and variance is None, 0.0, self.eps
            )
        else:
            out, mean, variance, count = _Normalise.apply(input, self.weight, self.bias, self.eps)
            if self.track_running_stats:
                self._follow(mean, variance, int(count))
        for part in (getattr(self, "drop", None), getattr(self, "act", None)):  # those of timm's
            if part is not None:
                out = part(out)
        return out

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics; the variance is unbiased by the count over all processes, as torch has it."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - weight).add_(mean.to(self.running_mean), alpha=weight)
        unbiased = variance * (count / (count - 1))
        self.running_var.mul_(1 - weight).add_(unbiased.to(self.running_var), alpha=weight)


class _Normalise(torch.autograd.Function):
    """(out, mean[C], variance[C], values of a channel); statistics over all processes, at least in float32.

    Each process's count, means and sums of squares around them are gathered and joined (Chan, Golub and LeVeque 1979),
    in the same order everywhere, so that all processes have the same bits.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = x if x.dtype == torch.float64 else x.float()
        dims = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = x.numel() // max(1, x.shape[1])
        local = values.sum(dims) / max(1, count)
        squares = (values - local.view(shape)).square().sum(dims)
        mine = torch.cat([values.new_tensor([count]), local, squares])
        everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, mine)
        stacked = torch.stack(everyone)
        counts, (means, sums) = stacked[:, :1], stacked[:, 1:].chunk(2, dim=1)
        total = counts.sum()
        if total < 2:
            raise ValueError(f"one value for each channel has no variance: the batch is {list(x.shape)} in training")
        mean = (counts * means).sum(0) / total
        variance = (sums + counts * (means - mean).square()).sum(0) / total
        inverse = torch.rsqrt(variance + eps)
        ctx.save_for_backward(x, weight, mean, inverse, total)
        out = (values - mean.view(shape)) * inverse.view(shape)
        if weight is not None and bias is not None:
            out = out * weight.view(shape) + bias.view(shape)
        ctx.mark_non_differentiable(mean, variance, total)
        return out.to(x.dtype), mean, variance, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, inverse, total = ctx.saved_tensors
        dims = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        grad = grads[0].to(mean.dtype)
        normal = (x.to(mean.dtype) - mean.view(shape)) * inverse.view(shape)
        by_bias, by_weight = grad.sum(dims), (grad * normal).sum(dims)
        joined = torch.cat([by_bias, by_weight])
        dist.all_reduce(joined)  # the statistics belong to the losses of all processes
        on_mean, on_scale = (part.view(shape) / total for part in joined.chunk(2))
        scale = inverse if weight is None else inverse * weight
        by_x = (grad - on_mean - normal * on_scale) * scale.view(shape)
        if weight is None:
            return by_x.to(x.dtype), None, None, None
        return by_x.to(x.dtype), by_weight.to(weight.dtype), by_bias.to(weight.dtype), None
