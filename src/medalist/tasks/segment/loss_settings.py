"""What a config may say of the loss: how much each named term counts. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel
from medalist.errors import ConfigError

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class LossConfig(ConfigModel):
    """A weighted sum of named terms. A term with weight 0 is not computed, and at least one weight is above 0."""

    bce: Weight = 0.0
    """The weight of the binary cross-entropy."""

    dice: Weight = 0.0
    """The weight of the Dice loss."""

    jaccard: Weight = 0.0
    """The weight of the Jaccard loss."""

    focal: Weight = 0.0
    """The weight of the focal loss (arXiv 1708.02002)."""

    lovasz: Weight = 0.0
    """The weight of the Lovász hinge (arXiv 1705.08790)."""

    tversky: Weight = 0.0
    """The weight of the Tversky loss (arXiv 1706.05721)."""

    channels: dict[str, Weight] = Field(default_factory=dict)
    """The weight of each output channel inside every term, by the channel's name; 1 where a channel is not named."""

    focal_gamma: float = Field(default=2.0, ge=1, le=10)
    """How strongly the focal term reduces the loss of pixels that are right already (arXiv 1708.02002)."""

    tversky_alpha: float = Field(default=0.3, gt=0, le=10)
    """The cost of a false positive in the Tversky term (arXiv 1706.05721)."""

    tversky_beta: float = Field(default=0.7, gt=0, le=10)
    """The cost of a false negative in the Tversky term (arXiv 1706.05721)."""

    @model_validator(mode="after")
    def _something_to_minimise(self) -> Self:
        if not self.terms:
            raise ValueError("every weight is 0; give at least one, such as bce: 1.0")
        return self

    @property
    def terms(self) -> dict[str, float]:
        """The terms that count, with their weights, in a fixed order."""
        names = ("bce", "dice", "jaccard", "focal", "lovasz", "tversky")
        return {name: getattr(self, name) for name in names if getattr(self, name) > 0}

    def channel_weights(self, channels: Sequence[str]) -> list[float]:
        """One weight for each of the network's channels, in their order, scaled to sum to 1.

        Raises ConfigError for a weight whose channel the network does not have, and where all weights are 0.
        """
        for name in self.channels:
            if name not in channels:
                near = get_close_matches(name, channels, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(f"loss.channels: the model has no channel '{name}', only {', '.join(channels)}{hint}")
        weights = [self.channels.get(name, 1.0) for name in channels]
        if sum(weights) <= 0:
            raise ConfigError(f"loss.channels: every weight is 0; give one of {', '.join(channels)} more")
        return [weight / sum(weights) for weight in weights]
