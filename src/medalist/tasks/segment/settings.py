"""What a config of segmentation says. Torch-free."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel
from medalist.data.settings import ImageConfig, SampleSamplerConfig, ShuffleSampler
from medalist.errors import ConfigError
from medalist.experiment import Experiment, Pretrained, TaskConfig
from medalist.postprocess.settings import DecideConfig, ThresholdConfig
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.model_settings import ModelConfig


class SegmentConfig(TaskConfig):
    """Segmentation: masks, or instances by body and border.

    border: a pixel belongs to the border where a window of 2*border+1 pixels around it sees two different objects.
    """

    kind: Literal["segment"] = "segment"
    border: int = Field(default=2, ge=1, le=50)


class PredictConfig(ConfigModel):
    """Prediction of whole images.

    tta: views that are averaged: `none`, `flips` (4: identity, both flips, half turn) or `d4` (8: with quarter turns).
    scales: sizes at which each view is seen, relative to the native one; the maps are averaged at native size.
    batch: images of one size in one forward.
    """

    tta: Literal["none", "flips", "d4"] = "flips"
    scales: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    batch: int = Field(default=4, ge=1)

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
    loss: LossConfig
    sampler: SampleSamplerConfig = ShuffleSampler()
    predict: PredictConfig = PredictConfig()
    decide: DecideConfig

    @property
    def pretrained(self) -> Pretrained:
        """The weights of the encoder."""
        return Pretrained(self.model.encoder_name, self.model.weights)

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
            self.loss.channel_weights(channels)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        wanted = self.decide.channel if isinstance(self.decide, ThresholdConfig) else "body"
        if wanted is not None and wanted not in channels:
            raise ValueError(
                f"decide.kind = {self.decide.kind} needs the channel '{wanted}', and model.channels are "
                f"{', '.join(channels)}; change one of them"
            )
        return self
