"""Settings of training; torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


Side = Annotated[int, Field(ge=8, le=8192)]
Chance = Annotated[float, Field(gt=0, le=1)]


class MixupConfig(ConfigModel):
    """Each sample is blended with another sample of its batch (arXiv 1710.09412)."""

    kind: Literal["mixup"]
    """`mixup` selects this mix."""

    alpha: float = Field(default=0.4, gt=0, le=10)
    """The shares of the two samples are drawn from the distribution Beta(alpha, alpha)."""

    p: Chance = 1.0
    """The probability that a batch is mixed."""


class CutmixConfig(ConfigModel):
    """A box of each sample is taken from another sample of its batch (arXiv 1905.04899)."""

    kind: Literal["cutmix"]
    """`cutmix` selects this mix."""

    alpha: float = Field(default=1.0, gt=0, le=10)
    """The area of the box is drawn from the distribution Beta(alpha, alpha)."""

    p: Chance = 1.0
    """The probability that a batch is mixed."""


class MosaicConfig(ConfigModel):
    """Each sample becomes four quarters of four samples of its batch around a random centre, at their own scale."""

    kind: Literal["mosaic"]
    """`mosaic` selects this mix."""

    p: Chance = 1.0
    """The probability that a batch is mixed."""


MixConfig = Annotated[MixupConfig | CutmixConfig | MosaicConfig, Field(discriminator="kind")]


class SizeStage(ConfigModel):
    """Some epochs in which batches are resized, usually to smaller images."""

    epochs: int = Field(ge=1)
    """The number of epochs of this stage. The stages follow each other from the first epoch on."""

    size: tuple[Side, Side]
    """The height and the width in pixels to which a batch is resized."""


class AverageConfig(ConfigModel):
    """The mean of the weights of several epochs, kept as the checkpoint `average` beside `last` and `best`."""

    of: Literal["last", "best"] = "last"
    """Which epochs are averaged. `last`: the last `count` epochs (SWA, arXiv 1803.05407); set train.hold so that the
    learning rate is constant in these epochs. `best`: the `count` epochs with the lowest held-out loss, which is as
    optimistic as train.keep = best."""

    count: int = Field(default=5, ge=2, le=100)
    """The number of epochs whose weights are averaged."""

    recalibrate: int = Field(default=100, ge=0)
    """The number of batches of the training part from which the statistics of the batch norms are computed for the mean
    weights; 0 takes the mean of the epochs' statistics."""


