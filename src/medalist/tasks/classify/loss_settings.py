"""What a config may say of the loss on labels. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medalist.config import ConfigModel

ClassWeights = dict[str, Annotated[float, Field(ge=0, le=1000)]] | Literal["none", "balanced", "effective"]
"""How much each class counts, by name, 1 where not named; `balanced`: by the inverse of its training samples;
`effective`: by the inverse of their effective number (arXiv 1901.05555, beta 0.999). They are scaled so that their mean
over the training samples is 1."""


class CrossEntropyConfig(ConfigModel):
    """Softmax and cross-entropy. smoothing: share of the target that is spread over all classes (arXiv 1512.00567)."""

    kind: Literal["cross_entropy"]
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: ClassWeights = "none"


class BceConfig(ConfigModel):
    """Sigmoid and cross-entropy for each class. smoothing: targets become smoothing/2 and 1 - smoothing/2.

    class_weights: of the positive side of each class.
    """

    kind: Literal["bce"]
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: ClassWeights = "none"


class FocalConfig(ConfigModel):
    """Cross-entropy times (1 - p) ** gamma, p being the probability of the right side (arXiv 1708.02002).

    By softmax for one label, by sigmoid for several.
    """

    kind: Literal["focal"]
    gamma: float = Field(default=2.0, ge=0, le=10)
    class_weights: ClassWeights = "none"


class AsymmetricConfig(ConfigModel):
    """Asymmetric loss for several labels (arXiv 2009.14119): negatives count less the easier they are.

    negative, positive: focusing powers; clip: probabilities of negatives are lowered by it, and those below it count
    nothing.
    """

    kind: Literal["asymmetric"]
    negative: float = Field(default=4.0, ge=0, le=10)
    positive: float = Field(default=1.0, ge=0, le=10)
    clip: float = Field(default=0.05, ge=0, lt=1)


class RegressionLossConfig(ConfigModel):
    """The grade as a number. error: `squared`, or `smooth_l1` (squared below an error of 1, straight above it)."""

    kind: Literal["regression"]
    error: Literal["squared", "smooth_l1"] = "smooth_l1"
    class_weights: ClassWeights = "none"


class CoralConfig(ConfigModel):
    """CORAL (arXiv 1901.07884): for each grade but the first, whether it is reached; one slope, a bias for each."""

    kind: Literal["coral"]
    class_weights: ClassWeights = "none"


LossConfig = Annotated[
    CrossEntropyConfig | BceConfig | FocalConfig | AsymmetricConfig | RegressionLossConfig | CoralConfig,
    Field(discriminator="kind"),
]
