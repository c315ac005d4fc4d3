"""Detection: the loss, and the validation figures of held-out samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medalist.data.loader import Batch
from medalist.data.targets import IGNORED, BoxTargets
from medalist.engine.devices import mean_over_processes
from medalist.engine.gathering import all_gather_lists
from medalist.metrics.boxes import box_map
from medalist.records import Boxes
from medalist.tasks.detect.decoding import Found, Limits
from medalist.tasks.detect.protocols import Criterion, Outputs

if TYPE_CHECKING:
    from lightning_fabric import Fabric


LOSS = 0x6C6F
"""A part of the seed that keeps the random numbers of losses different from those of other draws."""


@dataclass(frozen=True, eq=False)
class Validated:
    """A held-out image: its index, its losses, its boxes and what was found, both in pixels of the frame."""

    index: int
    losses: Mapping[str, float]
    truth: Boxes
    answer: Boxes


class DetectTask:
    """The loss and validation of detection, for the training loop."""

    def __init__(self, criterion: Criterion, limits: Limits, classes: int, seed: int = 0):
        """`limits`: which boxes that a network finds are kept. `classes`: the number of the contest's classes. `seed`:
        of what a loss draws, together with the epoch and the sample.
        """
        self.criterion, self.limits, self.classes, self.seed = criterion, limits, classes, seed
        self.epoch = 0

    def begin_epoch(self, epoch: int) -> None:
        """Draw anew for each epoch."""
        self.epoch = epoch

    def memory(self) -> dict[str, Tensor]:
        """Return the number of the epoch, where the loss draws; a resumed training then draws the same."""
        return {"epoch": torch.tensor(self.epoch)} if self.criterion.draws else {}

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Set the number of the epoch. Raises LookupError where it comes from a loss that does not draw."""
        if self.criterion.draws:
            self.epoch = int(memory["epoch"])

    def loss(self, outputs: Tensor | Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """Return the scalar `loss` to minimise and its parts.

        They are divided by what is learned on all processes together, so that an image weighs the same wherever it is.
        """
        seeds = self._seeds(batch.indices, self.epoch + 1)
        return self.criterion.losses(_float(outputs), _boxes(batch), _size(batch), mean_over_processes, seeds)

    def found(self, outputs: Tensor | Outputs, size: tuple[int, int]) -> list[Found]:
        """Return the boxes of each image of a batch in pixels of the frame, whose (height, width) is `size`."""
        return self.criterion.found(_float(outputs), size, self.limits)

    def _seeds(self, indices: Sequence[int], epoch: int) -> list[int]:
        """Return the seed of each sample of a batch; epoch 0 is for validation, and others count from 1."""
        if not self.criterion.draws:
            return []
        draws = [np.random.SeedSequence((LOSS, self.seed, epoch, index)) for index in indices]
        return [int(draw.generate_state(1, np.uint64)[0] >> 1) for draw in draws]

    def validate(self, seen: Iterator[tuple[Tensor | Outputs, Batch]], fabric: Fabric) -> dict[str, float]:
        """Return `val_loss`, the mean loss of single images, its parts, and the mean average precision.

        `map` is the mean over IoU thresholds 0.5, 0.55, ... 0.95 as COCO computes it, `map50` that at 0.5. The figures
        do not depend on how samples are divided among processes.
        """
        rows: list[Validated] = []
        for raw, batch in seen:
            outputs, target, size = _float(raw), _boxes(batch), _size(batch)
            seeds = self._seeds(batch.indices, 0)
            for number, (found, index) in enumerate(zip(self.found(outputs, size), batch.indices, strict=True)):
                one = target.one(number)
                losses = self.criterion.losses(
                    outputs.single(number), one, size, lambda value: value, seeds[number : number + 1]
                )
                named = {name: float(value) for name, value in losses.items()}
                rows.append(Validated(index, named, _truth(one), as_boxes(found)))
        rows = sorted(all_gather_lists(rows, fabric), key=lambda row: row.index)
        if not rows:
            return {"val_loss": 0.0}
        means = {name: fsum(row.losses[name] for row in rows) / len(rows) for name in rows[0].losses}
        figures = {"val_loss" if name == "loss" else f"val_loss_{name}": mean for name, mean in means.items()}
        return {**figures, **precision(rows, self.classes)}


def as_boxes(found: Found) -> Boxes:
    """Return boxes in NumPy."""
    return Boxes(
        found.xyxy.float().cpu().numpy(),
        found.labels.cpu().numpy().astype(np.int32),
        found.scores.float().cpu().numpy(),
    )


def precision(rows: Sequence[Validated], classes: int) -> dict[str, float]:
    """Return the mean average precisions of held-out images, by the rules of COCO."""
    truths = {f"{row.index:012}": row.truth for row in rows}
    answers = {f"{row.index:012}": row.answer for row in rows}
    score = box_map([str(label) for label in range(classes)], sizes=False)(truths, answers)
    return {"map": score.value, "map50": score.parts.get("ap50", 0.0)}


def _float(outputs: Tensor | Outputs) -> Outputs:
    """Return the outputs of a network as float32; the loop knows them as a tensor."""
    assert not isinstance(outputs, Tensor)
    return outputs.float()


def _truth(one: BoxTargets) -> Boxes:
    xyxy, labels = one.xyxy[0].cpu().numpy(), one.labels[0].cpu().numpy()
    ignored = labels == IGNORED
    kept = np.where(ignored, 0, labels).astype(np.int32)
    return Boxes(xyxy, kept, np.ones(len(labels), np.float32), ignored if ignored.any() else None)


def _boxes(batch: Batch) -> BoxTargets:
    assert isinstance(batch.target, BoxTargets)
    return batch.target


def _size(batch: Batch) -> tuple[int, int]:
    return batch.image.shape[2], batch.image.shape[3]
