"""Build the segmentation network of a config: float32[B, in, h, w] -> logits float32[B, len(channels), h, w]."""

from __future__ import annotations

from typing import Any, assert_never

import segmentation_models_pytorch as smp  # type: ignore[import-untyped]
import torch
from torch import nn

from medalist.data.items import Normalisation
from medalist.errors import ConfigError, WeightsError
from medalist.models.encoders import (
    IMAGENET,
    Statistics,
    adapted,
    check_encoder,
    fitted_state,
    forget_state,
    quiet_timm,
    statistics,
)
from medalist.models.states import load_state
from medalist.models.weights import Resolved
from medalist.tasks.segment.model_settings import ModelConfig, SmpConfig, TernausConfig
from medalist.tasks.segment.settings import SegmentSettings

_SMP = {"unet": smp.Unet, "unetplusplus": smp.UnetPlusPlus, "fpn": smp.FPN, "linknet": smp.Linknet}


def build_model(config: ModelConfig, weights: Resolved | None = None) -> nn.Module:
    """Build the network; its encoder gets `weights` (see `encoder_weights`), or random weights where that is None.

    The network takes float32[B, in_channels, h, w], normalised with `normalisation(config)`, where h and w are
    multiples of `config.stride`, and returns logits float32[B, len(channels), h, w]. It is in training mode. Nothing is
    downloaded here. Random weights come from torch's generator, which the caller seeds. Raises ConfigError (the encoder
    is unknown, or cannot be used for segmentation) and WeightsError (the weights do not fit).
    """
    match config:
        case SmpConfig():
            return _build_smp(config, weights)
        case TernausConfig():
            return _build_ternausnet(config, weights)
        case _:
            assert_never(config)


def normalisation(config: ModelConfig) -> Statistics:
    """Return (mean, std) for each input channel of images in 0..1, as the encoder's weights expect them."""
    match config:
        case SmpConfig():
            return statistics(config.encoder, config.in_channels)
        case TernausConfig():
            return adapted(IMAGENET, config.in_channels)
        case _:
            assert_never(config)


def build_network(settings: SegmentSettings, weights: Resolved | None, fold: int) -> nn.Module:
    """Return the network with its pretrained encoder; its random weights depend only on the seed and the fold."""
    torch.manual_seed(settings.seed * 1000 + fold)
    return build_model(settings.model, weights)


def build_normalisation(settings: SegmentSettings) -> Normalisation:
    """Return the mean and std that the encoder was pretrained with."""
    mean, std = normalisation(settings.model)
    return Normalisation(tuple(mean), tuple(std))


def _build_ternausnet(config: TernausConfig, weights: Resolved | None) -> nn.Module:
    from medalist.models.vgg import vgg_state
    from medalist.tasks.segment.ternausnet import TernausNet11, TernausNet16

    classes, inputs = len(config.channels), config.in_channels
    network: TernausNet11 | TernausNet16
    match config.kind:
        case "ternausnet11":
            name, network = "vgg11", TernausNet11(classes, inputs, config.filters)
        case "ternausnet16":
            name, network = "vgg16", TernausNet16(classes, inputs, config.filters)
        case _:
            assert_never(config.kind)
    if weights is not None:
        try:
            network.encoder.load_state_dict(vgg_state(name, load_state(weights.path), inputs))
        except WeightsError as error:
            raise WeightsError(f"{weights.path}: {error}") from error
    return network


def _build_smp(config: SmpConfig, weights: Resolved | None) -> nn.Module:
    options: dict[str, Any] = {}
    if config.decoder_channels is not None:
        options["decoder_channels"] = config.decoder_channels
    if config.attention is not None:
        options["decoder_attention_type"] = config.attention
    if config.dropout is not None:
        options["decoder_dropout"] = config.dropout
    check_encoder(config.encoder)
    if config.encoder.startswith("swin"):
        options["strict_img_size"] = False  # windows are padded, so every multiple of the stride is accepted
    if weights is not None:
        # The state dict is passed to timm, so that timm's own code adapts the first convolution and renames the tensors
        # that features_only renames, and no hub is asked. Before, the state dict is checked against the whole
        # classifier: for features timm loads without `strict`, and missing tensors would silently stay random.
        try:
            state = fitted_state(config.encoder, load_state(weights.path))
        except WeightsError as error:
            raise WeightsError(f"{weights.path}: {error}") from error
        options["pretrained_cfg_overlay"] = {"state_dict": state}
    try:
        with quiet_timm():
            network: nn.Module = _SMP[config.kind](
                encoder_name=f"tu-{config.encoder}",
                encoder_weights=None if weights is None else True,
                in_channels=config.in_channels,
                classes=len(config.channels),
                **options,
            )
    except (
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
        AssertionError,
        IndexError,
        KeyError,
    ) as error:
        raise _unusable(config, error) from error
    forget_state(network)
    _check_shapes(network, config)
    return network


def _check_shapes(network: nn.Module, config: SmpConfig) -> None:
    """Run the network once on zeros. Raises ConfigError where it fails or the output has a wrong shape.

    So an encoder whose features do not fit the decoder is refused before the training.
    """
    height, width = 2 * config.stride, 3 * config.stride
    network.eval()
    try:
        with torch.inference_mode():
            output = network(torch.zeros(1, config.in_channels, height, width))
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        raise _unusable(config, error) from error
    network.train()
    expected = (1, len(config.channels), height, width)
    if tuple(output.shape) != expected:
        raise ConfigError(f"encoder '{config.encoder}' under {config.kind} gives {tuple(output.shape)}, not {expected}")


def _unusable(config: SmpConfig, error: Exception) -> ConfigError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0][:160].rstrip(".") if lines else type(error).__name__
    return ConfigError(
        f"encoder '{config.encoder}' cannot be used with {config.kind} ({reason}); take one with features at "
        "strides 4, 8, 16, 32, such as resnet34, tf_efficientnet_lite0 or convnext_tiny"
    )
