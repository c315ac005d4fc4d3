"""What a config of metric learning says. Torch-free."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel
from medalist.data.settings import ClassSampler, FitConfig, SamplerConfig, ShuffleSampler
from medalist.experiment import Experiment, Pretrained, TaskConfig
from medalist.retrieval.settings import RankConfig
from medalist.tasks.embed.losses.settings import MarginTerm, MetricLossConfig
from medalist.tasks.embed.model_settings import EmbedderConfig


class EmbedConfig(TaskConfig):
    """Metric learning: images become unit vectors, and images of one identity lie near each other."""

    kind: Literal["embed"]
    """`embed`: the answers are ranked names."""

    turns: bool = False
    """Whether each quarter turn of an identity is an identity of its own, which makes 4 times as many. This is for
    signs that mean something else when they are turned."""

    mirrored: bool = False
    """Whether each mirrored identity is an identity of its own; with `turns`, each mirrored quarter turn too."""

    rare: int = Field(default=1, ge=1, le=1000)
    """Identities with fewer training samples than this are not trained on; 1 trains on all."""

    composed: int = Field(default=0, ge=0, le=100_000)
    """The number of made-up identities that are trained on beside the real ones, each joined from parts of two real
    ones. This is for light signs on a dark even ground, such as ink on paper after image.invert. Made-up identities
    make an epoch longer."""


class EmbedPredictConfig(ConfigModel):
    """Embedding of whole images."""

    tta: Literal["none", "mirror", "flips", "d4"] = "none"
    """The views whose vectors are averaged: `none`, `mirror` (2 views: as it is, and left for right), `flips` (4
    views) or `d4` (8 views)."""

    batch: int = Field(default=32, ge=1)
    """The number of images in one forward."""


class EmbedSettings(Experiment):
    """An experiment whose answers are names, ranked by likeness (walk 2)."""

    task: EmbedConfig
    image: FitConfig

    model: EmbedderConfig
    """The network."""

    loss: MetricLossConfig
    """What the training minimises."""

    sampler: SamplerConfig = ShuffleSampler()
    """Which samples make a batch."""

    predict: EmbedPredictConfig = EmbedPredictConfig()

    decide: RankConfig = RankConfig()
    """How embeddings become ranked answers."""

    @property
    def pretrained(self) -> Pretrained:
        """The weights of the encoder."""
        return Pretrained(self.model.encoder, self.model.weights)

    @property
    def batch_samples(self) -> int:
        """Samples of a batch on one process."""
        sampler = self.sampler
        return sampler.classes * sampler.per_class if isinstance(sampler, ClassSampler) else self.train.batch

    @property
    def sizes_line(self) -> str:
        """What training and prediction see."""
        seen, whole = self.image.seen_in_training, self.image.size
        return f"training sees {seen[1]}x{seen[0]}, prediction {whole[1]}x{whole[0]}"

    def with_batch(self, double: bool) -> tuple[str, Self] | None:
        """The config with twice or half the classes, or samples, in a batch."""
        sampler = self.sampler
        if not isinstance(sampler, ClassSampler):
            return super().with_batch(double)
        classes = sampler.classes * 2 if double else sampler.classes // 2
        if not 2 <= classes <= 4096:
            return None
        changed = sampler.model_copy(update={"classes": classes})
        return f"sampler.classes={classes}", self.model_copy(update={"sampler": changed})

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Refuse, before any training, what cannot work together."""
        if self.decide.prototypes and not any(isinstance(term, MarginTerm) for term in self.loss.terms):
            raise ValueError("decide.prototypes needs class prototypes: a loss term of kind arcface or cosface")
        if self.model.frozen and self.augment:
            raise ValueError("model.frozen keeps the features of whole images, so augment must be empty")
        if self.model.frozen and (self.image.train_size is not None or self.task.turns or self.task.mirrored):
            raise ValueError("model.frozen sees each image once: no image.train_size, task.turns or task.mirrored")
        if self.task.composed and (self.model.frozen or self.image.fill):
            raise ValueError("task.composed adds light images on black: set model.frozen to false and image.fill to 0")
        mixed = [mix.kind for mix in self.train.mix]
        if "mosaic" in mixed:
            raise ValueError("train.mix: a mosaic has no single identity; take mixup or cutmix")
        if mixed and not all(isinstance(term, MarginTerm) for term in self.loss.terms):
            raise ValueError("train.mix blends classes, so loss.terms must be arcface or cosface alone")
        if self.model.frozen and (mixed or self.train.sizes or self.train.freeze):
            raise ValueError("model.frozen trains on features: no train.mix, train.sizes or train.freeze")
        if self.train.sizes and self.model.pooling == "flat":
            raise ValueError("model.pooling = flat needs images of one size, so train.sizes must be empty")
        if self.model.frozen and self.image.margin != 1:
            raise ValueError("model.frozen keeps the features of whole images, so image.margin must be 1")
        return self
