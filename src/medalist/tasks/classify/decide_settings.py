"""What a config may say of the step from probabilities to labels. Torch-free."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Probability = Annotated[float, Field(ge=0, le=1)]


class ArgmaxConfig(ConfigModel):
    """The class with the highest probability; with `top` above 1 so many of them, the most probable first (MAP@k)."""

    kind: Literal["argmax"] = "argmax"
    top: int = Field(default=1, ge=1, le=1000)


class _LabelsConfig(ConfigModel):
    """least: an image gets so many labels at least, its most probable ones. most: and so many at most; None = any."""

    least: int = Field(default=0, ge=0, le=1000)
    most: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _least_below_most(self) -> Self:
        if self.most is not None and self.least > self.most:
            raise ValueError(f"decide.least = {self.least} is above decide.most = {self.most}")
        return self


class ThresholdConfig(_LabelsConfig):
    """Every class whose probability is above one threshold.

    threshold: a number; or `tuned`, that which scores best on the out-of-fold predictions of the other folds.
    """

    kind: Literal["threshold"]
    threshold: Probability | Literal["tuned"] = 0.5


class ThresholdsConfig(_LabelsConfig):
    """Every class whose probability is above its own threshold.

    thresholds: by class, 0.5 where not named; or `tuned`, those which score best on the other folds.
    """

    kind: Literal["thresholds"]
    thresholds: dict[str, Probability] | Literal["tuned"] = "tuned"


class RegressionConfig(ConfigModel):
    """One number, 0 for the first grade, is cut into grades.

    cuts: `round`, to the nearest grade; `tuned`, cuts that score best on the other folds; or the cuts themselves,
    rising, one fewer than there are grades. Of class probabilities the number is their mean grade.
    """

    kind: Literal["regression"]
    cuts: tuple[float, ...] | Literal["round", "tuned"] = "tuned"

    @model_validator(mode="after")
    def _cuts_rise(self) -> Self:
        if isinstance(self.cuts, tuple) and any(low >= high for low, high in pairwise(self.cuts)):
            raise ValueError(f"decide.cuts = {list(self.cuts)} must rise")
        return self


DecideConfig = Annotated[
    ArgmaxConfig | ThresholdConfig | ThresholdsConfig | RegressionConfig, Field(discriminator="kind")
]
"""How a prediction becomes labels; `kind` picks."""
