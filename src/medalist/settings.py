"""The typed config of one experiment: every part's settings, composed."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel, explicit_value, explicit_value_in, load_config, parse_config
from medalist.data.settings import (
    Augmentations,
    FitConfig,
    ImageConfig,
    LoaderConfig,
    SamplerConfig,
    SampleSamplerConfig,
    ShuffleSampler,
)
from medalist.engine.settings import CheckpointConfig, EmbedPredictConfig, PredictConfig, Tracking, TrainConfig
from medalist.errors import ConfigError
from medalist.folds.folds import FoldsConfig
from medalist.models.settings import EmbedderConfig, ModelConfig
from medalist.postprocess.settings import DecideConfig, ThresholdConfig
from medalist.retrieval.settings import RankConfig
from medalist.tasks.embed.losses.settings import MarginTerm, MetricLossConfig
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.settings import EmbedConfig, SegmentConfig


class Experiment(ConfigModel):
    """What every experiment says.

    competition: name of a folder under `competitions/`. data: the contest's folder, where --data does not say it.
    seed: of everything that is random but the folds, which have their own. augment: see `medalist.data.settings`.
    """

    competition: str
    data: str | None = None
    seed: int = Field(default=2018, ge=0, lt=2**31)
    folds: FoldsConfig = FoldsConfig()
    augment: Augmentations = ()
    loader: LoaderConfig = LoaderConfig()
    train: TrainConfig = TrainConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: Tracking = "wandb"


class SegmentSettings(Experiment):
    """An experiment whose answers are made of pixels (walk 1)."""

    task: SegmentConfig = SegmentConfig()
    image: ImageConfig = ImageConfig()
    model: ModelConfig
    loss: LossConfig
    sampler: SampleSamplerConfig = ShuffleSampler()
    predict: PredictConfig = PredictConfig()
    decide: DecideConfig

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


class EmbedSettings(Experiment):
    """An experiment whose answers are names, ranked by likeness (walk 2)."""

    task: EmbedConfig
    image: FitConfig
    model: EmbedderConfig
    loss: MetricLossConfig
    sampler: SamplerConfig = ShuffleSampler()
    predict: EmbedPredictConfig = EmbedPredictConfig()
    decide: RankConfig = RankConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Refuse, before any training, what cannot work together."""
        if self.decide.centres and not any(isinstance(term, MarginTerm) for term in self.loss.terms):
            raise ValueError("decide.centres needs class centres: a loss term of kind arcface or cosface")
        if self.model.frozen and self.augment:
            raise ValueError("model.frozen keeps the features of whole images, so augment must be empty")
        if self.model.frozen and (self.image.train_size is not None or self.task.turns or self.task.mirrored):
            raise ValueError("model.frozen sees each image once: no image.train_size, task.turns or task.mirrored")
        if self.task.composed and (self.model.frozen or self.image.fill):
            raise ValueError("task.composed makes images, light on a ground of 0: no model.frozen, image.fill = 0")
        mixed = [mix.kind for mix in self.train.mix]
        if "mosaic" in mixed:
            raise ValueError("train.mix: a mosaic has no one identity; take mixup or cutmix")
        if mixed and not all(isinstance(term, MarginTerm) for term in self.loss.terms):
            raise ValueError("train.mix blends classes, so loss.terms must be arcface or cosface alone")
        if self.model.frozen and (mixed or self.train.sizes or self.train.freeze):
            raise ValueError("model.frozen trains on features: no train.mix, train.sizes or train.freeze")
        if self.train.sizes and self.model.pooling == "flat":
            raise ValueError("model.pooling = flat is of one size, so train.sizes must be empty")
        if self.model.frozen and self.image.margin != 1:
            raise ValueError("model.frozen keeps the features of whole images, so image.margin must be 1")
        return self


Settings = SegmentSettings | EmbedSettings


def load_settings(path: Path, overrides: tuple[str, ...] = ()) -> Settings:
    """Read a config file with its base and overrides; ConfigError is one line that says what to mend."""
    if explicit_value(path, overrides, ("task", "kind")) == "embed":
        return load_config(path, overrides, EmbedSettings)
    return load_config(path, overrides, SegmentSettings)


def parse_settings(text: str, source: str) -> Settings:
    """Check a resolved config that was saved with a run; `source` names it in errors."""
    if explicit_value_in(text, source, ("task", "kind")) == "embed":
        return parse_config(text, source, EmbedSettings)
    return parse_config(text, source, SegmentSettings)
