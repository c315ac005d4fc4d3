"""What a config may say of every segmentation network: its channels, its weights, and options of its heads."""

from __future__ import annotations

from pydantic import Field, field_validator

from medalist.config import ConfigModel
from medalist.postprocess.settings import PRESENCE

STRIDE = 32
"""Most networks halve their input five times: height and width must be multiples of this many pixels."""


class Channels(ConfigModel):
    """What all networks share."""

    channels: tuple[str, ...] = Field(min_length=1)
    """The names of the output channels, in order, such as `[body, border]`."""

    in_channels: int = Field(default=3, ge=1, le=1024)
    """The number of input channels. A pretrained first convolution is adapted to numbers other than 3, so that its
    response to a gray image stays the same."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all predicted channels, in order."""
        return self.channels

    @property
    def seen_channels(self) -> int:
        """The number of channels of the network's input: those of the image, then one for each value of a condition."""
        return self.in_channels

    @field_validator("channels")
    @classmethod
    def _channels_are_names(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        for name in channels:
            if not name.strip():
                raise ValueError("a channel needs a name, such as body")
            if name.startswith(PRESENCE):
                raise ValueError(f"'{name}': names that begin with {PRESENCE} are of the classification head")
        twice = sorted({name for name in channels if channels.count(name) > 1})
        if twice:
            raise ValueError(f"channel '{twice[0]}' is there twice; each channel needs its own name")
        return channels


class ConditionConfig(ConfigModel):
    """A column of the samples that the network is told before its decoder, as one-hot."""

    column: str = Field(min_length=1)
    """The name of a column of `Sample.meta`, such as `city` or `look_angle`."""

    values: tuple[str | float, ...] = Field(min_length=1, max_length=256)
    """The values of the column that the network knows, in order. A test sample with another value, or with none, gives
    a vector of zeros."""

    @field_validator("values")
    @classmethod
    def _values_once(cls, values: tuple[str | float, ...]) -> tuple[str | float, ...]:
        twice = [value for number, value in enumerate(values) if value in values[:number]]
        if twice:
            raise ValueError(f"the value '{twice[0]}' is there twice")
        return values


class Network(Channels):
    """What networks with an encoder share."""

    weights: str = Field(default="imagenet", min_length=1)
    """The weights that the network begins with: `imagenet` (for the encoder, found by the resolver of
    src/medalist/models/weights.py), `none`, or a file with the state of the encoder, or of the whole network under its
    own names."""

    hypercolumn: bool = False
    """Whether the head sees the maps of all decoder blocks, resized to full size (arXiv 1411.5752), and not only the
    last; for U-Nets."""

    deep_supervision: bool = False
    """Whether each decoder block but the last has a head of its own in training; `loss.deep` is its weight."""

    presence: bool = False
    """Whether a classification head on the encoder says which channels an image has at all; `loss.presence` is its
    weight. Its probabilities are predicted as channels `presence:<channel>`."""

    condition: ConditionConfig | None = None
    """A column of the samples that is joined to the encoder's last features as one-hot."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all predicted channels, in order."""
        return self.channels + (tuple(PRESENCE + name for name in self.channels) if self.presence else ())

    @property
    def seen_channels(self) -> int:
        """The number of channels of the network's input: those of the image, then one for each value of a condition."""
        return self.in_channels + (0 if self.condition is None else len(self.condition.values))
