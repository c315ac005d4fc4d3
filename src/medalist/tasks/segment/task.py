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
from medalist.engine.task import StatelessLoss
from medalist.records import MapPrediction
from medalist.tasks.own import OwnLoss
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.losses import segmentation_loss

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class SegmentTask(StatelessLoss):
    """The loss and validation of segmentation for the training loop, and the step from outputs to predictions."""

    def __init__(self, loss: LossConfig | OwnLoss, channels: Sequence[str]):
        """`channels` are the network's output channels, in order."""
        self.channels = tuple(channels)
        self._loss = loss

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Return the scalar `loss` to minimise and its named parts. outputs: logits float32[B, C, h, w]."""
        if isinstance(self._loss, OwnLoss):
            return {"loss": self._loss(outputs, _maps(batch).float())}
        return segmentation_loss(outputs, _maps(batch), self._loss, self.channels)

    def validate(self, seen: Iterator[tuple[Tensor, Batch]], fabric: Fabric) -> dict[str, float]:
        """Return `val_loss` and its parts as means over samples, and `dice_<channel>` over all pixels of all samples.

        The Dice of a channel is 1 where neither answers nor targets have any pixel of it. The loss is computed for each
        sample alone and without the padding, because losses over whole batches, such as Dice, depend on how samples are
        batched. The means are made from exact sums, so they are the same to the last bit for any number of processes.
        """
        parts: tuple[str, ...] = ()
        figures: list[Tensor] = []
        for outputs, whole in seen:
            for number, batch in enumerate(whole.singles()):
                logits = batch.paddings[0].undo(outputs[number : number + 1])
                losses = self.loss(logits, batch)
                parts = tuple(losses)
                overlap, both = _overlap(logits, batch)
                # The figures stay on a device that has float64 until the last batch, so that no batch waits for a copy.
                own = with_float64(torch.stack(list(losses.values()))).double()
                figures.append(torch.cat([own, overlap, both]))
        rows: list[list[float]] = all_gather_lists(torch.stack(figures).tolist() if figures else [], fabric)
        parts = next(names for names in all_gather_lists([parts], fabric) if names)  # a process may have had no batch
        columns = list(zip(*rows, strict=True))
        means = {
            "val_loss" if name == "loss" else f"val_loss_{name}": fsum(column) / len(rows)
            for name, column in zip(parts, columns, strict=False)
        }
        counts = [fsum(column) for column in columns[len(parts) :]]
        overlaps, boths = counts[: len(self.channels)], counts[len(self.channels) :]
        return means | {
            f"dice_{name}": 2 * overlap / both if both else 1.0
            for name, overlap, both in zip(self.channels, overlaps, boths, strict=True)
        }

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return float32 probabilities of the same shape as the logits `outputs`."""
        return outputs.float().sigmoid()

    def predict(self, probabilities: Tensor, batch: Batch) -> list[MapPrediction]:
        """Remove the padding, round to 8 bits, and return one MapPrediction at native size for each sample."""
        maps = (probabilities * 255).round().to(torch.uint8).cpu().numpy()
        return [
            MapPrediction(np.ascontiguousarray(padding.undo(image)), self.channels)
            for image, padding in zip(maps, batch.paddings, strict=True)
        ]


def _overlap(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return for each channel, in pixels, the overlap of answer and target and the sum of their sizes."""
    target = with_float64(_maps(batch))
    answer = with_float64((outputs > 0).float())
    over_all, wide = (0, 2, 3), torch.float64  # float32 cannot count beyond 16.8 million pixels
    overlap = (answer * target).sum(dim=over_all, dtype=wide)
    return overlap, answer.sum(dim=over_all, dtype=wide) + target.sum(dim=over_all, dtype=wide)


def _maps(batch: Batch) -> Tensor:
    assert isinstance(batch.target, MapTargets)
    return batch.target.maps
