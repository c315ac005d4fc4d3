"""Segmentation: the loss, figures of what is held out, and predictions at native size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from medalist.data.devices import with_float64
from medalist.data.loader import Batch
from medalist.data.targets import MapTargets
from medalist.engine.gathering import all_gather_lists
from medalist.engine.task import StatelessLoss
from medalist.records import MapPrediction
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.losses import segmentation_loss


class SegmentTask(StatelessLoss):
    """What the loop needs to know of segmentation, and how outputs become predictions."""

    def __init__(self, loss: LossConfig, channels: Sequence[str]):
        """`channels` are the network's output channels, in order."""
        self.channels = tuple(channels)
        self._loss = loss

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """The scalar `loss` to minimise, and its named parts, from logits float32[B, C, h, w]."""
        return segmentation_loss(outputs, _maps(batch), self._loss, self.channels)

    def validate(self, seen: Iterator[tuple[Tensor, Batch]], fabric: Fabric) -> dict[str, float]:
        """`val_loss` and its parts as means over samples, and Dice of each channel over all their pixels (1 if empty).

        The loss of each sample is its own, without the padding: losses over whole batches, such as Dice, would depend
        on how samples are batched. Means do not depend on how samples are shared by processes, to the last bit: they
        are of exact sums.
        """
        parts: tuple[str, ...] = ()
        figures: list[Tensor] = []
        for outputs, whole in seen:
            for number, batch in enumerate(whole.singles()):
                logits = batch.paddings[0].undo(outputs[number : number + 1])
                losses = self.loss(logits, batch)
                parts = tuple(losses)
                overlap, both = _overlap(logits, batch)
                # Kept on the device, where that has float64: nothing waits for it before the last batch.
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
        """Logits -> float32 probabilities of the same shape."""
        return outputs.float().sigmoid()

    def predict(self, probabilities: Tensor, batch: Batch) -> list[MapPrediction]:
        """Undo the padding and round to 8 bits: one MapPrediction at native size for each sample of the batch."""
        maps = (probabilities * 255).round().to(torch.uint8).cpu().numpy()
        return [
            MapPrediction(np.ascontiguousarray(padding.undo(image)), self.channels)
            for image, padding in zip(maps, batch.paddings, strict=True)
        ]


def _overlap(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """For each channel the overlap of answer and target, and the sum of both sides, in pixels."""
    target = with_float64(_maps(batch))
    answer = with_float64((outputs > 0).float())
    over_all, wide = (0, 2, 3), torch.float64  # float32 cannot count beyond 16.8 million pixels
    overlap = (answer * target).sum(dim=over_all, dtype=wide)
    return overlap, answer.sum(dim=over_all, dtype=wide) + target.sum(dim=over_all, dtype=wide)


def _maps(batch: Batch) -> Tensor:
    assert isinstance(batch.target, MapTargets)
    return batch.target.maps
