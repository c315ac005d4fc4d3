"""Segmentation: the loss, the validation figures of held-out samples, and predictions at native size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medalist.data.devices import with_float64
from medalist.data.loader import Batch
from medalist.data.targets import MapTargets
from medalist.engine.gathering import all_gather_lists
from medalist.errors import TrainingError
from medalist.records import MapPrediction
from medalist.tasks.own import OwnLoss
from medalist.tasks.segment.channels import Activation, is_regression
from medalist.tasks.segment.head_losses import loss_of_heads
from medalist.tasks.segment.loss_settings import LossConfig, StagedLossConfig
from medalist.tasks.segment.losses import segmentation_loss, without_void
from medalist.tasks.segment.outputs import SegmentOutputs, heads_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Outputs = Tensor | SegmentOutputs
"""What a network returns: logits float32[B, C, h, w], or those of all its heads."""


class SegmentTask:
    """The loss and validation of segmentation for the training loop, and the step from outputs to predictions."""

    def __init__(
        self,
        loss: LossConfig | StagedLossConfig | OwnLoss,
        channels: Sequence[str],
        activation: Activation = "sigmoid",
        outputs: Sequence[str] = (),
    ):
        """`channels` are those of the network's maps, in order; `outputs` all predicted ones, where there are more."""
        self.channels = tuple(channels)
        self.outputs = tuple(outputs) or self.channels
        self.activation: Activation = activation
        self._loss = loss
        self._stage = 0

    def begin_epoch(self, epoch: int) -> None:
        """Take the loss of an epoch, counted from 0."""
        self._stage = self._loss.stage_in(epoch) if isinstance(self._loss, StagedLossConfig) else 0

    def memory(self) -> dict[str, Tensor]:
        """Return the stage where the loss has some, and else nothing."""
        return {"stage": torch.tensor(self._stage)} if isinstance(self._loss, StagedLossConfig) else {}

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Restore what `memory` returned. Raises LookupError where it comes from another loss."""
        if isinstance(self._loss, StagedLossConfig):
            self._stage = int(memory["stage"])

    def loss(self, outputs: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """Return the scalar `loss` to minimise and its named parts. outputs: logits float32[B, C, h, w].

        A loss of the contest's folder gets logits of SURELY_NOT and targets of 0 at void pixels.
        """
        loss = self._loss.stages[self._stage] if isinstance(self._loss, StagedLossConfig) else self._loss
        heads = heads_of(outputs)
        targets = _targets(batch)
        if isinstance(loss, OwnLoss):
            return {"loss": loss(without_void(heads.maps, targets.judged), targets.maps.float())}

        def of_maps(logits: Tensor) -> Mapping[str, Tensor]:
            near, judged = targets.near, targets.judged
            return segmentation_loss(logits, targets.maps, loss, self.channels, judged, self.activation, near)

        return loss_of_heads(heads, targets, loss, of_maps)

    def validate(self, seen: Iterator[tuple[Outputs, Batch]], fabric: Fabric) -> dict[str, float]:
        """Return `val_loss` and its parts as means over samples, and `dice_<channel>` over all pixels of all samples.

        Under softmax, `dice_mean` is the mean over all channels. The loss is that of the last stage, so that the best
        epoch is chosen by one measure. The Dice of a channel is 1 where neither answers nor targets have any pixel of
        it. The loss is computed for each sample alone and without the padding, because losses over whole batches, such
        as Dice, depend on how samples are batched. The means are made from exact sums, so they are the same to the last
        bit for any number of processes. Void pixels count nowhere, nor do samples whose every pixel is void. Raises
        TrainingError where no sample counts.
        """
        stage, self._stage = self._stage, -1
        parts: tuple[str, ...] = ()
        figures: list[Tensor] = []
        for outputs, whole in seen:
            for number, batch in enumerate(whole.singles()):
                judged = _targets(batch).judged
                if judged is not None and not judged.any():
                    continue
                heads = heads_of(outputs).single(number, batch.paddings[0])
                losses = self.loss(heads.maps if isinstance(outputs, Tensor) else heads, batch)
                parts = tuple(losses)
                overlap, both = self._overlap(heads.maps, batch)
                # The figures stay on a device that has float64 until the last batch, so that no batch waits for a copy.
                own = with_float64(torch.stack(list(losses.values()))).double()
                figures.append(torch.cat([own, overlap, both]))
        self._stage = stage
        rows: list[list[float]] = all_gather_lists(torch.stack(figures).tolist() if figures else [], fabric)
        if not rows:
            raise TrainingError("every pixel of all held-out samples is void, so nothing is judged; take other folds")
        parts = next(names for names in all_gather_lists([parts], fabric) if names)  # a process may have had no batch
        columns = list(zip(*rows, strict=True))
        means = {
            "val_loss" if name == "loss" else f"val_loss_{name}": fsum(column) / len(rows)
            for name, column in zip(parts, columns, strict=False)
        }
        counts = [fsum(column) for column in columns[len(parts) :]]
        overlaps, boths = counts[: len(self.channels)], counts[len(self.channels) :]
        dice = {
            f"dice_{name}": 2 * overlap / both if both else 1.0
            for name, overlap, both in zip(self.channels, overlaps, boths, strict=True)
            if not is_regression(name)
        }
        mean = {"dice_mean": fsum(dice.values()) / len(dice)} if self.activation == "softmax" else {}
        return means | mean | dice

    def probabilities(self, outputs: Outputs) -> Tensor:
        """Return float32 probabilities of the logits' shape; for presence, one more plane of one value a channel."""
        heads = heads_of(outputs)
        logits = heads.maps.float()
        maps = logits.softmax(dim=1) if self.activation == "softmax" else logits.sigmoid()
        if heads.presence is None:
            return maps
        planes = heads.presence.float().sigmoid()[:, :, None, None].expand(-1, -1, *maps.shape[-2:])
        return torch.cat([maps, planes], dim=1)

    def predict(self, probabilities: Tensor, batch: Batch) -> list[MapPrediction]:
        """Remove the padding, round to 8 bits, and return one MapPrediction at native size for each sample."""
        maps = (probabilities * 255).round().to(torch.uint8).cpu().numpy()
        return [
            MapPrediction(np.ascontiguousarray(padding.undo(image)), self.outputs)
            for image, padding in zip(maps, batch.paddings, strict=True)
        ]

    def _overlap(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return for each channel, in pixels, the overlap of answer and target and the sum of their sizes."""
        targets = _targets(batch)
        target, answer = with_float64(targets.maps), with_float64(self._answer(outputs))
        if targets.judged is not None:
            answer = answer * with_float64(targets.judged)
        over_all, wide = (0, 2, 3), torch.float64  # float32 cannot count beyond 16.8 million pixels
        overlap = (answer * target).sum(dim=over_all, dtype=wide)
        return overlap, answer.sum(dim=over_all, dtype=wide) + target.sum(dim=over_all, dtype=wide)

    def _answer(self, outputs: Tensor) -> Tensor:
        """Return maps of 0 and 1: the channels above 0.5 or, under softmax, the channel with the highest logit."""
        if self.activation == "sigmoid":
            return (outputs > 0).float()
        return torch.zeros_like(outputs, dtype=torch.float32).scatter_(1, outputs.argmax(dim=1, keepdim=True), 1.0)


def _targets(batch: Batch) -> MapTargets:
    assert isinstance(batch.target, MapTargets)
    return batch.target
