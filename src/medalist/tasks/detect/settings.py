"""What a config of detection says. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from medalist.config import ConfigModel, OwnConfig
from medalist.data.placing import unit_factor
from medalist.data.settings import ImageConfig, SampleSamplerConfig, ShuffleSampler
from medalist.experiment import Experiment, Pretrained, TaskConfig
from medalist.postprocess.box_settings import MasksConfig, NmsConfig, ObjectDecideConfig, SlicesConfig
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import DetrConfig, MaskRcnnConfig, ModelConfig
from medalist.tasks.memory_settings import MemorySize, bytes_of

Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=32, le=8192, multiple_of=32)]
Factor = Annotated[float, Field(ge=0.1, le=10)]
Zoom = Annotated[float, Field(ge=0.1, le=100)]


TEARING = ("Morphological", "RandomGridShuffle")
"""Transforms of albumentations after which the pixels of an object are no longer its own, or lie in several places."""

NEAREST = (0, 6)
"""OpenCV's INTER_NEAREST and INTER_NEAREST_EXACT."""


class DetectConfig(TaskConfig):
    """The objects in an image get boxes."""

    kind: Literal["detect"]
    """`detect`: the answers are boxes of objects, each with its class."""

    absent: Literal["refuse", "allow"] = "refuse"
    """What is done where a fold's training part has no object of a class: `refuse` stops, and `allow` trains without
    this class, which is then never learned in this fold."""


class FrameConfig(ImageConfig):
    """Images of any shape are put into a frame of one size. They keep their shape, and the rest of the frame is filled.
    An image is scaled so that it just fits, and lies in the upper left corner."""

    size: tuple[Side, Side]
    """The height and the width of the frame in pixels, both multiples of 32."""

    fill: int = Field(default=114, ge=0, le=255)
    """The value of the rest of the frame, after inversion."""

    unit: Literal["frame", "pixel"] = "frame"
    """At which size an image has the factor 1. `frame`: where it just fits into the frame. `pixel`: where its pixels
    stay as large as they are, so that objects of images of all sizes have one scale; take `predict.slices` of the size
    of the frame then. Prediction shrinks an image, or a slice, that does not fit into the frame."""

    scale: tuple[Zoom, Zoom] = (1.0, 1.0)
    """In training an image is scaled further by a random factor between these two. A larger image is cut at a random
    place, and a smaller one lies at a random place (arXiv 2012.07177)."""

    aim: Share = 0.0
    """The probability that the part of a larger image that training sees has an object in it: first a class of the
    image is drawn, then one of its objects. Otherwise any part is seen. Take 0.5 for small objects on large images."""

    visible: float = Field(default=0.3, ge=0, le=1)
    """In training a box that is cut by the edge is kept where this share of its area is left."""

    def unit_factor(self, native: tuple[int, int]) -> float:
        """Return the factor 1 of an image of (height, width) `native`, relative to where it just fits."""
        return 1.0 if self.unit == "frame" else unit_factor(native, self.size)

    def seen_factor(self, native: tuple[int, int]) -> float:
        """Return the factor at which prediction sees an image, relative to where it just fits; at most 1."""
        return min(1.0, self.unit_factor(native))

    @model_validator(mode="after")
    def _scale_is_ordered(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"image.scale = {list(self.scale)}: the first factor is above the second")
        return self


class ComposeConfig(ConfigModel):
    """Training images that are composed of several samples. What is drawn depends on seed, epoch and sample only."""

    mosaic: Share = 0.0
    """The probability that a sample becomes one of four quarters, the others from other samples (arXiv 2004.10934)."""

    mixup: Share = 0.0
    """The probability that a sample is blended with another one, half and half on average; both keep their boxes
    (arXiv 1902.04103)."""

    paste: Share = 0.0
    """The probability that objects of another sample are pasted, each with the content of its box (arXiv
    2012.07177 pastes outlines)."""

    until: Share = 0.8
    """The share of the epochs with compositions. The last epochs see plain images, as prediction does (arXiv
    2107.08430)."""


