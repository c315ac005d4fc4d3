"""How the networks of a run are exported, as each kind says it: the values between a kind and `medalist.exporting`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from medalist.config import ConfigModel, OwnConfig
from medalist.data.items import Item, Normalisation
from medalist.engine.view_settings import View
from medalist.errors import ExportError
from medalist.tasks.protocols import Networks

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ExportPlan:
    """The networks of some folds, and what surrounds them.

    models: a network of each fold, in evaluation mode on the processor. shared: an encoder that all of them share; they
    are then heads on its features. planes: how many planes of zeros stand behind the channels of the image. said: from
    what a network returns to the tensors with the names `names`, float32; predictions are made from the last ones, and
    logits stand before them. sized: whether a tensor of each name has the height and width of the image. size:
    (height, width) of all images; None where networks take any multiples of `multiple`. item: an image that
    `data.items.prepared` made ready, as the training gives it to the network. alone: the place of a fold -> the
    networks of this fold alone. described: the fields of `deploy.description.Described` that the kind knows.
    """

    models: tuple[nn.Module, ...]
    normalisation: Normalisation
    said: Callable[[Any], tuple[Tensor, ...]]
    names: tuple[str, ...]
    sized: tuple[bool, ...]
    size: tuple[int, int] | None
    item: Callable[[int, Pixels], Item]
    alone: Callable[[int], Networks]
    described: Mapping[str, Any]
    multiple: int = 1
    planes: int = 0
    shared: nn.Module | None = None


def turns_of(views: Sequence[View], size: tuple[int, int] | None) -> list[dict[str, Any]]:
    """Return views for `export.json`. Raises ExportError for a view that is more than turned and mirrored.

    size: (height, width) of all images; quarter turns of them need equal sides. None where images have any size.
    """
    for view in views:
        if view.scale != 1 or view.shift or view.clahe is not None:
            raise ExportError(
                "predict.tta or predict.scales has views with a scale, shift or clahe, which an export cannot hold; "
                "type predict.tta=none (or flips, d4) predict.scales=[1.0]"
            )
        if view.turns % 2 and size is not None and size[0] != size[1]:
            raise ExportError(
                f"predict.tta = d4 turns images of {size[1]}x{size[0]}, and an exported network has one size; type "
                "predict.tta=flips"
            )
    return [{"turns": view.turns, "mirror": view.mirror} for view in views]


def refuse_own(how: ConfigModel | OwnConfig) -> str:
    """Return why a decision cannot be exported: it is the contest's own code. Empty where it is medalist's."""
    if isinstance(how, OwnConfig):
        return f"decide = {how.name} is code of the contest's folder; take medalist.open_run, or decide yourself"
    return ""
