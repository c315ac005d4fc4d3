"""Batch norms that compute their statistics over the batches of all processes."""

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
    """Return the network with batch norms that use the batches of all `world` processes. The names of its state stay.

    With one process the network is returned unchanged. On CUDA the norms are torch's own SyncBatchNorm, which runs on
    no other device; elsewhere they are `SyncedNorm`. Parameters are the same objects as before. torch.distributed must
    be initialised before the network is used in training.
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
                made.setdefault(child, SyncedNorm(child))  # a norm that is registered twice stays one object
                setattr(parent, name, made[child])
    return model


class SyncedNorm(_BatchNorm):
    """A batch norm [B, C, ...] -> [B, C, ...] over the batches of all processes, which may have different sizes.

    It replaces torch's BatchNorm1d, 2d and 3d, and timm's BatchNormAct2d, whose dropout and activation it keeps. In
    evaluation mode it is a plain batch norm.
    """

    def __init__(self, plain: _BatchNorm) -> None:
        """Make the norm with the parameters, buffers and children of `plain`, which are shared and not copied."""
        super().__init__(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        for name, parameter in plain.named_parameters(recurse=False):
            setattr(self, name, parameter)
        for name, buffer in plain.named_buffers(recurse=False):
            setattr(self, name, buffer)
        for name, part in plain.named_children():
            self.add_module(name, part)
        self.training = plain.training

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch. Raises ValueError where all processes together have fewer than two values per channel."""
        if not self.training:
            mean, variance = self.running_mean, self.running_var
            out = functional.batch_norm(
                input, mean, variance, self.weight, self.bias, mean is None and variance is None, 0.0, self.eps
            )
        else:
            out, mean, variance, count = _Normalise.apply(input, self.weight, self.bias, self.eps)
            if self.track_running_stats:
                self._follow(mean, variance, int(count))
        for part in (getattr(self, "drop", None), getattr(self, "act", None)):  # only timm's norms have these
            if part is not None:
                out = part(out)
        return out

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics. The variance is unbiased, with the count of all processes, as in torch."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - weight).add_(mean.to(self.running_mean), alpha=weight)
        unbiased = variance * (count / (count - 1))
        self.running_var.mul_(1 - weight).add_(unbiased.to(self.running_var), alpha=weight)


class _Normalise(torch.autograd.Function):
    """Returns (out, mean[C], variance[C], values per channel). Statistics cover all processes, in float32 or float64.

    The count, the means, and the sums of squared differences from the means of each process are gathered and joined
    (Chan, Golub and LeVeque 1979). Every process joins them in the same order, so all processes get the same bits.
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
        dist.all_reduce(joined)  # the statistics take part in the losses of all processes
        on_mean, on_scale = (part.view(shape) / total for part in joined.chunk(2))
        scale = inverse if weight is None else inverse * weight
        by_x = (grad - on_mean - normal * on_scale) * scale.view(shape)
        if weight is None:
            return by_x.to(x.dtype), None, None, None
        return by_x.to(x.dtype), by_weight.to(weight.dtype), by_bias.to(weight.dtype), None