class DetectPredictConfig(ConfigModel):
    """Prediction of whole images."""

    tta: Literal["none", "mirror", "flips", "d4"] = "none"
    """The views that predict boxes: `none`, `mirror` (2 views: as it is, and left for right), `flips` (4 views) or `d4`
    (8 views). Their boxes are joined when answers are decided."""

    scales: tuple[Factor, ...] = Field(default=(1.0,), min_length=1)
    """The sizes at which the frame is seen, relative to `image.size`. Each view is taken at each scale."""

    batch: int = Field(default=16, ge=1)
    """The number of images in one forward."""

    floor: float = Field(default=0.01, ge=0, lt=1)
    """Boxes with a lower score are not kept on disk."""

    most: int = Field(default=300, ge=1, le=100_000)
    """The number of boxes of an image that one network keeps in one view."""

    doubles: float | None = Field(default=0.7, gt=0, le=1)
    """Of two boxes of one class, network and view with this IoU or more, the one with the lower score is dropped before
    boxes are kept; null keeps both."""

    slices: SlicesConfig | None = None
    """Slices in which images are predicted, so that small objects of large images keep their size; null sees each image
    as a whole. A slice is put into the frame as an image is."""

    memory: MemorySize | None = None
    """The most memory that the process may take while it predicts, such as `4GB` or `900MB`. It lowers `batch`; take
    `slices` where even one image at a time is too much. null sets no limit."""

    @property
    def most_bytes(self) -> int | None:
        """`memory` in bytes."""
        return None if self.memory is None else bytes_of(self.memory)


class DetectSettings(Experiment):
    """An experiment whose answers are boxes, or objects that are found by boxes."""

    own_given: ClassVar[dict[str, int]] = {"augment": 0}

    task: DetectConfig
    image: FrameConfig

    model: ModelConfig
    """The network."""

    loss: LossConfig = LossConfig()
    """What the training minimises."""

    compose: ComposeConfig = ComposeConfig()
    """Training images that are composed of several samples."""

    sampler: SampleSamplerConfig = ShuffleSampler()
    """Which samples make a batch."""

    predict: DetectPredictConfig = DetectPredictConfig()

    decide: ObjectDecideConfig = NmsConfig()
    """How predicted boxes become answers."""

    @property
    def pretrained(self) -> Pretrained:
        """The weights of the encoder."""
        model = self.model
        own = isinstance(model, DetrConfig) and model.own_encoder
        return Pretrained(model.encoder, model.weights, in_timm=not own, whole=own)

    @property
    def sizes_line(self) -> str:
        """What training and prediction see."""
        height, width = self.image.size
        low, high = self.image.scale
        scaled = f", scaled by {low:g}..{high:g}" if (low, high) != (1, 1) else ""
        return f"training sees frames of {width}x{height}{scaled}, prediction frames of {width}x{height}"

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Refuse, before any training, what cannot work together."""
        if self.train.mix:
            raise ValueError("train.mix: boxes are not mixed on the device; take compose.mosaic or compose.mixup")
        if self.train.sizes:
            raise ValueError("train.sizes: boxes are not resized on the device; take image.size and image.scale")
        self._refuse_other_masks()
        if isinstance(self.model, DetrConfig):
            scale = min(1.0, *self.predict.scales)
            height, width = (max(32, int(side * scale / 32) * 32) for side in self.image.size)
            places = sum((height // stride) * (width // stride) for stride in self.model.strides)
            if self.model.queries > places:
                raise ValueError(
                    f"model.queries = {self.model.queries}, but a frame of {width}x{height} has {places} places; lower "
                    "model.queries"
                )
        return self

    def _refuse_other_masks(self) -> None:
        """Raise ValueError where only one of the network and the decision has masks, or where masks do not work."""
        masks, decides = isinstance(self.model, MaskRcnnConfig), isinstance(self.decide, MasksConfig)
        if decides and not masks:
            raise ValueError("decide.kind = masks needs masks; set model.kind=mask_rcnn, or take decide.kind=nms")
        if masks and not decides:
            raise ValueError(
                f"decide.kind = {self.decide.kind} answers boxes, but mask_rcnn finds objects; set decide.kind=masks"
            )
        if masks and self.predict.slices is not None:
            raise ValueError("predict.slices: parts of boxes are joined, but not their masks; set predict.slices=null")
        if masks and self.compose.mixup:
            raise ValueError("compose.mixup: a pixel has one object, and blended images two; set compose.mixup=0")
        for number, entry in enumerate(self.augment if masks else ()):
            if not isinstance(entry, OwnConfig):
                for name, arguments in entry.items():
                    _refuse_blending(f"augment[{number}].{name}", name, arguments)


def _refuse_blending(where: str, name: str, arguments: Mapping[str, Any]) -> None:
    """Raise ValueError for a transform of albumentations after which the numbers of objects are no longer theirs."""
    if name in TEARING:
        raise ValueError(f"{where}: it would change the outlines of objects, or tear them apart; leave it out")
    if arguments.get("mask_interpolation", 0) not in NEAREST:
        raise ValueError(f"{where}: mask_interpolation would blend the numbers of objects; leave it out")
    if arguments.get("border_mode", 0) != 0:
        raise ValueError(f"{where}: border_mode would make copies of objects; leave it out")
