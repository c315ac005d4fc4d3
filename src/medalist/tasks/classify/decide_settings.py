"""What a config may say of the step from probabilities to labels. Torch-free."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel, OwnConfig

Probability = Annotated[float, Field(ge=0, le=1)]


class ArgmaxConfig(ConfigModel):
    """The class with the highest probability, or several classes, the most probable first."""

    kind: Literal["argmax"] = "argmax"
    """`argmax` selects this decision."""

    top: int = Field(default=1, ge=1, le=1000)
    """The number of classes that are answered, such as 5 for MAP@5."""


class _LabelsConfig(ConfigModel):
    """How many labels an image may have."""

    least: int = Field(default=0, ge=0, le=1000)
    """An image gets at least this many labels, its most probable ones."""

    most: int | None = Field(default=None, ge=1)
    """An image gets at most this many labels; null means any number."""

    @model_validator(mode="after")
    def _least_below_most(self) -> Self:
        if self.most is not None and self.least > self.most:
            raise ValueError(f"decide.least = {self.least} is above decide.most = {self.most}")
        return self


class ThresholdConfig(_LabelsConfig):
    """Every class whose probability is above one threshold."""

    kind: Literal["threshold"]
    """`threshold` selects this decision."""

    threshold: Probability | Literal["tuned"] = 0.5
    """The threshold: a number, or `tuned`, the number that scores best on the out-of-fold predictions of the other
    folds."""


class ThresholdsConfig(_LabelsConfig):
    """Every class whose probability is above its own threshold."""

    kind: Literal["thresholds"]
    """`thresholds` selects this decision."""

    thresholds: dict[str, Probability] | Literal["tuned"] = "tuned"
    """The thresholds: by the name of the class, 0.5 where a class is not named, or `tuned`, those that score best on
    the out-of-fold predictions of the other folds."""


class RegressionConfig(ConfigModel):
    """One number, 0 for the first grade, is cut into grades.

    Where the network predicts class probabilities, the number is their mean grade.
    """

    kind: Literal["regression"]
    """`regression` selects this decision."""

    cuts: tuple[float, ...] | Literal["round", "tuned"] = "tuned"
    """Where the number is cut. `round`: to the nearest grade. `tuned`: the cuts that score best on the out-of-fold
    predictions of the other folds. Or the cuts themselves, rising, one fewer than there are grades."""

    @model_validator(mode="after")
    def _cuts_rise(self) -> Self:
        if isinstance(self.cuts, tuple) and any(low >= high for low, high in pairwise(self.cuts)):
            raise ValueError(f"decide.cuts = {list(self.cuts)} must rise")
        return self


DecideConfig = Annotated[
    ArgmaxConfig | ThresholdConfig | ThresholdsConfig | RegressionConfig | OwnConfig, Field(discriminator="kind")
]
"""How a prediction becomes labels; `kind` selects the model."""
