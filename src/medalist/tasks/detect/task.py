"""Detection: the loss, and the validation figures of held-out samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from medalist.data.loader import Batch
from medalist.data.targets import IGNORED, BoxTargets
from medalist.engine.devices import mean_over_processes
from medalist.engine.gathering import all_gather_lists
from medalist.engine.task import StatelessLoss
from medalist.metrics.boxes import box_map
from medalist.records import Boxes
from medalist.tasks.detect.criterion import Criterion
from medalist.tasks.detect.decoding import Found, Limits, boxes_of
from medalist.tasks.detect.outputs import DenseOutputs

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, eq=False)
class Validated:
    """A held-out image: its index, its losses, its boxes and what was found, both in pixels of the frame."""

    index: int
    losses: Mapping[str, float]
    truth: Boxes
    answer: Boxes


class DetectTask(StatelessLoss):
    """The loss and validation of detection, for the training loop."""

    def __init__(self, criterion: Criterion, limits: Limits, classes: int):
        """`limits`: which boxes that a network finds are kept. `classes`: the number of the contest's classes."""
        self.criterion, self.limits, self.classes = criterion, limits, classes

    def loss(self, outputs: Tensor | DenseOutputs, batch: Batch) -> Mapping[str, Tensor]:
        """Return the scalar `loss` to minimise and its parts.

        They are divided by what is learned on all processes together, so that an image weighs the same wherever it is.
        """
        return self.criterion.losses(_dense(outputs), _boxes(batch), _size(batch), mean_over_processes)

    def found(self, outputs: Tensor | DenseOutputs, size: tuple[int, int]) -> list[Found]:
        """Return the boxes of each image of a batch in pixels of the frame, whose (height, width) is `size`."""
        return boxes_of(self.criterion, _dense(outputs), size, self.limits)

    def validate(self, seen: Iterator[tuple[Tensor | DenseOutputs, Batch]], fabric: Fabric) -> dict[str, float]:
        """Return `val_loss`, the mean loss of single images, its parts, and the mean average precision.

        `map` is the mean over IoU thresholds 0.5, 0.55, ... 0.95 as COCO computes it, `map50` that at 0.5. The figures
        do not depend on how samples are divided among processes.
        """
        rows: list[Validated] = []
        for raw, batch in seen:
            outputs, target, size = _dense(raw), _boxes(batch), _size(batch)
            for number, (found, index) in enumerate(zip(self.found(outputs, size), batch.indices, strict=True)):
                one = BoxTargets(target.xyxy[number : number + 1], target.labels[number : number + 1])
                losses = self.criterion.losses(outputs.single(number), one, size, lambda value: value)
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


def _dense(outputs: Tensor | DenseOutputs) -> DenseOutputs:
    """Return the outputs of a network as float32; the loop knows them as a tensor."""
    assert isinstance(outputs, DenseOutputs), type(outputs).__name__
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
