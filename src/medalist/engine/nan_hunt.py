"""Find the origin of the first value that is not finite: the input, a module of the network, or the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medalist.data.loader import Batch
from medalist.engine.inspect import hooked, outputs_of, own_copy, tensors_in
from medalist.engine.job import TrainJob

Site = Literal["image", "target", "weights", "forward", "loss", "gradient", "arriving", "evaluation"]


@dataclass(frozen=True)
class Culprit:
    """The place of the first value that is not finite.

    where: one of these places. `image` or `target`: the batch. `weights`: the weights, before anything is computed.
    `forward`: the output of a module whose inputs were finite. `loss`: the loss, though the outputs were finite.
    `gradient`: the gradient of a module's inputs or of a parameter, the first in the order of the backward pass; where
    the name is empty, the gradient of the loss. `arriving`: the gradient of a module's output, made by an operation
    after the module that is no module itself. `evaluation`: the output of a module in evaluation mode (with running
    statistics), though training mode was finite.
    name: the name of the module, parameter or part of the loss; empty for the whole network. kind: the class of the
    module. value: `nan`, `inf` or `-inf`. batch: the number of the batch, from 0. samples: the ids of the whole batch,
    or of the bad samples alone where these are known.
    """

    where: Site
    name: str
    kind: str
    value: str
    batch: int
    samples: tuple[str, ...]


@dataclass(frozen=True)
class Hunt:
    """How many batches and samples were checked, and the first culprit; None where all values were finite."""

    batches: int
    samples: int
    culprit: Culprit | None


def hunt(job: TrainJob, batches: Sequence[Batch]) -> Hunt:
    """Run forward and backward of each batch without steps, then forward in evaluation mode; stop at the first culprit.

    An operation that is no module, for instance a division in the forward of a block, is reported as the innermost
    module around it.
    """
    samples = sum(len(batch.indices) for batch in batches)
    own = own_copy(job)
    found = _bad_weights(own)
    for number, batch in enumerate(batches):
        found = found or _look(own, batch, number)
    own.model.eval()
    for number, batch in enumerate(batches):
        if found:
            break
        trail = _Trail(own.model)
        with trail.watched(), torch.no_grad():
            outputs_of(own, batch)
        if trail.forward:
            found = _culprit(own, batch, number, "evaluation", *trail.forward)
    return Hunt(len(batches), samples, found)


def _look(job: TrainJob, batch: Batch, number: int) -> Culprit | None:
    """Return the first culprit in one batch, its forward pass or its backward pass."""
    found = _bad_input(job, batch, number)
    if found:
        return found
    trail = _Trail(job.model)
    job.model.zero_grad(set_to_none=True)
    blamed: tuple[Site, str, str, str] | None = None
    with trail.watched():
        outputs = outputs_of(job, batch)
        losses = job.task.loss(outputs, batch) if trail.forward is None else {}  # modules of the loss are watched too
        bad = [name for name, value in losses.items() if not is_finite(value)]
        trail.forwards = False  # gradient checkpointing runs modules again, and their outputs are checked already
        if trail.forward is None and not bad:
            # Without a scale, small gradients become zero in fp16. A power of two changes nothing else.
            loss = losses["loss"] * (1024.0 if job.config.precision == "16-mixed" else 1.0)
            learned = [value for value in tensors_in(outputs) if value.requires_grad]  # shapes of anchors do not learn
            arriving = torch.autograd.grad(loss, learned, retain_graph=True, allow_unused=True)
            blamed = trail.backward  # a module of the loss, if any
            unfit = [value for value in arriving if value is not None and not is_finite(value)]
            if unfit and (blamed is None or blamed[0] == "arriving"):
                blamed = "gradient", "", "loss", in_words(unfit[0])
            if blamed is None:
                loss.backward()  # type: ignore[no-untyped-call]
                blamed = trail.backward
    if trail.forward is not None:
        return _culprit(job, batch, number, "forward", *trail.forward)
    if bad:
        part = next((name for name in bad if name != "loss"), "")
        return _culprit(job, batch, number, "loss", part, "", in_words(losses[part or "loss"]))
    return _bad_gradient(job, batch, number, blamed)


def _bad_input(job: TrainJob, batch: Batch, number: int) -> Culprit | None:
    targets = () if batch.target is None else batch.target.tensors().values()
    sides: tuple[tuple[Site, Tensor], ...] = (("image", batch.image), *(("target", values) for values in targets))
    for where, values in sides:
        if values is not None and not is_finite(values):
            bad = [index for index, row in zip(batch.indices, values, strict=True) if not is_finite(row)]
            return Culprit(where, "", "", in_words(values), number, tuple(job.names[index] for index in bad))
    return None


def _bad_gradient(
    job: TrainJob, batch: Batch, number: int, blamed: tuple[Site, str, str, str] | None
) -> Culprit | None:
    if blamed is not None:
        return _culprit(job, batch, number, *blamed)
    for name, value in reversed(list(job.model.named_parameters())):
        if value.grad is not None and not is_finite(value.grad):
            return _culprit(job, batch, number, "gradient", name, "parameter", in_words(value.grad))
    return None


def _bad_weights(job: TrainJob) -> Culprit | None:
    state = [*job.model.named_parameters(), *job.model.named_buffers()]
    bad = next(((name, value) for name, value in state if not is_finite(value)), None)
    if bad is None:
        return None
    return Culprit("weights", bad[0], "", in_words(bad[1]), 0, ())


def _culprit(job: TrainJob, batch: Batch, number: int, where: Site, name: str, kind: str, value: str) -> Culprit:
    return Culprit(where, name, kind, value, number, tuple(job.names[index] for index in batch.indices))


class _Trail:
    """The first bad module that hooks find: `forward` is (name, class, value), and `backward` starts with its Site."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.forwards = True
        self.forward: tuple[str, str, str] | None = None
        self.backward: tuple[Site, str, str, str] | None = None
        self._names = {module: name for name, module in model.named_modules()}
        self._entered: list[bool] = []

    def watched(self) -> Any:
        """Keep hooks on every module while a `with` block runs."""
        handles = [module.register_forward_pre_hook(self._before, with_kwargs=True) for module in self._names]
        handles += [module.register_forward_hook(self._after) for module in self._names]
        return hooked(handles)

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        if not self.forwards:
            return None
        self._entered.append(all(is_finite(tensor) for tensor in tensors_in((args, kwargs))))
        if not torch.is_grad_enabled():
            return None
        return tuple(self._passed(module, value) for value in args), kwargs

    def _passed(self, module: nn.Module, value: Any) -> Any:
        """Return the input as a view of its own, because the view's gradient is that of this module alone."""
        if not (isinstance(value, Tensor) and value.requires_grad and value.is_floating_point()):
            return value
        own = value.view_as(value)
        own.register_hook(lambda gradient: self._blame(module, gradient, "gradient"))  # type: ignore[no-untyped-call]
        return own

    def _after(self, module: nn.Module, args: Any, outputs: Any) -> None:
        if not self.forwards:
            return
        finite = self._entered.pop()
        found = next((tensor for tensor in tensors_in(outputs) if not is_finite(tensor)), None)
        if found is not None and finite and self.forward is None:
            self.forward = self._names[module], type(module).__name__, in_words(found)
        for tensor in tensors_in(outputs):
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: self._blame(module, gradient, "arriving"))  # type: ignore[no-untyped-call]

    def _blame(self, module: nn.Module, gradient: Tensor, where: Site) -> None:
        if self.backward is None and not is_finite(gradient):
            self.backward = where, self._names[module], type(module).__name__, in_words(gradient)


def is_finite(values: Tensor) -> bool:
    """Whether all values are finite; integers always are.

    A finite sum proves that all terms are finite, and a sum is several times as fast as a check of each value. Large
    terms can make a sum infinite too, so each value is checked where the sum is not finite.
    """
    values = values.detach()
    if not values.is_floating_point():
        return True
    return bool(values.sum(dtype=torch.float32).isfinite()) or bool(torch.isfinite(values).all())


def in_words(values: Tensor) -> str:
    """Return the worst value that occurs: `nan`, then `inf`, then `-inf`."""
    if bool(torch.isnan(values).any()):
        return "nan"
    return "inf" if bool(torch.isposinf(values).any()) else "-inf"
