"""The typed config of one experiment: every part's settings, composed."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from medalist.config import Part, load_config
from medalist.data.settings import Augmentations, ImageConfig, LoaderConfig
from medalist.engine.settings import PredictConfig, Tracking, TrainConfig
from medalist.errors import ConfigError
from medalist.folds import FoldsConfig
from medalist.losses.settings import LossConfig
from medalist.models.settings import ModelConfig
from medalist.postprocess.settings import DecideConfig, ThresholdConfig
from medalist.tasks.settings import TaskConfig


class Settings(Part):
    """One experiment.

    competition: name of a folder under `competitions/`. data: the contest's folder, where --data does not say it.
    seed: of everything that is random but the folds, which have their own. augment: see `medalist.data.settings`.
    """

    competition: str
    data: str | None = None
    seed: int = Field(default=2018, ge=0, lt=2**31)
    folds: FoldsConfig = FoldsConfig()
    task: TaskConfig = TaskConfig()
    image: ImageConfig = ImageConfig()
    augment: Augmentations = ()
    model: ModelConfig
    loss: LossConfig
    loader: LoaderConfig = LoaderConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    decide: DecideConfig
    tracking: Tracking = "wandb"

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


def load_settings(path: Path, overrides: tuple[str, ...] = ()) -> Settings:
    """Read a config file with its base and overrides; ConfigError is one line that says what to mend."""
    return load_config(path, overrides, Settings)
