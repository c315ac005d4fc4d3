"""Augmentation from config, normalisation, padding and its undoing."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.data.settings import Augmentations
from medalist.errors import ConfigError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer version
import albumentations as A  # type: ignore[import-untyped]  # noqa: N812


@dataclass(frozen=True)
class Padding:
    """The geometry to undo: the native height and width, which stand in the upper left of the padded image."""

    height: int
    width: int

    def undo(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Cut [..., h, w] back to [..., height, width]."""
        return maps[..., : self.height, : self.width]


def compose_augment(augment: Augmentations) -> A.Compose:
    """Build the pipeline named in the config; ConfigError names the entry, the word and what is allowed.

    Masks move with the image, by nearest neighbour.
    """
    return A.Compose([_transform(f"augment[{number}]", entry) for number, entry in enumerate(augment)], seed=0)


def _transform(where: str, entry: dict[str, dict[str, Any]]) -> A.BasicTransform:
    if len(entry) != 1:
        raise ConfigError(f"{where}: one transform an entry, as in 'D4: {{}}'; there are {', '.join(entry) or 'none'}")
    ((name, arguments),) = entry.items()
    known = _public_transforms()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; see albumentations' list of transforms"
        raise ConfigError(f"{where}: albumentations has no transform '{name}' for images and masks{hint}")
    allowed = sorted(set(signature(known[name].__init__).parameters) - {"self"})
    for key in arguments:
        if key not in allowed:
            near = get_close_matches(key, allowed, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{where}.{name}: unknown argument '{key}'; allowed: {', '.join(allowed)}{hint}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # albumentations only warns of a wrong value, and then ignores it
        try:
            return known[name](**{key: _frozen(value) for key, value in arguments.items()})
        except (ValueError, TypeError, UserWarning, DeprecationWarning) as error:
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(f"{where}.{name}: {reason}") from None


def _public_transforms() -> dict[str, type[A.BasicTransform]]:
    """albumentations' own transforms that take an image and its mask; none that runs a user's code or reads files."""
    names: dict[str, type[A.BasicTransform]] = {}
    for name in dir(A):
        kind = getattr(A, name)
        if isinstance(kind, type) and issubclass(kind, (A.DualTransform, A.ImageOnlyTransform)):
            names[name] = kind
    for name in ("DualTransform", "ImageOnlyTransform", "Lambda"):
        names.pop(name, None)
    return names


def _frozen(value: Any) -> Any:
    """YAML lists become the tuples that albumentations expects."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def augment_pair(
    pipeline: A.Compose, image: NDArray[np.uint8], target: NDArray[np.uint8], seed: np.random.SeedSequence
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Augment uint8[H, W, 3] and its target uint8[H, W, C] by counted randomness: the same seed, the same result.

    Each transform has a seed of its own: given one seed, albumentations hands it to all of them, and then every
    transform with p = 0.5 fires in the same samples.
    """
    seeds = seed.generate_state(len(pipeline.transforms))
    for transform, own in zip(pipeline.transforms, seeds, strict=True):
        transform.set_random_seed(int(own))
    result = pipeline(image=image, mask=target)
    mask = result["mask"]
    return result["image"], mask if mask.ndim == 3 else mask[..., None]


def sample_seed(run_seed: int, epoch: int, index: int) -> np.random.SeedSequence:
    """The seed of one sample in one epoch; a pure function, so that no worker, rank or resume can change it."""
    return np.random.SeedSequence((run_seed, epoch, index))


def normalise(image: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """uint8[H, W, 3] in 0..255 -> float32[3, H, W], with the encoder's mean and std (both for 0..1 images)."""
    scale = 1 / (255 * np.asarray(std, np.float32))
    shift = -np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    return np.ascontiguousarray((image * scale + shift).transpose(2, 0, 1), dtype=np.float32)


def pad_to_multiple(image: NDArray[np.uint8], multiple: int) -> tuple[NDArray[np.uint8], Padding]:
    """Pad uint8[H, W, 3] below and right by mirroring, so that both sides are multiples; with the geometry to undo."""
    height, width = image.shape[:2]
    below, right = -height % multiple, -width % multiple
    # 'symmetric' and not 'reflect': it also works where an image is smaller than its padding.
    padded = np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")
    return padded, Padding(height, width)
