"""Settings of the step from probability maps to final objects; torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medalist.config import ConfigModel

Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
"""A threshold strictly between 0 and 1; a pixel counts where its probability is greater."""

Pixels = Annotated[int, Field(ge=0)]
"""A number of pixels of the image at its native size."""


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


DecideConfig = Annotated[WatershedConfig | ThresholdConfig, Field(discriminator="kind")]
"""How a prediction becomes an answer; `kind` selects the model."""
