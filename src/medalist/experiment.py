"""What the config of every experiment says; each kind of contest adds its own parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import Field

from medalist.config import ConfigModel
from medalist.data.settings import Augmentations, ImageConfig, LoaderConfig
from medalist.engine.settings import CheckpointConfig, TrainConfig
from medalist.folds.settings import FoldsConfig
from medalist.tracking.settings import Tracking


@dataclass(frozen=True)
class Pretrained:
    """Which pretrained weights a config asks for: a timm name, and "imagenet", "none" or a file."""

    encoder: str
    weights: str


class TaskConfig(ConfigModel):
    """kind: which kind of contest it is; each kind has a model of its own."""

    kind: str


class Experiment(ConfigModel):
    """What every experiment says.

    competition: name of a folder under `competitions/`. data: the contest's folder, where --data does not say it.
    seed: of everything that is random but the folds, which have their own. augment: see `medalist.data.settings`.
    task, image, predict, decide: each kind has models of its own for them.
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
    task: TaskConfig
    image: ImageConfig = ImageConfig()
    predict: ConfigModel = ConfigModel()
    decide: ConfigModel = ConfigModel()

    @property
    def pretrained(self) -> Pretrained | None:
        """The pretrained weights that it begins with; None where it needs none."""
        return None

    @property
    def batch_samples(self) -> int:
        """Samples of a batch on one process."""
        return self.train.batch

    @property
    def sizes_line(self) -> str:
        """What training and prediction see, where that is worth a line; else empty."""
        return ""

    def with_batch(self, double: bool) -> tuple[str, Self] | None:
        """The config with a batch of twice or half the size, and what to type for it; None where there is none."""
        batch = self.train.batch * 2 if double else self.train.batch // 2
        if not batch:
            return None
        train = self.train.model_copy(update={"batch": batch})
        return f"train.batch={batch}", self.model_copy(update={"train": train})
