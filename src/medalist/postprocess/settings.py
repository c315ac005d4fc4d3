"""Settings of the step from probability maps to final objects; torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
"""A threshold strictly between 0 and 1; a pixel counts where its probability is greater."""

Pixels = Annotated[int, Field(ge=0)]
"""A number of pixels of the image at its native size."""

PRESENCE = "presence:"
"""The beginning of the name of a plane that says, in every pixel, how probable it is that the image has a class."""


class SplitConfig(ConfigModel):
    """One way to split an object into parts: give `seed` or `radius`."""

    seed: Probability | None = None
    """The parts grow from the pieces of the object where body - border_weight x border is greater."""

    radius: int | None = Field(default=None, ge=1, le=200)
    """The parts grow from the peaks of the distance to the object's edge, which are at least this many pixels apart."""

    smooth: float = Field(default=1.0, ge=0.0, le=50.0)
    """The standard deviation, in pixels, of the Gaussian that smooths the distance; only with `radius`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.seed is None) == (self.radius is None):
            raise ValueError("a split needs either seed or radius")
        return self


class SecondStageConfig(ConfigModel):
    """A second stage: a regressor (LightGBM) of each object's IoU drops objects, and splits them where that is better.

    It is trained on the out-of-fold objects when the run is scored. Each fold is decided by a regressor of the other
    folds; where only one fold is trained, each of five parts of its samples by one of the others. Groups stay together.
    """

    drop_below: float = Field(default=0.3, ge=0.0, lt=1.0)
    """An object is dropped where its predicted IoU is smaller; 0 drops none."""

    splits: tuple[SplitConfig, ...] = (SplitConfig(seed=0.75), SplitConfig(seed=0.9), SplitConfig(radius=5))
    """The ways in which each object may be split; an empty list splits none."""

    split_gain: float = Field(default=0.0, ge=0.0, lt=1.0)
    """An object is split where the mean predicted IoU of its parts is greater than its own by more than this."""

    repeats: int = Field(default=5, ge=1, le=100)
    """The number of regressors with different seeds whose predictions are averaged."""

    trees: int = Field(default=200, ge=1, le=5000)
    """The trees of each regressor."""

    leaves: int = Field(default=15, ge=2, le=255)
    """The most leaves of a tree."""

    rate: float = Field(default=0.05, gt=0.0, le=1.0)
    """The learning rate of the regressors."""


class WatershedConfig(ConfigModel):
    """Objects from the map `body` and, where the network has it, the map `border`, by seeded watershed."""

    kind: Literal["watershed"] = "watershed"
    """`watershed` selects this decision; its answers are instances."""

    body: Probability = 0.5
    """A pixel belongs to some object where the probability of `body` is greater."""

    seed: Probability = 0.6
    """A pixel belongs to the inside of an object where body - border_weight x border is greater."""

    border_weight: float = Field(default=1.0, ge=0.0, le=10.0)
    """How strongly a border forbids a seed; 0 ignores the map `border`."""

    seed_rule: Literal["threshold", "distance", "energy", "distance_map"] = "threshold"
    """`threshold`: each connected piece of the inside is a seed. `distance`: each peak of the smoothed distance to the
    edge of the inside is a seed, which also separates touching objects that have no border between them. `energy`: the
    maps `energy1`, `energy2`, … are ever smaller middles of the objects; a seed is each piece of a level (greater than
    `seed`) that has no piece of a deeper level in it. `distance_map`: each peak of the smoothed map `distance`, which
    the network predicts, is a seed where the map is greater than `seed`. The last two ignore the map `border`."""

    smooth: float = Field(default=1.0, ge=0.0, le=50.0)
    """The standard deviation, in pixels, of the Gaussian that smooths a distance; only for peaks, so not for seed_rule
    `threshold` and `energy`, unless `split_solidity` is given."""

    radius: int = Field(default=5, ge=1, le=200)
    """Two peaks are at least this many pixels apart, along rows or columns; only where `smooth` counts."""

    min_seed: Pixels = 5
    """Seeds with fewer pixels are dropped; under seed_rule `distance`, pieces of the inside with fewer pixels. Peaks of
    `distance_map` may have any size."""

    min_size: Pixels = 20
    """Objects with fewer pixels are dropped."""

    fill_holes: bool = True
    """Whether background that is enclosed by one object alone becomes part of this object."""

    split_solidity: float | None = Field(default=None, gt=0.0, le=1.0)
    """An object that fills less than this share of its convex hull is split at the peaks of the distance to its edge
    (`smooth`, `radius`); null splits none."""

    merge_border: float | None = Field(default=None, gt=0.0, le=1.0)
    """Two touching objects become one where the map `border` is lower than this on average along the line between them;
    null merges none."""

    second_stage: SecondStageConfig | None = None
    """A regressor that drops and splits objects; `{}` takes the defaults, null has no second stage."""

    @property
    def maps(self) -> tuple[str, ...]:
        """The maps that the decision cannot do without."""
        wanted = {"energy": ("energy1",), "distance_map": ("distance",)}.get(self.seed_rule, ())
        return ("body", *wanted, *(("border",) if self.merge_border is not None else ()))


class ThresholdConfig(ConfigModel):
    """One foreground mask from one map."""

    kind: Literal["threshold"] = "threshold"
    """`threshold` selects this decision; its answers are masks."""

    threshold: Probability = 0.5
    """A pixel is foreground where the probability is greater."""

    min_size: Pixels = 0
    """Connected pieces of the foreground with fewer pixels are dropped."""

    fill_holes: bool = False
    """Whether background that is enclosed by foreground becomes foreground."""

    empty_below: Pixels = 0
    """A mask with fewer foreground pixels than this, after the steps above, is emptied."""

    channel: str | None = None
    """The name of the map; null takes the first one."""


class ClassesConfig(ConfigModel):
    """One class for each pixel, from one map for each class."""

    kind: Literal["classes"] = "classes"
    """`classes` selects this decision; its answers are masks of several classes."""

    rule: Literal["argmax", "thresholds"] = "argmax"
    """`argmax`: a pixel has the most probable class; the background must have a channel. `thresholds`: a pixel has the
    most probable of the classes that are above their thresholds; a map of the background takes no part."""

    threshold: Probability | dict[str, Probability] = 0.5
    """A pixel may have a class where its probability is greater: one number, or `{crack: 0.4}` by channel (0.5 for
    those that are not named). Only for rule `thresholds`."""

    otherwise: Literal["background", "best"] = "background"
    """What a pixel is where no class is above its threshold: the background, or the most probable class all the same.
    Only for rule `thresholds`."""

    present: Probability | dict[str, Probability] | None = None
    """An image has a class only where the class's highest probability in it is greater; where the network says for each
    image which classes it has, this probability counts. One number, or `{crack: 0.6}` by channel; null asks nothing."""

    min_size: Pixels | dict[str, Pixels] = 0
    """Connected pieces of a class with fewer pixels are dropped: their pixels become what they would be without this
    class. One number for all classes but the background, or `{crack: 30}` by channel."""

    empty_below: Pixels | dict[str, Pixels] = 0
    """A class with fewer pixels in the image than this, after the steps above, is dropped in the same way. One number
    for all classes but the background, or `{crack: 200}` by channel."""


DecideConfig = Annotated[WatershedConfig | ThresholdConfig | ClassesConfig, Field(discriminator="kind")]
"""How a prediction becomes an answer; `kind` selects the model."""
