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
    """Objects from the map `body` and, where the network has it, `border`, by seeded watershed.

    body: a pixel belongs to some object where the probability of `body` is greater.
    seed: a pixel belongs to the inside of an object where body - border_weight x border is greater.
    border_weight: how strongly a border forbids a seed; 0 ignores the map `border`.
    seed_rule: "threshold": each connected piece of the inside is a seed;
        "distance": each peak of the smoothed distance to the edge of the inside is a seed, which also parts
        touching objects that have no border between them.
    smooth: standard deviation, in pixels, of the Gaussian that smooths the distance ("distance" only).
    radius: two peaks are at least this many pixels apart, along rows or columns ("distance" only).
    min_seed: seeds (rule "distance": pieces of the inside) with fewer pixels are dropped.
    min_size: objects with fewer pixels are dropped.
    fill_holes: background enclosed by one object alone becomes part of it.
    """

    kind: Literal["watershed"] = "watershed"
    body: Probability = 0.5
    seed: Probability = 0.6
    border_weight: float = Field(default=1.0, ge=0.0, le=10.0)
    seed_rule: Literal["threshold", "distance"] = "threshold"
    smooth: float = Field(default=1.0, ge=0.0, le=50.0)
    radius: int = Field(default=5, ge=1, le=200)
    min_seed: Pixels = 5
    min_size: Pixels = 20
    fill_holes: bool = True


class ThresholdConfig(ConfigModel):
    """One foreground mask from one map.

    threshold: a pixel is foreground where the probability is greater.
    min_size: connected pieces with fewer pixels are dropped.
    fill_holes: background enclosed by foreground becomes foreground.
    empty_below: a mask with fewer foreground pixels than this, after the steps above, is emptied.
    channel: name of the map; None takes the first.
    """

    kind: Literal["threshold"] = "threshold"
    threshold: Probability = 0.5
    min_size: Pixels = 0
    fill_holes: bool = False
    empty_below: Pixels = 0
    channel: str | None = None


DecideConfig = Annotated[WatershedConfig | ThresholdConfig, Field(discriminator="kind")]
"""How a prediction becomes an answer; `kind` picks."""
