"""Settings of reading, caching and batching; torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from medalist.config import ConfigModel, OwnConfig, kind_or

Transform = Annotated[
    Annotated[dict[str, dict[str, Any]], Tag("public")] | Annotated[OwnConfig, Tag("own")],
    Discriminator(lambda value: "own" if kind_or("public")(value) == "own" else "public"),
]
"""A public transform of albumentations, as `{ClassName: {its arguments}}`, or one of the contest's folder."""

Augmentations = tuple[Transform, ...]
"""Transforms in order."""


class ImageConfig(ConfigModel):
    """What is done to every image after it is decoded, in training and in prediction."""

    contrast: Literal["as_is", "stretch"] = "as_is"
    """`as_is` keeps the values. `stretch` maps the darkest and the brightest thousandth of an image's values to 0 and
    255, with one map for all channels, so that hues stay. It is for images whose exposure has no meaning, such as
    microscope images."""

    invert: bool = False
    """Whether each value is replaced by 255 - value, for ink on paper."""


Side = Annotated[int, Field(ge=8, le=4096)]


class FitConfig(ImageConfig):
    """Images of any shape become one size, because an encoder of whole images needs one size."""

    size: tuple[Side, Side]
    """The height and the width in pixels that the network sees in prediction."""

    train_size: tuple[Side, Side] | None = None
    """The height and the width that the network sees in training, after augmentation; null means the same as `size`.
    Objects look larger in crops, so each side may be smaller than that of `size`, down to half of it, but not
    larger."""

    fit: Literal["squash", "pad", "crop"] = "squash"
    """How an image becomes this size. `squash` scales each side by its own factor. `pad` keeps the shape of the image
    and pads the shorter side. `crop` keeps the shape and takes the middle."""

    fill: int = Field(default=0, ge=0, le=255)
    """The value of padded pixels, after inversion."""

    margin: float = Field(default=1.0, ge=1, le=2)
    """Before augmentation an image is larger than `size` by this factor, so that crops have room."""

    trim: float | None = Field(default=None, ge=0.1, le=1)
    """First the box of all pixels that differ from `fill` is cut out. The box is then framed so that its longer side
    takes this share of the frame's side. This is for signs on an even ground, at any place and of any size. null
    leaves images as they are."""

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
    """Each sample comes once in an epoch, in random order."""

    kind: Literal["shuffle"] = "shuffle"
    """`shuffle` selects this sampler."""


class ClassSampler(ConfigModel):
    """Batches with several samples of each identity.

    A batch has classes * per_class samples; train.batch is not used. An epoch has as many batches as are needed to
    hold the training samples once.
    """

    kind: Literal["pxk", "balanced", "group"]
    """`pxk`: each identity comes equally often, and its samples come in turns. `balanced`: in every place of a batch
    each identity is as likely as any other, so an identity may have more or fewer than per_class samples in a batch.
    `group`: as `pxk`, but all identities of a batch have the same `group` (an alphabet, a species), where the group
    has enough identities."""

    classes: int = Field(ge=2, le=4096)
    """The number of identities in a batch."""

    per_class: int = Field(default=4, ge=1, le=256)
    """The number of samples of each identity in a batch."""


SamplerConfig = Annotated[ShuffleSampler | ClassSampler, Field(discriminator="kind")]


class WeightedSampler(ConfigModel):
    """Samples are drawn with replacement. An epoch has as many draws as there are training samples."""

    kind: Literal["balanced", "weighted"]
    """`balanced`: each stratum is drawn as often as any other. `weighted`: each sample is drawn as often as `weights`
    says for its stratum."""

    weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] = Field(default_factory=dict)
    """The weight of the samples of each stratum, by the name of the stratum; only for kind `weighted`. A stratum that
    is not named has the weight 1, and 0 leaves a stratum out. Only the ratios of the weights count, not their sum."""

    @model_validator(mode="after")
    def _weights_fit_kind(self) -> Self:
        if (self.kind == "weighted") != bool(self.weights):
            raise ValueError("sampler.weights are for sampler.kind = weighted, which needs them, as {rare: 3}")
        return self


class TileSampler(ConfigModel):
    """Crops of the training images, several of each image in an epoch, for images that are larger than what is trained.

    Images that do not fit into loader.cache_mb are read by windows: they are never decoded as a whole where their
    format allows it.
    """

    kind: Literal["tiles"] = "tiles"
    """`tiles` selects this sampler."""

    size: int = Field(ge=32, le=16384)
    """The height and the width of a crop in pixels, before augmentation. Images that are smaller stay whole."""

    content: float = Field(default=0.5, ge=0, le=1)
    """The share of the crops that are drawn around a place with content: a pixel of an object, or of a class other than
    0. All other crops lie anywhere."""

    per_image: int | None = Field(default=None, ge=1, le=100_000)
    """The crops of each image in an epoch; null means as many as are needed to cover its area once."""

    def crops_of(self, size: tuple[int, int]) -> int:
        """Return the number of crops of an image of (height, width) in an epoch."""
        return self.per_image or max(1, round(size[0] * size[1] / self.size**2))


SampleSamplerConfig = Annotated[ShuffleSampler | WeightedSampler, Field(discriminator="kind")]


class LoaderConfig(ConfigModel):
    """How samples are read, cached and put into batches."""

    workers: int = Field(default=0, ge=0, le=64)
    """The number of processes that read and augment samples; 0 means that the training process does it. The trained
    weights do not depend on this number."""

    cache_mb: int = Field(default=2000, ge=0)
    """The budget in megabytes for decoded images and their targets. Images that do not fit are decoded each time."""

    cache: Literal["memory", "file"] = "memory"
    """Where decoded images are kept: in `memory`, or in a memory-mapped `file` in the run's folder, which is removed at
    the end."""
