"""How much of the batches of a training holds a target: for `medalist debug`, by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medalist.data.loader import Batch
from medalist.data.targets import LabelTargets, MapTargets
from medalist.report.network import Grid

MANY_EMPTY = 0.5
"""From this share of samples without any target on, there is a warning."""

MOST_CLASSES = 30
"""The most classes that the table lists."""

CROPS = ("CenterCrop", "CropNonEmptyMaskIfExists", "RandomCrop", "RandomResizedCrop", "RandomSizedCrop")
"""Transforms of albumentations that cut a part out of an image."""

BACKGROUND = "background"
"""The channel that is no object."""

ON_OBJECTS = "CropNonEmptyMaskIfExists"
"""The crop that looks for objects."""


@dataclass(frozen=True)
class ClassCoverage:
    """One class, or one channel of the target: the samples that have it, and its share of the judged pixels (0 for
    labels).
    """

    name: str
    samples: int
    pixels: float


@dataclass(frozen=True)
class Coverage:
    """The targets of some samples, as the network gets them.

    samples: their number. empty: how many of them have no target at all, apart from a channel `background`. maps:
    whether targets are maps, else labels. crop: the (height, width) of the images. crops: names of the transforms that
    cut the images. void: the share of pixels that are void, and void_samples: how many samples have no other pixel.
    """

    samples: int
    empty: int
    maps: bool
    crop: tuple[int, ...]
    crops: tuple[str, ...]
    classes: tuple[ClassCoverage, ...]
    void: float = 0.0
    void_samples: int = 0

    @property
    def mostly_empty(self) -> bool:
        """Whether so many samples have no target that the loss has little to learn from."""
        return self.samples > 0 and self.empty >= MANY_EMPTY * self.samples


def coverage(batches: Sequence[Batch], names: Sequence[str], augment: Sequence[Any]) -> Coverage | None:
    """Return the coverage of batches; None where they have no targets.

    names: of the target's channels, or of the classes. augment: the config's transforms.
    """
    present, pixels, judged, maps = [], [], [], False
    for batch in batches:
        match batch.target:
            case MapTargets(maps=values, judged=where):
                found = np.nan_to_num(values.float().cpu().numpy()) > 0
                seen = np.ones(len(found)) if where is None else where.float().mean(dim=(1, 2, 3)).cpu().numpy()
                present.append(found.any(axis=(2, 3)))
                pixels.append(found.mean(axis=(2, 3)))
                judged.append(seen)
                maps = True
            case LabelTargets(values=labels) if names:
                known = labels.cpu().numpy()
                flags = known > 0.5 if known.ndim == 2 else known[:, None] == np.arange(len(names))
                if flags.shape[1] == len(names):
                    present.append(flags)
                    pixels.append(np.zeros(flags.shape))
    if not present:
        return None
    each, shares = np.concatenate(present), np.concatenate(pixels)
    cuts = tuple(name for entry in augment if isinstance(entry, Mapping) for name in entry if name in CROPS)
    part = np.concatenate(judged) if maps else np.ones(len(each))
    of_judged = shares.mean(axis=0) / max(part.mean(), np.finfo(np.float64).tiny)
    by_class = zip(names, each.sum(axis=0).tolist(), of_judged.tolist(), strict=True)
    classes = tuple(ClassCoverage(*one) for one in by_class)
    wanted = [name != BACKGROUND for name in names] if maps and len(names) > 1 else [True] * each.shape[1]
    empty, blind = int((~each[:, wanted].any(axis=1)).sum()), int((part == 0).sum())
    crop = tuple(batches[0].image.shape[2:])
    return Coverage(len(each), empty, maps, crop, cuts, classes, float(1 - part.mean()), blind)


def coverage_line(found: Coverage) -> str:
    """Return the coverage as one line."""
    if not found.maps:
        seen = sum(one.samples > 0 for one in found.classes)
        return f"{seen} of {len(found.classes)} classes among {found.samples} samples; {found.empty} without a label"
    each = ", ".join(f"{one.name} in {one.samples} ({100 * one.pixels:.2g} % of pixels)" for one in found.classes)
    void = f"; {100 * found.void:.2g} % of all pixels are void" if found.void else ""
    return f"{found.empty} of {found.samples} samples hold no target; {each}{void}"


def coverage_warning(found: Coverage) -> str:
    """Return a warning where most samples, or all samples of a class, hold no target; else empty."""
    if not found.maps:
        return ""
    if found.void_samples:
        return (
            f"every pixel of {found.void_samples} of {found.samples} samples is void, so nothing is learned from them: "
            "look at augment and at the truth"
        )
    lacking = [one.name for one in found.classes if not one.samples]
    if not found.mostly_empty and not lacking:
        return ""
    what = f"{found.empty} of {found.samples} samples in the batches hold no target"
    if not found.mostly_empty:
        what = f"{', '.join(lacking)}: no pixel in {found.samples} samples"
    elif lacking and len(lacking) < len(found.classes):
        what += f", and {', '.join(lacking)} has no pixel in any"
    return f"{what}, so the loss has little to learn from: {crop_advice(found)}"


def crop_advice(found: Coverage) -> str:
    """Return what to change so that batches hold more targets."""
    if ON_OBJECTS in found.crops:
        return "these images may have no objects; draw those that have more often: sampler.kind=balanced"
    height, width = (*found.crop, 0, 0)[:2]
    crop = f"{ON_OBJECTS}: {{height: {height}, width: {width}}}"
    if found.crops:
        return f"cut on objects, with {{{crop}}} in place of {found.crops[-1]} in augment"
    return f"cut on objects, with {{{crop}}} in augment, or draw images with objects more often: sampler.kind=balanced"


def coverage_table(found: Coverage) -> Grid:
    """Return the table of the targets by class; of many classes, those with the fewest samples."""
    rarest = sorted(found.classes, key=lambda one: one.samples)[:MOST_CLASSES]
    shown = found.classes if len(found.classes) <= MOST_CLASSES else rarest
    rows = [
        [one.name, str(one.samples), f"{100 * one.samples / found.samples:.0f}", f"{100 * one.pixels:.2g}"]
        for one in shown
    ]
    note = f"Of {found.samples} samples as the network gets them, {found.empty} have no target."
    if found.void:
        note += f" {100 * found.void:.2g} % of all pixels are void; shares are of the others."
    if len(shown) < len(found.classes):
        note += f" The {len(shown)} rarest of {len(found.classes)} classes."
    if not found.maps:
        return Grid("Targets", note, ("class", "samples", "%"), [row[:3] for row in rows], (1, 2))
    return Grid("Targets", note, ("class", "samples", "%", "% of pixels"), rows, (1, 2, 3))
