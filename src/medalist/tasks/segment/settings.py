"""What a config of segmentation says. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from medalist.config import ConfigModel, OwnConfig, kind_or
from medalist.data.settings import ImageConfig, ShuffleSampler, TileSampler, WeightedSampler
from medalist.engine.view_settings import Tta, views_of
from medalist.errors import ConfigError
from medalist.experiment import Experiment, Pretrained, TaskConfig
from medalist.postprocess.settings import ClassesConfig, ThresholdConfig, WatershedConfig
from medalist.tasks.memory_settings import MemorySize, bytes_of
from medalist.tasks.segment.channels import OFFSETS, Activation, class_numbers, is_regression
from medalist.tasks.segment.loss_settings import LossConfig, StagedLossConfig, losses_in
from medalist.tasks.segment.model_settings import ModelConfig, OwnNetworkConfig, TernausV2Config
from medalist.tasks.segment.network_settings import Network

SegmentLoss = Annotated[
    Annotated[LossConfig, Tag("terms")] | Annotated[StagedLossConfig, Tag("stages")] | Annotated[OwnConfig, Tag("own")],
    Discriminator(kind_or("terms")),
]
"""A weighted sum of terms, several of them one after the other, or a loss of the contest's folder."""

NEAREST = (0, 6)
"""OpenCV's INTER_NEAREST and INTER_NEAREST_EXACT."""

SegmentSampler = Annotated[ShuffleSampler | WeightedSampler | TileSampler, Field(discriminator="kind")]
"""Which samples, or which crops of them, make a batch."""

SegmentDecide = Annotated[WatershedConfig | ThresholdConfig | ClassesConfig | OwnConfig, Field(discriminator="kind")]
"""How a prediction becomes an answer; `kind` selects the model."""


class SegmentConfig(TaskConfig):
    """Segmentation: masks of one or many classes, or instances by planes such as body and border."""

    kind: Literal["segment"] = "segment"
    """`segment`: the answers are made of pixels."""

    activation: Activation = "sigmoid"
    """How logits become probabilities: `sigmoid`, each channel alone; or `softmax`, the channels of a pixel sum to 1,
    so that each pixel has one class."""

    border: int = Field(default=2, ge=1, le=50)
    """A pixel belongs to the border where a window of 2*border+1 pixels around it sees two different objects."""

    contour: int = Field(default=1, ge=1, le=50)
    """The width in pixels of the plane `contour`, which lies inside each object along its edge."""

    energy_step: float = Field(default=2.0, gt=0, le=1000)
    """The plane `energy1` has the pixels of an object that are farther from its edge than this many pixels, `energy2`
    those that are farther than twice as many, and so on."""

    distance_cap: float | None = Field(default=None, gt=0, le=10000)
    """The distance to the edge, in pixels, at which the plane `distance` is 1. null: at the middle of each object, that
    is at the largest distance that the object has."""

    offset_range: float = Field(default=32.0, gt=0, le=10000)
    """The largest offset, in pixels, that the planes `offset_y` and `offset_x` can say: they are 0.5 at the centre of
    an object, and 1 where the centre is this far below or to the right."""

    border_sigma: float | None = Field(default=None, gt=0, le=100)
    """How far, in pixels, `loss.border_weight` reaches between objects (sigma of arXiv 1505.04597); null gives all
    pixels the same weight."""


