"""Augmentation as the config describes it, and normalisation."""

from __future__ import annotations

import os
import warnings
from difflib import get_close_matches
from inspect import signature
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from medalist.config import OwnConfig
from medalist.data.map_targets import PLANES
from medalist.data.settings import Augmentations
from medalist.data.targets import Target
from medalist.errors import ConfigError
from medalist.parts import NO_PARTS, OwnParts, running

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise its import asks the network for a newer version
import albumentations as A  # type: ignore[import-untyped]  # noqa: N812
from albumentations.augmentations.crops.transforms import CropSizeError  # type: ignore[import-untyped]

NOT_HERE = {
    **dict.fromkeys(
        ("AtLeastOneBBoxRandomCrop", "BBoxSafeRandomCrop", "RandomCropNearBBox", "RandomSizedBBoxSafeCrop"),
        "it needs boxes; take RandomCrop or CropNonEmptyMaskIfExists",
    ),
    **dict.fromkeys(
        ("FromFloat", "Normalize", "ToFloat"),
        "images stay 8-bit here, they are normalised afterwards as the encoder wants it; leave it out",
    ),
    **dict.fromkeys(
        ("FDA", "HistogramMatching", "Mosaic", "OverlayElements", "PixelDistributionAdaptation", "TextImage"),
        "it needs other images or files than the sample's own; leave it out",
    ),
    **dict.fromkeys(
        ("ConstrainedCoarseDropout", "MaskDropout"),
        "it does not work on masks of several channels; take CoarseDropout or GridDropout",
    ),
}
"""Image transforms of albumentations that cannot be used here, with the reason and what to do instead."""

_FLAT = "augment is a flat list, whose transforms are each drawn by their own p"
COMPOSITIONS = {
    "OneOf": f"{_FLAT}; list the transforms themselves and divide p among them, as p: 0.25 for each of two",
    "SomeOf": f"{_FLAT}; list the transforms themselves, each with its own p",
    "OneOrOther": f"{_FLAT}; list both transforms, each with its own p",
    "RandomOrder": f"{_FLAT} and applied in the order of the list; list the transforms themselves",
    "Sequential": f"{_FLAT}; list the transforms themselves, in order",
    "Compose": "augment is itself the list that Compose takes; list the transforms themselves",
    "ReplayCompose": "augment is itself the list that Compose takes; list the transforms themselves",
    "SelectiveChannelTransform": f"{_FLAT}; it holds other transforms, which are listed themselves",
    "Lambda": "it would run code from a config; take one of albumentations' own transforms",
    "BasicTransform": "it is the base of all transforms; take one of them",
    "DualTransform": "it is the base of all transforms; take one of them",
    "ImageOnlyTransform": "it is the base of all transforms; take one of them",
}
"""Words of albumentations that hold other transforms, or code, with what to do instead."""

TRANSFORM_FAILS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    cv2.error,
    CropSizeError,
)
"""Errors that albumentations raises where arguments are valid but do not fit the image, as a crop larger than it."""


RESIZING = ("LongestMaxSize", "RandomResizedCrop", "RandomScale", "RandomSizedCrop", "Resize", "SmallestMaxSize")
"""Transforms that resize masks by OpenCV's INTER_NEAREST. It rounds down instead of to the nearest pixel, so a mask
would be shifted against its image by up to half a pixel. They get INTER_NEAREST_EXACT, unless the config says
otherwise."""

FILLS_MASKS = ("fill_mask", "mask_drop_value")
"""Arguments with the value of mask pixels that a transform fills. The plane of judged pixels gets the same value, so
only 0 is right for it: void."""


def compose_augment(augment: Augmentations, own: OwnParts = NO_PARTS, boxes: float | None = None) -> A.Compose:
    """Build the augmentation pipeline from the config. Raises ConfigError, which names the entry and the allowed words.

    own: the parts of the contest's folder. boxes: for targets that are boxes, the share of its area that must be left
    of a box that is cut; None for other targets. Masks are transformed with the image, by nearest neighbour unless a
    transform's `mask_interpolation` says otherwise. The plane of judged pixels goes with the mask: what a transform
    fills is void.
    """
    made = [
        _own_transform(f"augment[{number}]", entry, own)
        if isinstance(entry, OwnConfig)
        else _transform(f"augment[{number}]", entry)
        for number, entry in enumerate(augment)
    ]
    if boxes is None:
        return A.Compose(made, seed=0, additional_targets=dict.fromkeys(PLANES, "mask"))
    for number, one in enumerate(made):
        if isinstance(one, A.DualTransform) and "bboxes" not in one.available_keys:
            raise ConfigError(f"augment[{number}].{type(one).__name__} does not move boxes; leave it out")
    if not any("bboxes" in one.available_keys for one in made):
        made.append(A.NoOp())  # because albumentations warns of boxes that no transform takes
    words = A.BboxParams(format="pascal_voc", label_fields=["labels"], min_visibility=boxes, clip=True)
    return A.Compose(made, seed=0, bbox_params=words)


def check_public(augment: Augmentations) -> None:
    """Raise ConfigError as `compose_augment` does, for all transforms but those of the contest's folder."""
    for number, entry in enumerate(augment):
        if not isinstance(entry, OwnConfig):
            _transform(f"augment[{number}]", entry)


def _own_transform(where: str, entry: OwnConfig, own: OwnParts) -> A.BasicTransform:
    """Make a transform of the contest's folder. Raises ConfigError where it is not one of albumentations' kind."""
    make = own.find("TRANSFORMS", entry, where, 0)
    assert own.file is not None
    with running(own.file, f"{where} = {entry.name} cannot be made"):
        made = make()
    if not isinstance(made, A.DualTransform | A.ImageOnlyTransform):
        raise ConfigError(
            f"{where} = {entry.name}: {own.file} makes {type(made).__name__}, and a transform must be an "
            "albumentations.ImageOnlyTransform or DualTransform"
        )
    return made


