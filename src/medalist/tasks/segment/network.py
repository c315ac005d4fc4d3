"""Build the segmentation network of a config: float32[B, in, h, w] -> logits float32[B, len(channels), h, w]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import torch
from torch import Tensor, nn

from medalist.data.items import Normalisation
from medalist.errors import WeightsError
from medalist.models.checkpoints import load_whole
from medalist.models.encoders import IMAGENET, Statistics, adapted, check_encoder, statistics
from medalist.models.resnet import resnet_state
from medalist.models.states import load_state
from medalist.models.vgg import vgg_state
from medalist.models.weights import Resolved
from medalist.parts import NO_PARTS, OwnParts
from medalist.tasks.own import own_network
from medalist.tasks.segment.linknet34 import LinkNet34
from medalist.tasks.segment.model_settings import (
    LinkNetConfig,
    ModelConfig,
    OwnNetworkConfig,
    SmpConfig,
    TernausConfig,
    TernausV2Config,
)
from medalist.tasks.segment.settings import SegmentSettings
from medalist.tasks.segment.smp_network import build_smp
from medalist.tasks.segment.ternausnet import TernausNet


def build_model(config: ModelConfig, weights: Resolved | None = None, own: OwnParts = NO_PARTS) -> nn.Module:
    """Build the network; it gets `weights` (see `encoder_weights`), or random weights where that is None.

    The network takes float32[B, seen_channels, h, w]: images normalised with `normalisation(config)`, and behind their
    channels the planes of a condition. h and w are multiples of `config.stride`. It returns logits float32[B,
    len(channels), h, w], or SegmentOutputs where it has more heads. It is in training mode. `weights` are of the
    encoder, or of the whole network where they name its head. Nothing is downloaded here. Random
    weights come from torch's generator, which the caller seeds. own: the parts of the contest's folder. Raises
    ConfigError (the encoder is unknown, or cannot be used for segmentation) and WeightsError (the weights do not fit).
    """
    if isinstance(config, OwnNetworkConfig):
        size, outputs = (2 * config.stride, 3 * config.stride), len(config.channels)
        return own_network(config, own, (config.in_channels, *size), outputs, (outputs, *size))
    if weights is None:
        return _with_encoder(config, None)
    state = load_state(weights.path)
    try:
        return _with_whole(config, state) if _holds_head(config, state) else _with_encoder(config, state)
    except WeightsError as error:
        raise WeightsError(f"{weights.path}: {error}") from error


def normalisation(config: ModelConfig) -> Statistics:
    """Return (mean, std) for each input channel of images in 0..1, as the encoder's weights expect them."""
    match config:
        case SmpConfig():
            return statistics(config.encoder, config.in_channels)
        case TernausConfig() | LinkNetConfig() | TernausV2Config() | OwnNetworkConfig():
            return adapted(IMAGENET, config.in_channels)
        case _:
            assert_never(config)


def build_network(
    settings: SegmentSettings, weights: Resolved | None, fold: int, own: OwnParts = NO_PARTS
) -> nn.Module:
    """Return the network with its pretrained weights; its random weights depend only on the seed and the fold."""
    torch.manual_seed(settings.seed * 1000 + fold)
    return build_model(settings.model, weights, own)


def build_normalisation(settings: SegmentSettings) -> Normalisation:
    """Return the mean and std that the encoder was pretrained with; those of ImageNet for a network of one's own."""
    mean, std = normalisation(settings.model)
    return Normalisation(tuple(mean), tuple(std))


_Built = SmpConfig | TernausConfig | LinkNetConfig | TernausV2Config


def _with_encoder(config: _Built, state: Mapping[str, Tensor] | None) -> nn.Module:
    """Return the network with the weights of the encoder alone; with random ones where `state` is None."""
    match config:
        case SmpConfig():
            return build_smp(config, state)
        case TernausConfig() | TernausV2Config():
            network: TernausNet | LinkNet34 = TernausNet(config)
        case LinkNetConfig():
            network = LinkNet34(config)
        case _:
            assert_never(config)
    if state is None:
        return network
    if isinstance(config, TernausV2Config):
        raise WeightsError("they name no tensor of the decoder: ternausnetv2 takes the weights of a whole network")
    if config.encoder_name == "resnet34":
        network.encoder.load_state_dict(resnet_state(state, config.in_channels))
    else:
        network.encoder.load_state_dict(vgg_state(config.encoder_name, state, config.in_channels))
    return network


def _holds_head(config: _Built, state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is of a whole network, because it names the head."""
    match config:
        case SmpConfig():
            head = "segmentation_head."
        case TernausConfig() | TernausV2Config():
            head = "final."
        case LinkNetConfig():
            head = "finalconv3."
        case _:
            assert_never(config)
    return any(name.startswith(head) for name in state)


def _with_whole(config: _Built, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network with the weights of a whole network, decoder and head included."""
    network = _with_encoder(config, None)
    if isinstance(config, SmpConfig):
        if not any(name.startswith("encoder.model.") for name in state):  # smp's own encoders have no part `model`
            state = {
                name.replace("encoder.", "encoder.model.", 1) if name.startswith("encoder.") else name: tensor
                for name, tensor in state.items()
            }
        conv = check_encoder(config.encoder).first_conv
        load_whole(network, state, f"encoder.model.{conv}.weight" if isinstance(conv, str) else "")
        return network
    first = {"resnet34": "encoder.conv1.weight", "wide_resnet38": "encoder.conv1.conv1.weight"}
    ignored = ("encoder.fc.",) if config.kind == "albunet34" else ()  # published with the classifier, which is not used
    load_whole(network, state, first.get(config.encoder_name, "encoder.0.weight"), ignored)
    return network
