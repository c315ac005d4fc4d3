"""Prediction of images by one or several detectors, in several views, and by windows where the config says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from medalist.data.loader import Batch
from medalist.data.placing import Size, fitted
from medalist.engine.placement import Placement
from medalist.engine.view_settings import VIEWS, View
from medalist.engine.views import apply_view
from medalist.errors import TrainingError
from medalist.postprocess.box_slices import ImageSlice, merge_slices, slices_of
from medalist.records import BoxPrediction
from medalist.tasks.detect.decoding import Found
from medalist.tasks.detect.settings import DetectPredictConfig, FrameConfig
from medalist.tasks.detect.task import DetectTask

MULTIPLE = 32
"""The sides of a scaled frame are multiples of this number."""

Framed = tuple[int, list[Found]]
"""The index of an item, and its boxes in pixels of the frame, for each source."""


def views_of(config: DetectPredictConfig) -> tuple[View, ...]:
    """Return the views of a config: each turn at each scale."""
    return tuple(replace(view, scale=scale) for scale in config.scales for view in VIEWS[config.tta])


@torch.inference_mode()
def predict(
    place: Placement,
    task: DetectTask,
    models: Sequence[nn.Module],
    loader: Iterable[Batch],
    config: DetectPredictConfig,
    channels_last: bool,
) -> Iterator[Framed]:
    """Yield the index of each item of the loader, and its boxes by source: each network in each view.

    Raises TrainingError where the outputs of a network are not finite.
    """
    for model in models:
        model.eval()
    for raw in loader:
        batch = raw.to(place.device, channels_last)
        height, width = batch.image.shape[2:]
        by_source: list[list[Found]] = []
        for model in models:
            for view in views_of(config):
                seen = apply_view(batch.image, view, MULTIPLE)
                with place.autocast():
                    outputs = model(seen)
                # Boxes and scores that are no numbers are below every limit, and would be dropped without a word.
                if not _finite(outputs):
                    raise TrainingError(
                        "what a network says of an image is not finite; set train.precision=32-true, or lower train.lr "
                        "and train again"
                    )
                size = (seen.shape[2], seen.shape[3])
                by_source.append([back(one, view, size, (height, width)) for one in task.found(outputs, size)])
        for number, index in enumerate(batch.indices):
            yield index, [found[number] for found in by_source]


def _finite(outputs: object) -> bool:
    """Return whether all numbers in the tensors of a network's outputs, which are nested tuples, are finite."""
    if isinstance(outputs, Tensor):
        return bool(outputs.isfinite().all())
    return not isinstance(outputs, tuple) or all(map(_finite, outputs))


def back(found: Found, view: View, seen: Size, frame: Size) -> Found:
    """Return the boxes of a view in pixels of the frame, with their masks as they lie there.

    seen, frame: (height, width) of the view and of the frame.
    """
    masks = None if found.masks is None else masks_back(found.masks, view)
    return replace(found, xyxy=boxes_back(found.xyxy, view, seen, frame), masks=masks)


def masks_back(masks: Tensor, view: View) -> Tensor:
    """Undo mirroring and quarter turns of masks float[N, M, M], in the order opposite to `apply_view`."""
    turned = masks.flip(2) if view.mirror else masks
    return torch.rot90(turned, -view.turns, (1, 2))


def boxes_back(xyxy: Tensor, view: View, seen: Size, frame: Size) -> Tensor:
    """Undo mirroring, quarter turns and scale of boxes float32[N, 4], in the order opposite to `apply_view`."""
    height, width = seen
    x1, y1, x2, y2 = xyxy.unbind(dim=1)
    if view.mirror:
        x1, x2 = width - x2, width - x1
    for _ in range(view.turns % 4):
        # A quarter turn against the clock takes (x, y) of an image of width w to (y, w - x).
        x1, y1, x2, y2 = height - y2, x1, height - y1, x2
        height, width = width, height
    right, down = frame[1] / width, frame[0] / height
    return torch.stack([x1 * right, y1 * down, x2 * right, y2 * down], dim=1)


def slices_in(samples: Sequence[Size], config: DetectPredictConfig) -> list[tuple[int, ImageSlice]]:
    """Return the slices of images of these (height, width), each with the number of its image, image by image.

    Without `predict.slices` each image is one slice.
    """
    found: list[tuple[int, ImageSlice]] = []
    for number, (height, width) in enumerate(samples):
        if config.slices is None:
            found.append((number, ImageSlice(0, 0, width, height)))
        else:
            own = slices_of(height, width, config.slices.size, config.slices.overlap)
            found += [(number, one) for one in own]
    return found


def in_slice(by_source: Sequence[Found], there: ImageSlice, frame: FrameConfig) -> BoxPrediction:
    """Return the boxes of all sources in pixels of a slice, from those in pixels of its frame.

    Boxes in the filled rest of the frame, of which nothing lies in the slice, are dropped. Boxes with masks are not cut
    to the slice, because their masks would no longer fit; such a slice is a whole image.
    """
    native = there.bottom - there.top, there.right - there.left
    placed = fitted(native, frame.size, frame.seen_factor(native))
    corners = [one.xyxy.float().cpu().numpy() for one in by_source]
    source = [np.full(len(one), number, np.int16) for number, one in enumerate(corners)]
    whole = placed.back(np.concatenate(corners), native)
    kept = (whole[:, 2:] > whole[:, :2]).all(axis=1)
    masks = [one.masks for one in by_source if one.masks is not None]
    if masks:
        whole = placed.back(np.concatenate(corners))
    return BoxPrediction(
        whole[kept],
        torch.cat([one.labels for one in by_source]).cpu().numpy()[kept].astype(np.int32),
        torch.cat([one.scores for one in by_source]).float().cpu().numpy()[kept].clip(0, 1),
        np.concatenate(source)[kept],
        len(by_source),
        torch.cat(masks).mul(255).round().byte().cpu().numpy()[kept] if masks else None,
        native if masks else None,
    )


def merged(
    parts: Sequence[BoxPrediction],
    slices: Sequence[tuple[int, ImageSlice]],
    sizes: Sequence[Size],
    config: DetectPredictConfig,
) -> list[BoxPrediction]:
    """Return the predictions of whole images of these (height, width), from those of all their slices in order."""
    if config.slices is None:
        return list(parts)
    of_image: list[list[int]] = [[] for _ in sizes]
    for at, (number, _) in enumerate(slices):
        of_image[number].append(at)
    return [
        merge_slices([parts[at] for at in own], [slices[at][1] for at in own], size, config.slices)
        for own, size in zip(of_image, sizes, strict=True)
    ]
