"""Embedding images from files against the bare forward of the same network on tensors that are ready.

python benchmarks/embedding/throughput.py --images DIR [--size 224] [--batch 32] [--workers 2] [--rounds 5]

Ours is what `medalist embed` does: read, decode, fit, normalise, batch, forward, gather. Bare is the forward alone, in
the same batches, memory layout and precision. Rounds take turns after one that warms up; printed are the medians of
images a second and the median ratio, and what reading alone costs in processor time: on a machine without a GPU the
workers take it from the forward.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from lightning_fabric import Fabric
from torch import nn

from medalist.data.fitted import FittedInferenceDataset
from medalist.data.items import Normalisation, reader
from medalist.data.loader import Batch, batches
from medalist.data.samplers import SizeBucketSampler
from medalist.data.settings import FitConfig
from medalist.models.backbone import encoder_statistics
from medalist.models.weights import encoder_weights
from medalist.records import Sample
from medalist.tasks.embed.inference import embed
from medalist.tasks.embed.model_settings import EmbedderConfig
from medalist.tasks.embed.network import build_embedder
from medalist.tasks.embed.settings import EmbedPredictConfig


def bare(model: nn.Module, ready: list[torch.Tensor]) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        for images in ready:
            model(images)
    return sum(map(len, ready)) / (time.perf_counter() - began)


def ours(
    fabric: Fabric, model: nn.Module, whole: FittedInferenceDataset, order: SizeBucketSampler, workers: int
) -> float:
    loader = batches(whole, order, workers)
    list(zip(range(1), loader, strict=False))  # workers start once, as in a long embedding
    began, count = time.perf_counter(), 0
    for indices, _ in embed(fabric, [model], loader, EmbedPredictConfig(), channels_last=True):
        count += len(indices)
    return count / (time.perf_counter() - began)


def reading(whole: FittedInferenceDataset, count: int) -> float:
    """Milliseconds of processor time that one image takes before it is a tensor."""
    began = time.process_time()
    for position in range(count):
        whole[0, position]
    return 1000 * (time.process_time() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--encoder", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=384)
    options = parser.parse_args()
    paths = sorted(options.images.iterdir())[: options.count]
    samples = [Sample(path.stem, (path,), (0, 0)) for path in paths]
    config = EmbedderConfig(encoder=options.encoder, dim=256)
    size = (options.size, options.size)
    fabric = Fabric(accelerator="auto", devices=1)
    network = (
        build_embedder(config, size, encoder_weights(config.encoder, config.weights))
        .eval()
        .to(memory_format=torch.channels_last)
    )
    model = fabric.setup_module(network)
    mean, std = encoder_statistics(config)
    read = reader(65535, FitConfig(size=size))
    whole = FittedInferenceDataset(samples, range(len(samples)), size, Normalisation(mean, std), read)
    order = SizeBucketSampler([size] * len(samples), 1, options.batch)
    prepared: Iterator[Batch] = iter(batches(whole, order, 0))
    ready = [batch.to(fabric.device, True).image for batch in prepared]
    bare(model, ready[:2])
    pairs = []
    for _ in range(options.rounds):
        pairs.append((bare(model, ready), ours(fabric, model, whole, order, options.workers)))
    print(f"bare forward {median(a for a, _ in pairs):.1f} images/s, ours {median(b for _, b in pairs):.1f}")
    ratio = median(b / a for a, b in pairs)
    print(f"ratio {ratio:.3f} with {options.workers} workers ({torch.get_num_threads()} threads)")
    print(f"reading alone: {reading(whole, len(samples)):.2f} ms of processor time an image")


if __name__ == "__main__":
    main()
