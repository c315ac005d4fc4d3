"""Settings of training, prediction and tracking; torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medalist.config import Part

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


class TrainConfig(Part):
    """One training.

    batch: samples on one process in one forward; `accumulate` of them make one step of the optimiser.
    lr: the highest learning rate; `schedule` says how it falls to lr * final_lr: `cosine`, `poly` (power 0.9) and
    `constant` after a linear warm-up of `warmup` (a share of all steps); `one_cycle` rises by a cosine over `warmup`
    and falls by one.
    encoder_lr: factor on lr for the encoder. weight_decay: not applied to biases and norms.
    clip: largest norm of the gradient, 0 = none. ema: decay of the averaged weights, 0 = none.
    evaluate_every: epochs between looks at the held-out samples, 0 = only at the end; they choose `best`.
    keep: the checkpoint that predicts: `last`, or `best` by the held-out loss, which is optimistic and reported so.
    """

    epochs: int = Field(default=20, ge=1)
    batch: int = Field(default=8, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    encoder_lr: float = Field(default=1.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    schedule: Literal["constant", "cosine", "one_cycle", "poly"] = "one_cycle"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    final_lr: float = Field(default=0.01, ge=0, le=1)
    clip: float = Field(default=1.0, ge=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    precision: Precision = "32-true"
    channels_last: bool = True
    evaluate_every: int = Field(default=1, ge=0)
    keep: Literal["last", "best"] = "last"

    @model_validator(mode="after")
    def _best_needs_looks(self) -> TrainConfig:
        if self.keep == "best" and self.evaluate_every == 0:
            raise ValueError("train.keep = best needs train.evaluate_every of at least 1")
        return self


class PredictConfig(Part):
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


class EmbedPredictConfig(Part):
    """Embedding of whole images.

    tta: views whose vectors are averaged: `none`, `mirror` (2: as it is, and left for right), `flips` (4), `d4` (8).
    batch: images in one forward.
    """

    tta: Literal["none", "mirror", "flips", "d4"] = "none"
    batch: int = Field(default=32, ge=1)


Tracking = Literal["none", "wandb"]
"""`wandb` writes offline unless the user is logged in; `none` leaves metrics.jsonl alone."""
