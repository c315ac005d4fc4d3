"""A timm encoder without its classifier, built for one image size."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from medalist.errors import ConfigError, WeightsError
from medalist.models.encoders import (
    Statistics,
    adapted,
    check_encoder,
    fitted_state,
    forget_state,
    quiet_timm,
    statistics,
)
from medalist.models.settings import EncoderConfig
from medalist.models.states import load_state
from medalist.models.weights import Resolved

_TIMM_FAILS = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, IndexError, KeyError)

PLAIN: Statistics = ((0.5,) * 3, (0.5,) * 3)
"""Input statistics of encoders that start from random weights: they put the values of an image into -1..1."""


class Encoder(nn.Module):
    """A timm network without its classifier: float32[B, in, h, w] -> feature maps float32[B, C, h', w'].

    The N tokens of a transformer become maps [B, C, N, 1]; class tokens and register tokens are left out.
    """

    def __init__(self, body: nn.Module, width: int):
        """`width` is C, the number of channels of the features."""
        super().__init__()
        self.body = body
        self.width = width
        self.cells = 1
        """Number of positions (h' * w') of the features, for images of the size that the encoder was built for."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature maps of a batch of images."""
        found: Tensor = self.body.forward_features(image)  # type: ignore[operator]  # timm's, on every network
        if found.ndim == 3:
            skipped = int(getattr(self.body, "num_prefix_tokens", 0))
            return found[:, skipped:].transpose(1, 2).unsqueeze(-1)
        return found if found.shape[1] == self.width else found.permute(0, 3, 1, 2)


def encoder_statistics(config: EncoderConfig) -> Statistics:
    """Return (mean, std) for each input channel of images in 0..1.

    They are the statistics that the encoder's weights were trained with, or `PLAIN` where config.weights is "none".
    """
    if config.weights == "none":
        return adapted(PLAIN, config.in_channels)
    return statistics(config.encoder, config.in_channels)


def build_encoder(config: EncoderConfig, size: tuple[int, int], weights: Resolved | None) -> Encoder:
    """Build the encoder and load `weights`; where `weights` is None, its weights are random.

    Random weights come from torch's generator, which the caller seeds. `size` is the (height, width) of the images that
    the encoder will get; one pass of an image of zeros checks that the encoder accepts this size. Nothing is downloaded
    here. Raises ConfigError (the encoder is unknown, or does not accept images of this size) and WeightsError (the
    weights do not fit the encoder).
    """
    known = check_encoder(config.encoder)
    options: dict[str, Any] = dict(config.options)
    if known.fixed_input_size:
        options.setdefault("img_size", size)
    if weights is not None:
        found = load_state(weights.path)
        try:
            state = fitted_state(config.encoder, found)
        except WeightsError as error:
            raise WeightsError(f"{weights.path}: {error}") from error
        options["pretrained_cfg_overlay"] = {"state_dict": state}
    try:
        with quiet_timm():
            body: nn.Module = timm.create_model(
                config.encoder, pretrained=weights is not None, in_chans=config.in_channels, num_classes=0, **options
            )
        forget_state(body)
        encoder = Encoder(body, int(body.num_features))  # type: ignore[arg-type]  # an int on every timm network
        encoder.eval()
        with torch.inference_mode():
            found = encoder(torch.zeros(1, config.in_channels, *size))
    except _TIMM_FAILS as error:
        raise ConfigError(_unusable(config, size, " ".join(str(error).split())[:160] or type(error).__name__)) from None
    if found.ndim != 4 or found.shape[1] != encoder.width or not found.numel():
        raise ConfigError(_unusable(config, size, f"its features are {list(found.shape)}"))
    encoder.cells = found.shape[2] * found.shape[3]
    return encoder.train()


def _unusable(config: EncoderConfig, size: tuple[int, int], reason: str) -> str:
    options = f" with options {config.options}" if config.options else ""
    return (
        f"encoder '{config.encoder}'{options} does not accept images of {size[1]}x{size[0]} ({reason}); "
        f"change image.size or {'model.options' if config.options else 'model.encoder'}"
    )
