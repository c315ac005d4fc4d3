"""RT-DETRv2 of the package transformers, with an encoder of timm or its own one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medalist.errors import ConfigError, WeightsError
from medalist.tasks.detect.model_settings import DetrConfig
from medalist.tasks.detect.outputs import DetrOutputs
from medalist.tasks.detect.pyramid import FeatureEncoder, build_encoder, with_norms

if TYPE_CHECKING:
    from transformers import RTDetrV2ForObjectDetection

INSTALL = "pip install 'medalist[detr]'"
RARE = 0.01
"""The score that every class has in every query before the training."""

RESNETS: dict[str, tuple[str, list[int], list[int]]] = {  # the kind of block, the widths and the depths of the stages
    "rtdetr_resnet18": ("basic", [64, 128, 256, 512], [2, 2, 2, 2]),
    "rtdetr_resnet34": ("basic", [64, 128, 256, 512], [3, 4, 6, 3]),
    "rtdetr_resnet50": ("bottleneck", [256, 512, 1024, 2048], [3, 4, 6, 3]),
    "rtdetr_resnet101": ("bottleneck", [256, 512, 1024, 2048], [3, 4, 23, 3]),
}
CLASSES = ("class_embed.", "model.decoder.class_embed.", "model.enc_score_head.", "model.denoising_class_embed.")
"""Beginnings of the names of those tensors whose shapes depend on the classes; they are never taken from weights."""

HEADS = 8, 4
"""The number of heads of attention is the first of these numbers that leaves a head at least HEAD channels."""

HEAD = 16


class ResNetMaps(nn.Module):
    """The encoder of transformers' RT-DETR: images -> a list of its feature maps."""

    def __init__(self, model: nn.Module):
        """`model`: transformers' backbone, with feature maps at the strides 8, 16 and 32."""
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps [B, C, h / stride, w / stride]."""
        return list(self.model(image).feature_maps)


class Detr(nn.Module):
    """An encoder and the transformer of RT-DETRv2: images float32[B, in, h, w] -> `DetrOutputs`."""

    def __init__(self, encoder: FeatureEncoder, decoder: nn.Module):
        """`decoder`: transformers' `RTDetrV2Model` with its heads, without backbone."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Tensor) -> DetrOutputs:
        """Return the outputs of a batch of images."""
        part: Any = self.decoder
        maps = [layer(one) for layer, one in zip(part.encoder_input_proj, self.encoder(image), strict=True)]
        first = maps[0]  # of which the model takes the size of the batch alone, where levels are given
        found = part(None, inputs_embeds=first, encoder_outputs=part.encoder(maps))
        logits = torch.cat([found.enc_topk_logits[:, None], found.intermediate_logits], dim=1)
        boxes = torch.cat([found.enc_topk_bboxes[:, None], found.intermediate_reference_points], dim=1)
        return DetrOutputs(logits, boxes)


def build_detr(config: DetrConfig, classes: int, state: Mapping[str, Tensor] | None) -> Detr:
    """Return the network in training mode, with random weights where `state` has none.

    classes: the number of the contest's classes; there is no background. state: of a timm encoder, or of a whole
    RT-DETRv2 where the encoder is its own. Raises ConfigError where transformers is missing or the encoder is unfit,
    and WeightsError where the weights do not fit.
    """
    if find_spec("transformers") is None:
        raise ConfigError(f"model.kind=detr needs the package transformers; type {INSTALL}")
    encoder = None if config.own_encoder else build_encoder(config, state)
    network = _built(config, classes, None if encoder is None else encoder.widths)
    if encoder is None and state is not None:
        _load(network, state)
    decoder: Any = network.model
    if encoder is None:
        backbone = decoder.backbone.model
        encoder = FeatureEncoder(ResNetMaps(with_norms(backbone, config)), tuple(backbone.channels))
    del decoder.backbone
    return Detr(encoder, decoder).train()


def _built(config: DetrConfig, classes: int, widths: tuple[int, ...] | None) -> RTDetrV2ForObjectDetection:
    """Return transformers' network with random weights; `widths` are those of the maps of a timm encoder."""
    from transformers import RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection

    # Where timm has the encoder, the network's own backbone is only there to be thrown away.
    block, stages, depths = RESNETS.get(config.encoder, ("basic", [8, 8, 8, 8], [1, 1, 1, 1]))
    backbone = RTDetrResNetConfig(
        layer_type=block, hidden_sizes=stages, depths=depths, out_features=["stage2", "stage3", "stage4"]
    )
    width = config.width
    heads = next((count for count in HEADS if width // count >= HEAD), 1)
    settings = RTDetrV2Config(
        num_labels=classes,
        backbone_config=backbone,
        freeze_backbone_batch_norms=False,  # `model.norm` says it
        encoder_hidden_dim=width,
        encoder_in_channels=list(stages[1:]),
        encoder_ffn_dim=config.hidden,
        encoder_attention_heads=heads,
        d_model=width,
        decoder_in_channels=[width] * 3,
        decoder_ffn_dim=config.hidden,
        decoder_attention_heads=heads,
        decoder_layers=config.depth,
        hidden_expansion=config.expansion,
        num_queries=config.queries,
        num_denoising=0,
        initializer_bias_prior_prob=RARE,
        initializer_range=1 / math.sqrt(width),
        tie_word_embeddings=False,  # each layer has heads of its own, as in the published networks
    )
    network = RTDetrV2ForObjectDetection(settings)
    model: Any = network.model
    if widths is not None:
        model.encoder_input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(one, width, 1, bias=False), nn.BatchNorm2d(width)) for one in widths
        )
    # transformers begins batch norms with weights near 0, as if they were always loaded. These are torch's own values.
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.BatchNorm2d):
            part.reset_parameters()
    for head in (model.enc_bbox_head, *model.decoder.bbox_embed):
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)
    return network


def _load(network: RTDetrV2ForObjectDetection, state: Mapping[str, Tensor]) -> None:
    """Load all but the classes of a whole RT-DETRv2, under the names of any version of transformers.

    Raises WeightsError, which names the first tensor that is missing or has another shape.
    """
    from transformers import RTDetrV2ForObjectDetection

    given = {name: value for name, value in state.items() if not name.startswith(CLASSES)}
    loaded, info = RTDetrV2ForObjectDetection.from_pretrained(
        None,
        config=network.config,
        state_dict=given,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        local_files_only=True,
    )
    model: Any = loaded.model
    missing = {name for name in info["missing_keys"] if not name.endswith("num_batches_tracked")}
    for one, other in (("bbox_embed.", "model.decoder.bbox_embed."), ("model.decoder.bbox_embed.", "bbox_embed.")):
        # A file has the heads under one of two names, or under both.
        if any(name.startswith(other) for name in missing) and not any(name.startswith(one) for name in missing):
            missing = {name for name in missing if not name.startswith(other)}
            model.decoder.bbox_embed.load_state_dict(loaded.get_submodule(one[:-1]).state_dict())
    missing = {name for name in missing if not name.startswith(CLASSES)}
    unlike = sorted(str(one[0] if isinstance(one, tuple) else one) for one in info["mismatched_keys"])
    if unlike or missing:
        bad = unlike[0] if unlike else min(missing)
        why = "has another shape" if unlike else "is missing"
        raise WeightsError(
            f"tensor '{bad}' {why}; set model.encoder, width, depth, hidden and expansion to the backbone, d_model, "
            "decoder_layers, decoder_ffn_dim and hidden_expansion of its config.json"
        )
    own = {name: value for name, value in loaded.state_dict().items() if not name.startswith(CLASSES)}
    network.load_state_dict(own, strict=False)
