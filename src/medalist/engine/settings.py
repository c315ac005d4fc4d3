"""Settings of training; torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


Side = Annotated[int, Field(ge=8, le=8192)]
Chance = Annotated[float, Field(gt=0, le=1)]


class MixupConfig(ConfigModel):
    """Each sample is blended with another of its batch (arXiv 1710.09412); shares from Beta(alpha, alpha).

    p: the chance that a batch is treated so.
    """

    kind: Literal["mixup"]
    alpha: float = Field(default=0.4, gt=0, le=10)
    p: Chance = 1.0


class CutmixConfig(ConfigModel):
    """A box of each sample is taken from another of its batch (arXiv 1905.04899); its area from Beta(alpha, alpha)."""

    kind: Literal["cutmix"]
    alpha: float = Field(default=1.0, gt=0, le=10)
    p: Chance = 1.0


class MosaicConfig(ConfigModel):
    """Each sample becomes four quarters of four samples of its batch around a random centre, at their own scale."""

    kind: Literal["mosaic"]
    p: Chance = 1.0


MixConfig = Annotated[MixupConfig | CutmixConfig | MosaicConfig, Field(discriminator="kind")]


class SizeStage(ConfigModel):
    """So many epochs in which batches are made smaller (or larger) to `size` = (height, width)."""

    epochs: int = Field(ge=1)
    size: tuple[Side, Side]


class AverageConfig(ConfigModel):
    """The mean of several epochs' weights, kept as `average` beside `last` and `best`.

    of: `last`, those of the last `count` epochs (SWA, arXiv 1803.05407; let the rate rest there by train.hold), or
    `best`, of the `count` epochs with the lowest held-out loss, which is as optimistic as keep = best.
    recalibrate: batches of the training part that make the statistics of batch norms anew for the mean; 0 = the mean
    of the statistics.
    """

    of: Literal["last", "best"] = "last"
    count: int = Field(default=5, ge=2, le=100)
    recalibrate: int = Field(default=100, ge=0)


class TrainConfig(ConfigModel):
    """One training.

    batch: samples on one process in one forward; `accumulate` of them make one step of the optimiser. So a step is of
    batch * accumulate * processes samples, which `medalist train` prints.
    lr: the highest learning rate, for one process; on several it is multiplied by `lr_scale` of their number: `none`
    (1), `sqrt`, `linear`. `schedule` says how it falls to lr * final_lr: `cosine`, `poly` (power 0.9) and `constant`
    after a linear warm-up of `warmup` (a share of all steps); `one_cycle` rises by a cosine over `warmup` and falls by
    one. hold: share of all steps at the end in which it rests at lr * final_lr (at lr under `constant`).
    encoder_lr: factor on lr for the encoder; layer_decay: further factor for each layer of the encoder, counted from
    its last one. weight_decay: not applied to biases and norms.
    freeze: so many first epochs leave the encoder as it is, its batch norms too.
    clip: largest norm of the gradient, 0 = none. ema: decay of the averaged weights, 0 = none.
    mix: what is done to whole batches, one after the other. sizes: smaller images for the first epochs.
    hard: of each so many batches the one with the highest loss is fed again, 0 = none (Carvana's winners took 10).
    compile: torch.compile. grad_checkpointing: the encoder's activations are computed twice and not kept.
    evaluate_every: epochs between validations, 0 = only at the end; they choose `best`.
    keep: the checkpoint that predicts: `last`, `average`, or `best` by the held-out loss, which is optimistic and
    reported so.
    """

    epochs: int = Field(default=20, ge=1)
    batch: int = Field(default=8, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    lr_scale: Literal["none", "sqrt", "linear"] = "none"
    encoder_lr: float = Field(default=1.0, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    schedule: Literal["constant", "cosine", "one_cycle", "poly"] = "one_cycle"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    hold: float = Field(default=0.0, ge=0, lt=1)
    final_lr: float = Field(default=0.01, ge=0, le=1)
    freeze: int = Field(default=0, ge=0)
    clip: float = Field(default=1.0, ge=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    average: AverageConfig | None = None
    mix: tuple[MixConfig, ...] = ()
    sizes: tuple[SizeStage, ...] = ()
    hard: int = Field(default=0, ge=0, le=1000)
    precision: Precision = "32-true"
    channels_last: bool = True
    compile: bool = False
    grad_checkpointing: bool = False
    evaluate_every: int = Field(default=1, ge=0)
    keep: Literal["last", "best", "average"] = "last"

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.keep == "best" and self.evaluate_every == 0:
            raise ValueError("train.keep = best needs train.evaluate_every of at least 1")
        if self.keep == "average" and self.average is None:
            raise ValueError("train.keep = average needs train.average, for instance {of: last, count: 5}")
        if self.average and self.average.count > self.epochs:
            raise ValueError(f"train.average.count = {self.average.count}, but there are {self.epochs} epochs")
        if self.average and self.average.of == "best" and self.evaluate_every == 0:
            raise ValueError("train.average.of = best needs train.evaluate_every of at least 1")
        if self.freeze >= self.epochs:
            raise ValueError(
                f"train.freeze = {self.freeze} of {self.epochs} epochs leaves none for the encoder; lower it, or say "
                "train.encoder_lr=0"
            )
        if self.warmup + self.hold >= 1:
            raise ValueError(f"train.warmup + train.hold = {self.warmup + self.hold:g}; they must leave some steps")
        staged = sum(stage.epochs for stage in self.sizes)
        if staged > self.epochs:
            raise ValueError(f"train.sizes take {staged} epochs, but there are {self.epochs}")
        if self.hard == 1:
            raise ValueError("train.hard = 1 would feed every batch twice; take 2 or more, or 0 for none")
        return self

    @property
    def chosen_on_held_out(self) -> bool:
        """Whether held-out samples choose the weights that predict them, which flatters the score."""
        return self.keep == "best" or (
            self.keep == "average" and self.average is not None and self.average.of == "best"
        )

    def size_in(self, epoch: int) -> tuple[int, int] | None:
        """(height, width) of batches in epoch 0..epochs-1; None where they stay as augmentation made them."""
        for stage in self.sizes:
            if epoch < stage.epochs:
                return stage.size
            epoch -= stage.epochs
        return None


class CheckpointConfig(ConfigModel):
    """When the state to go on from is written, besides the end of each epoch; it changes no weight.

    steps: after so many steps of the optimiser, 0 = not by steps. minutes: after so many, 0 = not by time. It waits for
    a batch after which no gradient and no hard batch is pending: with train.hard = 10 and train.accumulate = 4 each
    44th batch is one.
    """

    steps: int = Field(default=0, ge=0)
    minutes: float = Field(default=5.0, ge=0)