def _transform(where: str, entry: dict[str, dict[str, Any]]) -> A.BasicTransform:
    if len(entry) != 1:
        raise ConfigError(
            f"{where}: each entry needs exactly one transform, such as 'D4: {{}}'; this entry has: "
            f"{', '.join(entry) or 'none'}"
        )
    ((name, arguments),) = entry.items()
    if name in NOT_HERE:
        raise ConfigError(f"{where}: '{name}' cannot be used: {NOT_HERE[name]}")
    known = _public_transforms()
    if name in COMPOSITIONS:
        raise ConfigError(f"{where}: '{name}' cannot be used: {COMPOSITIONS[name]}")
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; see albumentations' list of transforms"
        raise ConfigError(f"{where}: albumentations has no transform '{name}' for images and masks{hint}")
    allowed = sorted(set(signature(known[name].__init__).parameters) - {"self"})
    for key, value in arguments.items():
        if key not in allowed:
            near = get_close_matches(key, allowed, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{where}.{name}: unknown argument '{key}'; allowed: {', '.join(allowed)}{hint}")
        if key in FILLS_MASKS and not _is_void(value):
            raise ConfigError(
                f"{where}.{name}: {key} = {value!r}, but what a transform fills is void, which no loss counts: take 0 "
                "or leave it out"
            )
    arguments = {key: 0 if key in FILLS_MASKS and value is not None else value for key, value in arguments.items()}
    if name in RESIZING:
        arguments = {"mask_interpolation": cv2.INTER_NEAREST_EXACT} | arguments
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # because albumentations only warns of a wrong value and then ignores it
        try:
            return known[name](**{key: _frozen(value) for key, value in arguments.items()})
        except (*TRANSFORM_FAILS, Warning) as error:
            raise ConfigError(f"{where}.{name}: {_reason(error)}") from None


def _public_transforms() -> dict[str, type[A.BasicTransform]]:
    """Return albumentations' transforms of an image and its mask that run no code of a user and read no files."""
    names: dict[str, type[A.BasicTransform]] = {}
    for name in dir(A):
        kind = getattr(A, name)
        if isinstance(kind, type) and issubclass(kind, (A.DualTransform, A.ImageOnlyTransform)):
            names[name] = kind
    volumes = [name for name, kind in names.items() if issubclass(kind, A.Transform3D)]
    for name in ("DualTransform", "ImageOnlyTransform", "Lambda", *volumes, *NOT_HERE):
        names.pop(name, None)
    return names


def _is_void(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_void(item) for item in value)
    return value is None or value == 0


def _frozen(value: Any) -> Any:
    """Convert lists from YAML to tuples, which albumentations expects."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _reason(error: BaseException) -> str:
    """Return albumentations' error message on one line.

    Where albumentations lists several wrong arguments, returns the first one and the values that it accepts.
    """
    if not isinstance(error.__cause__, ValidationError):
        return " ".join(str(error).split())[:300] or type(error).__name__
    wrong = error.__cause__.errors(include_url=False)
    key = wrong[0]["loc"][:1]
    messages = dict.fromkeys(item["msg"].removeprefix("Value error, ") for item in wrong if item["loc"][:1] == key)
    return f"{key[0]}: {' or: '.join(messages)}" if key else " or: ".join(messages)


def augment(
    pipeline: A.Compose, image: NDArray[np.uint8], target: Target | None, seed: np.random.SeedSequence
) -> tuple[NDArray[np.uint8], Target | None]:
    """Augment uint8[H, W, 3] and its target. The same seed gives the same result.

    Where `target` is None, only the image is augmented. Each transform gets its own seed: albumentations gives one seed
    to all transforms, and then all transforms with p = 0.5 are applied to the same samples. Raises ConfigError where a
    transform does not work on this image.
    """
    seeds = seed.generate_state(len(pipeline.transforms))
    for transform, own in zip(pipeline.transforms, seeds, strict=True):
        transform.set_random_seed(int(own))
    try:
        result = pipeline(image=image, **({} if target is None else target.to_augment()))
    except TRANSFORM_FAILS as error:
        raise ConfigError(f"augment: {_reason(error)}") from error
    if result["image"].dtype != np.uint8:
        raise ConfigError(f"augment gives an image of {result['image'].dtype}; each transform must keep 8 bits")
    return result["image"], None if target is None else target.augmented(result)


def augment_sample(
    pipeline: A.Compose,
    name: str,
    image: NDArray[np.uint8],
    target: Target | None,
    seed: np.random.SeedSequence,
) -> tuple[NDArray[np.uint8], Target | None]:
    """Augment as `augment` does; the ConfigError also names the sample and the size of its image."""
    try:
        return augment(pipeline, image, target, seed)
    except ConfigError as error:
        height, width = image.shape[:2]
        raise ConfigError(f"{error}; on sample {name}, {width}x{height}") from error


def sample_seed(run_seed: int, epoch: int, index: int, view: int = 0, draw: int = 0) -> np.random.SeedSequence:
    """Return the seed of one sample in one epoch. It depends only on the arguments, not on workers, ranks or resuming.

    view: the number of the view, where each turned view of an image is a sample of its own. draw: how often the sample
    was drawn before in this epoch, from 0.
    """
    more = (view, draw) if draw else (view,) if view else ()
    return np.random.SeedSequence((run_seed, epoch, index, *more))
