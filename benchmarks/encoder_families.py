"""Which of timm's encoders serve for segmentation: the smallest member of each family, with random weights.

python benchmarks/encoder_families.py [--kind unet] [--family swin_transformer ...] [--largest 60]

A family is a module of timm. Its smallest member is the one with the fewest parameters; families whose smallest member
has more than `--largest` million are left out. Each network is built and makes one step of gradients at 64x64 and at
the next larger size. Printed: the encoder, its parameters in millions, where its features come from (`plain`: at the
usual strides; `resized`), and the stride that the network needs; or the line that refuses it.
"""

from __future__ import annotations

import argparse
import gc
import logging
import warnings
from collections import Counter

import timm
import torch

from medalist.errors import ConfigError
from medalist.tasks.segment.features import FAILURES, ResizedFeatures
from medalist.tasks.segment.model_settings import SmpConfig
from medalist.tasks.segment.network import build_model


def smallest(family: str) -> tuple[str, float] | None:
    """Return the name and the millions of parameters of the smallest member of a family; None for no member."""
    found: list[tuple[float, str]] = []
    for name in timm.list_models(module=family):
        try:
            with torch.device("meta"):
                network = timm.create_model(name)
        except FAILURES:  # it computes with values while it is built
            continue
        found.append((sum(value.numel() for value in network.parameters()) / 1e6, name))
        if found[-1][0] < 3:
            break  # small enough
    return (min(found)[1], min(found)[0]) if found else None


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
    return f"{'resized' if resized else 'plain'}, stride {config.stride}{dead}"


def main() -> None:
    """Print a line for each family, and how many serve."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kind", default="unet")
    options.add_argument("--family", nargs="*", default=[])
    options.add_argument("--largest", type=float, default=60)
    asked = options.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    for family in asked.family or timm.list_modules():
        member = smallest(family)
        if member is None:
            continue
        name, millions = member
        said = tried(asked.kind, name) if millions <= asked.largest else "left out: too large"
        counts[said.partition(":")[0].partition(",")[0]] += 1
        print(f"{family:28} {name:36} {millions:6.1f}  {said}", flush=True)
        gc.collect()
    print(", ".join(f"{what}: {count}" for what, count in counts.most_common()))


if __name__ == "__main__":
    main()
