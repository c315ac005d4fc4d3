"""Which of timm's encoders serve for segmentation: a small member of each family, with random weights.

python benchmarks/encoder_families.py [--kind unet] [--encoder resnet18 ...]

Each network is built and makes gradients at two sizes. Printed: the encoder, its parameters in millions, where its
features come from (`plain`: at the usual strides; `resized`) and the stride that the network needs; or the line that
refuses it.
"""

from __future__ import annotations

import argparse
import gc
import logging
import warnings
from collections import Counter

import torch

from medalist.errors import ConfigError
from medalist.tasks.segment.features import ResizedFeatures
from medalist.tasks.segment.model_settings import SmpConfig
from medalist.tasks.segment.network import build_model

ENCODERS = (
    *("resnet18", "resnetv2_18", "res2net50_14w_8s", "resnest14d", "seresnext26t_32x4d", "regnety_002", "skresnet18"),
    *("densenet121", "dla34", "dpn48b", "vgg11", "hrnet_w18_small", "cspresnet50", "selecsls42", "tresnet_m"),
    *("tf_efficientnet_lite0", "mobilenetv3_small_050", "ghostnet_050", "mnasnet_small", "lcnet_035", "rexnet_100"),
    *("mobileone_s0", "repvgg_a0", "repghostnet_050", "starnet_s1", "fasternet_t0", "hgnetv2_b0", "hardcorenas_a"),
    *("convnext_atto", "inception_next_atto", "mambaout_femto", "edgenext_xx_small", "rdnet_tiny", "nfnet_l0"),
    *("inception_v3", "inception_v4", "xception41", "legacy_xception", "ese_vovnet19b_dw", "focalnet_tiny_srf"),
    *("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "pvt_v2_b0", "twins_pcpvt_small", "davit_tiny"),
    *("mvitv2_tiny", "hiera_tiny_224", "maxvit_nano_rw_256", "coatnet_nano_rw_224", "gcvit_xxtiny", "nest_tiny"),
    *("efficientformer_l1", "efficientformerv2_s0", "efficientvit_b0", "efficientvit_m0", "fastvit_t8", "repvit_m0_9"),
    *("levit_128s", "mobilevit_xxs", "mobilevitv2_050", "poolformerv2_s12", "caformer_s18", "tiny_vit_5m_224"),
    *("nextvit_small", "swiftformer_xs", "shvit_s1", "visformer_tiny", "volo_d1_224", "convmixer_768_32"),
    *("vit_tiny_patch16_224", "deit_tiny_patch16_224", "vit_small_patch14_dinov2", "xcit_nano_12_p16_224"),
    *("cait_xxs24_224", "coat_lite_tiny", "crossvit_tiny_240", "convit_tiny", "pit_ti_224", "tnt_s_patch16_224"),
    *("eva02_tiny_patch14_224", "mixer_s32_224", "sequencer2d_s", "samvit_base_patch16", "halonet_h1"),
)
"""A small member of each family."""


def tried(kind: str, encoder: str) -> str:
    """Build a network, make gradients at two sizes, and return what was seen."""
    narrow = {"decoder_channels": [32, 16, 16, 16, 16]} if kind in ("unet", "unetplusplus", "manet") else {}
    given = {"kind": kind, "encoder": encoder, "channels": ["a"], "weights": "none", **narrow}
    config = SmpConfig.model_validate(given)
    try:
        network = build_model(config)
    except ConfigError as error:
        if "type model.multiple=" not in str(error):
            return f"refused: {error}"
        stride = int(str(error).rpartition("=")[2])
        config = SmpConfig.model_validate({**given, "multiple": stride})
        network = build_model(config)
    for side in (2 * config.stride, 3 * config.stride):
        output = network(torch.randn(2, 3, side, side))
        assert output.shape == (2, 1, side, side), output.shape
        output.mean().backward()
    without = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    resized = isinstance(network.get_submodule("encoder"), ResizedFeatures)
    dead = f", {len(without)} parameters without a gradient ({without[0]})" if without else ""
    millions = sum(value.numel() for value in network.get_submodule("encoder").parameters()) / 1e6
    return f"{'resized' if resized else 'plain'}, {millions:.1f} million, stride {config.stride}{dead}"


def main() -> None:
    """Print a line for each family, and how many serve."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kind", default="unet")
    options.add_argument("--encoder", nargs="*", default=ENCODERS)
    asked = options.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    for encoder in asked.encoder:
        said = tried(asked.kind, encoder)
        counts[said.partition(":")[0].partition(",")[0]] += 1
        print(f"{encoder:32} {said}", flush=True)
        gc.collect()
    print(", ".join(f"{what}: {count}" for what, count in counts.most_common()))


if __name__ == "__main__":
    main()
