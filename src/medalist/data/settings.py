"""Settings of reading, caching and batching; torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Augmentations = tuple[dict[str, dict[str, Any]], ...]
"""albumentations' public transforms in order, each `{ClassName: {its arguments}}`."""


class ImageConfig(ConfigModel):
    """What is done to every image once it is decoded, in training and prediction alike.

    contrast: `as_is`, or `stretch`: the darkest and the brightest thousandth of an image's values become 0 and 255,
    over all channels together, so that hues stay. For images whose exposure says nothing, as microscopes'.
    invert: 255 - value, for ink on paper.
    """

    contrast: Literal["as_is", "stretch"] = "as_is"
    invert: bool = False


Side = Annotated[int, Field(ge=8, le=4096)]


class FitConfig(ImageConfig):
    """Images of any shape become one size, as an encoder of whole images needs it.

    size: (height, width) that the network sees in prediction. train_size: what it sees in training, after
    augmentation; None = the same. Objects look larger in crops: train_size may be down to half of size, and not above.
    fit: `squash` both sides; `pad` the shorter side, keeping shapes; `crop` the middle, keeping shapes.
    fill: value 0..255 of what is padded, after inversion.
    margin: images are kept larger than `size` by this factor before augmentation, so that crops have room.
    trim: first the box of what differs from `fill` is cut out, and framed so that its longer side takes this share of
    the frame's; for signs on an even ground, wherever they stand and however large. None = images as they are.
    """

    size: tuple[Side, Side]
    train_size: tuple[Side, Side] | None = None
    fit: Literal["squash", "pad", "crop"] = "squash"
    fill: int = Field(default=0, ge=0, le=255)
    margin: float = Field(default=1.0, ge=1, le=2)
    trim: float | None = Field(default=None, ge=0.1, le=1)

    @property
    def seen_in_training(self) -> tuple[int, int]:
        """(height, width) that augmentation must end in."""
        return self.train_size or self.size

    @model_validator(mode="after")
    def _sizes_are_near(self) -> Self:
        for train, whole in zip(self.seen_in_training, self.size, strict=True):
            if not whole / 2 <= train <= whole:
                raise ValueError(
                    f"train_size {list(self.seen_in_training)} and size {list(self.size)}: each side seen in training "
                    "must be between half of the predicted one and all of it"
                )
        return self


class ShuffleSampler(ConfigModel):
    """Every sample once an epoch."""

    kind: Literal["shuffle"] = "shuffle"


class ClassSampler(ConfigModel):
    """Batches with several samples of each identity. The batch is classes * per_class; train.batch is not used.

    pxk: identities are dealt so that each comes equally often, samples in turns, as many batches as hold the
    training samples once. balanced: each identity as likely as any other in every place of a batch of
    classes * per_class, per_class not forced. group: pxk, with all identities of a batch from one value of the
    samples' `group` (an alphabet, a species), where it has enough of them.
    """

    kind: Literal["pxk", "balanced", "group"]
    classes: int = Field(ge=2, le=4096)
    per_class: int = Field(default=4, ge=1, le=256)


SamplerConfig = Annotated[ShuffleSampler | ClassSampler, Field(discriminator="kind")]


class WeightedSampler(ConfigModel):
    """Samples drawn with replacement, as many an epoch as there are.

    balanced: each stratum as often as any other. weighted: each sample as often as `weights` says for its stratum
    (1 for strata that are not named; 0 leaves one out); they count against each other, whatever their sum.
    """

    kind: Literal["balanced", "weighted"]
    weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _weights_fit_kind(self) -> Self:
        if (self.kind == "weighted") != bool(self.weights):
            raise ValueError("sampler.weights are for sampler.kind = weighted, which needs them, as {rare: 3}")
        return self


SampleSamplerConfig = Annotated[ShuffleSampler | WeightedSampler, Field(discriminator="kind")]


class LoaderConfig(ConfigModel):
    """How samples become batches.

    workers: processes that read and augment; 0 = in the training process. The weights do not depend on it.
    cache_mb: budget in megabytes for decoded images and their targets; what does not fit is decoded each time.
    cache: where they are kept: `memory`, or a memory-mapped `file` in the run's folder, removed at the end.
    """

    workers: int = Field(default=0, ge=0, le=64)
    cache_mb: int = Field(default=2000, ge=0)
    cache: Literal["memory", "file"] = "memory"