class TrainConfig(ConfigModel):
    """The training of one fold."""

    epochs: int = Field(default=20, ge=1)
    """The number of passes over the training part."""

    batch: int = Field(default=8, ge=1)
    """The number of samples in one forward on one process. One step of the optimiser uses
    batch * accumulate * processes samples, and `medalist train` prints this number."""

    accumulate: int = Field(default=1, ge=1)
    """The number of batches whose gradients make one step of the optimiser."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """The optimiser: `adamw`, or `sgd`, with Nesterov momentum where `momentum` is above 0."""

    lr: float = Field(default=1e-3, gt=0)
    """The highest learning rate, for one process; `lr_scale` says what it becomes on several."""

    lr_scale: Literal["none", "sqrt", "linear"] = "none"
    """The factor on `lr` for a training on several processes: `none` is 1, `sqrt` is the square root of the number of
    processes, `linear` is their number."""

    encoder_lr: float = Field(default=1.0, ge=0)
    """A factor on `lr` for the encoder."""

    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """A further factor on the learning rate of the encoder's layers. Each layer has this factor once more than the
    layer after it, and the last layer does not have it."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """The momentum of `sgd`; `adamw` does not use it."""

    weight_decay: float = Field(default=1e-2, ge=0)
    """The weight decay of the optimiser. It is not applied to biases and norms."""

    schedule: Literal["constant", "cosine", "one_cycle", "poly"] = "one_cycle"
    """How the learning rate changes. `constant` keeps it at lr; `cosine` and `poly` (a power of 0.9) let it fall to
    lr * final_lr; these three begin with a linear warm-up. `one_cycle` rises by a cosine during the warm-up and falls
    to lr * final_lr by a cosine."""

    warmup: float = Field(default=0.1, ge=0, lt=1)
    """The share of all steps in which the learning rate rises."""

    hold: float = Field(default=0.0, ge=0, lt=1)
    """The share of all steps, at the end, in which the learning rate stays at lr * final_lr (at lr under
    `constant`)."""

    final_lr: float = Field(default=0.01, ge=0, le=1)
    """The learning rate at the end, as a share of lr; `constant` does not use it."""

    freeze: int = Field(default=0, ge=0)
    """The number of first epochs that do not change the encoder, nor the statistics of its batch norms."""

    clip: float = Field(default=1.0, ge=0)
    """The largest norm of the gradient; a longer gradient is scaled down. 0 means no limit."""

    ema: float = Field(default=0.0, ge=0, lt=1)
    """The decay of an exponential moving average of the weights over steps, which is validated and kept as `last` and
    `best`; 0 means no average. In step n the decay is at most (1 + n) / (10 + n), so that the first weights are
    forgotten. The last weights without average are kept as `raw`."""

    average: AverageConfig | None = None
    """The mean of the weights of several epochs; null means none."""

    mix: tuple[MixConfig, ...] = ()
    """What is done to whole batches, one after the other."""

    sizes: tuple[SizeStage, ...] = ()
    """Other sizes of images, usually smaller ones, for the first epochs. After the last stage images have the size that
    augmentation gave them."""

    hard: int = Field(default=0, ge=0, le=1000)
    """Of every `hard` batches the one with the highest loss is fed again; 0 means none. The winners of the Carvana
    contest took 10."""

    precision: Precision = "32-true"
    """The precision of the computation, in the words of Lightning Fabric: `32-true` is float32; `16-mixed` and
    `bf16-mixed` compute most of the forward and the backward in float16 or bfloat16, with weights in float32."""

    channels_last: bool = True
    """Whether images and weights lie in memory with their channels last, which convolutions usually compute faster."""

    compile: bool = False
    """Whether the network is compiled by torch.compile."""

    grad_checkpointing: bool = False
    """Whether the activations of the encoder are computed a second time in the backward and not kept, which takes less
    memory and more time."""

    evaluate_every: int = Field(default=1, ge=0)
    """The number of epochs between validations, which choose the checkpoint `best`; 0 validates only at the end."""

    keep: Literal["last", "best", "average", "raw"] = "last"
    """The checkpoint that predicts: `last`, `average`, `raw` (the last weights where `ema` averages them), or `best` by
    the held-out loss. `best` is optimistic, and each score says so."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.keep == "best" and self.evaluate_every == 0:
            raise ValueError("train.keep = best needs train.evaluate_every of at least 1")
        if self.keep == "average" and self.average is None:
            raise ValueError("train.keep = average needs train.average, for instance {of: last, count: 5}")
        if self.keep == "raw" and not self.ema:
            raise ValueError("train.keep = raw is for train.ema; without an average over steps, `last` is the same")
        if self.average and self.average.count > self.epochs:
            raise ValueError(f"train.average.count = {self.average.count}, but there are {self.epochs} epochs")
        if self.average and self.average.of == "best" and self.evaluate_every == 0:
            raise ValueError("train.average.of = best needs train.evaluate_every of at least 1")
        if self.freeze >= self.epochs:
            raise ValueError(
                f"train.freeze = {self.freeze} of {self.epochs} epochs leaves none for the encoder; lower it, or set "
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
    """When the state from which a training can be resumed is written, besides the end of each epoch.

    This changes no weight. A state is written only after a batch that leaves no gradient and no hard batch pending:
    with train.hard = 10 and train.accumulate = 4 this is each 44th batch.
    """

    steps: int = Field(default=0, ge=0)
    """The number of steps of the optimiser between two states; 0 means not by steps."""

    minutes: float = Field(default=5.0, ge=0)
    """The number of minutes between two states; 0 means not by time."""
