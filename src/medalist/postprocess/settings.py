"""Settings of the step from probability maps to final objects; torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medalist.config import ConfigModel

Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
"""A threshold strictly between 0 and 1; a pixel counts where its probability is greater."""

Pixels = Annotated[int, Field(ge=0)]
"""A number of pixels of the image at its native size."""

PRESENCE = "presence:"
"""The beginning of the name of a plane that says, in every pixel, how probable it is that the image has a class."""


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

    seed_rule: Literal["threshold", "distance"] = "threshold"
    """`threshold`: each connected piece of the inside is a seed. `distance`: each peak of the smoothed distance to the
    edge of the inside is a seed, which also separates touching objects that have no border between them."""

    smooth: float = Field(default=1.0, ge=0.0, le=50.0)
    """The standard deviation, in pixels, of the Gaussian that smooths the distance; only for seed_rule `distance`."""

    radius: int = Field(default=5, ge=1, le=200)
    """Two peaks are at least this many pixels apart, along rows or columns; only for seed_rule `distance`."""

    min_seed: Pixels = 5
    """Seeds with fewer pixels are dropped; under seed_rule `distance`, pieces of the inside with fewer pixels."""

    min_size: Pixels = 20
    """Objects with fewer pixels are dropped."""

    fill_holes: bool = True
    """Whether background that is enclosed by one object alone becomes part of this object."""


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
