"""What the config of every experiment says; each kind of contest adds its own parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

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
    in_timm: bool = True
    """Whether timm has a network of this name."""

    whole: bool = False
    """Whether the weights are those of a whole network: a folder of Hugging Face's layout, or its id on the hub."""


class TaskConfig(ConfigModel):
    """The kind of contest; each kind has a subclass of its own."""

    kind: str
    """The kind of contest."""


class Experiment(ConfigModel):
    """What the config of every experiment says; each kind has its own models for task, image, predict and decide."""

    own_given: ClassVar[Mapping[str, int]] = {"model": 2, "loss": 2, "decide": 1, "augment": 0}
    """How many arguments medalist gives by position to a part of the contest's folder, by the section that names it."""

    competition: str
    """The name of a folder under `competitions/`, or, with a dot, of one of its tracks, such as `omniglot.oneshot`."""

    data: str | None = None
    """The contest's folder, used where --data does not say it."""

    seed: int = Field(default=2018, ge=0, lt=2**31)
    """The seed of everything that is random, except the folds, which have their own seed."""

    folds: FoldsConfig = FoldsConfig()
    """How folds are made."""

    augment: Augmentations = ()
    """The public transforms of albumentations that augment a training sample, in order, each by its name with its own
    arguments: `[{HorizontalFlip: {p: 0.5}}]`."""

    loader: LoaderConfig = LoaderConfig()
    """How samples are read, cached and put into batches."""

    train: TrainConfig = TrainConfig()
    """How each fold is trained."""

    checkpoint: CheckpointConfig = CheckpointConfig()
    """When the state from which a training can be resumed is written."""

    tracking: Tracking = "wandb"
    """Where the curves of a training go beside metrics.jsonl. `wandb` writes offline unless the user is logged in;
    `tensorboard` writes event files; `none` writes nothing else."""

    task: TaskConfig
    """The kind of contest, and what only this kind asks."""

    image: ImageConfig = ImageConfig()
    """What is done to every image after it is decoded."""

    predict: ConfigModel = ConfigModel()
    """How whole images are predicted."""

    decide: ConfigModel = ConfigModel()
    """How a prediction becomes an answer."""

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
