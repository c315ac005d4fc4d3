"""What a config of segmentation says. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from medalist.config import ConfigModel, OwnConfig, kind_or
from medalist.data.settings import ImageConfig, SampleSamplerConfig, ShuffleSampler
from medalist.errors import ConfigError
from medalist.experiment import Experiment, Pretrained, TaskConfig
from medalist.postprocess.settings import ThresholdConfig, WatershedConfig
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.model_settings import ModelConfig, OwnNetworkConfig, TernausV2Config

SegmentLoss = Annotated[
    Annotated[LossConfig, Tag("terms")] | Annotated[OwnConfig, Tag("own")], Discriminator(kind_or("terms"))
]
"""A weighted sum of terms, or a loss of the contest's folder."""

SegmentDecide = Annotated[WatershedConfig | ThresholdConfig | OwnConfig, Field(discriminator="kind")]
"""How a prediction becomes an answer; `kind` selects the model."""


class SegmentConfig(TaskConfig):
    """Segmentation: masks, or instances by body and border."""

    kind: Literal["segment"] = "segment"
    """`segment`: the answers are made of pixels."""

    border: int = Field(default=2, ge=1, le=50)
    """A pixel belongs to the border where a window of 2*border+1 pixels around it sees two different objects."""


class PredictConfig(ConfigModel):
    """Prediction of whole images."""

    tta: Literal["none", "flips", "d4"] = "flips"
    """The views that are averaged: `none`, `flips` (4 views: identity, both flips, half turn) or `d4` (8 views: also
    with quarter turns)."""

    scales: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    """The sizes at which each view is seen, relative to the native size, each within 0.1..8. The maps are averaged at
    native size."""

    batch: int = Field(default=4, ge=1)
    """The number of images of one size in one forward."""

    @model_validator(mode="after")
    def _scales_in_range(self) -> PredictConfig:
        if not all(0.1 <= scale <= 8 for scale in self.scales):
            raise ValueError(f"predict.scales = {list(self.scales)}: each must be within 0.1..8")
        return self


class SegmentSettings(Experiment):
    """An experiment whose answers are made of pixels (walk 1)."""

    task: SegmentConfig = SegmentConfig()
    image: ImageConfig = ImageConfig()

    model: ModelConfig
    """The network."""

    loss: SegmentLoss
    """What the training minimises."""

    sampler: SampleSamplerConfig = ShuffleSampler()
    """Which samples make a batch."""

    predict: PredictConfig = PredictConfig()

    decide: SegmentDecide
    """How probability maps become the final objects."""

    @property
    def pretrained(self) -> Pretrained | None:
        """The weights of the encoder; None for a network of the contest's folder, which brings its own."""
        if isinstance(self.model, OwnNetworkConfig):
            return None
        return Pretrained(self.model.encoder_name, self.model.weights, not isinstance(self.model, TernausV2Config))

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        stride = self.model.stride
        for stage in self.train.sizes:
            if any(side % stride for side in stage.size):
                raise ValueError(f"train.sizes: {list(stage.size)} must be multiples of {stride}, the network's stride")
        return self

    @model_validator(mode="after")
    def _channels_fit(self) -> Self:
        """Refuse, before any training, a loss or a decision on channels that the network does not have."""
        channels = self.model.channels
        try:
            if isinstance(self.loss, LossConfig):
                self.loss.channel_weights(channels)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if isinstance(self.decide, OwnConfig):
            return self
        wanted = self.decide.channel if isinstance(self.decide, ThresholdConfig) else "body"
        if wanted is not None and wanted not in channels:
            raise ValueError(
                f"decide.kind = {self.decide.kind} needs the channel '{wanted}', and model.channels are "
                f"{', '.join(channels)}; change one of them"
            )
        return self
