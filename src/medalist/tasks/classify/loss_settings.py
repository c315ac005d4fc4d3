"""What a config may say of the loss on labels. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medalist.config import ConfigModel, OwnConfig

ClassWeights = dict[str, Annotated[float, Field(ge=0, le=1000)]] | Literal["none", "balanced", "effective"]
"""How much each class counts: weights by the name of the class, or the rule that gives them."""


class CrossEntropyConfig(ConfigModel):
    """Softmax and cross-entropy."""

    kind: Literal["cross_entropy"]
    """`cross_entropy` selects this loss."""

    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The share of the target that is spread over all classes (arXiv 1512.00567)."""

    class_weights: ClassWeights = "none"
    """How much each class counts: `none`, all alike; weights by the name of the class, 1 where a class is not named;
    `balanced`, by the inverse of the number of its training samples; `effective`, by the inverse of their effective
    number (arXiv 1901.05555, beta 0.999). The weights are scaled so that their mean over the training samples is
    1."""


class BceConfig(ConfigModel):
    """Sigmoid and cross-entropy for each class."""

    kind: Literal["bce"]
    """`bce` selects this loss."""

    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Targets become smoothing/2 and 1 - smoothing/2."""

    class_weights: ClassWeights = "none"
    """How much the positive side of each class counts: `none`, all alike; weights by the name of the class, 1 where a
    class is not named; `balanced`, by the inverse of the number of its training samples; `effective`, by the inverse
    of their effective number (arXiv 1901.05555, beta 0.999). The weights are scaled so that their mean over the
    training samples is 1."""


class FocalConfig(ConfigModel):
    """Cross-entropy times (1 - p) ** gamma, where p is the probability of the right side (arXiv 1708.02002).

    It is computed by softmax for one label and by sigmoid for several labels.
    """

    kind: Literal["focal"]
    """`focal` selects this loss."""

    gamma: float = Field(default=2.0, ge=0, le=10)
    """How strongly the loss of samples that are right already is reduced."""

    class_weights: ClassWeights = "none"
    """How much each class counts: `none`, all alike; weights by the name of the class, 1 where a class is not named;
    `balanced`, by the inverse of the number of its training samples; `effective`, by the inverse of their effective
    number (arXiv 1901.05555, beta 0.999). The weights are scaled so that their mean over the training samples is 1.
    For several labels they count for the positive side."""


class AsymmetricConfig(ConfigModel):
    """Asymmetric loss for several labels (arXiv 2009.14119): an easy negative counts less than a hard one."""

    kind: Literal["asymmetric"]
    """`asymmetric` selects this loss."""

    negative: float = Field(default=4.0, ge=0, le=10)
    """The focusing power for negatives."""

    positive: float = Field(default=1.0, ge=0, le=10)
    """The focusing power for positives."""

    clip: float = Field(default=0.05, ge=0, lt=1)
    """The probabilities of negatives are lowered by this much, and negatives below it do not count."""


class RegressionLossConfig(ConfigModel):
    """The grade is predicted as a number."""

    kind: Literal["regression"]
    """`regression` selects this loss."""

    error: Literal["squared", "smooth_l1"] = "smooth_l1"
    """`squared`, or `smooth_l1`, which is squared below an error of 1 and linear above it."""

    class_weights: ClassWeights = "none"
    """How much each class counts: `none`, all alike; weights by the name of the class, 1 where a class is not named;
    `balanced`, by the inverse of the number of its training samples; `effective`, by the inverse of their effective
    number (arXiv 1901.05555, beta 0.999). The weights are scaled so that their mean over the training samples is
    1."""


class CoralConfig(ConfigModel):
    """CORAL (arXiv 1901.07884): the network predicts of each grade but the first whether it is reached.

    All grades share one slope, and each has a bias of its own.
    """

    kind: Literal["coral"]
    """`coral` selects this loss."""

    class_weights: ClassWeights = "none"
    """How much each class counts: `none`, all alike; weights by the name of the class, 1 where a class is not named;
    `balanced`, by the inverse of the number of its training samples; `effective`, by the inverse of their effective
    number (arXiv 1901.05555, beta 0.999). The weights are scaled so that their mean over the training samples is
    1."""


LossConfig = Annotated[
    CrossEntropyConfig | BceConfig | FocalConfig | AsymmetricConfig | RegressionLossConfig | CoralConfig | OwnConfig,
    Field(discriminator="kind"),
]