class TileConfig(ConfigModel):
    """Images that are larger than a tile are predicted tile by tile, and the tiles are blended where they overlap.

    An image that fits into one tile is predicted as without tiles.
    """

    size: int = Field(ge=32, le=65536)
    """The height and the width of a tile in pixels; a multiple of the network's stride."""

    overlap: int = Field(default=0, ge=0)
    """The pixels in which two tiles overlap at least; half of them lie outside of the image at its borders, where the
    image is mirrored. It is rounded up to a multiple of the network's stride."""

    window: Literal["gaussian", "pyramid", "flat"] = "gaussian"
    """How much a pixel of a tile counts where tiles overlap: `gaussian` (its standard deviation is an eighth of the
    tile), `pyramid` (falls linearly to the edges), or `flat` (all count alike)."""

    @model_validator(mode="after")
    def _tiles_advance(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError(
                f"predict.tile: overlap = {self.overlap} must be smaller than size = {self.size}; a quarter is usual"
            )
        return self


class PredictConfig(ConfigModel):
    """Prediction of whole images, or of tiles of them."""

    tta: Tta = "flips"
    """The views that are averaged: `none`, `flips` (4 views: identity, both flips, half turn) or `d4` (8 views: also
    with quarter turns). Or a list of views beside the image as it is, each of which counts once: `hflip`, `vflip`,
    `rot90`, `rot180`, `rot270`, `transpose`, `transverse`, all of `flips` or of `d4`, and blocks such as
    `{scale: 1.25}`, `{shift: 16}`, `{clahe: 2.0}`. `medalist tta RUN` measures which of them help."""

    scales: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    """The sizes at which each view is seen, relative to the native size, each within 0.1..8. The maps are averaged at
    native size."""

    batch: int = Field(default=4, ge=1)
    """The number of images of one size, or of tiles, in one forward."""

    tile: TileConfig | None = None
    """Tiles of large images; null predicts every image as a whole."""

    memory: MemorySize | None = None
    """The most memory that the process may take while it predicts, such as `4GB` or `900MB`. It chooses `tile` where
    that is null, and lowers `batch`. null sets no limit."""

    @property
    def most_bytes(self) -> int | None:
        """`memory` in bytes."""
        return None if self.memory is None else bytes_of(self.memory)

    @model_validator(mode="after")
    def _scales_in_range(self) -> PredictConfig:
        if not all(0.1 <= scale <= 8 for scale in self.scales):
            raise ValueError(f"predict.scales = {list(self.scales)}: each must be within 0.1..8")
        if not all(0.1 <= view.scale <= 8 for view in views_of(self.tta, self.scales)):
            raise ValueError("predict.scales times the scale of a view in predict.tta must be within 0.1..8")
        return self


class SegmentSettings(Experiment):
    """An experiment whose answers are made of pixels (walk 1)."""

    task: SegmentConfig = SegmentConfig()
    image: ImageConfig = ImageConfig()

    model: ModelConfig
    """The network."""

    loss: SegmentLoss
    """What the training minimises."""

    sampler: SegmentSampler = ShuffleSampler()
    """Which samples make a batch."""

    predict: PredictConfig = PredictConfig()

    decide: SegmentDecide
    """How probability maps become the final objects."""

    @property
    def pretrained(self) -> Pretrained | None:
        """The weights of the encoder; None for a network of the contest's folder, which brings its own."""
        if isinstance(self.model, OwnNetworkConfig):
            return None
        return Pretrained(self.model.encoder_name, self.model.weights, not isinstance(self.model, TernausV2Config))

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        stride = self.model.stride
        for stage in self.train.sizes:
            if any(side % stride for side in stage.size):
                raise ValueError(f"train.sizes: {list(stage.size)} must be multiples of {stride}, the network's stride")
        tile = self.predict.tile
        if tile is not None and tile.size % stride:
            near = max(stride, round(tile.size / stride) * stride)
            raise ValueError(
                f"predict.tile.size = {tile.size} must be a multiple of {stride}, the network's stride; take {near}"
            )
        return self

    @model_validator(mode="after")
    def _activation_fits(self) -> Self:
        """Refuse a loss that is not made for the activation, and augmentation that would blend numbers of classes."""
        activation = self.task.activation
        try:
            class_numbers(self.model.channels, (), activation)
            for loss in losses_in(self.loss):
                loss.refuse_unfit(activation, self.model.channels)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if activation == "softmax" and self.task.border_sigma is not None:
            raise ValueError("task.border_sigma is for task.activation sigmoid; leave it out")
        if activation == "softmax":
            for number, entry in enumerate(self.augment):
                _refuse_blending(f"augment[{number}]", entry)
        return self

    @model_validator(mode="after")
    def _heads_learn(self) -> Self:
        """Refuse heads that no loss would train."""
        for option, weight in (("presence", "presence"), ("deep_supervision", "deep")):
            has = isinstance(self.model, Network) and bool(getattr(self.model, option))
            if has and isinstance(self.loss, OwnConfig):
                raise ValueError(
                    f"model.{option} needs a loss of terms: a loss of the contest's folder sees maps alone"
                )
            for loss in losses_in(self.loss):
                if has and not getattr(loss, weight):
                    raise ValueError(f"loss.{weight} = 0 would leave the head of model.{option} random; leave one out")
        if isinstance(self.model, Network) and self.model.presence:
            numbers = [name for name in self.model.channels if is_regression(name)]
            if numbers:
                raise ValueError(f"model.presence: channel '{numbers[0]}' is a number, which no image has or lacks")
        return self

    @model_validator(mode="after")
    def _stages_end(self) -> Self:
        """Refuse a loss whose last stage would never begin."""
        if isinstance(self.loss, StagedLossConfig):
            before = sum(stage.epochs or 0 for stage in self.loss.stages)
            if before >= self.train.epochs:
                raise ValueError(
                    f"loss.stages take {before} epochs before the last stage, and train.epochs = {self.train.epochs}; "
                    "give the last stage an epoch"
                )
        return self

    @model_validator(mode="after")
    def _offsets_fit(self) -> Self:
        """Refuse what would scale or turn maps of offsets without their values."""
        offsets = [name for name in self.model.channels if name in OFFSETS]
        if offsets and (self.predict.tta != "none" or self.predict.scales != (1.0,)):
            raise ValueError(
                f"predict.tta and predict.scales do not fit the channels {', '.join(offsets)}, which have other values "
                "in other views; set predict.tta=none"
            )
        for asked, what in ((self.train.sizes, "train.sizes"), (self.train.mix, "train.mix")):
            if offsets and asked:
                raise ValueError(f"{what} does not fit the channels {', '.join(offsets)}; leave one of them out")
        return self

    @model_validator(mode="after")
    def _channels_fit(self) -> Self:
        """Refuse, before any training, a decision on channels that the network does not have."""
        channels = self.model.channels
        if isinstance(self.decide, OwnConfig | ClassesConfig):
            return self
        named = (self.decide.channel,) if isinstance(self.decide, ThresholdConfig) else self.decide.maps
        for wanted in named:
            if wanted is not None and wanted not in channels:
                raise ValueError(
                    f"decide.kind = {self.decide.kind} needs the channel '{wanted}', and model.channels are "
                    f"{', '.join(channels)}; change one of them"
                )
        return self


def _refuse_blending(where: str, entry: OwnConfig | dict[str, dict[str, Any]]) -> None:
    """Raise ValueError for a transform of albumentations that makes new numbers out of several pixels' classes."""
    if isinstance(entry, OwnConfig):
        return
    for name, arguments in entry.items():
        if name == "Morphological":
            raise ValueError(f"{where}: Morphological changes numbers of classes; leave it out under softmax")
        if arguments.get("mask_interpolation", 0) not in NEAREST:
            raise ValueError(
                f"{where}.{name}: mask_interpolation would blend numbers of classes; leave it out under softmax"
            )
