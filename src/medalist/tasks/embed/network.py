"""From a config to a network of unit vectors: encoder, pooling, neck."""

from __future__ import annotations

from typing import Any, assert_never

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

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
from medalist.models.settings import EmbedderConfig
from medalist.models.weights import Resolved, load_state

_TIMM_FAILS = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, IndexError, KeyError)

PLAIN: Statistics = ((0.5,) * 3, (0.5,) * 3)
"""Input statistics of encoders that begin at random: values within -1..1."""


class Encoder(nn.Module):
    """A timm network without its classifier: float32[B, in, h, w] -> feature maps float32[B, C, h', w'].

    Tokens of a transformer become maps of one column; its class and register tokens are left out.
    """

    def __init__(self, body: nn.Module, width: int):
        """`width` is the number of channels of its features."""
        super().__init__()
        self.body = body
        self.width = width
        self.cells = 1
        """Positions of its features for images of the size that it was built for."""

    def forward(self, image: Tensor) -> Tensor:
        """Feature maps of a batch of images."""
        found: Tensor = self.body.forward_features(image)  # type: ignore[operator]  # timm's, on every network
        if found.ndim == 3:
            skipped = int(getattr(self.body, "num_prefix_tokens", 0))
            return found[:, skipped:].transpose(1, 2).unsqueeze(-1)
        return found if found.shape[1] == self.width else found.permute(0, 3, 1, 2)


class GeM(nn.Module):
    """Generalised mean over positions, its power learned (arXiv 1711.02512): [B, C, h, w] -> [B, C].

    1 is the average; towards infinity it becomes the maximum. Values below 1e-6 count as 1e-6.
    """

    def __init__(self, power: float):
        """`power` is where it begins."""
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool a batch of maps; in float32, as powers of halves overflow."""
        raised = maps.float().clamp(min=1e-6).pow(self.power)
        pooled: Tensor = raised.mean(dim=(-2, -1)).pow(1 / self.power)
        return pooled


class AttentionPool(nn.Module):
    """A weighted mean over positions, weights by softmax of a learned query: [B, C, h, w] -> [B, C]."""

    def __init__(self, width: int):
        """It begins as the plain average."""
        super().__init__()
        self.query = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.query.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool a batch of maps."""
        weights = self.query(maps).flatten(2).softmax(dim=-1)
        pooled: Tensor = (maps.flatten(2) * weights).sum(dim=-1)
        return pooled


class Head(nn.Module):
    """Feature maps [B, C, h, w], or features pooled before [B, C], become unit vectors float32[B, dim].

    `criterion` is the loss, kept here where it has weights of its own to be trained and saved; None in prediction.
    """

    def __init__(self, config: EmbedderConfig, encoder: Encoder, criterion: nn.Module | None = None):
        """`encoder` is what gives the features; only their shape is looked at."""
        super().__init__()
        self.pool = build_pooling(config, encoder.width)
        self.drop = nn.Dropout(config.dropout)
        width = encoder.width * (encoder.cells if config.pooling == "flat" else 1)
        self.dim = config.dim or width
        parts: list[nn.Module] = []
        if config.neck.startswith("linear"):
            parts.append(nn.Linear(width, self.dim, bias=config.neck == "linear"))
        if config.neck.endswith("bn"):
            parts.append(nn.BatchNorm1d(self.dim))
        self.neck = nn.Sequential(*parts)
        self.criterion = criterion

    def forward(self, features: Tensor) -> Tensor:
        """Unit vectors of a batch."""
        pooled = self.pool(features) if features.ndim == 4 else features
        pooled = self.neck(self.drop(pooled)).float()
        # A blank image may give zeros, which have no direction: the shift, lost in any other vector, gives it one.
        return normalize(pooled + 1e-12, dim=-1)


class Embedder(nn.Module):
    """An image becomes a unit vector: float32[B, in, h, w] -> float32[B, dim]."""

    def __init__(self, encoder: Encoder, head: Head):
        """Both parts as they are built below."""
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Unit vectors of a batch."""
        vectors: Tensor = self.head(self.encoder(image))
        return vectors


def build_pooling(config: EmbedderConfig, width: int = 0) -> nn.Module:
    """What turns maps [B, C, h, w] into [B, C]; `width` is C, which attention needs."""
    match config.pooling:
        case "gem":
            return GeM(config.gem)
        case "avg":
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case "max":
            return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
        case "attention":
            return AttentionPool(width)
        case "flat":
            return nn.Flatten()
        case _:
            assert_never(config.pooling)


def embedder_statistics(config: EmbedderConfig) -> Statistics:
    """(mean, std) for each input channel of images in 0..1: those of the encoder's weights, where it has any."""
    if config.weights == "none":
        return adapted(PLAIN, config.in_channels)
    return statistics(config.encoder, config.in_channels)


def build_encoder(config: EmbedderConfig, size: tuple[int, int], weights: Resolved | None) -> Encoder:
    """The encoder, filled from `weights`, or random where None (torch's generator is the caller's to seed).

    `size` (height, width) is what it will see; one pass of zeros shows that it can. Nothing is downloaded here.
    Raises ConfigError (unknown, or not for images of this size), WeightsError (they do not fit).
    """
    known = check_encoder(config.encoder)
    options: dict[str, Any] = dict(config.options)
    if known.fixed_input_size:
        options.setdefault("img_size", size)
    if weights is not None:
        try:
            state = fitted_state(config.encoder, load_state(weights.path))
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


def build_embedder(
    config: EmbedderConfig, size: tuple[int, int], weights: Resolved | None, criterion: nn.Module | None = None
) -> Embedder:
    """The whole network, in training mode."""
    encoder = build_encoder(config, size, weights)
    return Embedder(encoder, Head(config, encoder, criterion))


def pools_before(config: EmbedderConfig) -> bool:
    """Whether features can be pooled before they are kept: the pooling has nothing to learn."""
    return config.pooling in ("avg", "max")


def _unusable(config: EmbedderConfig, size: tuple[int, int], reason: str) -> str:
    options = f" with options {config.options}" if config.options else ""
    return (
        f"encoder '{config.encoder}'{options} cannot look at images of {size[1]}x{size[0]} ({reason}); "
        f"change image.size or {'model.options' if config.options else 'model.encoder'}"
    )
