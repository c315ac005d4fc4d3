"""Networks of an encoder of timm and a decoder of segmentation-models-pytorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medalist.errors import ConfigError
from medalist.models.encoders import check_encoder, fitted_state, forget_state, quiet_timm
from medalist.models.inputs import COLOURS, adapted_input
from medalist.tasks.segment.decoders import (
    build_decoder,
    build_head,
    depth_of,
    initialise,
    levels_of,
    output_stride_of,
)
from medalist.tasks.segment.features import FAILURES, ResizedFeatures, TokenFeatures, plain_features
from medalist.tasks.segment.heads import Headed, joined
from medalist.tasks.segment.model_settings import SmpConfig
from medalist.tasks.segment.network_settings import STRIDE
from medalist.tasks.segment.outputs import SegmentOutputs, heads_of


class SmpNetwork(Headed):
    """An encoder, a decoder and a head: float32[B, in, h, w] -> logits float32[B, C, h, w].

    The weights have the names that they have in smp's own networks: `encoder.model`, `decoder`, `segmentation_head`.
    """

    def __init__(self, config: SmpConfig, encoder: nn.Module):
        """The decoder gets random weights; those of the encoder stay."""
        super().__init__(config)
        self.encoder = encoder
        widths: list[int] = list(encoder.out_channels)  # type: ignore[arg-type]  # on every encoder here
        seen = [*widths[:-1], widths[-1] + self.extra]
        levels = levels_of(config, seen)
        self.decoder = build_decoder(config, encoder, seen)
        self.segmentation_head = build_head(config, self.head_width(levels))
        initialise(config, self.decoder, self.segmentation_head, seen[-1])
        self.add_heads(config, widths[-1], levels)

    def forward(self, image: Tensor) -> Tensor | SegmentOutputs:
        """Return logits of the input's height and width."""
        image, condition = self.split(image)
        if isinstance(self.encoder, TokenFeatures):
            features, tokens = self.encoder(image)
            decoded = self.decoder(features, tokens)
        else:
            features = self.encoder(image)
            decoded = self.decoder([*features[:-1], joined(features[-1], condition)])
        levels = decoded if isinstance(decoded, list) else [decoded]
        return self.outputs(self.segmentation_head(self.decoded(levels)), features[-1], levels)


def build_smp(config: SmpConfig, state: Mapping[str, Tensor] | None) -> SmpNetwork:
    """Build the network; its encoder gets the weights `state` of the whole timm network, or random ones.

    Raises ConfigError where the encoder is unknown, or cannot be used with this decoder, and WeightsError where the
    weights do not fit.
    """
    check_encoder(config.encoder)
    options = {} if state is None else {"pretrained_cfg_overlay": {"state_dict": _encoder_state(config, state)}}
    for last, make in _makers(config, options):
        network: SmpNetwork | None = None
        try:
            with quiet_timm():
                network = SmpNetwork(config, make())
            forget_state(network)
            _try(network, config, config.stride)
        except FAILURES as error:
            if last:
                raise _unusable(config, network, error) from error
        else:
            return network
    raise AssertionError("the last encoder either serves or is refused")


def _makers(config: SmpConfig, options: Mapping[str, Any]) -> list[tuple[bool, Callable[[], nn.Module]]]:
    """Return functions that make an encoder, in the order in which they are tried, and whether each is the last."""
    if config.kind == "dpt":
        return [(True, lambda: TokenFeatures(config.encoder, config.in_channels, options))]
    how = (config.encoder, config.in_channels, depth_of(config), output_stride_of(config), options)
    return [(False, lambda: plain_features(*how)), (True, lambda: ResizedFeatures(*how))]


def _encoder_state(config: SmpConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of the whole timm network, checked, with its first convolution adapted to the channels.

    It is passed to timm, so that timm's own code renames the tensors that features_only renames, and no hub is asked.
    Before, it is checked against the whole classifier: for features timm loads without `strict`, and missing tensors
    would silently stay random.
    """
    fitted = fitted_state(config.encoder, state)
    first = check_encoder(config.encoder).first_conv
    for name in (first,) if isinstance(first, str) else first or ():
        weight = fitted.get(f"{name}.weight")
        if weight is not None and weight.ndim == 4 and weight.shape[1] == COLOURS:
            fitted[f"{name}.weight"] = adapted_input(weight, config.in_channels)
    return fitted


def _try(network: nn.Module, config: SmpConfig, stride: int) -> None:
    """Run the network once on zeros. Raises one of FAILURES where it fails or the output has a wrong shape.

    So an encoder whose features do not fit the decoder is refused before the training.
    """
    height, width = 2 * stride, 3 * stride
    network.eval()
    with torch.inference_mode():
        output = heads_of(network(torch.zeros(1, config.seen_channels, height, width))).maps
    network.train()
    expected = (1, len(config.channels), height, width)
    if tuple(output.shape) != expected:
        raise ValueError(f"it gives {tuple(output.shape)}, not {expected}")


def _unusable(config: SmpConfig, network: SmpNetwork | None, error: Exception) -> ConfigError:
    """Return the error that says why, and what to type. network: None where it could not be built."""
    named = f"encoder '{config.encoder}' cannot be used with {config.kind}"
    for stride in (2 * STRIDE, 4 * STRIDE):
        if network is not None and stride > config.stride and _serves(network, config, stride):
            return ConfigError(f"{named} at multiples of {config.stride} pixels; type model.multiple={stride}")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0][:160].rstrip(".") if lines else type(error).__name__
    known = check_encoder(config.encoder)
    height, width = known.input_size[1:]
    fixed = f"; it is made for images of {width}x{height} alone" if known.fixed_input_size else ""
    instead = "vit_small_patch16_224" if config.kind == "dpt" else "resnet34, tf_efficientnet_lite0 or convnext_tiny"
    return ConfigError(f"{named} ({reason}){fixed}; take one such as {instead}")


def _serves(network: SmpNetwork, config: SmpConfig, stride: int) -> bool:
    try:
        _try(network, config, stride)
    except FAILURES:
        return False
    return True
