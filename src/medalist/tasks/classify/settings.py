"""What a config of image classification says. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from medalist.config import ConfigModel, OwnConfig, kind_or
from medalist.data.settings import FitConfig, SampleSamplerConfig, ShuffleSampler
from medalist.experiment import Experiment, Pretrained, TaskConfig
from medalist.models.settings import EncoderConfig, Pooling
from medalist.tasks.classify.decide_settings import (
    ArgmaxConfig,
    DecideConfig,
    RegressionConfig,
    ThresholdConfig,
    ThresholdsConfig,
)
from medalist.tasks.classify.loss_settings import LossConfig


class ClassifyConfig(TaskConfig):
    """Whole images get labels."""

    kind: Literal["classify"]
    """`classify`: the answers are labels of whole images."""

    mode: Literal["single", "multi", "ordinal"] = "single"
    """`single`: each image has one of the contest's classes. `multi`: each image has any number of classes. `ordinal`:
    each image has one class, and the classes are grades in their order."""

    absent: Literal["refuse", "allow"] = "refuse"
    """What is done where a fold's training part has no sample of a class: `refuse` stops, and `allow` trains without
    this class, which is then never learned in this fold."""


class ClassifierConfig(EncoderConfig):
    """An image becomes a number for each class: a timm encoder, pooling, a neck, a linear layer."""

    kind: Literal["classifier"] = "classifier"
    """`classifier` is the only kind."""

    pooling: Pooling = "avg"


class OwnClassifierConfig(OwnConfig):
    """A network of the contest's own `parts.py` (see docs/own_parts.md)."""

    in_channels: Literal[1, 3] = 3
    """The channels of an input image: 3, or 1 for gray images."""


ModelConfig = Annotated[
    Annotated[ClassifierConfig, Tag("classifier")] | Annotated[OwnClassifierConfig, Tag("own")],
    Discriminator(kind_or("classifier")),
]


class ClassifyPredictConfig(ConfigModel):
    """Prediction of whole images."""

    tta: Literal["none", "mirror", "flips", "d4"] = "none"
    """The views whose probabilities (or grades) are averaged: `none`, `mirror` (2 views: as it is, and left for right),
    `flips` (4 views) or `d4` (8 views)."""

    batch: int = Field(default=32, ge=1)
    """The number of images in one forward."""


LOSSES = {
    "single": ("cross_entropy", "focal"),
    "multi": ("bce", "focal", "asymmetric"),
    "ordinal": ("regression", "coral", "cross_entropy", "focal"),
}
"""Which losses fit which mode."""


class ClassifySettings(Experiment):
    """An experiment whose answers are labels of whole images."""

    own_given: ClassVar[Mapping[str, int]] = {**Experiment.own_given, "decide": 2}

    task: ClassifyConfig
    image: FitConfig

    model: ModelConfig
    """The network."""

    loss: LossConfig
    """What the training minimises; the kinds of losses that fit depend on task.mode. `single`: cross_entropy, focal.
    `multi`: bce, focal, asymmetric. `ordinal`: regression, coral, cross_entropy, focal. `own` fits all of them."""

    sampler: SampleSamplerConfig = ShuffleSampler()
    """Which samples make a batch."""

    predict: ClassifyPredictConfig = ClassifyPredictConfig()

    decide: DecideConfig = ArgmaxConfig()
    """How probabilities or grades become labels."""

    @property
    def pretrained(self) -> Pretrained | None:
        """The weights of the encoder; None for a network of the contest's folder, which brings its own."""
        if isinstance(self.model, OwnClassifierConfig):
            return None
        return Pretrained(self.model.encoder, self.model.weights)

    @property
    def sizes_line(self) -> str:
        """What training and prediction see."""
        seen, whole = self.image.seen_in_training, self.image.size
        return f"training sees {seen[1]}x{seen[0]}, prediction {whole[1]}x{whole[0]}"

    @property
    def gives_grades(self) -> bool:
        """Whether a prediction is one number, a grade, and not a probability for each class."""
        return self.loss.kind in ("regression", "coral")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Refuse, before any training, what cannot work together."""
        mode, loss, decide = self.task.mode, self.loss.kind, self.decide
        if loss not in LOSSES[mode] and not isinstance(self.loss, OwnConfig):
            raise ValueError(f"loss.kind = {loss} does not fit task.mode = {mode}; take {' or '.join(LOSSES[mode])}")
        if isinstance(decide, RegressionConfig) and mode != "ordinal":
            raise ValueError("decide.kind = regression is for grades: task.mode = ordinal; take argmax")
        if self.gives_grades and not isinstance(decide, RegressionConfig | OwnConfig):
            raise ValueError(f"loss.kind = {loss} gives one number, a grade; set decide.kind=regression")
        if mode == "multi" and isinstance(decide, ArgmaxConfig) and decide.top == 1:
            raise ValueError("task.mode = multi has any number of labels; take decide.kind threshold or thresholds")
        if mode == "ordinal" and isinstance(decide, ThresholdConfig | ThresholdsConfig):
            raise ValueError("task.mode = ordinal has one grade for each image; take decide.kind regression or argmax")
        if any(mix.kind == "mosaic" for mix in self.train.mix):
            raise ValueError("train.mix: a mosaic has no single label; take mixup or cutmix")
        flat = isinstance(self.model, ClassifierConfig) and self.model.pooling == "flat"
        if self.train.sizes and flat:
            raise ValueError("model.pooling = flat needs images of one size, so train.sizes must be empty")
        if flat and self.predict.tta == "d4" and self.image.size[0] != self.image.size[1]:
            raise ValueError("predict.tta = d4 turns images, but model.pooling = flat needs one size; set it to mirror")
        return self
