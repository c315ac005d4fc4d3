"""Networks of a run's folds, loaded so that they can predict."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medalist.data.devices import takes_channels_last
from medalist.data.items import Item
from medalist.data.loader import Batch, collate
from medalist.engine.checkpoint import load_weights
from medalist.engine.placement import Placement
from medalist.experiment import Experiment
from medalist.runs.fold_weights import weights_hash
from medalist.runs.runs import Run

if TYPE_CHECKING:
    Image = NDArray[np.uint8]

Network = TypeVar("Network", bound=nn.Module)


def trained_networks(
    model: nn.Module, run: Run, settings: Experiment, folds: Sequence[int], place: Placement
) -> tuple[nn.Module, ...]:
    """Load the weights of each fold into a copy of a network, and move it to its device, ready to predict.

    It is copied, as building one takes longer. Raises RunError where a checkpoint is missing or does not fit.
    """

    def trained(fold: int) -> nn.Module:
        network = copy.deepcopy(model)
        weights_hash(run, fold, settings.train.keep)  # RunError where they are not what the training wrote
        load_weights(network, run.checkpoint(fold, settings.train.keep))
        return placed(network, place, settings.train.channels_last)

    return tuple(map(trained, folds))


def placed(model: Network, place: Placement, channels_last: bool) -> Network:
    """Move a network to its device, in evaluation mode and in the memory layout of its batches.

    In another layout each convolution would copy its weights or its images.
    """
    last = takes_channels_last(place.device, channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    moved: Network = model.to(place.device, memory_format=layout)  # type: ignore[call-overload]
    return moved.eval()


def batches_of_images(images: Sequence[Image], most: int, item_of: Callable[[int, Image], Item]) -> Iterator[Batch]:
    """Group images by the size in which the network gets them, and yield batches of at most `most` of one size.

    item_of: (position in `images`, image) -> the item, whose `index` is that position.
    """
    waiting: dict[tuple[int, ...], list[Item]] = {}
    for position, image in enumerate(images):
        item = item_of(position, image)
        group = waiting.setdefault(tuple(item.image.shape), [])
        group.append(item)
        if len(group) == most:
            yield collate(waiting.pop(tuple(item.image.shape)))
    for group in waiting.values():
        yield collate(group)
