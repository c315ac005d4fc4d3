"""What a config may say of the loss: how much each named term counts, and in which epochs. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel
from medalist.errors import ConfigError
from medalist.tasks.segment.channels import Activation, is_regression

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

PIXEL_TERMS = ("bce", "ce", "focal")
"""The terms that are means over pixels."""

TERMS = (
    *("bce", "ce", "dice", "jaccard", "focal", "lovasz", "tversky"),
    *("log_dice", "log_jaccard", "boundary", "regression"),
)
"""The names of all terms, in the order in which they are summed."""


class OhemConfig(ConfigModel):
    """Online hard example mining: only the pixels with the highest losses count (arXiv 1604.04339)."""

    share: float = Field(default=0.25, gt=0, le=1)
    """The share of the judged pixels of a batch that counts: those with the highest losses."""

    min_pixels: int = Field(default=10_000, ge=1)
    """At least so many pixels of a batch count, where there are as many."""


class LossConfig(ConfigModel):
    """A weighted sum of named terms. A term with weight 0 is not computed, and at least one weight is above 0."""

    bce: Weight = 0.0
    """The weight of the binary cross-entropy of each channel; only for task.activation sigmoid."""

    ce: Weight = 0.0
    """The weight of the cross-entropy of all channels; only for task.activation softmax."""

    dice: Weight = 0.0
    """The weight of the Dice loss."""

    jaccard: Weight = 0.0
    """The weight of the Jaccard loss."""

    focal: Weight = 0.0
    """The weight of the focal loss (arXiv 1708.02002)."""

    lovasz: Weight = 0.0
    """The weight of the Lovász hinge or, under softmax, of Lovász-softmax (arXiv 1705.08790)."""

    tversky: Weight = 0.0
    """The weight of the Tversky loss (arXiv 1706.05721)."""

    log_dice: Weight = 0.0
    """The weight of -log of the soft Dice coefficient."""

    log_jaccard: Weight = 0.0
    """The weight of -log of the soft Jaccard index, as in TernausNet (arXiv 1801.05746)."""

    boundary: Weight = 0.0
    """The weight of the boundary loss (arXiv 1812.07032): the mean over pixels of the probability times the signed
    distance to the edge of the target, in pixels. Its values are large, so about 0.01 beside a loss of regions is
    much."""

    regression: Weight = 0.0
    """The weight of the error on channels that are numbers, such as `distance`; the other terms leave them out."""

    deep: Weight = 0.5
    """The weight of the mean loss of the heads of `model.deep_supervision`; it counts nothing without them."""

    presence: Weight = 0.5
    """The weight of the binary cross-entropy of the head of `model.presence`; it counts nothing without it."""

    channels: dict[str, Weight] = Field(default_factory=dict)
    """The weight of each output channel inside every term, by the channel's name; 1 where a channel is not named. In
    `ce`, and in `focal` under softmax, it is the weight of the pixels of this class."""

    class_weights: Literal["none", "balanced", "effective"] = "none"
    """A further factor of each channel's weight, from the pixels of the fold's training samples: `none`; `balanced`,
    the inverse of the number of its pixels; `effective`, the inverse of their effective number (arXiv 1901.05555)."""

    effective_beta: float = Field(default=0.9999999, ge=0, lt=1)
    """The beta of class_weights `effective`. Up to about 1 / (1 - beta) pixels a class is weighed by the inverse of
    their number; more pixels change nothing."""

    ohem: OhemConfig | None = None
    """Whether only the hardest pixels count in `bce`, `ce` and `focal`; null means all pixels."""

    border_weight: Weight = 10.0
    """How much more a pixel counts in `bce`, `ce` and `focal` where two objects meet (w0 of arXiv 1505.04597); only
    with task.border_sigma."""

    focal_gamma: float = Field(default=2.0, ge=1, le=10)
    """How strongly the focal term reduces the loss of pixels that are right already (arXiv 1708.02002)."""

    tversky_alpha: float = Field(default=0.3, gt=0, le=10)
    """The cost of a false positive in the Tversky term (arXiv 1706.05721)."""

    tversky_beta: float = Field(default=0.7, gt=0, le=10)
    """The cost of a false negative in the Tversky term (arXiv 1706.05721)."""

    regression_error: Literal["l1", "l2"] = "l1"
    """The error of the regression term: `l1`, the absolute difference; or `l2`, its square."""

    @model_validator(mode="after")
    def _something_to_minimise(self) -> Self:
        if not self.terms:
            raise ValueError("every weight is 0; give at least one, such as bce: 1.0")
        return self

    @property
    def terms(self) -> dict[str, float]:
        """The terms that count, with their weights, in a fixed order."""
        return {name: getattr(self, name) for name in TERMS if getattr(self, name) > 0}

    def refuse_unfit(self, activation: Activation, channels: Sequence[str]) -> None:
        """Raise ConfigError for a term or a weight that fits neither the activation nor the network's channels."""
        for term, other, instead in (("bce", "softmax", "ce"), ("ce", "sigmoid", "bce")):
            if activation == other and getattr(self, term) > 0:
                raise ConfigError(
                    f"loss.{term} is not made for task.activation = {activation}; set loss.{term}=0 loss.{instead}=1"
                )
        if self.ohem is not None and not any(name in self.terms for name in PIXEL_TERMS):
            raise ConfigError("loss.ohem is for bce, ce and focal, and none of them has a weight; leave it out")
        numbers = [name for name in channels if is_regression(name)]
        if numbers and activation == "softmax":
            raise ConfigError(f"model.channels: {', '.join(numbers)} is a number and no class; take sigmoid")
        if numbers and not self.regression:
            raise ConfigError(f"model.channels: {', '.join(numbers)} needs the term loss.regression; set it to 1.0")
        if self.regression and not numbers:
            raise ConfigError("loss.regression: no channel is a number (distance, offset_y, offset_x); set it to 0")
        if numbers and list(self.terms) != ["regression"] and len(numbers) == len(channels):
            raise ConfigError(f"loss: {', '.join(channels)} are numbers, so only the term regression counts")
        for name in self.terms:
            self.channel_weights(channels, name)

    def channel_weights(self, channels: Sequence[str], term: str = "") -> list[float]:
        """One weight for each of the network's channels, in their order, scaled to sum to 1.

        The term `regression` has weights above 0 for numbers alone, and all other terms for all other channels. Raises
        ConfigError for a weight whose channel the network does not have, and where all weights are 0.
        """
        for name in self.channels:
            if name not in channels:
                near = get_close_matches(name, channels, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(f"loss.channels: the model has no channel '{name}', only {', '.join(channels)}{hint}")
        wanted = term == "regression"
        weights = [self.channels.get(name, 1.0) if is_regression(name) == wanted else 0.0 for name in channels]
        if sum(weights) <= 0:
            raise ConfigError(f"loss.channels: every weight is 0; give one of {', '.join(channels)} more")
        return [weight / sum(weights) for weight in weights]

    def with_class_weights(self, factors: Mapping[str, float]) -> Self:
        """Return this loss with the channels' weights multiplied by these factors, in place of `class_weights`."""
        weights = {name: self.channels.get(name, 1.0) * factor for name, factor in factors.items()}
        return self.model_copy(update={"channels": weights, "class_weights": "none"})


class LossStage(LossConfig):
    """The loss of some epochs."""

    epochs: int | None = Field(default=None, ge=1)
    """The number of epochs of this stage; the last stage has none, and lasts to the end."""


class StagedLossConfig(ConfigModel):
    """Losses one after the other, such as BCE and Dice first and then Lovász.

    Held-out samples are always judged by the loss of the last stage, so that all epochs can be compared.
    """

    kind: Literal["stages"]
    """`stages` selects a loss that changes between epochs."""

    stages: tuple[LossStage, ...] = Field(min_length=2)
    """The stages, from the first epoch on."""

    @model_validator(mode="after")
    def _stages_follow_each_other(self) -> Self:
        *first, last = self.stages
        if any(stage.epochs is None for stage in first):
            raise ValueError("loss.stages: each stage but the last needs its number of epochs")
        if last.epochs is not None:
            raise ValueError("loss.stages: the last stage lasts to the end of the training; leave out its epochs")
        return self

    def stage_in(self, epoch: int) -> int:
        """Return the number of the stage in an epoch; both are counted from 0."""
        for number, stage in enumerate(self.stages[:-1]):
            assert stage.epochs is not None
            if epoch < stage.epochs:
                return number
            epoch -= stage.epochs
        return len(self.stages) - 1


def losses_in(loss: object) -> tuple[LossConfig, ...]:
    """Return the sums of terms of a config's loss: one, one a stage, or none for a loss of the contest's folder."""
    match loss:
        case StagedLossConfig():
            return loss.stages
        case LossConfig():
            return (loss,)
        case _:
            return ()
