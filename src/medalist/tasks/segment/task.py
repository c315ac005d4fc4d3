"""Segmentation: targets from masks and instances, the loss, and predictions at native size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum
from typing import assert_never

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from medalist.data.loader import Batch
from medalist.engine.gathering import all_gather_lists
from medalist.errors import ConfigError
from medalist.records import Answer, Instances, MapPrediction, Mask, Ranking
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.losses import segmentation_loss
from medalist.tasks.settings import SegmentConfig

INSTANCE_CHANNELS = ("body", "border")


class SegmentTask:
    """What the loop needs to know of segmentation: `targets`, `loss`, `predict`, and a quick `measure`."""

    def __init__(self, config: SegmentConfig, loss: LossConfig, channels: Sequence[str]):
        """`channels` are the network's output channels, in order."""
        self.config = config
        self.channels = tuple(channels)
        self._loss = loss

    def targets(self, truth: Answer) -> NDArray[np.uint8]:
        """The target uint8[H, W, C] of 0 and 1, one channel for each of the network's.

        Instances give `body` (any object) and `border` (between touching objects); a mask with one channel gives its
        foreground, with C channels its classes 1..C. Raises ConfigError for channels that this truth cannot give.
        """
        match truth:
            case Instances(labels=labels):
                made = {"body": labels > 0, "border": touching_border(labels, self.config.border)}
                unknown = [name for name in self.channels if name not in made]
                if unknown:
                    raise ConfigError(
                        f"model.channels: instances give {', '.join(INSTANCE_CHANNELS)}, not {', '.join(unknown)}"
                    )
                planes = [made[name] for name in self.channels]
            case Mask(classes=classes) if len(self.channels) == 1:
                planes = [classes > 0]
            case Mask(classes=classes):
                if classes.max(initial=0) > len(self.channels):
                    raise ConfigError(
                        f"model.channels names {len(self.channels)} classes ({', '.join(self.channels)}), but a mask "
                        f"has class {classes.max()}; name one channel for each class 1..{classes.max()}"
                    )
                planes = [classes == number for number in range(1, len(self.channels) + 1)]
            case Ranking():
                raise ConfigError("task.kind = segment, but the contest asks for identities; begin with base: embed")
            case _:
                assert_never(truth)
        return np.stack(planes, axis=-1).astype(np.uint8)

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """The scalar `loss` to minimise, and its named parts, from logits float32[B, C, h, w]."""
        assert batch.target is not None
        return segmentation_loss(outputs, batch.target, self._loss, self.channels)

    def begin_epoch(self) -> None:
        """Nothing is kept from batch to batch."""

    def memory(self) -> dict[str, Tensor]:
        """Nothing is kept from batch to batch."""
        return {}

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Nothing is kept from batch to batch."""

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
                # Kept on the device: nothing waits for it before the last batch.
                figures.append(torch.cat([torch.stack(list(losses.values())).double(), overlap, both]))
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
    assert batch.target is not None
    answer = (outputs > 0).float()
    over_all, wide = (0, 2, 3), torch.float64  # float32 cannot count beyond 16.8 million pixels
    overlap = (answer * batch.target).sum(dim=over_all, dtype=wide)
    return overlap, answer.sum(dim=over_all, dtype=wide) + batch.target.sum(dim=over_all, dtype=wide)


def touching_border(labels: NDArray[np.int32], radius: int) -> NDArray[np.bool_]:
    """Pixels whose window of 2*radius+1 sees two different objects: bool[H, W] from int32[H, W], 0 = background."""
    if labels.max(initial=0) >= np.iinfo(np.uint16).max:
        raise ConfigError(f"an image with {labels.max()} objects; at most 65534 can be told apart")
    numbers = labels.astype(np.uint16)
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    highest = cv2.dilate(numbers, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    # Background must not win the minimum: it becomes the largest number there is.
    raised = np.where(numbers == 0, np.uint16(65535), numbers)
    lowest = cv2.erode(raised, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=65535)
    border: NDArray[np.bool_] = (highest > 0) & (highest != lowest)
    return border
