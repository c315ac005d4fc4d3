"""Settings of reading, caching and batching; torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from medalist.config import Part

Augmentations = tuple[dict[str, dict[str, Any]], ...]
"""albumentations' public transforms in order, each `{ClassName: {its arguments}}`."""


class ImageConfig(Part):
    """What is done to every image once it is decoded, in training and prediction alike.

    contrast: `as_is`, or `stretch`: the darkest and the brightest thousandth of an image's values become 0 and 255,
    over all channels together, so that hues stay. For images whose exposure says nothing, as microscopes'.
    """

    contrast: Literal["as_is", "stretch"] = "as_is"


class LoaderConfig(Part):
    """How samples become batches.

    workers: processes that read and augment; 0 = in the training process. The weights do not depend on it.
    cache_mb: budget in megabytes for decoded images and their targets; what does not fit is decoded each time.
    cache: where they are kept: `memory`, or a memory-mapped `file` in the run's folder, removed at the end.
    """

    workers: int = Field(default=0, ge=0, le=64)
    cache_mb: int = Field(default=2000, ge=0)
    cache: Literal["memory", "file"] = "memory"
