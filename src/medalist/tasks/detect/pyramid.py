"""Feature maps of a timm encoder, joined to a pyramid of levels of one width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medalist.errors import ConfigError
from medalist.models.encoders import check_encoder, fitted_state, forget_state, quiet_timm
from medalist.models.inputs import COLOURS, adapted_input
from medalist.tasks.detect.model_settings import PyramidConfig

FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError, ImportError)
"""What timm raises where an encoder has no feature maps, or does not take its arguments."""

DEEPEST = 32
"""The greatest stride that is taken from an encoder; coarser levels are computed from this one."""


class FeatureEncoder(nn.Module):
    """A timm encoder: images float[B, in, h, w] -> its feature maps at some strides, the finest first."""

    def __init__(self, model: nn.Module, widths: Sequence[int]):
        """`model`: made by timm with `features_only`. `widths`: the channels of its maps."""
        super().__init__()
        self.model = model
        self.widths = tuple(widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps [B, C, h / stride, w / stride]."""
        maps: list[Tensor] = self.model(image)
        return [
            one if one.shape[1] == width else one.permute(0, 3, 1, 2)
            for one, width in zip(maps, self.widths, strict=True)
        ]


def build_encoder(config: PyramidConfig, state: Mapping[str, Tensor] | None) -> FeatureEncoder:
    """Build the encoder; it gets the weights `state` of the whole timm network, or random ones.

    Raises ConfigError where the encoder is unknown, or has no feature maps at the strides of the config, and
    WeightsError where the weights do not fit.
    """
    check_encoder(config.encoder)
    options: dict[str, Any] = {} if state is None else {"pretrained_cfg_overlay": {"state_dict": _state(config, state)}}
    options |= {"strict_img_size": False} if config.encoder.startswith("swin") else {}  # their windows are padded
    wanted = [stride for stride in config.strides if stride <= DEEPEST]
    try:
        with quiet_timm():
            with torch.device("meta"):
                whole: Any = timm.create_model(config.encoder, features_only=True)
            has = whole.feature_info.reduction()
            chosen = tuple(len(has) - 1 - has[::-1].index(stride) for stride in wanted)
            model: Any = timm.create_model(
                config.encoder,
                pretrained=state is not None,
                features_only=True,
                in_chans=config.in_channels,
                out_indices=chosen,
                **options,
            )
        forget_state(model)
    except FAILURES as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ConfigError(
            f"encoder '{config.encoder}' has no feature maps at the strides {wanted} ({reason}); take one such as "
            "resnet34, tf_efficientnet_lite0 or convnext_tiny"
        ) from None
    return FeatureEncoder(with_norms(model, config), model.feature_info.channels())


def with_norms(encoder: nn.Module, config: PyramidConfig) -> nn.Module:
    """Return an encoder with the norms of the config.

    Frozen norms have no parameters: neither training nor weight decay, averages or other processes change them. Raises
    ConfigError where there is no batch norm to freeze.
    """
    if config.norm == "batch":
        return encoder
    if not any(isinstance(part, nn.BatchNorm2d) for part in encoder.modules()):
        raise ConfigError(f"encoder '{config.encoder}' has no batch norms to freeze; type model.norm=batch")
    frozen: nn.Module = freeze_batch_norm_2d(encoder)  # type: ignore[no-untyped-call]
    return frozen


def _state(config: PyramidConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of the whole timm network, checked, with its first convolution adapted to the channels.

    It is checked against the whole classifier: for feature maps timm loads without `strict`, and a missing tensor would
    silently stay random.
    """
    fitted = fitted_state(config.encoder, state)
    first = check_encoder(config.encoder).first_conv
    for name in (first,) if isinstance(first, str) else first or ():
        weight = fitted.get(f"{name}.weight")
        if weight is not None and weight.ndim == 4 and weight.shape[1] == COLOURS:
            fitted[f"{name}.weight"] = adapted_input(weight, config.in_channels)
    return fitted


def convolution(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution, a group norm and SiLU. A group norm does not depend on the size of the batch."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False),
        nn.GroupNorm(math.gcd(outputs, 32), outputs),
        nn.SiLU(inplace=True),
    )


class Pyramid(nn.Module):
    """Feature maps of several widths -> levels of one width, joined from coarse to fine, and with `back` back again.

    The source is arXiv 1612.03144, and 1803.01534 for the way back. Levels coarser than the encoder's maps are computed
    from the coarsest map by convolutions of stride 2.
    """

    def __init__(self, widths: Sequence[int], config: PyramidConfig, back: bool):
        """`widths`: the channels of the encoder's maps."""
        super().__init__()
        width, extra = config.width, len(config.strides) - len(widths)
        self.inner = nn.ModuleList(convolution(one, width, 1) for one in widths)
        self.outer = nn.ModuleList(convolution(width, width) for _ in widths)
        self.down = nn.ModuleList(convolution(width, width, 3, 2) for _ in widths[1:]) if back else None
        self.joined = nn.ModuleList(convolution(width, width) for _ in widths[1:]) if back else None
        self.coarser = nn.ModuleList(convolution(width, width, 3, 2) for _ in range(extra))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels [B, width, h / stride, w / stride], the finest first."""
        levels = [layer(one) for layer, one in zip(self.inner, maps, strict=True)]
        for at in range(len(levels) - 2, -1, -1):
            levels[at] = levels[at] + interpolate(levels[at + 1], size=levels[at].shape[-2:], mode="nearest")
        levels = [layer(one) for layer, one in zip(self.outer, levels, strict=True)]
        if self.down is not None and self.joined is not None:
            for at, (down, joined) in enumerate(zip(self.down, self.joined, strict=True), 1):
                levels[at] = joined(levels[at] + down(levels[at - 1]))
        for layer in self.coarser:
            levels.append(layer(levels[-1]))
        return levels
